"""promotion.ready becomes a deployment; short handlers start it, watch it, and write down how it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from flask import Flask

from greenlight.deployer import domain
from greenlight.deployer.driver import Busy, Driver, Order, Progress
from greenlight.events import Event, ids, types
from greenlight.events.recorded import look_again
from greenlight.ledger.port import Transaction
from greenlight.ledger.rows import Deployment, Promotion, Target
from greenlight.ledger.use import pushes_since, until_settled
from greenlight.policy.decide import decide
from greenlight.policy.model import Environment, Policy
from greenlight.policy.requests import asked
from greenlight.runtime.deps import Deps as BaseDeps
from greenlight.runtime.edge import Handler, event_app

WATCH = 20.0
"""Seconds that one watch waits at most: below the delivery's timeout, and below the lease."""


@dataclass(frozen=True)
class Deps(BaseDeps):
    """What the deployer needs besides: a driver by name, and who it is when it holds a target."""

    drivers: Mapping[str, Driver] = field(default_factory=dict)
    owner: str = ""


@dataclass(frozen=True, slots=True)
class _Job:
    """A deployment under way, with what its driver needs."""

    deployment: Deployment
    environment: Environment
    driver: Driver
    order: Order


def on_promotion_ready(event: Event, deps: Deps) -> Sequence[Event]:
    """Start the deployment that this promotion is, if the ledger still wants it; or go on with it after a crash."""
    id = event.json()["promotion"]
    deployment = deps.ledger.deployment(id)
    if deployment is None:
        deployment, events = until_settled(lambda: _begin(event, deps))
        if deployment is None:
            return events
    elif deployment.outcome != domain.RUNNING:
        return [_end_event(deployment)]
    else:
        again = _newer_wish(deployment, deps)
        if again is not None:
            return until_settled(lambda: _end(id, Progress("superseded", again, None), deps))
        deployment = until_settled(lambda: _take(id, deps))
        if deployment is None:
            return []
    return _apply(deployment, event, deps)


def on_deployment_under_way(event: Event, deps: Deps) -> Sequence[Event]:
    """Look at the deployment, for at most WATCH seconds, and say what became of it."""
    id = event.json()["deployment"]
    deployment = deps.ledger.deployment(id)
    if deployment is None:
        return []
    if deployment.outcome != domain.RUNNING:
        return [_end_event(deployment)]
    target = deps.ledger.target(deployment.application, deployment.environment)
    if target is None or target.lease is None:
        return []  # an error is waiting for its next try
    if target.lease.owner != deps.owner:
        deployment = until_settled(lambda: _take(id, deps))
        return [] if deployment is None else _apply(deployment, event, deps)
    job = _job(deployment, deps)
    progress = _gone(deployment) if job is None else _watch(job)
    return until_settled(lambda: _conclude(id, progress, event, deps))


def _begin(event: Event, deps: Deps) -> tuple[Deployment | None, Sequence[Event]]:
    """Write the intent; or nothing, where the ledger no longer wants this promotion."""
    data = event.json()
    now = deps.clock.now()
    key = domain.key_of(data["promotion"])
    target = deps.ledger.target(data["application"], data["environment"])
    policy = deps.pipeline().applications.get(data["application"])
    promotion = target.wanted if target else None
    if target is None or promotion is None or promotion.id != data["promotion"]:
        deps.ledger.transact(Transaction(done=[(key, event.id)]))
        return None, []
    record = deps.ledger.record(target.repo, promotion.sha)
    if policy is None or target.environment not in policy.environments or record is None or target.deployment:
        return None, _withdraw(target, promotion, event, deps)
    wish = asked(record, f"{target.application}/{target.environment}")
    decision = decide(policy, target.environment, record, target, pushes_since(deps.ledger, target), now, asked=wish)
    if decision.state != "ready" or promotion.policy != policy.digest:
        return None, _withdraw(target, promotion, event, deps)
    deployment, intent = domain.begin(policy, record, target, promotion, decision, deps.owner, now)
    deps.ledger.transact(intent)
    return deployment, []


def _withdraw(target: Target, promotion: Promotion, event: Event, deps: Deps) -> Sequence[Event]:
    """The promotion no longer holds: give it up, and let the commit be decided again as things are now."""
    again = look_again(target.repo, promotion.sha, f"withdrawn/{promotion.id}", deps.clock.now())
    deps.ledger.transact(
        Transaction(
            targets=[replace(target, wanted=None)], emit=[again], done=[(domain.key_of(promotion.id), event.id)]
        )
    )
    return [again]


def _take(id: str, deps: Deps) -> Deployment | None:
    """Hold the target for a deployment that is under way; None while another holder's lease runs, or it has ended."""
    deployment = deps.ledger.deployment(id)
    if deployment is None or deployment.outcome != domain.RUNNING:
        return None
    target = deps.ledger.target(deployment.application, deployment.environment)
    if target is None or target.deployment != id:
        return None
    transaction = domain.hold(deployment, target, deps.owner, deps.clock.now())
    if transaction is None:
        return None
    deps.ledger.transact(transaction)
    return replace(transaction.deployments[0], version=deployment.version + 1)


def _apply(deployment: Deployment, event: Event, deps: Deps) -> Sequence[Event]:
    """Let the driver start, and write down that it did; the driver is not asked twice when only the writing conflicts."""
    job = _job(deployment, deps)
    progress = _gone(deployment) if job is None else _start(job, deps)
    if progress.outcome == domain.RUNNING:
        return until_settled(lambda: _applied(deployment.id, deps))
    return until_settled(lambda: _conclude(deployment.id, progress, event, deps))


