"""Handlers of the deployer: promotion.ready becomes a deployment, which short handlers start, watch and end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from greenlight.deployer import domain
from greenlight.deployer.driver import Output, Progress
from greenlight.deployer.jobs import Deps as Deps
from greenlight.deployer.jobs import environment_of, job_of, no_driver, start, watch
from greenlight.deployer.messages import RUNNING, end_event
from greenlight.events import Event, ids, types
from greenlight.events.recorded import look_again
from greenlight.ledger.port import Transaction
from greenlight.model import keys
from greenlight.model.policy import Decision, Policy, Situation
from greenlight.model.rows import DUE_AFTER, POLICY, Deployment, Due, Promotion, Record, Target
from greenlight.policy.conditions import called, may_begin
from greenlight.policy.decide import decide, refusals_of_next_try
from greenlight.policy.freezes import frozen
from greenlight.policy.lineage import newer
from greenlight.policy.requests import goes_through_a_pause, newest_request
from greenlight.service.candidates import newer_is_ready
from greenlight.service.handling import EventService, Handler
from greenlight.service.pushes import pushes_since
from greenlight.service.required import required_fields
from greenlight.service.retry import until_settled
from greenlight.service.situations import situation
from greenlight.telemetry import metrics

MOST_CANDIDATES = 20
"""Of the newest candidates, how many are looked at for one that is to be deployed instead of trying again after an error."""


def on_promotion_ready(event: Event, deps: Deps) -> Sequence[Event]:
    """Start the deployment that this promotion is, if the ledger still wants it; or go on with it after a crash."""
    data = required_fields(event, "promotion", "application", "environment")
    known = deps.ledger.deployment(data["promotion"]) is not None
    attempt = (lambda: _continue(data["promotion"], deps)) if known else (lambda: _begin(data, event, deps))
    deployment, events = until_settled(attempt)
    return events if deployment is None else _apply(deployment, event, deps)


def begin(event: Event, deps: Deps) -> None:
    """Write the intent of the deployment that a promotion is, if the ledger still wants it; `on_promotion_ready` starts it.

    It needs the ledger alone, so that it can be a part of the transaction that emits the event.
    """
    data = required_fields(event, "promotion", "application", "environment")
    if deps.ledger.deployment(data["promotion"]) is None:
        until_settled(lambda: _begin(data, event, deps))


def on_deployment_under_way(event: Event, deps: Deps) -> Sequence[Event]:
    """Look at the deployment, for at most WATCH seconds, and write down its state."""
    id = required_fields(event, "deployment")["deployment"]
    deployment = deps.ledger.deployment(id)
    if deployment is None:
        return []
    if deployment.outcome != RUNNING:
        return [end_event(deployment)]
    target = deps.ledger.target(deployment.application, deployment.environment)
    if target is None or target.lease is None:
        return []  # an error is waiting for its next try
    if target.lease.owner != deps.owner:
        deployment = until_settled(lambda: _take_target(id, deps))
        return [] if deployment is None else _apply(deployment, event, deps)
    if target.fence != deployment.fence:
        return []  # it was taken over between the two reads, and the new holder goes on with it
    held, job = deployment, job_of(deployment, deps)
    progress = no_driver(deployment) if job is None else watch(job, lambda output: _write_output(held, output, deps))
    return until_settled(lambda: _write_progress(held, progress, event, deps))


def on_cancel_requested(event: Event, deps: Deps) -> Sequence[Event]:
    """End a deployment that is under way because a person canceled it, and write down who did.

    While another process holds the target, that one does it, at its next look.
    """
    id = required_fields(event, "deployment")["deployment"]

    def attempt() -> Sequence[Event]:
        deployment = deps.ledger.deployment(id)
        if deployment is None:
            return []
        if deployment.outcome != RUNNING:
            return [end_event(deployment)]
        deployment, target = _read_rows(id, deps)
        if target.cancel is None or target.cancel.deployment != id:
            return []
        now = deps.clock.now()
        if target.lease is not None and target.lease.owner != deps.owner and target.lease.until > now:
            return []
        progress = domain.canceled(deployment, target, Progress(RUNNING))
        _cancel_driver(deployment, progress.reason or "canceled", deps)
        return _end(deployment, target, progress, deps)

    events = until_settled(attempt)
    deps.ledger.transact(Transaction(done=[(keys.cancellation_due(id), event.id)]))
    return events


def _cancel_driver(deployment: Deployment, reason: str, deps: Deps) -> None:
    """End what the driver has started. A process that lives a moment longer holds the target's lock, not its row."""
    job = job_of(deployment, deps)
    if job is not None:
        job.driver.cancel(job.order, reason)


