"""A policy in words, for `greenlight policy explain`."""

from __future__ import annotations

from collections.abc import Iterator

from greenlight.lib.durations import span
from greenlight.model.policy import Environment, Freeze, Policy


def explain(policy: Policy) -> str:
    """Return an application's candidates, gates and environments in words; several lines."""
    return "\n".join(_lines(policy))


def _lines(policy: Policy) -> Iterator[str]:
    yield f"{policy.name} is made from {policy.repo}"
    yield f"  policy      {policy.digest}"
    yield f"  candidates  commits pushed to {' or '.join(_refs(policy))}" + _only(policy)
    yield f"  operators   {', '.join(policy.operators) or 'nobody: name groups as `operators:`'}"
    yield "gates"
    width = max((len(name) for name in policy.gates), default=0)
    yield from (f"  {name:{width}}  {gate.explained()}" for name, gate in policy.gates.items())
    for environment in policy.environments.values():
        yield from _environment(policy, environment)


def _refs(policy: Policy) -> Iterator[str]:
    if policy.branches:
        yield f"branch {', '.join(policy.branches)}"
    if policy.tags:
        yield f"tag {', '.join(policy.tags)}"


def _only(policy: Policy) -> str:
    return f", if the push changed {', '.join(policy.paths)}" if policy.paths else ""


def _environment(policy: Policy, environment: Environment) -> Iterator[str]:
    yield f"environment {environment.name}"
    if environment.after:
        yield f"  after       {', '.join(_earlier(environment))}"
    yield f"  requires    {', '.join(environment.require) or _nothing(environment)}"
    if environment.promote == "manual":
        yield f"  promotes    nothing by itself: {', '.join(policy.operators) or 'nobody'} may deploy what is ready"
    yield from (f"  freeze      {_freeze(freeze)}" for freeze in environment.freeze)
    yield f"  deploys     by {environment.deploy.driver}: {environment.deploy.explained()}"
    yield f"  an error    is tried {environment.tries} times"
    if environment.rollback == "automatic":
        yield "  a failure   goes back to the commit that ran, unless a newer one is ready"


def _freeze(freeze: Freeze) -> str:
    served = f"only requests of {', '.join(freeze.excepted)} are served" if freeze.excepted else "no request is served"
    return f"{freeze.window}, {freeze.reason}: nothing by itself, {served}"


def _earlier(environment: Environment) -> Iterator[str]:
    for name in environment.after:
        soak = environment.soak.get(name)
        yield name if soak is None else f"{name} (at least {span(soak)} after it succeeded there)"


def _nothing(environment: Environment) -> str:
    return "nothing" if environment.promote == "manual" else "nothing: every candidate is deployed"
