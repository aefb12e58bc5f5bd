"""A changed record is decided for each target; when every gate is green, promotion.ready says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from flask import Flask

from greenlight.events import Event, types
from greenlight.events.recorded import resumed_key
from greenlight.ledger.adoption import OPEN
from greenlight.ledger.port import Ledger, Transaction, Unreadable
from greenlight.ledger.rows import Deployment, Record, Target
from greenlight.ledger.use import pushes_since, until_settled
from greenlight.policy.model import Policy
from greenlight.promoter import domain
from greenlight.runtime.deps import Deps
from greenlight.runtime.edge import Handler, event_app
from greenlight.runtime.told import told
from greenlight.runtime.tracing import step

AT_ONCE = 6
"""Targets that one transaction decides. Each is at most 13 items of the 100 that DynamoDB's transactions hold."""


def on_commit_recorded(event: Event, deps: Deps) -> Sequence[Event]:
    """Decide the commit for every target of its repository; after a push, the commits that it may have superseded too.

    It is done with only when everything is written: until then the event is due, and comes again if it gets lost.
    """
    data = told(event, "repo", "sha", may=("fact", "due", "application", "environment"))
    repo, sha = data["repo"], data["sha"]
    policies = deps.pipeline().of(repo)
    targets = [(policy, environment) for policy in policies for environment in policy.environments]
    done = [(f"record/{repo}/{sha}", event.id)]
    if "due" in data:
        done.append((data["due"], event.id))
    fact = deps.ledger.fact(data["fact"]) if "fact" in data else None
    pushed = fact is not None and fact.push is not None
    events: list[Event] = []
    for policy, environment in targets:
        if pushed or (policy.name, environment) == (data.get("application"), data.get("environment")):
            events += _reconsider(policy, environment, deps)
    return events + _check(repo, sha, targets, done, deps)


def on_deployment_ended(event: Event, deps: Deps) -> Sequence[Event]:
    """The target is free: decide its next candidate, and this commit for the environments that come after.

    Where it failed and nothing newer is ready, the policy may say to go back to what ran.
    """
    data = told(event, "deployment", "application")
    deployment = deps.ledger.deployment(data["deployment"])
    policy = deps.pipeline().applications.get(data["application"])
    done = [(f"deployment/{data['deployment']}", event.id)]
    if deployment is None or policy is None or deployment.outcome == "running":
        deps.ledger.transact(Transaction(done=done))
        return []
    following = [(policy, name) for name, it in policy.environments.items() if deployment.environment in it.after]
    here = deployment.environment in policy.environments
    events = _reconsider(policy, deployment.environment, deps) if here else []
    events += _go_back(policy, deployment, deps) if here else []
    return events + _check(deployment.repo, deployment.sha, following, done, deps)


def on_target_resumed(event: Event, deps: Deps) -> Sequence[Event]:
    """A person lets a target go on: decide its candidates."""
    data = told(event, "application", "environment")
    application, environment = data["application"], data["environment"]
    policy = deps.pipeline().applications.get(application)
    known = policy is not None and environment in policy.environments
    events = _reconsider(policy, environment, deps) if policy is not None and known else []
    deps.ledger.transact(Transaction(done=[(resumed_key(application, environment), event.id)]))
    return events


def _go_back(policy: Policy, deployment: Deployment, deps: Deps) -> list[Event]:
    """Ask for a rollback, as a person would: from here on it is a deployment like any other."""
    target = deps.ledger.target(deployment.application, deployment.environment)
    sha = domain.way_back(policy, deployment, target) if target is not None else None
    record = deps.ledger.record(deployment.repo, sha) if sha is not None else None
    if record is None:
        return []
    fact, due = domain.rollback_requested(deployment, record, deps.clock.now())
    return [fact.event] if deps.ledger.accept(fact, None, due) else []  # one that was asked for before is due


