"""The history of single events: how they came in, which attempts failed, which replies came back."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from greenlight.broker.log import event_table
from greenlight.broker.log.stored_event import COLUMNS, StoredEvent, from_row
from greenlight.events import rfc3339


@dataclass(frozen=True, slots=True)
class Received:
    """An event as it came in.

    `only`: the only Trigger that gets it; `reply_to`: the event that it answers, and by whom; `handled`: the Triggers whose
    subscribers had handled it by then.
    """

    seq: int
    broker: str
    at: float
    only: str | None
    reply_to: Mapping[str, Any] | None
    stored: StoredEvent
    handled: Collection[str] = ()


def by_id(connection: sqlite3.Connection, id: str, limit: int) -> list[Received]:
    """Return events with this id, newest first.

    Reads the whole log, half a second per million events: an index would cost every event that comes in.
    """
    start = orjson.dumps({"id": id}).decode()[:-1]  # how the attributes of such an event begin; see to_row
    rows = connection.execute(
        f"SELECT seq, broker, at, only, cause, by, handled, {COLUMNS} FROM broker_events "  # noqa: S608
        "WHERE substr(attributes, 1, ?) = ? ORDER BY seq DESC LIMIT ?",
        (len(start), start, limit),
    ).fetchall()
    return [_received(connection, row) for row in rows]


def _received(connection: sqlite3.Connection, row: Sequence[Any]) -> Received:
    seq, broker, at, only, cause, by, handled, *event = row
    answered = None if cause is None else event_table.get(connection, cause)
    reply_to = None
    if cause is not None:
        reply_to = {"seq": cause, "trigger": by, "id": None if answered is None else answered.event.id}
    return Received(seq, broker, at, only, reply_to, from_row(event), (handled or "").split())


def failures(connection: sqlite3.Connection, seq: int) -> dict[str, list[dict[str, Any]]]:
    """Return the failed attempts with an event, by Trigger, in order; `sink`: at the dead-letter sink."""
    rows = connection.execute(
        "SELECT trigger, letter != 0, number, at, code, why FROM broker_failures WHERE seq = ? ORDER BY letter, number",
        (seq,),
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for trigger, sink, number, at, code, why in rows:
        failure = {"number": number, "at": timestamp(at), "code": code, "why": why, "sink": bool(sink)}
        found.setdefault(trigger, []).append(failure)
    return found


def replies(connection: sqlite3.Connection, seq: int) -> dict[str, list[dict[str, Any]]]:
    """Return the replies to an event, by the Trigger whose subscriber sent them."""
    rows = connection.execute("SELECT by, seq, attributes FROM broker_events WHERE cause = ? ORDER BY seq", (seq,))
    found: dict[str, list[dict[str, Any]]] = {}
    for by, number, attributes in rows:
        event = from_row((attributes, None, None, 0)).event
        found.setdefault(by, []).append({"seq": number, "id": event.id, "type": event.type})
    return found


def timestamp(seconds: float) -> str:
    """Return a time of the log, in seconds since 1970, as RFC 3339."""
    return rfc3339(datetime.fromtimestamp(seconds, UTC))
