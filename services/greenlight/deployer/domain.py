"""Rows, journal entries and events for a deployment's progress. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from greenlight.deployer.driver import Output, Progress
from greenlight.deployer.messages import RUNNING, entry, event_of
from greenlight.events import Event, types
from greenlight.ledger.port import Transaction
from greenlight.model import keys
from greenlight.model.own_facts import expiry, no_expiry, request_entry
from greenlight.model.policy import Decision, Policy, Situation
from greenlight.model.rows import DUE_AFTER, Attempt, Deployment, Due, Lease, Promotion, Push, Record, Running, Target
from greenlight.policy.lineage import newer
from greenlight.policy.requests import begun

LEASE = timedelta(seconds=30)
"""How long a target is held without a word from its holder. Longer than one watch, which is at most 20 s."""

JUST_BEGUN = timedelta(seconds=5)
"""How long a target that was taken is known to be held, without another look."""

HISTORY_LENGTH = 20
"""How many shas a target remembers to roll back to."""


def begin(case: Situation, promotion: Promotion, decision: Decision, owner: str) -> tuple[Deployment, Transaction]:
    """Return the intent: from here on the promotion is this deployment, or nothing of it happened.

    Conditional on the versions of record and target that the decision was made from. A request that is younger than the
    promotion is served by it all the same.
    """
    policy, record, target, now = case.policy, case.record, case.target, case.now
    key, request, push = keys.of(target.application, target.environment), decision.request, decision.push
    deployment = Deployment(
        id=promotion.id,
        application=target.application,
        environment=target.environment,
        repo=target.repo,
        sha=promotion.sha,
        n=promotion.n,
        cause=request.kind if request else "automatic",
        policy=policy.digest,
        fence=target.fence + 1,
        outcome=RUNNING,
        started=now,
        tries=1,
        previous=target.running.sha if target.running else None,
        request=request.fact if request else None,
        push=push,
        artifacts=decision.artifacts,
    )
    earlier = case.attempt
    attempt = Attempt(
        id=deployment.id,
        n=deployment.n,
        outcome=RUNNING,
        cause=deployment.cause,
        started=now,
        request=deployment.request,
        push=push.fact if push else None,
        succeeded_at=earlier.succeeded_at if earlier else None,
    )
    again = event_of(types.PROMOTION_READY, deployment, now)
    free = begun(policy, target, request, push, case.pushes)
    ended = [other for other in target.requests if other not in free.requests]
    overtaken = [other for other in ended if other.fact != deployment.request]
    transaction = Transaction(
        records=[replace(record, attempts={**record.attempts, key: attempt})],
        targets=[
            replace(
                free,
                wanted=None,
                deployment=deployment.id,
                serving=request,
                last=deployment.sha,
                newest=_newest(target.newest, push, case.pushes),
                fence=deployment.fence,
                lease=Lease(owner, now + LEASE),
                cancel=None,
            )
        ],
        deployments=[deployment],
        entries=[
            entry("deployment.started", deployment, now),
            *(request_entry("request.overtaken", target, other, now) for other in overtaken),
        ],
        due=[Due(keys.deployment_due(deployment.id), now + DUE_AFTER, again)],
        done=[no_expiry(target, other) for other in ended],
    )
    return deployment, transaction


def _newest(known: Push | None, push: Push | None, pushes: Sequence[Push]) -> Push | None:
    """Return the newer of two pushes: what the target has tried, and what it tries now."""
    if known is None or push is None:
        return known or push
    return push if newer(push, known, pushes) else known


def rolled_back(policy: Policy, record: Record, deployment: Deployment, target: Target) -> Record | None:
    """Return the record of a commit that a rollback leaves, marked as rolled back; None: it was never deployed here.

    A commit that succeeded there is no longer what `after` asks for, nor where a later rollback leads.
    """
    attempt = policy.attempt(record, target.environment)
    if attempt is None:
        return None
    request = next((request for request in target.requests if request.fact == deployment.request), None)
    marked = replace(attempt, rolled_back=request.person if request else "a rollback")
    key = keys.of(target.application, target.environment)
    return replace(record, attempts={**record.attempts, key: marked})


def canceled(deployment: Deployment, target: Target, progress: Progress) -> Progress:
    """Return the progress of a deployment, as canceled if a person canceled it and it has not succeeded by then."""
    cancel = target.cancel
    if cancel is None or cancel.deployment != deployment.id or progress.outcome in ("succeeded", "superseded"):
        return progress
    return replace(progress, outcome="canceled", reason=f"canceled by {cancel.person}: {cancel.reason}")


def hold(deployment: Deployment, target: Target, owner: str, now: datetime) -> Transaction | None:
    """Take or keep the target for `owner`; None while another process holds it. Each taking is a try, with a higher fence."""
    lease = target.lease
    if lease is not None and lease.owner != owner and lease.until > now:
        return None
    taken_over = lease is None or lease.owner != owner
    fence = target.fence + taken_over
    return Transaction(
        targets=[replace(target, fence=fence, lease=Lease(owner, now + LEASE))],
        deployments=[_next_try(deployment, fence) if taken_over else replace(deployment, again=None)],
    )


def _next_try(deployment: Deployment, fence: int) -> Deployment:
    """Return the deployment with one more try, whose output begins anew."""
    return replace(deployment, fence=fence, tries=deployment.tries + 1, again=None, output=None, printed=0)


def has_just_begun(deployment: Deployment, target: Target, owner: str, now: datetime) -> bool:
    """Return whether `owner` began this try so lately that its lease need not be renewed before the driver starts."""
    lease = target.lease
    if lease is None or lease.owner != owner or deployment.again is not None:
        return False
    return lease.until - now > LEASE - JUST_BEGUN


def holds(held: Deployment, deployment: Deployment, target: Target, owner: str) -> bool:
    """Return whether `owner` still holds the target for the try in which it read `held`."""
    return target.lease is not None and target.lease.owner == owner and deployment.fence == held.fence


def applied(deployment: Deployment, target: Target, owner: str, now: datetime) -> tuple[Event, Transaction]:
    """Return the event and the writes once the driver has begun."""
    event = event_of(types.DEPLOYMENT_APPLIED, deployment, now, deployment.tries)
    return event, Transaction(
        targets=[replace(target, lease=Lease(owner, now + LEASE))],
        entries=[entry(types.DEPLOYMENT_APPLIED, deployment, now, step=deployment.tries)],
        emit=[event],
        due=[Due(keys.deployment_due(deployment.id), now + DUE_AFTER, event)],
    )


def progressing(
    deployment: Deployment, target: Target, owner: str, cause: Event, now: datetime
) -> tuple[Event, Transaction]:
    """Return the event and the writes for another look, while there is no end."""
    event = event_of(types.DEPLOYMENT_PROGRESSING, deployment, now, cause.id)
    return event, Transaction(
        targets=[replace(target, lease=Lease(owner, now + LEASE))],
        emit=[event],
        due=[Due(keys.deployment_due(deployment.id), now + DUE_AFTER, event)],
    )


def try_later(deployment: Deployment, target: Target, reason: str, cause: Event, now: datetime) -> Transaction:
    """Return the writes after an error: the same deployment is tried again, after a pause that doubles up to 5 min."""
    pause = min(timedelta(seconds=2 ** min(deployment.tries, 9)), timedelta(minutes=5))
    return Transaction(
        targets=[replace(target, lease=None)],
        deployments=[replace(deployment, reason=reason, again=now + pause)],
        entries=[entry("deployment.retrying", replace(deployment, reason=reason), now, step=deployment.tries)],
        due=[next_try(deployment, now + pause, now)],
    )


def next_try(deployment: Deployment, at: datetime, now: datetime) -> Due:
    """Return the entry that starts the deployment's next try at that time."""
    event = event_of(types.PROMOTION_READY, deployment, now, deployment.tries)
    return Due(keys.deployment_due(deployment.id), at, event)


