"""Targets of an application that has another name now: they go on with what they had under the name before."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from greenlight.events import ids
from greenlight.ledger.port import Ledger, Transaction, Unreadable
from greenlight.model import keys
from greenlight.model.own_facts import expiry, no_expiry
from greenlight.model.policy import Pipeline, Policy, newest_attempt
from greenlight.model.rows import NewEntry, Target
from greenlight.service.adoption import is_in_force
from greenlight.service.retry import until_settled


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
        ledger.transact(replace(_moved(policy, old, own, now), unchanged=unchanged))
        return True

    return until_settled(attempt)


def _moved(policy: Policy, old: Target, own: Target | None, now: datetime) -> Transaction:
    """Return the writes by which an application's own row gets what the row under another name has, which is marked so."""
    carried = replace(old, application=policy.name, version=0 if own is None else own.version, wanted=None, policy=None)
    left = Target(old.application, old.environment, old.repo, version=old.version, fence=old.fence, renamed=policy.name)
    return Transaction(
        targets=[carried, left],
        entries=[_entry(carried, old.application, now)],
        due=[expiry(carried, request) for request in carried.requests],
        done=[no_expiry(old, request) for request in old.requests],
    )


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