def _begin(data: Mapping[str, str], event: Event, deps: Deps) -> tuple[Deployment | None, Sequence[Event]]:
    """Write the intent; or nothing, where the ledger no longer wants this promotion."""
    now = deps.clock.now()
    key = keys.deployment_due(data["promotion"])
    target = deps.ledger.target(data["application"], data["environment"])
    policy = deps.pipeline().applications.get(data["application"])
    promotion = target.wanted if target else None
    if target is None or promotion is None or promotion.id != data["promotion"]:
        known = deps.ledger.deployment(data["promotion"]) is not None  # another delivery has begun it, and it is due
        if not known and _names_its_target(event, data):
            deps.ledger.transact(Transaction(unchanged=[target] if target else [], done=[(key, event.id)]))
        return None, []
    record = deps.ledger.record(target.repo, promotion.sha)
    if policy is None or target.environment not in policy.environments or record is None or target.deployment:
        return None, _withdraw(target, promotion, event, deps)
    case = situation(policy, record, target, deps.ledger, now)
    decision = decide(case)
    ended = promotion.request is not None and (decision.request is None or decision.request.fact != promotion.request)
    if ended or promotion.policy != policy.digest or not may_begin(case, decision) or _is_behind(case, decision, deps):
        return None, _withdraw(target, promotion, event, deps)
    deployment, intent = domain.begin(case, promotion, decision, deps.owner)
    deps.ledger.transact(replace(intent, records=[*intent.records, *_rolled_back(policy, deployment, target, deps)]))
    return replace(deployment, version=1), []


def _names_its_target(event: Event, data: Mapping[str, str]) -> bool:
    """Return whether a promotion.ready names the target that its promotion is for; a forged one ends nothing that is due."""
    document = event.json()
    sha, n = document.get("sha"), document.get("n")
    if not isinstance(n, int):
        return False
    return ids.promotion(data["application"], data["environment"], str(sha), n) == data["promotion"]


def _is_behind(case: Situation, decision: Decision, deps: Deps) -> bool:
    """Return whether a newer commit goes out instead.

    It became ready while the target was paused or frozen, so nothing took the place of this promotion then.
    """
    return decision.request is None and newer_is_ready(case, decision.push, deps.ledger)


def _rolled_back(policy: Policy, deployment: Deployment, target: Target, deps: Deps) -> Sequence[Record]:
    """Return the records of the commits that a rollback leaves: what runs, and what was tried last."""
    if deployment.cause != "rollback":
        return []
    shas = {deployment.previous, target.last} - {None, deployment.sha}
    records = [deps.ledger.record(deployment.repo, sha) for sha in sorted(filter(None, shas))]
    found = [domain.rolled_back(policy, record, deployment, target) for record in records if record is not None]
    return [record for record in found if record is not None]


def _withdraw(target: Target, promotion: Promotion, event: Event, deps: Deps) -> Sequence[Event]:
    """Give up a promotion that no longer holds, and let the target's candidates be decided again.

    All of them: one that the promotion had taken the place of may be the next.
    """
    now, why = deps.clock.now(), keys.withdrawal_due(promotion.id)
    again = look_again(target.repo, promotion.sha, why, now, target=(target.application, target.environment))
    deps.ledger.transact(
        Transaction(
            targets=[replace(target, wanted=None)],
            emit=[again],
            due=[Due(why, now + DUE_AFTER, again)],
            done=[(keys.deployment_due(promotion.id), event.id)],
        )
    )
    return [again]


