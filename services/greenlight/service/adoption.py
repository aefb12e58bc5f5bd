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
from greenlight.model.own_facts import expiry, no_expiry
from greenlight.model.policy import Pipeline, PoliciesInForce, Policy, newest_attempt
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


def carried_on(policy: Policy, environment: str, pipeline: Pipeline, ledger: Ledger, now: datetime) -> bool:
    """Give a target what its application had under another name: what runs, pause, freezes, requests, holds and history.

    Once only: what was carried on is marked so. False while a deployment is under way there: its end calls this again, and
    nothing may begin under the new name before.
    """

    def attempt() -> bool:
        own, name = ledger.target(policy.name, environment), known_as(policy, environment, pipeline, ledger)
        unmarked = [] if own is None or own.renamed is None else [replace(own, renamed=None)]
        old = ledger.target(name, environment)
        if name == policy.name or (own is not None and _is_used(own)):
            if unmarked:  # another application has what it had, and it begins anew
                ledger.transact(Transaction(targets=unmarked))
            return True
        in_force = ledger.policies_in_force(policy.repo)
        if name != policy.formerly and not is_in_force(policy.repo, pipeline, ledger):
            return False
        unchanged = [in_force] if in_force is not None and name != policy.formerly else []
        if old is None:
            # A process that still has the file of before would write this row, too: it gets a Conflict, and reads again.
            mark = Target(name, environment, policy.repo, renamed=policy.name)
            ledger.transact(Transaction(targets=[mark, *unmarked], unchanged=unchanged))
            return True
        if old.deployment is not None:
            return False
        for sha in old.history:
            with suppress(Unreadable):
                _keep_success(policy, old, sha, ledger)
        version = 0 if own is None else own.version
        carried = replace(old, application=policy.name, version=version, wanted=None, policy=None)
        left = Target(name, environment, old.repo, version=old.version, fence=old.fence, renamed=policy.name)
        ledger.transact(
            Transaction(
                targets=[carried, left],
                entries=[_entry(carried, name, now)],
                due=[expiry(carried, request) for request in carried.requests],
                done=[no_expiry(old, request) for request in old.requests],
                unchanged=unchanged,
            )
        )
        return True

    return until_settled(attempt)


def carry_records(policy: Policy, environment: str, ledger: Ledger, now: datetime) -> None:
    """Make the commits that ran here known as commits of the repository that the application is made from now.

    So they have a page there, and a rollback leads to them. What is known there already stays.
    """
    target = ledger.target(policy.name, environment)
    if target is None or all(_is_known_here(policy, environment, sha, ledger) for sha in target.history):
        return  # as always but after such an edit: a fact that is followed at once may read no list of deployments
    rows = [row for name in policy.names for row in ledger.deployments(name, environment, limit=LOOKED_BACK)]
    for row in rows:
        if row.repo != policy.repo and row.outcome == "succeeded":
            with suppress(Unreadable):  # what cannot be read keeps no other commit from being known
                until_settled(partial(_carry_record, row, policy.repo, ledger, now))


def _is_known_here(policy: Policy, environment: str, sha: str, ledger: Ledger) -> bool:
    with suppress(Unreadable):
        record = ledger.record(policy.repo, sha)
        return record is not None and policy.attempt(record, environment) is not None
    return False


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


_COMBINED = (
    *("pushes", "signals", "approvals", "revocations", "overrides", "artifacts", "named", "attempts", "merged", "runs"),
)
"""The fields of a record that have something by name."""


def _keep_success(policy: Policy, old: Target, sha: str, ledger: Ledger) -> None:
    """Keep under an application's name that a commit succeeded in a target which is carried on.

    So it counts once nothing names the former name any more: for `after`, and as where a rollback leads.
    """

    def attempt() -> None:
        record = ledger.record(old.repo, sha)
        key, former = (keys.of(name, old.environment) for name in (policy.name, old.application))
        known = [] if record is None else [record.attempts[each] for each in (key, former) if each in record.attempts]
        newest = newest_attempt(known)
        if record is not None and newest is not None and newest is not record.attempts.get(key):
            ledger.transact(Transaction(records=[replace(record, attempts={**record.attempts, key: newest})]))

    until_settled(attempt)


def known_as(policy: Policy, environment: str, pipeline: Pipeline, ledger: Ledger) -> str:
    """Return the name of the application under which the ledger has the state of an environment.

    Its own, or an earlier one: the marks of what was carried on lead to it, from the former name, or from its own where an
    edit took back that it was renamed. What another application of the pipeline file has stays that one's.
    """
    name, seen = policy.formerly or policy.name, set[str]()
    while name not in seen:
        seen.add(name)
        if name != policy.name and name in pipeline.applications:
            return policy.name
        row = ledger.target(name, environment)
        if row is None or row.renamed is None:
            return name
        name = row.renamed
    return policy.name


def heir_of(application: str, environment: str, repo: str, pipeline: Pipeline, ledger: Ledger) -> Policy | None:
    """Return the application that goes on with what one had that is in the pipeline file no more; None: there is none."""
    known = (policy for policy in pipeline.of(repo) if environment in policy.environments)
    return next((one for one in known if known_as(one, environment, pipeline, ledger) == application), None)


def is_in_force(repo: str, pipeline: Pipeline, ledger: Ledger) -> bool:
    """Return whether the pipeline files that were read here are those that the repository's commits are decided under."""
    in_force = ledger.policies_in_force(repo)
    return in_force is not None and in_force.digest == pipeline.digest_of(repo)


def _is_used(target: Target) -> bool:
    """Return whether anything was done in a target under its own name; of what was carried on only the fence is left."""
    done = target.running or target.wanted or target.requests or target.paused or target.freezes
    return bool(done or (target.fence and target.renamed is None))


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
