"""Effects of an edited pipeline file on existing targets: they are decided again, and renamed ones carried on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from greenlight.events import Event, ids
from greenlight.events.recorded import look_again
from greenlight.ledger.port import Ledger, Transaction, Unreadable
from greenlight.lib.clock import Clock
from greenlight.model import keys
from greenlight.model.policy import Pipeline, PoliciesInForce, Policy
from greenlight.model.rows import DUE_AFTER, Deployment, Due, NewEntry, Record, Target
from greenlight.service.retry import until_settled

LOOKED_BACK = 20
"""Deployments of a target whose commits are known on when its application is made from another repository."""

CARRIED = "repository.changed"
"""The type of the entry that a carried commit's journal begins with."""

FORGOTTEN_AT_ONCE = 50
"""Targets in one transaction. DynamoDB's transactions hold 100 items."""


def adopt(pipeline: Pipeline, ledger: Ledger, clock: Clock) -> Sequence[Event]:
    """Keep the policies' texts under their digests, and let every target be decided again that has another policy.

    What was emitted for that: one event for each such target, about some commit of its repository; where the ledger knows
    no commit, there is nothing to decide. To do it again, in another process or after a crash, changes nothing.
    """
    emitted: list[Event] = []
    _put_in_force(pipeline, ledger)
    _forget_what_is_gone(pipeline, ledger)
    for policy in pipeline.applications.values():
        ledger.keep_policy(policy.digest, policy.text)
        for environment in policy.environments:
            event = _decide_anew(policy, environment, ledger, clock.now())
            emitted += [event] if event is not None else []
    return emitted


def _put_in_force(pipeline: Pipeline, ledger: Ledger) -> None:
    """Write down for each repository which policies are in force. From then on nothing is decided under others."""
    known = {row.repo for row in ledger.all_policies_in_force()}
    for repo in sorted(known | {policy.repo for policy in pipeline.applications.values()}):
        with suppress(Unreadable):  # what cannot be read keeps no other repository from being decided
            until_settled(partial(_put_in_force_for, repo, pipeline, ledger))


def _put_in_force_for(repo: str, pipeline: Pipeline, ledger: Ledger) -> None:
    row = ledger.policies_in_force(repo) or PoliciesInForce(repo, "")
    digest = pipeline.digest_of(repo)
    if row.digest != digest:
        gone = [target for target in _gone(pipeline, ledger) if target.repo == repo][:FORGOTTEN_AT_ONCE]
        forgotten = [replace(target, policy=None) for target in gone]
        ledger.transact(Transaction(in_force=[replace(row, digest=digest)], targets=forgotten))


def _forget_what_is_gone(pipeline: Pipeline, ledger: Ledger) -> None:
    """Let a target that is in no pipeline file be decided again once it is in one, even with the same text.

    What is pushed meanwhile is decided for other targets only.
    """
    for row in _gone(pipeline, ledger):
        until_settled(partial(_forget, row.application, row.environment, ledger))


def _forget(application: str, environment: str, ledger: Ledger) -> None:
    row = ledger.target(application, environment)
    if row is not None and row.policy is not None:
        ledger.transact(Transaction(targets=[replace(row, policy=None)]))


def _gone(pipeline: Pipeline, ledger: Ledger) -> Sequence[Target]:
    """Return the targets that are in no pipeline file, and are not yet marked so."""

    def is_gone(row: Target) -> bool:
        policy = pipeline.applications.get(row.application)
        return row.policy is not None and (policy is None or row.environment not in policy.environments)

    return [row for row in ledger.targets() if is_gone(row)]


def _decide_anew(policy: Policy, environment: str, ledger: Ledger, now: datetime) -> Event | None:
    target = ledger.target(policy.name, environment)
    if target is not None and target.policy == policy.digest:
        return None
    some = ledger.records(repo=policy.repo, limit=1).records
    if not some:
        return None
    why = keys.policy_due(policy.digest, policy.name, environment)
    event = look_again(policy.repo, some[0].sha, why, now, target=(policy.name, environment))
    ledger.transact(Transaction(emit=[event], due=[Due(why, now + DUE_AFTER, event)]))
    return event


