"""A deployment with its driver: started, and watched for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from greenlight.deployer.driver import Busy, Driver, Order, Output, Prints, Progress
from greenlight.deployer.messages import RUNNING
from greenlight.events import ids
from greenlight.model.policy import Environment, Policy
from greenlight.model.rows import Deployment
from greenlight.policy.load import PolicyError
from greenlight.policy.refs import ref_of
from greenlight.service.deps import Deps as BaseDeps
from greenlight.telemetry.tracing import OUTPUT, Step, past, step

WATCH = 20.0
"""Seconds that one watch waits at most: below the delivery's timeout, and below the lease."""

LOOKS = 20
"""How often the output is read during one watch."""


@dataclass(frozen=True)
class Deps(BaseDeps):
    """The dependencies of the deployer alone: a driver by name, and its own name when it holds a target."""

    drivers: Mapping[str, Driver] = field(default_factory=dict)
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """A deployment under way, with what its driver needs."""

    deployment: Deployment
    environment: Environment
    driver: Driver
    order: Order


def start(job: Job, deps: Deps) -> Progress:
    """Let the driver begin. While something else holds the target, a watch tries it again."""
    try:
        return _apply_order(job, "prepare")
    except Busy as busy:
        deps.log.info("%s/%s waits: %s", job.order.application, job.order.environment, busy)
        return Progress(RUNNING)


def watch(job: Job, show: Callable[[Output], None]) -> Progress:
    """Wait for news, and `show` the output that comes meanwhile.

    Where something else held the target when the deployment began, start it as soon as that has ended.
    """
    try:
        progress = _apply_order(job)
    except Busy:
        return _watch_order(job, show)
    return _watch_order(job, show) if progress.outcome == RUNNING else progress


def _apply_order(job: Job, name: str = "apply") -> Progress:
    key = f"{job.order.deployment}/{job.order.fence}" if name == "prepare" else None
    with _part_of_deploy(name, job, key) as part:
        try:
            progress = job.driver.apply(job.order)
        except Busy:
            part.expected()
            raise
        part.note(outcome=progress.outcome)
    _trace_parts(job, progress)
    return progress


def _watch_order(job: Job, show: Callable[[Output], None]) -> Progress:
    with _part_of_deploy("watch", job) as part:
        progress = _watch_and_show(job, job.driver, show) if isinstance(job.driver, Prints) else _watch(job, WATCH)
        part.note(outcome=progress.outcome)
    _trace_parts(job, progress)
    return progress


def _trace_parts(job: Job, progress: Progress) -> None:
    """Report the parts of a try that is over as steps below the deployment's own span."""
    order = job.order
    parent, key = ids.span_id(order.deployment, "deploy"), f"{order.deployment}/{order.fence}"
    for part in progress.parts:
        about = {name: text for name, text in (("cmd", part.cmd), (OUTPUT, part.output)) if text}
        past(part.name, part.began, part.ended, key=key, parent=parent, **about)


def _watch(job: Job, seconds: float) -> Progress:
    return job.driver.watch(job.order, seconds)


def _watch_and_show(job: Job, prints: Prints, show: Callable[[Output], None]) -> Progress:
    """Wait in short pieces, and read the output after each; only what is new is shown."""
    last = None
    for _ in range(LOOKS):
        progress = _watch(job, WATCH / LOOKS)
        if progress.outcome != RUNNING:
            return progress
        output = prints.output(job.order)
        if output is not None and output != last:
            show(output)
            last = output
    return progress


def _part_of_deploy(name: str, job: Job, key: str | None = None) -> Step:
    """Begin a step below the deployment's own span in the waterfall, which lasts over many events."""
    order = job.order
    parent = ids.span_id(order.deployment, "deploy")
    return step(name, key=key, parent=parent, application=order.application, environment=order.environment)


def job_of(deployment: Deployment, deps: Deps) -> Job | None:
    """Return the deployment with its driver; None where its policy is unknown, or its driver is not installed."""
    policy = _policy(deployment, deps)
    environment = policy.environments.get(deployment.environment) if policy else None
    if policy is None or environment is None or environment.deploy.driver not in deps.drivers:
        return None
    order = Order(
        deployment=deployment.id,
        application=deployment.application,
        environment=deployment.environment,
        repo=deployment.repo,
        sha=deployment.sha,
        fence=deployment.fence,
        n=deployment.n,
        traceparent=ids.deployment_traceparent(
            deployment.repo, deployment.sha, deployment.id, deployment.cause, "deploy"
        ),
        config=environment.deploy.config,
        directory=Path(policy.directory),
        artifacts=deployment.artifacts,
        deadline=deployment.deadline,
        cause=deployment.cause,
        ref=ref_of(deployment.push),
        cluster=policy.clusters.get(environment.deploy.cluster or "", {}),
    )
    return Job(deployment, environment, deps.drivers[environment.deploy.driver], order)


def _policy(deployment: Deployment, deps: Deps) -> Policy | None:
    """Return the policy under which the deployment was begun: an edit does not change what is under way."""
    pipeline = deps.pipeline()
    current = pipeline.applications.get(deployment.application)
    text = None if current and current.digest == deployment.policy else deps.ledger.policy(deployment.policy)
    if text is None:
        return current
    directory = next(iter(pipeline.applications.values())).directory
    try:
        return pipeline.reread({deployment.policy: text}, Path(directory)).applications[deployment.application]
    except PolicyError:  # written for another version of Greenlight
        return current


def environment_of(deployment: Deployment, deps: Deps) -> Environment | None:
    """Return the environment by the policy under which the deployment was begun; None: it is gone."""
    policy = _policy(deployment, deps)
    return policy.environments.get(deployment.environment) if policy else None


def no_driver(deployment: Deployment) -> Progress:
    """Return the error of a deployment whose driver is not known."""
    where = f"{deployment.application}/{deployment.environment}"
    return Progress("error", f"{where} is deployed by a driver that is not installed here")
