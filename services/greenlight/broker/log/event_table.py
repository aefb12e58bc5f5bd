"""The table broker_events: every event once, in the order of the commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from typing import NamedTuple

from greenlight.broker.log.stored_event import COLUMNS, EventRow, StoredEvent, from_row
from greenlight.store import Tx

PAGE_EVENTS = 64
PAGE_BYTES = 4 << 20
"""What is read of the log at once, at most."""

CHUNK = 500
"""Rows that one transaction removes, at most."""


class LoggedEvent(NamedTuple):
    """An event of the log, as one Trigger reads it; `only`: a replay, for this Trigger alone."""

    seq: int
    only: bool
    stored: StoredEvent


def insert(
    tx: Tx,
    broker: str,
    row: EventRow,
    at: float,
    *,
    only: str | None = None,
    cause: int | None = None,
    by: str = "",
    handled: Collection[str] = (),
) -> int:
    """Append an event and return its number.

    `only`: the only Trigger that gets it. `cause`, `by`: the event that it answers, and the Trigger that got that.
    `handled`: Triggers that do not get it, because their subscribers have handled it.
    """
    size = len(row[0].encode()) + len(row[1] or b"")
    cursor = tx.execute(
        f"INSERT INTO broker_events (broker, only, at, cause, by, handled, upto, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, "  # noqa: S608
        "? + coalesce((SELECT CAST(upto AS INTEGER) FROM broker_events ORDER BY seq DESC LIMIT 1), 0), ?, ?, ?, ?)",
        (broker, only, at, cause, by or None, _marked(*handled) if handled else None, size, *row),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _marked(*triggers: str) -> str:
    """Return the text by which the column `handled` names Triggers; no key has a space."""
    return f" {' '.join(triggers)} "


def prune(tx: Tx, floor: int, after: int, before: float, keep: int) -> int | None:
    """Remove one chunk of the events over `after` and up to `floor` that are not being retried.

    Removed are those that came before `before`, and those beyond the newest `keep` bytes of the log. Returns the number after
    which to go on, None at the end.
    """
    rows = tx.execute(
        "SELECT seq, CAST(at AS REAL), CAST(upto AS INTEGER) FROM broker_events WHERE seq > ? AND seq <= ?"
        " ORDER BY seq LIMIT ?",
        (after, floor, CHUNK),
    ).fetchall()
    excess = _bytes_up_to(tx.execute, last(tx.execute)) - keep
    old = [(seq, seq) for seq, at, upto in rows if at < before or upto <= excess]
    for table in ("broker_events", "broker_failures") if old else ():
        tx.executemany(
            f"DELETE FROM {table} WHERE seq = ? AND NOT EXISTS (SELECT 1 FROM broker_attempts WHERE seq = ?)",  # noqa: S608
            old,
        )
    return rows[-1][0] if len(old) == CHUNK else None


def last(execute: Callable[[str], sqlite3.Cursor]) -> int:
    """Return the number of the newest event ever appended, 0 if there never was one."""
    row = execute("SELECT seq FROM sqlite_sequence WHERE name = 'broker_events'").fetchone()
    return row[0] if row else 0


def bytes_after(connection: sqlite3.Connection, after: int) -> int:
    """Return the bytes of the events over `after`."""
    return _bytes_up_to(connection.execute, last(connection.execute)) - _bytes_up_to(connection.execute, after)


def time_after(connection: sqlite3.Connection, after: int) -> float | None:
    """Return when the first event over `after` came, in seconds since 1970; None if there is none."""
    row = connection.execute(
        "SELECT CAST(at AS REAL) FROM broker_events WHERE seq > ? ORDER BY seq LIMIT 1", (after,)
    ).fetchone()
    return None if row is None else row[0]


def get(connection: sqlite3.Connection, seq: int) -> StoredEvent | None:
    """Return the event with this number, None if it was removed."""
    row = connection.execute(f"SELECT {COLUMNS} FROM broker_events WHERE seq = ?", (seq,)).fetchone()  # noqa: S608
    return None if row is None else from_row(row)


def page(
    connection: sqlite3.Connection, broker: str, trigger: str, after: int, end: int
) -> tuple[list[LoggedEvent], int]:
    """Return a page of the events over `after`, up to `end`, that `trigger` may want.

    Also the number up to which there are no others.
    """
    cursor = connection.execute(
        f"SELECT seq, only IS NOT NULL, {COLUMNS} FROM broker_events "  # noqa: S608
        "WHERE seq > ? AND seq <= ? AND broker = ? AND (only IS NULL OR only = ?)"
        " AND (handled IS NULL OR instr(handled, ?) = 0) ORDER BY seq LIMIT ?",
        (after, end, broker, trigger, _marked(trigger), PAGE_EVENTS),
    )
    events: list[LoggedEvent] = []
    size = 0
    for seq, only, *row in cursor:
        stored = from_row(row)
        events.append(LoggedEvent(seq, bool(only), stored))
        size += stored.size
        if size > PAGE_BYTES:
            break
    else:
        if len(events) < PAGE_EVENTS:
            return events, end
    cursor.close()
    return events, events[-1].seq


def _bytes_up_to(execute: Callable[..., sqlite3.Cursor], seq: int) -> int:
    """Return the bytes of all events up to `seq`; where that one was removed, up to the oldest that is left."""
    row = execute(
        "SELECT CAST(upto AS INTEGER) FROM broker_events WHERE seq <= ? ORDER BY seq DESC LIMIT 1", (seq,)
    ).fetchone()
    before = (
        "SELECT CAST(upto AS INTEGER) - length(CAST(attributes AS BLOB)) - coalesce(length(data), 0) "
        "FROM broker_events ORDER BY seq LIMIT 1"
    )
    row = row or execute(before).fetchone()
    return row[0] if row else 0