def _continue(id: str, deps: Deps) -> tuple[Deployment | None, Sequence[Event]]:
    """Continue a deployment that has begun: after a crash, or for the next try after an error."""
    deployment, target = _read_rows(id, deps)
    now = deps.clock.now()
    if deployment.outcome != RUNNING:
        return None, [end_event(deployment)]
    if target.lease is None:
        record = deps.ledger.record(deployment.repo, deployment.sha)
        assert record is not None, "a deployment begins by writing its commit's record"
        policy = deps.pipeline().applications.get(deployment.application)
        edited = _why_decided_anew(policy, deployment)
        reason = edited if policy is None or edited else _why_superseded(policy, deployment, target, record, deps)
        if reason is not None:
            progress = Progress("superseded", reason)
            return None, _end(deployment, target, progress, deps, again=edited is not None)
        if deployment.again is not None and now < deployment.again:
            return None, []  # an event that came twice shortens no pause
        if _may_not_start(deployment, target, deps):
            deps.ledger.transact(Transaction(due=[domain.next_try(deployment, now + DUE_AFTER, now)]))
            return None, []
        return _take_target(id, deps, unchanged=[record]), []
    return _take_target(id, deps), []


def _may_not_start(deployment: Deployment, target: Target, deps: Deps) -> bool:
    """Return whether a pause or a freeze keeps the next try of a deployment waiting, as it would its beginning."""
    served = target.held if target.held is not None and target.held.fact == deployment.request else None
    if target.paused is not None and not goes_through_a_pause(served):
        return True
    environment = environment_of(deployment, deps)
    if environment is None or deployment.cause != "automatic":
        return False
    return frozen(environment, target, None, deps.clock.now()) is not None


def _take_target(id: str, deps: Deps, *, unchanged: Sequence[Record] = ()) -> Deployment | None:
    """Hold the target for a deployment that is under way; None while another holder's lease runs, or it has ended.

    Only as long as the rows that it was decided by are `unchanged`; raises Conflict if they are not.
    """
    deployment = deps.ledger.deployment(id)
    if deployment is None or deployment.outcome != RUNNING:
        return None
    target = deps.ledger.target(deployment.application, deployment.environment)
    if target is None or target.deployment != id:
        return None
    now = deps.clock.now()
    if domain.has_just_begun(deployment, target, deps.owner, now):
        return deployment
    transaction = domain.hold(deployment, target, deps.owner, now)
    if transaction is None:
        return None
    deps.ledger.transact(replace(transaction, unchanged=unchanged))
    return replace(transaction.deployments[0], version=deployment.version + 1)


def _apply(deployment: Deployment, event: Event, deps: Deps) -> Sequence[Event]:
    """Let the driver start, and write down that it did; the driver is not asked twice when only the writing conflicts."""
    job = job_of(deployment, deps)
    progress = no_driver(deployment) if job is None else start(job, deps)
    if progress.outcome == RUNNING:
        return until_settled(lambda: _applied(deployment, deps))
    return until_settled(lambda: _write_progress(deployment, progress, event, deps))


def _applied(held: Deployment, deps: Deps) -> Sequence[Event]:
    deployment, target = _read_rows(held.id, deps)
    if deployment.outcome != RUNNING:
        return [end_event(deployment)]
    if not domain.holds(held, deployment, target, deps.owner):
        return []
    event, transaction = domain.applied(deployment, target, deps.owner, deps.clock.now())
    deps.ledger.transact(transaction)
    return [event]


def _write_progress(held: Deployment, progress: Progress, cause: Event, deps: Deps) -> Sequence[Event]:
    """Write the driver's progress: rows and one event for still running, an error to be tried again, or the end.

    Nothing, where another process holds the target by now or a later try is under way: the driver's progress is of `held`.
    """
    deployment, target = _read_rows(held.id, deps)
    now = deps.clock.now()
    if deployment.outcome != RUNNING:
        return [end_event(deployment)]
    if not domain.holds(held, deployment, target, deps.owner):
        return []
    progress = domain.canceled(deployment, target, progress)
    if progress.outcome == "canceled":
        _cancel_driver(deployment, progress.reason or "canceled", deps)
        return _end(deployment, target, progress, deps)
    if progress.outcome == RUNNING:
        event, transaction = domain.progressing(deployment, target, deps.owner, cause, now)
        deps.ledger.transact(transaction)
        return [event]
    environment = environment_of(deployment, deps)
    if progress.outcome == "error" and environment is not None and deployment.tries < environment.tries:
        deps.ledger.transact(domain.try_later(deployment, target, progress.reason or "no reason given", cause, now))
        return []
    return _end(deployment, target, progress, deps)


