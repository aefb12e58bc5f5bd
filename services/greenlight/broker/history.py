"""What the log remembers of single events: how they came, which attempts failed, what came back."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from greenlight.broker import log
from greenlight.broker.log import EVENT, Entry, to_entry
from greenlight.events import rfc3339


@dataclass(frozen=True, slots=True)
class Received:
    """An event as it came in. `only`: the one Trigger that it is for; `reply_to`: what it answers, and for whom."""

    seq: int
    broker: str
    at: float
    only: str | None
    reply_to: Mapping[str, Any] | None
    entry: Entry


def by_id(connection: sqlite3.Connection, id: str, limit: int) -> list[Received]:
    """Events with this id, newest first.

    No index, which every event would have to pay for: the log is read through, about half a second per million events.
    """
    start = orjson.dumps({"id": id}).decode()[:-1]  # how the attributes of such an event begin; see columns
    rows = connection.execute(
        f"SELECT seq, broker, at, only, cause, by, {EVENT} FROM broker_events "  # noqa: S608
        "WHERE substr(attributes, 1, ?) = ? ORDER BY seq DESC LIMIT ?",
        (len(start), start, limit),
    ).fetchall()
    return [_received(connection, row) for row in rows]


def _received(connection: sqlite3.Connection, row: Sequence[Any]) -> Received:
    seq, broker, at, only, cause, by, *event = row
    answered = None if cause is None else log.entry(connection, cause)
    reply_to = None
    if cause is not None:
        reply_to = {"seq": cause, "trigger": by, "id": None if answered is None else answered.event.id}
    return Received(seq, broker, at, only, reply_to, to_entry(event))


def failures(connection: sqlite3.Connection, seq: int) -> dict[str, list[dict[str, Any]]]:
    """The attempts with an event that failed, by Trigger, in order; `sink`: those at the dead-letter sink."""
    rows = connection.execute(
        "SELECT trigger, letter != 0, number, at, code, why FROM broker_failures WHERE seq = ? ORDER BY letter, number",
        (seq,),
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for trigger, sink, number, at, code, why in rows:
        failure = {
            "number": number,
            "at": when(at),
            "code": code,
            "why": why,
            "sink": bool(sink),
        }
        found.setdefault(trigger, []).append(failure)
    return found


def replies(connection: sqlite3.Connection, seq: int) -> dict[str, list[dict[str, Any]]]:
    """The events that came back for an event, by the Trigger whose subscriber answered with them."""
    rows = connection.execute("SELECT by, seq, attributes FROM broker_events WHERE cause = ? ORDER BY seq", (seq,))
    found: dict[str, list[dict[str, Any]]] = {}
    for by, number, attributes in rows:
        event = to_entry((attributes, None, None, 0)).event
        found.setdefault(by, []).append({"seq": number, "id": event.id, "type": event.type})
    return found


def when(seconds: float) -> str:
    """A time of the log's, in seconds since 1970, as people read it."""
    return rfc3339(datetime.fromtimestamp(seconds, UTC))
