"""The durable log: events in the order of their commits, a cursor per Trigger, tries that are pending, dead letters.

A cursor says: everything up to here is settled, or has a row of its own in broker_attempts. So one event that is tried
again for hours holds nothing back, and a start reads only the cursors and the tries, however long the log is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
          at REAL NOT NULL            -- seconds since 1970
        );
        CREATE TABLE broker_cursors (trigger TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE broker_attempts (
          trigger TEXT NOT NULL,
          seq INTEGER NOT NULL,
          letter INTEGER,             -- it is dead; this is its way to the dead-letter sink
          tries INTEGER NOT NULL,
          next_at REAL NOT NULL,
          PRIMARY KEY (trigger, seq)
        ) WITHOUT ROWID;
        CREATE INDEX broker_attempts_by_seq ON broker_attempts (seq);
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
        """,
    ),
)

MAX_TTL = 255
"""Hops that an event may take (Knative's default)."""

PAGE_EVENTS = 64
PAGE_BYTES = 4 << 20
"""What is read of the log at once."""

_CHUNK = 500
_EVENT = "attributes, data, headers, ttl"
_LETTER = f"id, trigger, seq, {_EVENT}, attempts, code, answer, why, destination, at, sink"


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as the log has it."""

    event: Event
    ttl: int = MAX_TTL
    headers: Mapping[str, str] | None = None

    @property
    def size(self) -> int:
        """Bytes of its data."""
        return len(self.event.data or b"")


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


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a Trigger's subscriber did not take. `at` in seconds since 1970; `sink`: what its sink said."""

    id: int
    trigger: str
    seq: int
    entry: Entry
    attempts: int
    code: int
    answer: bytes
    why: str
    destination: str
    at: float
    sink: str | None


# Writing, inside a transaction of the store.


