"""The rows that handlers and the board read: known from an event or a request, so that one request can read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from greenlight.events import Event, types
from greenlight.events.build import is_fact
from greenlight.ledger.port import Reading
from greenlight.model import keys
from greenlight.model.policy import Pipeline

_OF_ONE_TARGET = frozenset(
    {types.PROMOTION_READY, types.DEPLOYMENT_APPLIED, types.DEPLOYMENT_PROGRESSING, types.CANCEL_REQUESTED}
)
"""Events that are about one deployment only, and decide nothing."""


def reading_of(event: Event, pipeline: Pipeline) -> Reading:
    """Return the rows to read.

    An event may be anybody's: it may name missing rows, and what it does not name is left out.
    """
    data = _texts(event)
    repo, sha = data.get("repo"), data.get("sha")
    commits = [(repo, sha)] if repo is not None and sha is not None else []
    streams = [keys.commit_stream(*commit) for commit in commits]
    if is_fact(event):
        return Reading(facts=[event.id], records=commits, streams=streams, due=[keys.fact_due(event.id)])
    deployments = [data[name] for name in ("deployment", "promotion") if name in data][:1]
    due = [keys.deployment_due(id) for id in deployments] or [keys.record_due(*commit) for commit in commits]
    due += [data[name] for name in ("due",) if name in data]
    facts = [data[name] for name in ("fact",) if name in data]
    if event.type in _OF_ONE_TARGET:
        targets = [(data["application"], data["environment"])] if {"application", "environment"} <= data.keys() else []
        streams += [keys.target_stream(*target) for target in targets]
        return Reading(records=commits, targets=targets, deployments=deployments, streams=streams, due=due)
    policies = pipeline.of(repo) if repo is not None else []
    targets = [(policy.name, environment) for policy in policies for environment in policy.environments]
    streams += [keys.target_stream(*target) for target in targets]
    decisions = [(*target, *commit) for target in targets for commit in commits]
    in_force = [repo] if repo is not None else []
    return Reading(facts, commits, targets, decisions, deployments, in_force, streams, due)


def reading_of_commit(repo: str, sha: str, pipeline: Pipeline) -> Reading:
    """Name the rows by which what a person does to a commit is judged: its record, and every target of its repository."""
    targets = [(policy.name, environment) for policy in pipeline.of(repo) for environment in policy.environments]
    return Reading(records=[(repo, sha)], targets=targets)


def _texts(event: Event) -> Mapping[str, str]:
    """Return the texts in the event's data."""
    try:
        data: Any = event.json()
    except (ValueError, RecursionError):
        data = None
    return {name: value for name, value in data.items() if isinstance(value, str)} if isinstance(data, dict) else {}