def _reconsider(policy: Policy, environment: str, deps: Deps) -> list[Event]:
    """Decide every open candidate of a target again, newest first. What no push made one is not for a target to change."""
    events: list[Event] = []
    with step("check for promotion", application=policy.name, environment=environment, candidates="all"):
        for row in deps.ledger.decisions(policy.name, environment, OPEN):
            if row.push is not None:
                events += _consider(row.repo, row.sha, [(policy, environment)], [], deps)
    return events


def _check(
    repo: str, sha: str, targets: Sequence[tuple[Policy, str]], done: Sequence[tuple[str, str]], deps: Deps
) -> list[Event]:
    """Decide the commit that the event is about, AT_ONCE targets in a transaction; it is done with in the last one.

    Where what a target takes cannot be read, the others are decided, and the event stays due for this one.
    """
    events: list[Event] = []
    with step("check for promotion"):
        while len(targets) > AT_ONCE:
            found, whole = _readable(repo, sha, targets[:AT_ONCE], [], deps)
            events += found
            targets, done = targets[AT_ONCE:], done if whole else []
        return events + _readable(repo, sha, targets, done, deps)[0]


def _readable(
    repo: str, sha: str, targets: Sequence[tuple[Policy, str]], done: Sequence[tuple[str, str]], deps: Deps
) -> tuple[list[Event], bool]:
    """Decide the commit for those of the targets for which that can be read: what it emitted, and whether it was all."""
    try:
        return _consider(repo, sha, targets, done, deps), True
    except Unreadable:
        if len(targets) < 2:
            raise
    events: list[Event] = []
    for target in targets:
        with suppress(Unreadable):
            events += _consider(repo, sha, [target], [], deps)
    return events, False


def _consider(
    repo: str, sha: str, targets: Sequence[tuple[Policy, str]], done: Sequence[tuple[str, str]], deps: Deps
) -> list[Event]:
    """Decide one commit for some targets in one transaction; what it emitted."""

    def attempt() -> list[Event]:
        now = deps.clock.now()
        record = deps.ledger.record(repo, sha)
        if record is None:
            return []
        outcomes = [_outcome(policy, environment, record, now, deps.ledger) for policy, environment in targets]
        transaction = _transaction(record, outcomes, done)
        if transaction is not None:
            deps.ledger.transact(transaction)
        return [event for outcome in outcomes for event in outcome.events]

    return until_settled(attempt)


def _outcome(policy: Policy, environment: str, record: Record, now: datetime, ledger: Ledger) -> domain.Outcome:
    target = ledger.target(policy.name, environment) or Target(policy.name, environment, policy.repo)
    last = ledger.decision(policy.name, environment, record.repo, record.sha)
    return domain.consider(policy, environment, record, target, pushes_since(ledger, target), last, now)


def _transaction(
    record: Record, outcomes: Sequence[domain.Outcome], done: Sequence[tuple[str, str]]
) -> Transaction | None:
    """What the outcomes change, conditional on the record and the targets they were computed from; None if nothing changes.

    A target that was read as busy must still be: whoever frees it decides only the candidates that are written by then.
    """
    rows = [outcome.row for outcome in outcomes if outcome.row]
    targets = [outcome.target for outcome in outcomes if outcome.target]
    read = [outcome.read for outcome in outcomes if not outcome.target]
    due = [due for outcome in outcomes for due in outcome.due]
    if not (rows or targets or due or done):
        return None
    return Transaction(
        decisions=rows,
        targets=targets,
        unchanged=[record, *read] if rows or targets else [],
        entries=[entry for outcome in outcomes for entry in outcome.entries],
        emit=[event for outcome in outcomes for event in outcome.events],
        due=due,
        done=done,
    )


HANDLERS: Mapping[str, Handler[Deps]] = {
    types.COMMIT_RECORDED: on_commit_recorded,
    **dict.fromkeys(types.ENDS, on_deployment_ended),
    types.TARGET_RESUMED: on_target_resumed,
}


def create_app(deps: Deps) -> Flask:
    """The promoter as a service."""
    return event_app("promoter", HANDLERS, deps)
