"""Waiting for what follows from a command: the API is asked again, after pauses that grow."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

from greenlight.cli import render
from greenlight.cli.client import NO, UNKNOWN, WAITS, Client, Failure
from greenlight.lib.durations import duration

FIRST, LONGEST = 0.25, 5.0
"""Seconds of the first pause, and of the longest."""

AGAIN = 30
"""Seconds, and tries, in which a Greenlight that does not answer has to answer again."""

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class State:
    """The state of what follows from a command."""

    code: int  # the exit code, if nothing more is waited for: WAITS while something may still come
    text: str
    deployments: Sequence[dict[str, Any]] = field(default=())


def option(command: F) -> F:
    """Take `--wait` and `--timeout`, as the parameters `wait` and `timeout`."""
    wait = click.option("--wait", is_flag=True, help="Wait until the deployment that follows has ended.")
    most = click.option(
        "--timeout",
        metavar="DURATION",
        default="30m",
        show_default=True,
        callback=_seconds,
        help="With --wait: give up waiting after that time, with exit code 4.",
    )
    return wait(most(command))


def _seconds(ctx: click.Context, param: click.Parameter, text: str) -> float:
    try:
        return duration(text).total_seconds()
    except (ValueError, OverflowError) as problem:
        raise click.BadParameter(str(problem)) from None


def until(look: Callable[[], State], seconds: float) -> State:
    """Return the state that `look` finds at the end, or the last one when the time is up; print each on standard error.

    A Greenlight that does not answer for a while is asked again. Raises Failure if it still does not at the end.
    """
    end, pause, last = time.monotonic() + seconds, FIRST, ""  # noqa: TID251 - a person or script waits
    while True:
        try:
            state = look()
        except Failure as problem:
            left = end - time.monotonic()  # noqa: TID251
            if problem.exit_code != UNKNOWN or left <= 0:
                raise
            state = State(WAITS, problem.message)
        if state.text != last:
            render.lines(state.text, err=True)
            last = state.text
        left = end - time.monotonic()  # noqa: TID251
        if state.code != WAITS or left <= 0:
            return state
        time.sleep(min(pause, left))  # noqa: TID251
        pause = min(pause * 1.5, LONGEST)


def with_retries(ask: Callable[[], T]) -> T:
    """Return what `ask` returns; a Greenlight that is being restarted is asked again. Raises Failure after AGAIN tries."""
    for _ in range(AGAIN):
        try:
            return ask()
        except Failure as problem:
            if problem.exit_code != UNKNOWN:
                raise
        time.sleep(1)  # noqa: TID251 - a person or script waits
    return ask()


def of_deployment(found: dict[str, Any]) -> State:
    """Return the state of a deployment, as the API shows it."""
    where = f"{found['application']}/{found['environment']}"
    name = f"deployment {found['id'][:7]} of {found['sha'][:7]} in {where}"
    if found["outcome"] == "running":
        again = f"will be tried again: {found['reason']}" if found["again"] else "is under way"
        return State(WAITS, f"{name} {again}", [found])
    why = f": {found['reason']}" if found["reason"] else ""
    return State(0 if found["outcome"] == "succeeded" else NO, f"{name}: {found['outcome']}{why}", [found])


def of_request(client: Client, application: str, environment: str, request: str) -> State:
    """Return the state of a request: of its deployment, once that has begun."""
    path = f"/targets/{application}/{environment}"
    target = client.get(path)  # before its deployments: a request ends in the moment in which its deployment begins
    for found in client.get(f"{path}/deployments")["deployments"]:
        if found["requested"] is not None and found["requested"]["id"] == request:
            return of_deployment(found)
    found = next((each for each in target["requests"] if each["id"] == request), None)
    if found is not None:
        return _of_waiting(client.get(f"/commits/{target['repo']}/{found['sha']}"), application, environment, request)
    return State(NO, "the request ended without a deployment: it was canceled, it expired, or a later one went first")


def _of_waiting(commit: dict[str, Any], application: str, environment: str, request: str) -> State:
    """Return the state of a request that waits, by what its commit waits for, unless a later request goes first."""
    text = f"the request waits in {application}/{environment}"
    standing = commit["applications"].get(application, {"environments": {}})["environments"].get(environment, {})
    served = standing.get("requested")
    if served is None or served["id"] != request:
        return State(WAITS, text)
    return State(NO if standing["needs_person"] else WAITS, f"{text}: {'; '.join(standing['reasons'])}")


def of_gate(client: Client, repo: str, sha: str, application: str, gate: str) -> State:
    """Return the state of a commit in the environments that require a gate."""
    found = client.get(f"/commits/{repo}/{sha}")["applications"].get(application, {"environments": {}})
    states = [
        of_standing(f"{application}/{name}", environment)
        for name, environment in found["environments"].items()
        if gate in environment["requires"]
    ]
    if not states:
        return State(0, f"no environment of {application} requires {gate}")
    return State(worst([state.code for state in states]), "\n".join(state.text for state in states))


def of_standing(where: str, environment: dict[str, Any]) -> State:
    """Return the state of a commit in one environment, until it has been deployed there."""
    deployment = environment["deployment"]
    text = "".join(map(str, (f"{where}: ", *render.standing(environment))))
    is_there = deployment is not None and deployment["outcome"] == "succeeded"
    return State(code_of(environment) or (0 if is_there else WAITS), text)


def code_of(environment: dict[str, Any]) -> int:
    """Return the exit code for a commit in one environment: 0 if it is ready, 1 if only a person lets it go on, else 4."""
    if environment["needs_person"]:
        return NO
    return 0 if environment["decision"] == "ready" else WAITS


def worst(codes: Sequence[int]) -> int:
    """Return the exit code for several: 1 if one can no longer come, 4 if one still waits."""
    return NO if NO in codes else WAITS if WAITS in codes else 0


def of_target(client: Client, application: str, environment: str, known: str | None) -> State:
    """Return the state of a target that goes on: of the deployments after the one that is `known`."""
    path = f"/targets/{application}/{environment}"
    target = client.get(path)
    asked = {"application": application, "environment": environment, "decision": "ready"}
    ready = client.get("/commits", **asked)["commits"]
    deployments = client.get(f"{path}/deployments")["deployments"]
    newest = deployments[0] if deployments and deployments[0]["id"] != known else None
    if newest is not None:
        return of_deployment(newest)
    standings = [commit["applications"][application]["environments"][environment] for commit in ready]
    undeployed = any(not standing["deployment"] for standing in standings)
    if target["wanted"] or target["requests"] or target["deployment"] or undeployed:
        return State(WAITS, f"the next deployment to {application}/{environment} has not begun")
    return State(0, f"nothing waits to be deployed to {application}/{environment}")
