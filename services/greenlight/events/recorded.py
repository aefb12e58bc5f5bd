"""Events of the type commit.recorded: something about a commit changed, or must be looked at again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from greenlight.events import ids, types
from greenlight.events.build import about_commit
from greenlight.events.event import Event, rfc3339, time_of


def commit_recorded(repo: str, sha: str, fact: str, accepted: datetime) -> Event:
    """Return the event that follows from a fact: always the same one."""
    return _event(repo, sha, accepted, _id_of_recorded(fact), "greenlight/recorder", {"fact": fact})


def look_again(repo: str, sha: str, why: str, at: datetime, *, target: tuple[str, str] | None = None) -> Event:
    """Return the event by which a commit is decided again, although nothing was recorded. `why` is the key that is due.

    With `target` (application, environment), every candidate of that target must be.
    """
    where = dict(zip(("application", "environment"), target, strict=True)) if target else {}
    id = _id_of_look(why, at, repo, sha, *where.values())
    return _event(repo, sha, at, id, "greenlight/ledger", {"due": why, **where})


def ends_what_is_due(event: Event, data: Mapping[str, str]) -> bool:
    """Return whether the event's id follows from its `data`, as that of Greenlight's own events does.

    Anybody may post a commit.recorded with the id of another one; it is looked at, and ends nothing that is due.
    """
    if "fact" in data and event.id == _id_of_recorded(data["fact"]):
        return True
    at = time_of(event.time or "")
    if "due" not in data or at is None:
        return False
    where = [data[name] for name in ("application", "environment") if name in data]
    ids_of_look = (_id_of_look(data["due"], at, data["repo"], data["sha"], *where), _id_of_look(data["due"], at))
    return event.id in ids_of_look  # the second is what an earlier version has stored


def _id_of_recorded(fact: str) -> str:
    return ids.derive(types.COMMIT_RECORDED, fact)


def _id_of_look(why: str, at: datetime, *about: str) -> str:
    return ids.derive(types.COMMIT_RECORDED, "again", why, rfc3339(at), *about)


def _event(repo: str, sha: str, at: datetime, id: str, source: str, more: dict[str, Any]) -> Event:
    type = types.COMMIT_RECORDED
    return about_commit(type, id=id, source=source, time=at, repo=repo, sha=sha, data=more, subject=sha)