def end(
    deployment: Deployment,
    target: Target,
    record: Record,
    progress: Progress,
    now: datetime,
    *,
    again: bool = False,
) -> tuple[Event, Transaction]:
    """Return the one end that every deployment reaches: succeeded, failed, error, superseded or canceled.

    With `again`, the request that it served waits again.
    """
    key, outcome, reason = keys.of(target.application, target.environment), progress.outcome, progress.reason
    ended = replace(deployment, outcome=outcome, ended=now, reason=reason, **_output_at_end(deployment, progress))
    attempt = replace(
        record.attempts[key],
        outcome=outcome,
        ended=now,
        reason=reason,
        succeeded_at=now if outcome == "succeeded" else record.attempts[key].succeeded_at,
    )
    type = f"deployment.{outcome}"
    event, after = event_of(type, ended, now), _after(target, ended, now)
    waits = [target.serving] if again and target.serving is not None else []
    requests = sorted((*waits, *after.requests), key=lambda request: request.at)
    return event, Transaction(
        records=[replace(record, attempts={**record.attempts, key: attempt})],
        targets=[replace(after, requests=tuple(requests))],
        deployments=[ended],
        entries=[entry(type, ended, now)],
        emit=[event],
        due=[
            Due(keys.deployment_due(deployment.id), now + DUE_AFTER, event),
            *(expiry(target, request) for request in waits),
        ],
    )


def _output_at_end(deployment: Deployment, progress: Progress) -> dict[str, Any]:
    """Return the fields of the output: its end as the driver has it, or else what was shown of it."""
    if progress.output is None:
        return {}
    return {
        "output": progress.output,
        "printed": deployment.printed + len(progress.output) if progress.printed is None else progress.printed,
    }


def output_written(deployment: Deployment, output: Output) -> Transaction:
    """Return the write of what a deployment under way has printed by now."""
    return Transaction(deployments=[replace(deployment, output=output.text, printed=output.printed)])


def _after(target: Target, ended: Deployment, now: datetime) -> Target:
    """Return the target once the deployment is over. One that did not succeed leaves `running` as it was."""
    free = replace(target, deployment=None, serving=None, lease=None, cancel=None)
    if ended.outcome != "succeeded":
        return free
    return replace(
        free,
        running=Running(ended.sha, ended.id, now, ended.push),
        history=(ended.sha, *(sha for sha in target.history if sha != ended.sha))[:HISTORY_LENGTH],
    )
