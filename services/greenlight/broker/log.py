"""The durable log: events in the order of their commits, a cursor per Trigger, tries that are pending, dead letters.

A cursor says: everything up to here is settled, or has a row of its own in broker_attempts. So one event that is tried
again for hours holds nothing back, and a start reads only the cursors and the tries, however long the log is.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson

from greenlight.events import Event
from greenlight.store import Schema, Tx

SCHEMA = Schema(
    "broker",
    (
        """
        CREATE TABLE broker_events (
          seq INTEGER PRIMARY KEY AUTOINCREMENT,
          broker TEXT NOT NULL,
          only TEXT,                  -- the one Trigger that it is for: a replay
          attributes TEXT NOT NULL,
          data BLOB,
          headers TEXT,               -- HTTP headers that travel along
          ttl INTEGER NOT NULL,       -- hops left
          at REAL NOT NULL,           -- seconds since 1970
          upto INTEGER NOT NULL,      -- bytes of all events so far, this one included: a difference is a size
          cause INTEGER,              -- it is a reply: the event that was answered,
          by TEXT                     -- and the Trigger whose subscriber answered
        );
        CREATE INDEX broker_events_by_cause ON broker_events (cause) WHERE cause IS NOT NULL;
        CREATE TABLE broker_cursors (
          trigger TEXT PRIMARY KEY,
          seq INTEGER NOT NULL,
          since INTEGER NOT NULL,     -- it wants events after this one
          broker TEXT NOT NULL,
          spec TEXT NOT NULL,         -- as it was last, to know what it wanted when its manifest is gone
          gone INTEGER                -- its manifest is: it is owed events up to this one
        ) WITHOUT ROWID;
        CREATE TABLE broker_attempts (
          trigger TEXT NOT NULL,
          seq INTEGER NOT NULL,
          letter INTEGER,             -- it is dead; this is its way to the dead-letter sink
          tries INTEGER NOT NULL,
          next_at REAL NOT NULL,
          PRIMARY KEY (trigger, seq)
        ) WITHOUT ROWID;
        CREATE INDEX broker_attempts_by_seq ON broker_attempts (seq);
        CREATE TABLE broker_failures (
          seq INTEGER NOT NULL,
          trigger TEXT NOT NULL,
          letter INTEGER NOT NULL,    -- 0: at the subscriber; else at the dead-letter sink
          number INTEGER NOT NULL,    -- of the attempt, from 1
          at REAL NOT NULL,
          code INTEGER NOT NULL,
          why TEXT NOT NULL,
          PRIMARY KEY (seq, trigger, letter, number)
        ) WITHOUT ROWID;
        CREATE TABLE broker_dead_letters (
          id INTEGER PRIMARY KEY AUTOINCREMENT,
          trigger TEXT NOT NULL,
          broker TEXT NOT NULL,
          seq INTEGER NOT NULL,
          attributes TEXT NOT NULL,
          data BLOB,
          headers TEXT,
          ttl INTEGER NOT NULL,
          attempts INTEGER NOT NULL,
          code INTEGER NOT NULL,
          answer BLOB NOT NULL,
          why TEXT NOT NULL,
          destination TEXT NOT NULL,
          at REAL NOT NULL,
          sink TEXT,                  -- what became of it at the dead-letter sink
          closed TEXT                 -- what a person did with it
        );
        CREATE INDEX broker_dead_letters_by_seq ON broker_dead_letters (seq);
        CREATE INDEX broker_dead_letters_open ON broker_dead_letters (trigger) WHERE closed IS NULL;
        """,
    ),
)

MAX_TTL = 255
"""Hops that an event may take (Knative's default)."""

PAGEEVENTS = 64
PAGE_BYTES = 4 << 20
"""What is read of the log at once."""

_log = logging.getLogger("greenlight.broker")

CHUNK = 500
Row = tuple[str, bytes | None, str | None, int]
"""The values of EVENT."""

EVENT = "attributes, data, headers, ttl"

CURSOR = "iif(typeof(seq) = 'integer', seq, CAST(since AS INTEGER))"
"""How far a Trigger is. Where that cannot be read, where it began: once more is better than not at all."""


@dataclass(frozen=True, slots=True)
class Unread:
    """What the log has instead of an event that can be read: the values of EVENT as they are, and what is wrong with them."""

    row: Row
    why: str


UNREADABLE = Event(id="?", source="?", type="unreadable")
"""What stands for an event that cannot be read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as the log has it. With `unread`, the event is UNREADABLE, and is not delivered."""

    event: Event
    ttl: int = MAX_TTL
    headers: Mapping[str, str] | None = None
    unread: Unread | None = None

    @property
    def size(self) -> int:
        """Bytes of its data."""
        return len(self.event.data or b"")


class Arrived(NamedTuple):
    """An event that is about to be appended: what is offered, when it came in seconds since 1970, its row."""

    entry: Entry
    at: float
    row: Row


@dataclass(frozen=True, slots=True)
class Attempt:
    """A delivery that is tried again; `letter` is the dead letter whose way to its sink this is."""

    seq: int
    letter: int | None
    tries: int
    next_at: float

    def supersedes(self, other: Attempt) -> bool:
        """Whether this is as far as `other`, or farther."""
        return (self.letter is not None, self.tries) >= (other.letter is not None, other.tries)


# Writing, inside a transaction of the store.


def insert(
    tx: Tx, broker: str, row: Row, at: float, *, only: str | None = None, cause: int | None = None, by: str = ""
) -> int:
    """Append an event, as the values of EVENT, and return its number.

    `cause`, `by`: the event that it answers, and for which Trigger.
    """
    size = len(row[0].encode()) + len(row[1] or b"")
    cursor = tx.execute(
        f"INSERT INTO broker_events (broker, only, at, cause, by, upto, {EVENT}) VALUES (?, ?, ?, ?, ?, "  # noqa: S608
        "? + coalesce((SELECT CAST(upto AS INTEGER) FROM broker_events ORDER BY seq DESC LIMIT 1), 0), ?, ?, ?, ?)",
        (broker, only, at, cause, by or None, size, *row),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a Trigger is: settled up to `seq`, wants what is after `since`; `gone`: removed, and owed up to there."""

    trigger: str
    seq: int
    since: int
    broker: str
    spec: Mapping[str, Any]
    gone: int | None


def register(tx: Tx, trigger: str, broker: str, spec: Mapping[str, Any]) -> int:
    """A Trigger is there, with this spec; its cursor.

    One that is new starts at the end of the log: it gets what comes from now on.
    """
    end = last(tx.execute)
    tx.execute(
        "INSERT INTO broker_cursors (trigger, seq, since, broker, spec) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET broker = excluded.broker, spec = excluded.spec, gone = NULL",
        (trigger, end, end, broker, json.dumps(spec, default=str)),
    )
    sql = f"SELECT {CURSOR}, typeof(seq) FROM broker_cursors WHERE trigger = ?"  # noqa: S608
    seq, kind = tx.execute(sql, (trigger,)).fetchone()
    if kind != "integer":
        _log.warning("how far the Trigger %s is cannot be read; it begins where it began", trigger)
    return int(seq)


def leave(tx: Tx, trigger: str) -> int:
    """A Trigger is not there any more: nothing that comes from now on is for it. Returns the last that was."""
    end = last(tx.execute)
    tx.execute("UPDATE broker_cursors SET gone = coalesce(gone, ?) WHERE trigger = ?", (end, trigger))
    return end


def unregister(tx: Tx, trigger: str) -> None:
    """Forget a Trigger that is owed nothing any more."""
    tx.execute("DELETE FROM broker_cursors WHERE trigger = ?", (trigger,))


def move(tx: Tx, trigger: str, seq: int) -> None:
    """Set a cursor. It never goes back."""
    tx.execute(
        "UPDATE broker_cursors SET seq = ? WHERE trigger = ? AND (seq < ? OR typeof(seq) != 'integer')",
        (seq, trigger, seq),
    )


def keep(tx: Tx, trigger: str, attempt: Attempt) -> None:
    """Note that a delivery is tried again. What is known of it never goes back."""
    tx.execute(
        "INSERT INTO broker_attempts (trigger, seq, letter, tries, next_at) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET letter = excluded.letter, tries = excluded.tries, next_at = excluded.next_at "
        "WHERE (excluded.letter IS NOT NULL, excluded.tries) >= (letter IS NOT NULL, tries)",
        (trigger, attempt.seq, attempt.letter, attempt.tries, attempt.next_at),
    )


def forget(tx: Tx, trigger: str, seqs: Sequence[int]) -> None:
    """Note that deliveries that were tried again are settled."""
    tx.executemany("DELETE FROM broker_attempts WHERE trigger = ? AND seq = ?", [(trigger, seq) for seq in seqs])


def failed(tx: Tx, trigger: str, attempt: Attempt, at: float, code: int, why: str) -> None:
    """Note why an attempt failed; `attempt.tries` counts it."""
    tx.execute(
        "INSERT OR REPLACE INTO broker_failures VALUES (?, ?, ?, ?, ?, ?, ?)",
        (attempt.seq, trigger, attempt.letter or 0, attempt.tries, at, code, why),
    )


def prune(tx: Tx, floor: int, after: int, before: float, keep: int) -> int | None:
    """Drop one chunk of the events over `after` and up to `floor` that are not tried again: those that are older than
    `before`, and those beyond the newest `keep` bytes of the log.

    Returns where to go on, None at the end.
    """
    rows = tx.execute(
        "SELECT seq, CAST(at AS REAL), CAST(upto AS INTEGER) FROM broker_events WHERE seq > ? AND seq <= ?"
        " ORDER BY seq LIMIT ?",
        (after, floor, CHUNK),
    ).fetchall()
    enough = _upto(tx.execute, last(tx.execute)) - keep
    old = [(seq, seq) for seq, at, upto in rows if at < before or upto <= enough]
    for table in ("broker_events", "broker_failures") if old else ():
        tx.executemany(
            f"DELETE FROM {table} WHERE seq = ? AND NOT EXISTS (SELECT 1 FROM broker_attempts WHERE seq = ?)",  # noqa: S608
            old,
        )
    return rows[-1][0] if len(old) == CHUNK else None


# Reading.


def last(execute: Callable[[str], sqlite3.Cursor]) -> int:
    """The number of the newest event ever appended, 0 if there never was one."""
    row = execute("SELECT seq FROM sqlite_sequence WHERE name = 'broker_events'").fetchone()
    return row[0] if row else 0


def standings(connection: sqlite3.Connection) -> list[Standing]:
    """Every Trigger that the log knows, those that are gone and still owed something included."""
    rows = connection.execute(
        f"SELECT trigger, {CURSOR}, CAST(since AS INTEGER), broker, spec, CAST(gone AS INTEGER) FROM broker_cursors"  # noqa: S608
        " ORDER BY trigger"
    )
    return [
        Standing(trigger, seq, since, broker, _spec(trigger, spec), gone)
        for trigger, seq, since, broker, spec, gone in rows
    ]


def _spec(trigger: str, text: str) -> Mapping[str, Any]:
    """What a Trigger wanted when it was seen last. Where that cannot be read, everything: too much beats too little."""
    try:
        spec = json.loads(text)
    except (ValueError, TypeError) as problem:
        spec = problem
    if isinstance(spec, dict):
        return spec
    _log.warning("what the Trigger %s wanted cannot be read; it counts as everything: %.200r", trigger, spec)
    return {}


def held(connection: sqlite3.Connection, after: int) -> int:
    """Bytes of the events over `after`."""
    return _upto(connection.execute, last(connection.execute)) - _upto(connection.execute, after)


def received(connection: sqlite3.Connection, after: int) -> float | None:
    """When the first event over `after` came, in seconds since 1970; None if there is none."""
    row = connection.execute(
        "SELECT CAST(at AS REAL) FROM broker_events WHERE seq > ? ORDER BY seq LIMIT 1", (after,)
    ).fetchone()
    return None if row is None else row[0]


def _upto(execute: Callable[..., sqlite3.Cursor], seq: int) -> int:
    """Bytes of all events up to `seq`; for those that were dropped, as the oldest that is left has it."""
    row = execute(
        "SELECT CAST(upto AS INTEGER) FROM broker_events WHERE seq <= ? ORDER BY seq DESC LIMIT 1", (seq,)
    ).fetchone()
    before = (
        "SELECT CAST(upto AS INTEGER) - length(CAST(attributes AS BLOB)) - coalesce(length(data), 0) "
        "FROM broker_events ORDER BY seq LIMIT 1"
    )
    row = row or execute(before).fetchone()
    return row[0] if row else 0


def attempts(connection: sqlite3.Connection, trigger: str) -> list[Attempt]:
    """What is being tried again for a Trigger."""
    rows = connection.execute(
        "SELECT seq, CAST(letter AS INTEGER), CAST(tries AS INTEGER), CAST(next_at AS REAL) FROM broker_attempts"
        " WHERE trigger = ?",
        (trigger,),
    )
    return [Attempt(*row) for row in rows]


def page(
    connection: sqlite3.Connection, broker: str, trigger: str, after: int, end: int
) -> tuple[list[tuple[int, bool, Entry]], int]:
    """Events that `trigger` may want with numbers over `after`: a page of (number, for it alone?, event).

    Also up to which number, at most `end`, there are no others.
    """
    cursor = connection.execute(
        f"SELECT seq, only IS NOT NULL, {EVENT} FROM broker_events "  # noqa: S608
        "WHERE seq > ? AND seq <= ? AND broker = ? AND (only IS NULL OR only = ?) ORDER BY seq LIMIT ?",
        (after, end, broker, trigger, PAGEEVENTS),
    )
    found: list[tuple[int, bool, Entry]] = []
    size = 0
    for seq, only, *row in cursor:
        entry = to_entry(row)
        found.append((seq, bool(only), entry))
        size += entry.size
        if size > PAGE_BYTES:
            break
    else:
        if len(found) < PAGEEVENTS:
            return found, end
    cursor.close()
    return found, found[-1][0]


def entry(connection: sqlite3.Connection, seq: int) -> Entry | None:
    """The event with this number, None if it is not there any more."""
    row = connection.execute(f"SELECT {EVENT} FROM broker_events WHERE seq = ?", (seq,)).fetchone()  # noqa: S608
    return None if row is None else to_entry(row)


# Rows.


def columns(entry: Entry) -> Row:
    """The values of EVENT; of what could not be read, those that were there."""
    if entry.unread is not None:
        return entry.unread.row
    event = entry.event
    known = {
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": event.time,
        "datacontenttype": event.datacontenttype,
        "dataschema": event.dataschema,
    }
    attributes: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
    attributes["extensions"] = dict(event.extensions)
    headers = json.dumps(dict(entry.headers)) if entry.headers else None
    return orjson.dumps(attributes).decode(), event.data, headers, entry.ttl


def to_entry(row: Sequence[Any]) -> Entry:
    """The event that the values of EVENT make. What they make none of is kept as it is, and set aside by whoever reads it."""
    attributes, data, headers, ttl = row
    try:
        event = Event(**orjson.loads(attributes), data=data)
        travelling = json.loads(headers) if headers else None
        if not (_is_event(event) and isinstance(travelling, dict | None) and type(ttl) is int):
            raise TypeError("a value has another type than it should")
    except (ValueError, TypeError) as problem:
        return Entry(UNREADABLE, ttl, None, Unread((_raw(attributes), data, _raw(headers), ttl), _brief(problem)))
    return Entry(event, ttl, travelling)


def _is_event(event: Event) -> bool:
    """Whether the values of an event from the log are of the types that they had."""
    needed = (event.id, event.source, event.type)
    others = (event.subject, event.time, event.datacontenttype, event.dataschema)
    return (
        all(type(value) is str for value in needed)
        and all(value is None or type(value) is str for value in others)
        and isinstance(event.extensions, dict)
        and isinstance(event.data, bytes | None)
    )


def _raw(value: Any) -> Any:
    """A value as it can be written again: bytes that are no UTF-8 as bytes."""
    try:
        value.encode() if isinstance(value, str) else None
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape")
    return value


def _brief(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"[:200]


# Attributes that a broker adds.

ARRIVAL = "knativearrivaltime"
TTL = "knativebrokerttl"
ERRORS = ("knativeerrordest", "knativeerrorcode", "knativeerrordata")


def without(event: Event, names: Iterable[str]) -> Event:
    """`event` without some extensions; the same object if it has none of them."""
    if not any(name in event.extensions for name in names):
        return event
    return replace(event, extensions={name: value for name, value in event.extensions.items() if name not in names})


def with_added(event: Event, extensions: Mapping[str, str | int]) -> Event:
    """`event` with some extensions set."""
    return replace(event, extensions={**event.extensions, **extensions})
