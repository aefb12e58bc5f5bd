"""Commits of an application that is made from another repository now, or from one that got another name."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from greenlight.events import ids
from greenlight.ledger.port import Ledger, Transaction, Unreadable
from greenlight.model import keys
from greenlight.model.policy import Policy
from greenlight.model.rows import Deployment, NewEntry, Record
from greenlight.service.retry import until_settled

LOOKED_BACK = 20
"""Deployments of a target whose commits are known on."""

CARRIED = "repository.changed"
"""The type of the entry that a carried commit's journal begins with."""

_COMBINED = (
    *("pushes", "signals", "approvals", "revocations", "overrides", "artifacts", "named", "attempts", "merged", "runs"),
)
"""The fields of a record that have something by name."""


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
