"""The event and the entry in the target's journal that a person's action on a target makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from greenlight.board.waterfall import BOARD as SOURCE
from greenlight.events import Event, ids, rfc3339, types
from greenlight.events.build import about_target
from greenlight.lib.errors import Forbidden
from greenlight.model import keys
from greenlight.model.rows import NewEntry, Target
from greenlight.policy.requests import paused as paused_by
from greenlight.service.deps import Deps
from greenlight.service.handling import sending
from greenlight.service.people import Person


@dataclass(frozen=True, slots=True)
class Note:
    """A note about a target: the event, and the entry in its journal."""

    event: Event
    entry: NewEntry


def pausing(target: Target, reason: str, person: Person, now: datetime) -> tuple[Target, Note]:
    """Return the target as it is once it is paused, with the note about it."""
    id = ids.derive(types.TARGET_PAUSED, target.application, target.environment, target.version)
    note = note_of(types.TARGET_PAUSED, id, target, action_data(target, person, reason), now)
    return paused_by(target, f"{person.id}: {reason}", now), note


def action_data(target: Target, person: Person, reason: str | None) -> dict[str, Any]:
    """Return the part of an event about a target that names the person who acted."""
    return {
        "application": target.application,
        "environment": target.environment,
        "repo": target.repo,
        "person": person.id,
        "reason": reason,
    }


def note_of(type: str, id: str, target: Target, data: dict[str, Any], now: datetime) -> Note:
    """Build an event of that type about a target, and the entry in its journal."""
    application, environment = target.application, target.environment
    event = about_target(
        type,
        id=id,
        source=SOURCE,
        time=now,
        repo=target.repo,
        application=application,
        environment=environment,
        partitionkey=keys.of(application, environment),
        data=data,
    )
    stream = keys.target_stream(application, environment)
    return Note(event, NewEntry(stream, type, now, id, data, target.repo, data.get("sha", "")))


def publish(events: Sequence[Event], deps: Deps) -> None:
    """Send events that are in the outbox, each as a step of the trace."""
    for event in events:
        with sending(event):
            deps.publisher.publish([event])


def log_action(person: Person, what: str, repo: str, sha: str, at: datetime, deps: Deps) -> None:
    """Log what a person did, to which commit."""
    deps.log.getChild("board").info("%s %s of %s@%s at %s", person.id, what, repo, sha[:7], rfc3339(at))


def raise_if_refused(refusal: str | None) -> None:
    """Raise Forbidden with the refusal, if there is one."""
    if refusal is not None:
        raise Forbidden(refusal)
