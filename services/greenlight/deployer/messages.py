"""The events about a deployment, and the entries in its target's journal. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from greenlight.events import Event, ids, rfc3339
from greenlight.events.build import about_commit
from greenlight.model import keys
from greenlight.model.rows import Deployment, NewEntry

RUNNING = "running"


def event_of(type: str, deployment: Deployment, now: datetime, *cause: str | int) -> Event:
    """Make an event about a deployment: with the same id again for the same `cause`, such as the number of the try."""
    data: dict[str, Any] = {
        "deployment": deployment.id,
        "promotion": deployment.id,
        "application": deployment.application,
        "environment": deployment.environment,
        "n": deployment.n,
        "cause": deployment.cause,
        "policy": deployment.policy,
    }
    if deployment.outcome != RUNNING:
        data["outcome"] = deployment.outcome
        data["reason"] = deployment.reason
    return about_commit(
        type,
        id=ids.derive(type, deployment.id, *cause),
        source="greenlight/deployer",
        time=now,
        repo=deployment.repo,
        sha=deployment.sha,
        data=data,
        attributes={
            "application": deployment.application,
            "environment": deployment.environment,
            "outcome": deployment.outcome,
        },
        subject=deployment.sha,
        partitionkey=keys.of(deployment.application, deployment.environment),
        traceparent=ids.deployment_traceparent(
            deployment.repo, deployment.sha, deployment.id, deployment.cause, "deploy"
        ),
    )


def entry(type: str, deployment: Deployment, now: datetime, *, step: int = 0) -> NewEntry:
    """Make the entry about a deployment in its target's journal; a step that may recur has a number."""
    payload: dict[str, Any] = {
        "deployment": deployment.id,
        "application": deployment.application,
        "environment": deployment.environment,
        "repo": deployment.repo,
        "sha": deployment.sha,
        "n": deployment.n,
        "cause": deployment.cause,
        "outcome": deployment.outcome,
        "fence": deployment.fence,
        "policy": deployment.policy,
        "started": rfc3339(deployment.started),
        "ended": rfc3339(deployment.ended) if deployment.ended else None,
        "reason": deployment.reason,
        "previous": deployment.previous,
    }
    stream = keys.target_stream(deployment.application, deployment.environment)
    return NewEntry(
        stream,
        type,
        now,
        ids.derive("entry", type, deployment.id, step),
        {key: value for key, value in payload.items() if value is not None},
        deployment.repo,
        deployment.sha,
    )


def end_event(deployment: Deployment) -> Event:
    """Make the event of an end that was written before, with the same id again."""
    return event_of(f"deployment.{deployment.outcome}", deployment, deployment.ended or deployment.started)