def _start(job: _Job, deps: Deps) -> Progress:
    try:
        return job.driver.apply(job.order)
    except Busy as busy:
        deps.log.info("%s/%s waits: %s", job.order.application, job.order.environment, busy)
        return Progress(domain.RUNNING)


def _watch(job: _Job) -> Progress:
    """Wait for news. Where an orphan held the target when we began, begin as soon as it is gone."""
    try:
        progress = job.driver.apply(job.order)
    except Busy:
        return job.driver.watch(job.order, WATCH)
    return job.driver.watch(job.order, WATCH) if progress.outcome == domain.RUNNING else progress


def _applied(id: str, deps: Deps) -> Sequence[Event]:
    deployment, target = _rows(id, deps)
    if deployment.outcome != domain.RUNNING:
        return [_end_event(deployment)]
    event, transaction = domain.applied(deployment, target, deps.owner, deps.clock.now())
    deps.ledger.transact(transaction)
    return [event]


def _conclude(id: str, progress: Progress, cause: Event, deps: Deps) -> Sequence[Event]:
    """What the driver said, as rows and one event: still running, an error to be tried again, or the end."""
    deployment, target = _rows(id, deps)
    now = deps.clock.now()
    if deployment.outcome != domain.RUNNING:
        return [_end_event(deployment)]
    if progress.outcome == domain.RUNNING:
        event, transaction = domain.progressing(deployment, target, deps.owner, cause, now)
        deps.ledger.transact(transaction)
        return [event]
    environment = _environment(deployment, deps)
    if progress.outcome == "error" and environment is not None and deployment.tries < environment.tries:
        deps.ledger.transact(domain.later(deployment, target, progress.reason or "no reason given", cause, now))
        return []
    return _end(id, progress, deps)


def _end(id: str, progress: Progress, deps: Deps) -> Sequence[Event]:
    deployment, target = _rows(id, deps)
    record = deps.ledger.record(deployment.repo, deployment.sha)
    if deployment.outcome != domain.RUNNING or record is None:
        return [_end_event(deployment)]
    event, transaction = domain.end(
        deployment,
        target,
        record,
        progress.outcome,
        progress.reason,
        progress.output,
        pushes_since(deps.ledger, target),
        deps.clock.now(),
    )
    deps.ledger.transact(transaction)
    return [event]


def _newer_wish(deployment: Deployment, deps: Deps) -> str | None:
    """Why a deployment that waits for its next try is pointless now; None while it is not."""
    policy = deps.pipeline().applications.get(deployment.application)
    target = deps.ledger.target(deployment.application, deployment.environment)
    record = deps.ledger.record(deployment.repo, deployment.sha)
    if policy is None or deployment.environment not in policy.environments or target is None or record is None:
        return "its application or environment is no longer in the pipeline file"
    if target.lease is not None:
        return None  # it is being applied or watched; never preempt
    for row in deps.ledger.decisions(deployment.application, deployment.environment, ("ready",), limit=1):
        if (
            row.sha != deployment.sha
            and row.push
            and deployment.push
            and row.push.pushed_at > deployment.push.pushed_at
        ):
            return f"a newer commit, {row.sha[:7]}, is ready"
    return None


def _job(deployment: Deployment, deps: Deps) -> _Job | None:
    """The deployment with its driver; None where the pipeline file no longer has its environment or driver."""
    policy: Policy | None = deps.pipeline().applications.get(deployment.application)
    environment = _environment(deployment, deps)
    if policy is None or environment is None or environment.deploy.driver not in deps.drivers:
        return None
    event_id = ids.derive(types.PROMOTION_READY, deployment.id)
    order = Order(
        deployment=deployment.id,
        application=deployment.application,
        environment=deployment.environment,
        repo=deployment.repo,
        sha=deployment.sha,
        fence=deployment.fence,
        n=deployment.n,
        traceparent=ids.traceparent(deployment.repo, deployment.sha, event_id, "deploy"),
        config=environment.deploy.config,
        directory=Path(policy.directory),
        artifacts=deployment.artifacts,
        deadline=deployment.deadline,
    )
    return _Job(deployment, environment, deps.drivers[environment.deploy.driver], order)


def _environment(deployment: Deployment, deps: Deps) -> Environment | None:
    policy = deps.pipeline().applications.get(deployment.application)
    return policy.environments.get(deployment.environment) if policy else None


def _gone(deployment: Deployment) -> Progress:
    where = f"{deployment.application}/{deployment.environment}"
    return Progress(
        "superseded", f"{where} is no longer in the pipeline file, or names a driver that is not installed", None
    )


def _rows(id: str, deps: Deps) -> tuple[Deployment, Target]:
    deployment = deps.ledger.deployment(id)
    assert deployment is not None, "the caller has read this deployment before, and none is ever removed"
    target = deps.ledger.target(deployment.application, deployment.environment)
    assert target is not None, "a deployment begins by writing its target"
    return deployment, target


def _end_event(deployment: Deployment) -> Event:
    """The event of an end that was written before: the same id again."""
    type = f"deployment.{deployment.outcome}"
    ended = deployment.ended or deployment.started
    return domain.event_of(type, deployment, ended, id=ids.derive(type, deployment.id))


HANDLERS: Mapping[str, Handler[Deps]] = {
    types.PROMOTION_READY: on_promotion_ready,
    types.DEPLOYMENT_APPLIED: on_deployment_under_way,
    types.DEPLOYMENT_PROGRESSING: on_deployment_under_way,
}


def create_app(deps: Deps) -> Flask:
    """The deployer as a service."""
    return event_app("deployer", HANDLERS, deps)