def insert(tx: Tx, broker: str, entry: Entry, at: float, only: str | None = None) -> int:
    """Append an event and return its number."""
    cursor = tx.execute(
        f"INSERT INTO broker_events (broker, only, at, {_EVENT}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (broker, only, at, *_columns(entry)),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def register(tx: Tx, triggers: Iterable[str]) -> dict[str, int]:
    """The cursor of each Trigger. One that is new starts at the end of the log: it gets what comes from now on."""
    cursors = {}
    end = last(tx.execute)
    for trigger in triggers:
        tx.execute("INSERT OR IGNORE INTO broker_cursors VALUES (?, ?)", (trigger, end))
        (cursors[trigger],) = tx.execute("SELECT seq FROM broker_cursors WHERE trigger = ?", (trigger,)).fetchone()
    return cursors


def move(tx: Tx, trigger: str, seq: int) -> None:
    """Set a cursor. It never goes back."""
    tx.execute("UPDATE broker_cursors SET seq = ? WHERE trigger = ? AND seq < ?", (seq, trigger, seq))


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


def bury(tx: Tx, broker: str, letter: DeadLetter) -> int:
    """Keep a dead letter and return its id; the one in `letter` is not used."""
    cursor = tx.execute(
        "INSERT INTO broker_dead_letters (trigger, broker, seq, attempts, code, answer, why, destination, at, "  # noqa: S608
        f"sink, {_EVENT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            letter.trigger,
            broker,
            letter.seq,
            letter.attempts,
            letter.code,
            letter.answer,
            letter.why,
            letter.destination,
            letter.at,
            letter.sink,
            *_columns(letter.entry),
        ),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def tell(tx: Tx, letter: int, sink: str) -> None:
    """Note what became of a dead letter at its sink."""
    tx.execute("UPDATE broker_dead_letters SET sink = ? WHERE id = ?", (sink, letter))


def close(tx: Tx, letter: int, closed: str) -> tuple[str, DeadLetter] | None:
    """Take an open dead letter away, and return it with its Broker's key; None if there is none with this id."""
    row = tx.execute(
        f"SELECT broker, {_LETTER} FROM broker_dead_letters WHERE id = ? AND closed IS NULL",  # noqa: S608
        (letter,),
    ).fetchone()
    if row is None:
        return None
    tx.execute("UPDATE broker_dead_letters SET closed = ? WHERE id = ?", (closed, letter))
    return row[0], _letter(row[1:])


def prune(tx: Tx, floor: int, after: int, before: float) -> int | None:
    """Drop one chunk of the events over `after` and up to `floor` that are older than `before` and not tried again.

    Returns where to go on, None at the end.
    """
    rows = tx.execute(
        "SELECT seq, at FROM broker_events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?", (after, floor, _CHUNK)
    ).fetchall()
    old = [(seq,) for seq, at in rows if at < before]
    tx.executemany(
        "DELETE FROM broker_events WHERE seq = ?1 AND NOT EXISTS (SELECT 1 FROM broker_attempts WHERE seq = ?1)", old
    )
    return rows[-1][0] if len(old) == _CHUNK else None


def prune_letters(tx: Tx, before: float) -> int:
    """Drop one chunk of dead letters from before `before`, and return how many of them nobody had looked after."""
    rows = tx.execute("SELECT id, at, closed FROM broker_dead_letters ORDER BY id LIMIT ?", (_CHUNK,)).fetchall()
    old = [(id, closed) for id, at, closed in rows if at < before]
    tx.executemany("DELETE FROM broker_dead_letters WHERE id = ?", [(id,) for id, _ in old])
    return sum(closed is None for _, closed in old)


# Reading.


def last(execute: Callable[[str], sqlite3.Cursor]) -> int:
    """The number of the newest event ever appended, 0 if there never was one."""
    row = execute("SELECT seq FROM sqlite_sequence WHERE name = 'broker_events'").fetchone()
    return row[0] if row else 0


def attempts(connection: sqlite3.Connection, trigger: str) -> list[Attempt]:
    """What is being tried again for a Trigger."""
    rows = connection.execute("SELECT seq, letter, tries, next_at FROM broker_attempts WHERE trigger = ?", (trigger,))
    return [Attempt(*row) for row in rows]


def page(
    connection: sqlite3.Connection, broker: str, trigger: str, after: int, end: int
) -> tuple[list[tuple[int, bool, Entry]], int]:
    """Events that `trigger` may want with numbers over `after`: a page of (number, for it alone?, event).

    Also up to which number, at most `end`, there are no others.
    """
    cursor = connection.execute(
        f"SELECT seq, only IS NOT NULL, {_EVENT} FROM broker_events "  # noqa: S608
        "WHERE seq > ? AND seq <= ? AND broker = ? AND (only IS NULL OR only = ?) ORDER BY seq LIMIT ?",
        (after, end, broker, trigger, PAGE_EVENTS),
    )
    found: list[tuple[int, bool, Entry]] = []
    size = 0
    for seq, only, *columns in cursor:
        entry = _entry(columns)
        found.append((seq, bool(only), entry))
        size += entry.size
        if size > PAGE_BYTES:
            break
    else:
        if len(found) < PAGE_EVENTS:
            return found, end
    cursor.close()
    return found, found[-1][0]


def entry(connection: sqlite3.Connection, seq: int) -> Entry | None:
    """The event with this number, None if it is not there any more."""
    row = connection.execute(f"SELECT {_EVENT} FROM broker_events WHERE seq = ?", (seq,)).fetchone()  # noqa: S608
    return None if row is None else _entry(row)


def letters(connection: sqlite3.Connection, after: int, limit: int) -> list[DeadLetter]:
    """Open dead letters with ids over `after`, oldest first."""
    rows = connection.execute(
        f"SELECT {_LETTER} FROM broker_dead_letters WHERE id > ? AND closed IS NULL ORDER BY id LIMIT ?",  # noqa: S608
        (after, limit),
    )
    return [_letter(row) for row in rows]


def letter(connection: sqlite3.Connection, id: int) -> DeadLetter | None:
    """The dead letter with this id, open or not."""
    row = connection.execute(f"SELECT {_LETTER} FROM broker_dead_letters WHERE id = ?", (id,)).fetchone()  # noqa: S608
    return None if row is None else _letter(row)


# Rows.


def _columns(entry: Entry) -> tuple[str, bytes | None, str | None, int]:
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
    return json.dumps(attributes), event.data, headers, entry.ttl


def _entry(columns: Sequence[Any]) -> Entry:
    attributes, data, headers, ttl = columns
    return Entry(Event(**json.loads(attributes), data=data), ttl, json.loads(headers) if headers else None)


def _letter(row: Sequence[Any]) -> DeadLetter:
    id, trigger, seq, attributes, data, headers, ttl, *rest = row
    return DeadLetter(id, trigger, seq, _entry((attributes, data, headers, ttl)), *rest)


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
