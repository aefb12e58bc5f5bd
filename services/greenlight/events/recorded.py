"""Events of the type commit.recorded: something about a commit changed, or must be looked at again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from greenlight.events import ids, types
from greenlight.events.build import about_commit
from greenlight.events.event import Event, rfc3339, time_of


def commit_recorded(repo: str, sha: str, fact: str, accepted: datetime) -> Event:
    """Return the event that follows from a fact: always the same one."""
    return _event(repo, sha, accepted, ids.derive(types.COMMIT_RECORDED, fact), "greenlight/recorder", {"fact": fact})


def look_again(repo: str, sha: str, why: str, at: datetime, *, target: tuple[str, str] | None = None) -> Event:
    """Return the event by which a commit is decided again, although nothing was recorded. `why` is the key that is due.

    With `target` (application, environment), every candidate of that target must be.
    """
    id = _id_of_look(why, at)
    where = dict(zip(("application", "environment"), target, strict=True)) if target else {}
    return _event(repo, sha, at, id, "greenlight/ledger", {"due": why, **where})


def is_look(event: Event, why: str) -> bool:
    """Return whether an event is the one of `look_again` for this key: no other one may end what is due under it."""
    at = time_of(event.time or "")
    return at is not None and event.id == _id_of_look(why, at)


def _id_of_look(why: str, at: datetime) -> str:
    return ids.derive(types.COMMIT_RECORDED, "again", why, rfc3339(at))


def _event(repo: str, sha: str, at: datetime, id: str, source: str, more: dict[str, Any]) -> Event:
    type = types.COMMIT_RECORDED
    return about_commit(type, id=id, source=source, time=at, repo=repo, sha=sha, data=more, subject=sha)