def carried_on(policy: Policy, environment: str, ledger: Ledger, now: datetime) -> bool:
    """Give a target what its application had under its former name: what runs, pause, freezes, requests, holds and history.

    Once only: what was carried on is marked so. False while a deployment is under way there: its end calls this again, and
    nothing may begin under the new name before.
    """
    former = policy.formerly
    if former is None:
        return True

    def attempt() -> bool:
        old, new = ledger.target(former, environment), ledger.target(policy.name, environment)
        if old is None:
            # A process that still has the file of before would write this row, too: it gets a Conflict, and reads again.
            mark = Target(former, environment, policy.repo, renamed=policy.name)
            ledger.transact(Transaction(targets=[mark]))
            return True
        if old.renamed is not None or (new is not None and _is_used(new)):
            return True
        if old.deployment is not None:
            return False
        version = 0 if new is None else new.version
        carried = replace(old, application=policy.name, version=version, wanted=None, policy=None)
        left = Target(former, environment, old.repo, version=old.version, fence=old.fence, renamed=policy.name)
        ledger.transact(Transaction(targets=[carried, left], entries=[_entry(carried, former, now)]))
        return True

    return until_settled(attempt)


def carry_records(policy: Policy, environment: str, ledger: Ledger, now: datetime) -> None:
    """Make the commits that ran here known as commits of the repository that the application is made from now.

    So they have a page there, and a rollback leads to them. What is known there already stays.
    """
    rows = [row for name in policy.names for row in ledger.deployments(name, environment, limit=LOOKED_BACK)]
    for row in rows:
        if row.repo != policy.repo and row.outcome == "succeeded":
            with suppress(Unreadable):  # what cannot be read keeps no other commit from being known
                until_settled(partial(_carry_record, row, policy.repo, ledger, now))


def _carry_record(row: Deployment, repo: str, ledger: Ledger, now: datetime) -> None:
    old, new = ledger.record(row.repo, row.sha), ledger.record(repo, row.sha)
    if old is None or (new is not None and keys.of(row.application, row.environment) in new.attempts):
        return
    payload = {"repo": repo, "sha": row.sha, "formerly": row.repo}
    id, stream = ids.derive("entry", CARRIED, *payload.values()), keys.commit_stream(repo, row.sha)
    entry = NewEntry(stream, CARRIED, now, id, payload, repo, row.sha)
    ledger.transact(Transaction(records=[_of_repository(repo, old, new)], unchanged=[old], entries=[entry]))


def _of_repository(repo: str, old: Record, new: Record | None) -> Record:
    """Return what is known of a commit of one repository as that of another, and what is known of it there."""
    moved = replace(
        old, repo=repo, version=0, pushes={ref: replace(push, repo=repo) for ref, push in old.pushes.items()}
    )
    if new is None:
        return moved
    both: dict[str, Any] = {name: {**getattr(moved, name), **getattr(new, name)} for name in _COMBINED}
    return replace(new, **both, tree=new.tree or old.tree, people=tuple(sorted({*old.people, *new.people})))


_COMBINED = ("pushes", "signals", "approvals", "revocations", "overrides", "artifacts", "attempts", "merged", "runs")
"""The fields of a record that have something by name."""


def _is_used(target: Target) -> bool:
    """Return whether anything was done in a target under its own name."""
    return target.renamed is None and bool(
        target.fence or target.wanted or target.requests or target.paused or target.freezes
    )


def _entry(target: Target, former: str, now: datetime) -> NewEntry:
    payload = {
        "application": target.application,
        "environment": target.environment,
        "repo": target.repo,
        "formerly": former,
        "running": target.running.sha if target.running else "",
    }
    id = ids.derive("entry", "target.renamed", former, target.application, target.environment, target.version)
    stream = keys.target_stream(target.application, target.environment)
    return NewEntry(stream, "target.renamed", now, id, payload, target.repo, payload["running"])
