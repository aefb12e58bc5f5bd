"""The consequences of a decision: whether it is new, and whether it becomes a promotion. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from greenlight.events import Event, ids, rfc3339, types
from greenlight.events.build import about_commit
from greenlight.events.recorded import look_again
from greenlight.ledger.port import Transaction
from greenlight.model import keys
from greenlight.model.own_facts import no_expiry, request_entry, requested
from greenlight.model.policy import Decision, Policy, Situation
from greenlight.model.rows import (
    DUE_AFTER,
    POLICY,
    DecisionRow,
    Deployment,
    Due,
    Fact,
    NewEntry,
    Promotion,
    Push,
    Record,
    Request,
    Target,
)
from greenlight.policy.conditions import may_begin
from greenlight.policy.decide import decide
from greenlight.policy.lineage import newer
from greenlight.policy.requests import SERVED_WITHIN, expired, with_request, without


@dataclass(frozen=True, slots=True)
class Outcome:
    """The changes from considering one commit for one target; empty if there are none."""

    decision: Decision
    read: Target  # the target it was considered for, as it was read
    row: DecisionRow | None = None
    target: Target | None = None
    entries: tuple[NewEntry, ...] = ()
    events: tuple[Event, ...] = ()
    due: tuple[Due, ...] = ()
    behind: bool = False  # it might begin, but for a newer commit that is ready, too


def consider(case: Situation, last: DecisionRow | None, *, promote: bool = True) -> Outcome:
    """Decide one commit for one target, whose `last` decision is stored; promote it if it is ready and the target is free.

    Nothing is promoted in a target whose candidates were not all decided under this policy yet.
    """
    decision, target = decide(case), case.target
    row = _row(case, decision, last)
    entries = (_decision_entry(case, decision, row),) if row else ()
    due = _next_look(case, decision)
    promotion = _promotion(case, decision) if promote else None
    if promotion is None:
        return Outcome(decision, target, row, None, entries, (), due)
    event = promotion_ready(target, promotion, case.now)
    return Outcome(
        decision,
        target,
        row,
        replace(target, wanted=promotion),
        (*entries, _promotion_entry(case.record, target, promotion)),
        (event,),
        (*due, Due(keys.deployment_due(promotion.id), case.now + DUE_AFTER, event)),
    )


def may_replace_what_waits(outcome: Outcome) -> bool:
    """Return whether a commit may go out instead of a deployment that waits for its next try after an error."""
    news = outcome.row is not None or outcome.decision.request is not None
    target = outcome.read
    return news and outcome.decision.state == "ready" and target.deployment is not None and target.lease is None


def with_look_at(outcome: Outcome, waits: Deployment, now: datetime) -> Outcome:
    """Return the outcome with the event by which the deployer looks at a deployment before its next try, and may end it.

    It is a hint: if it gets lost, the next try comes in its time.
    """
    promotion = Promotion(waits.id, waits.sha, waits.n, waits.cause, waits.policy, waits.started)
    return replace(outcome, events=(*outcome.events, promotion_ready(outcome.read, promotion, now)))


def automatic_rollback(policy: Policy, deployment: Deployment, target: Target) -> str | None:
    """Return the sha to go back to by itself after a deployment: what ran before it failed, if the policy says so.

    Not where something else is wanted already, nor what a person ended, and once only: a rollback that failed is for a
    person.
    """
    environment = policy.environments[deployment.environment]
    if environment.rollback != "automatic" or deployment.outcome != "failed" or deployment.cause == "rollback":
        return None
    if target.wanted is not None or target.deployment is not None or target.running is None:
        return None
    return None if target.running.sha == deployment.sha else target.running.sha


def rollback_requested(
    deployment: Deployment, target: Target, record: Record, now: datetime
) -> tuple[Fact, Due, Target]:
    """Return the request that the policy makes in a person's place, and the target with it.

    One for each failed deployment.
    """
    id = ids.derive(types.DEPLOYMENT_REQUESTED, "automatic", deployment.id)
    reason = f"deployment {deployment.id} of {deployment.sha[:7]} failed: {deployment.reason}"
    request = Request("rollback", record.sha, POLICY, now, now + SERVED_WITHIN, id, reason)
    fact, due = requested(request, target, record, "greenlight/promoter")
    return fact, due, with_request(target, request)


def requests_expired(target: Target, now: datetime) -> Transaction | None:
    """Return the end of the requests that have waited too long; None if there are none."""
    gone = [request for request in target.requests if expired(request, target, now)]
    if not gone:
        return None
    return Transaction(
        targets=[without(target, gone)],
        entries=[request_entry("request.expired", target, request, now) for request in gone],
        done=[no_expiry(target, request) for request in gone],
    )


def promotion_ready(target: Target, promotion: Promotion, now: datetime) -> Event:
    """Return the event promotion.ready: its id is the same however often it is emitted."""
    id = ids.derive(types.PROMOTION_READY, promotion.id)
    return about_commit(
        types.PROMOTION_READY,
        id=id,
        source="greenlight/promoter",
        time=now,
        repo=target.repo,
        sha=promotion.sha,
        data={
            "promotion": promotion.id,
            "application": target.application,
            "environment": target.environment,
            "n": promotion.n,
            "cause": promotion.cause,
            "policy": promotion.policy,
        },
        attributes={"application": target.application, "environment": target.environment},
        subject=promotion.sha,
        partitionkey=keys.of(target.application, target.environment),
        traceparent=ids.deployment_traceparent(target.repo, promotion.sha, promotion.id, promotion.cause, "promotion"),
    )


def _promotion(case: Situation, decision: Decision) -> Promotion | None:
    """Return the promotion to announce now, or None.

    None: the commit is not ready or was promoted already, or the target is busy with another one.
    """
    wanted, sha = case.target.wanted, case.record.sha
    if not may_begin(case, decision):
        return None
    if wanted is not None and not _replaces(case, decision, wanted):
        return None
    attempt, request = case.attempt, decision.request
    n = 0 if attempt is None else attempt.n + 1
    return Promotion(
        id=ids.promotion(case.policy.name, case.environment.name, sha, n),
        sha=sha,
        n=n,
        cause="automatic" if request is None else request.kind,
        policy=case.policy.digest,
        at=case.now,
        push=decision.push,
        request=None if request is None else request.fact,
    )


def _replaces(case: Situation, decision: Decision, wanted: Promotion) -> bool:
    """Return whether this commit takes the place of a promotion whose deployment has not begun.

    One under another policy is wanted no more. The request that the target serves next goes before everything else; the
    policy's own, to go back to what ran, not before a newer commit that is ready.
    """
    if wanted.policy != decision.policy:
        return True
    if decision.request is not None:
        goes_first = decision.request.person != POLICY or wanted.request is not None
        return goes_first and wanted.request != decision.request.fact
    if wanted.sha == case.record.sha or wanted.request is not None or decision.push is None:
        return False
    return wanted.push is None or newer(decision.push, wanted.push, case.pushes)


def _row(case: Situation, decision: Decision, last: DecisionRow | None) -> DecisionRow | None:
    """Return the decision to store, if it differs from the last one."""
    own, policy = decision.own, case.policy
    new = (own.state, own.reasons, policy.digest, _place(decision.push), decision.recount)
    if last is not None and (last.decision, last.reasons, last.policy, _place(last.push), last.recount) == new:
        return None
    return DecisionRow(
        application=policy.name,
        environment=case.environment.name,
        repo=case.record.repo,
        sha=case.record.sha,
        decision=own.state,
        reasons=own.reasons,
        at=case.now,
        policy=policy.digest,
        push=decision.push,
        recount=decision.recount,
        version=0 if last is None else last.version,
    )


def _place(push: Push | None) -> tuple[Any, ...] | None:
    return None if push is None else (push.fact, push.placed)


def _fact(push: Push | None) -> str | None:
    return None if push is None else push.fact


def _decision_entry(case: Situation, decision: Decision, row: DecisionRow) -> NewEntry:
    record = case.record
    payload: dict[str, Any] = {
        "application": row.application,
        "environment": row.environment,
        "decision": decision.own.state,
        "reasons": list(decision.own.reasons),
        "gates": {name: gate.state for name, gate in decision.gates.items()},
        "facts": sorted({fact for gate in decision.gates.values() for fact in gate.facts}),
        "push": _fact(decision.push),
        "policy": row.policy,
        "record": record.version,
        "target": case.target.version,
        "now": rfc3339(case.now),
    }
    id = ids.derive("decision", row.application, row.environment, row.repo, row.sha, row.version + 1)
    return NewEntry(keys.commit_stream(row.repo, row.sha), "decision", case.now, id, payload, row.repo, row.sha)


def _promotion_entry(record: Record, target: Target, promotion: Promotion) -> NewEntry:
    payload = {
        "promotion": promotion.id,
        "application": target.application,
        "environment": target.environment,
        "repo": target.repo,
        "sha": promotion.sha,
        "n": promotion.n,
        "cause": promotion.cause,
        "policy": promotion.policy,
        "record": record.version,
    }
    stream = keys.target_stream(target.application, target.environment)
    return NewEntry(stream, types.PROMOTION_READY, promotion.at, promotion.id, payload, target.repo, promotion.sha)


def _next_look(case: Situation, decision: Decision) -> tuple[Due, ...]:
    """Return the event for another look at the commit, if time alone may change the decision."""
    if decision.next_at is None:
        return ()
    record = case.record
    key = keys.decision_due(case.policy.name, case.environment.name, record.repo, record.sha)
    event = look_again(record.repo, record.sha, key, decision.next_at)
    return (Due(key, decision.next_at, event),)