def _write_output(held: Deployment, output: Output, deps: Deps) -> None:
    """Write down what a deployment under way has printed, unless another process holds its target by now."""

    def attempt() -> None:
        deployment, target = _read_rows(held.id, deps)
        if deployment.outcome == RUNNING and domain.holds(held, deployment, target, deps.owner):
            deps.ledger.transact(domain.output_written(deployment, output))

    until_settled(attempt)


def _end(
    deployment: Deployment, target: Target, progress: Progress, deps: Deps, *, again: bool = False
) -> Sequence[Event]:
    record = deps.ledger.record(deployment.repo, deployment.sha)
    assert record is not None, "a deployment begins by writing its commit's record"
    progress = domain.canceled(deployment, target, progress)
    event, transaction = domain.end(deployment, target, record, progress, deps.clock.now(), again=again)
    deps.ledger.transact(transaction)
    metrics.DEPLOYMENTS.labels(deployment.application, deployment.environment, progress.outcome).inc()
    return [event]


def _why_decided_anew(policy: Policy | None, deployment: Deployment) -> str | None:
    """Return why a deployment ends before its next try, and what it served is decided anew: the file was edited."""
    if policy is None or deployment.environment not in policy.environments:
        return "its application or environment is no longer in the pipeline file"
    if policy.digest != deployment.policy:
        return "the policy was edited, so the commit is decided again"
    return None


def _why_superseded(policy: Policy, deployment: Deployment, target: Target, record: Record, deps: Deps) -> str | None:
    """Return why the next try of a deployment is not made; None: it is.

    A newer commit takes the place of none that a person requested.
    """
    now = deps.clock.now()
    request = newest_request(target, now)
    if request is not None and request.fact != deployment.request:
        return f"{called(request)} goes first"
    pushes = pushes_since(deps.ledger, target)
    case = situation(policy, record, target, deps.ledger, now, pushes=pushes)
    refused = refusals_of_next_try(case, rolls_back=deployment.cause == "rollback")
    if refused:
        return f"not tried again: {'; '.join(refused)}"
    by_policy = target.serving is not None and target.serving.person == POLICY
    if deployment.push is None or (deployment.request is not None and not by_policy):
        return None
    for row in deps.ledger.decisions(deployment.application, deployment.environment, ("ready",), limit=MOST_CANDIDATES):
        if row.sha == deployment.sha or row.push is None or not newer(row.push, deployment.push, pushes):
            continue
        other = deps.ledger.record(row.repo, row.sha)
        if other is not None and decide(case.of(other)).state == "ready":
            return f"a newer commit, {row.sha[:7]}, is ready"
    return None


def _read_rows(id: str, deps: Deps) -> tuple[Deployment, Target]:
    deployment = deps.ledger.deployment(id)
    assert deployment is not None, "the caller has read this deployment before, and none is ever removed"
    target = deps.ledger.target(deployment.application, deployment.environment)
    assert target is not None, "a deployment begins by writing its target"
    return deployment, target


HANDLERS: Mapping[str, Handler[Deps]] = {
    types.PROMOTION_READY: on_promotion_ready,
    types.DEPLOYMENT_APPLIED: on_deployment_under_way,
    types.DEPLOYMENT_PROGRESSING: on_deployment_under_way,
    types.CANCEL_REQUESTED: on_cancel_requested,
}


def create_service(deps: Deps) -> EventService[Deps]:
    """Return the deployer as a service."""
    return EventService("deployer", HANDLERS, deps)
