"""Effects of an edited pipeline file on existing targets: they are decided again, under the policies in force alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial

from greenlight.events import Event
from greenlight.events.recorded import look_again
from greenlight.ledger.port import Ledger, Transaction, Unreadable
from greenlight.lib.clock import Clock
from greenlight.model import keys
from greenlight.model.policy import Pipeline, PoliciesInForce, Policy
from greenlight.model.rows import DUE_AFTER, Due, Target
from greenlight.service.retry import until_settled

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


def is_in_force(repo: str, pipeline: Pipeline, ledger: Ledger) -> bool:
    """Return whether the pipeline files that were read here are those that the repository's commits are decided under."""
    in_force = ledger.policies_in_force(repo)
    return in_force is not None and in_force.digest == pipeline.digest_of(repo)
