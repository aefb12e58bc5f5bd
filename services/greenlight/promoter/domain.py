"""What follows from a decision: whether it is news, and whether it becomes a promotion. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from greenlight.events import Event, ids, rfc3339, types
from greenlight.events.recorded import look_again
from greenlight.events.schemas import dataschema
from greenlight.ledger.own import own_fact
from greenlight.ledger.rows import (
    PATIENCE,
    Attempt,
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
from greenlight.policy.decide import decide
from greenlight.policy.lineage import newer
from greenlight.policy.model import Decision, Policy
from greenlight.policy.requests import asked


@dataclass(frozen=True, slots=True)
class Outcome:
    """What considering one commit for one target changes; empty where nothing does."""

    decision: Decision
    read: Target  # the target it was considered for, as it was read
    row: DecisionRow | None = None
    target: Target | None = None
    entries: tuple[NewEntry, ...] = ()
    events: tuple[Event, ...] = ()
    due: tuple[Due, ...] = ()


def consider(
    policy: Policy,
    environment: str,
    record: Record,
    target: Target,
    pushes: Sequence[Push],
    last: DecisionRow | None,
    now: datetime,
) -> Outcome:
    """Decide one commit for one target, and promote it if it is ready and the target is free for it."""
    request = asked(record, target)
    decision = decide(policy, environment, record, target, pushes, now, asked=request)
    row = _row(policy, environment, record, decision, last, now)
    entries = (_decision_entry(policy, environment, record, target, decision, row, now),) if row else ()
    due = _next_look(policy, environment, record, decision)
    promotion = _promotion(policy, environment, record, target, pushes, decision, request, now)
    if promotion is None:
        return Outcome(decision, target, row, None, entries, (), due)
    event = promotion_ready(target, promotion, now)
    return Outcome(
        decision,
        target,
        row,
        replace(target, wanted=promotion),
        (*entries, _promotion_entry(record, target, promotion)),
        (event,),
        (*due, Due(f"deployment/{promotion.id}", now + PATIENCE, event)),
    )


def way_back(policy: Policy, deployment: Deployment, target: Target) -> str | None:
    """The sha to go back to by itself after a deployment: what ran before it failed, if the policy says so.

    Not where something else is wanted already, and once only: a rollback that failed is for a person.
    """
    environment = policy.environments[deployment.environment]
    if environment.rollback != "automatic" or deployment.outcome != "failed" or deployment.cause == "rollback":
        return None
    if target.wanted is not None or target.deployment is not None or target.running is None:
        return None
    return None if target.running.sha == deployment.sha else target.running.sha


def rollback_requested(deployment: Deployment, record: Record, now: datetime) -> tuple[Fact, Due]:
    """The request that the policy makes where a person would; it names its cause. One for each deployment that failed."""
    type = types.DEPLOYMENT_REQUESTED
    id = ids.derive(type, "automatic", deployment.id)
    about = {
        "application": deployment.application,
        "environment": deployment.environment,
        "kind": "rollback",
        "person": "policy",
        "reason": f"deployment {deployment.id} of {deployment.sha[:7]} failed: {deployment.reason}",
    }
    return own_fact(type, id, "greenlight/promoter", record, about, now)


def promotion_ready(target: Target, promotion: Promotion, now: datetime) -> Event:
    """The event that says it: the same id however often it is emitted."""
    id = ids.derive(types.PROMOTION_READY, promotion.id)
    return Event.of(
        types.PROMOTION_READY,
        id=id,
        source="greenlight/promoter",
        time=now,
        subject=promotion.sha,
        dataschema=dataschema(types.PROMOTION_READY),
        data={
            "repo": target.repo,
            "sha": promotion.sha,
            "promotion": promotion.id,
            "application": target.application,
            "environment": target.environment,
            "n": promotion.n,
            "cause": promotion.cause,
            "policy": promotion.policy,
        },
        extensions={
            "repo": target.repo,
            "commit": promotion.sha,
            "application": target.application,
            "environment": target.environment,
            "partitionkey": f"{target.application}/{target.environment}",
            "traceparent": ids.deployment_traceparent(
                target.repo, promotion.sha, promotion.id, promotion.cause, "promotion"
            ),
        },
    )


def _promotion(
    policy: Policy,
    environment: str,
    record: Record,
    target: Target,
    pushes: Sequence[Push],
    decision: Decision,
    request: Request | None,
    now: datetime,
) -> Promotion | None:
    """The promotion to announce now, or None: not ready, already there, or the target is busy with another one."""
    attempt = record.attempts.get(f"{policy.name}/{environment}")
    runs_it = target.running is not None and target.running.sha == record.sha
    if decision.state != "ready" or target.deployment is not None or target.paused is not None:
        return None
    if request is None and (runs_it or _tried(attempt, decision)):
        return None
    if target.wanted is not None and not _replaces(record, decision, request, target.wanted, pushes):
        return None
    n = 0 if attempt is None else attempt.n + 1
    cause = "automatic" if request is None else request.kind
    return Promotion(
        id=ids.derive("promotion", policy.name, environment, record.sha, n),
        sha=record.sha,
        n=n,
        cause=cause,
        policy=policy.digest,
        at=now,
        push=decision.push,
        request=None if request is None else request.fact,
        asked=None if request is None else request.at,
    )


def _tried(attempt: Attempt | None, decision: Decision) -> bool:
    """Whether this commit was deployed here already since it was last pushed: another go needs a person or a push."""
    if attempt is None or attempt.outcome == "superseded":
        return False
    return decision.push is None or attempt.push == decision.push.fact


def _replaces(
    record: Record, decision: Decision, request: Request | None, wanted: Promotion, pushes: Sequence[Push]
) -> bool:
    """Whether this commit takes the place of a promotion that nobody has begun to deploy."""
    if wanted.sha == record.sha:
        return False
    if request is not None:
        return wanted.asked is None or request.at > wanted.asked
    if wanted.push is None:
        return True
    if wanted.request is not None or decision.push is None:
        return False
    return newer(decision.push, wanted.push, pushes)


def _row(
    policy: Policy, environment: str, record: Record, decision: Decision, last: DecisionRow | None, now: datetime
) -> DecisionRow | None:
    """The decision as it is kept, if it says something else than the last one."""
    said = (decision.state, decision.reasons, policy.digest, _fact(decision.push))
    if last is not None and (last.decision, last.reasons, last.policy, _fact(last.push)) == said:
        return None
    return DecisionRow(
        application=policy.name,
        environment=environment,
        repo=record.repo,
        sha=record.sha,
        decision=decision.state,
        reasons=decision.reasons,
        at=now,
        policy=policy.digest,
        push=decision.push,
        version=0 if last is None else last.version,
    )


def _fact(push: Push | None) -> str | None:
    return None if push is None else push.fact


def _decision_entry(
    policy: Policy,
    environment: str,
    record: Record,
    target: Target,
    decision: Decision,
    row: DecisionRow,
    now: datetime,
) -> NewEntry:
    payload: dict[str, Any] = {
        "application": policy.name,
        "environment": environment,
        "decision": decision.state,
        "reasons": list(decision.reasons),
        "gates": {name: gate.state for name, gate in decision.gates.items()},
        "facts": sorted({fact for gate in decision.gates.values() for fact in gate.facts}),
        "push": _fact(decision.push),
        "policy": policy.digest,
        "record": record.version,
        "target": target.version,
        "now": rfc3339(now),
    }
    id = ids.derive("decision", policy.name, environment, record.repo, record.sha, row.version + 1)
    return NewEntry(_stream(record), "decision", now, id, payload, record.repo, record.sha)


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
    stream = f"target/{target.application}/{target.environment}"
    return NewEntry(stream, types.PROMOTION_READY, promotion.at, promotion.id, payload, target.repo, promotion.sha)


def _next_look(policy: Policy, environment: str, record: Record, decision: Decision) -> tuple[Due, ...]:
    """When time alone may change the decision: then the commit is looked at again."""
    if decision.next_at is None:
        return ()
    key = f"decision/{policy.name}/{environment}/{record.repo}/{record.sha}"
    event = look_again(record.repo, record.sha, key, decision.next_at)
    return (Due(key, decision.next_at, event),)


def _stream(record: Record) -> str:
    return f"commit/{record.repo}/{record.sha}"
