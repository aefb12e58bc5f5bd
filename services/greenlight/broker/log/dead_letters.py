"""Dead letters: events that a Trigger's subscriber did not take, kept until a person replays or discards them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenlight.broker.log.event_table import CHUNK
from greenlight.broker.log.stored_event import COLUMNS, StoredEvent, from_row, to_row
from greenlight.store import Tx

_ALL = f"id, trigger, broker, seq, {COLUMNS}, attempts, code, answer, why, destination, at, sink, closed"


def _attribute(name: str) -> str:
    """Return the condition that an attribute has some value. A row without JSON has none, and must not end the query."""
    return f"CASE WHEN json_valid(attributes) THEN json_extract(attributes, '$.{name}') END = ?"


FILTERS: Mapping[str, str] = {
    "trigger": "trigger = ?",
    "event": _attribute("id"),
    "type": _attribute("type"),
    "source": _attribute("source"),
    "code": "code = CAST(? AS INTEGER)",
}
"""What dead letters can be selected by, and the condition of each in SQL."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a Trigger's subscriber did not take.

    `at` in seconds since 1970; `sink`: the outcome at the dead-letter sink; `closed`: how a person closed it.
    """

    id: int
    trigger: str
    broker: str
    seq: int
    stored: StoredEvent
    attempts: int
    code: int
    answer: bytes
    why: str
    destination: str
    at: float
    sink: str | None = None
    closed: str | None = None


def add(tx: Tx, dead_letter: DeadLetter) -> int:
    """Write a dead letter and return its id; the one in `dead_letter` is not used."""
    cursor = tx.execute(
        "INSERT INTO broker_dead_letters (trigger, broker, seq, attempts, code, answer, why, destination, at, "  # noqa: S608
        f"sink, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(dead_letter.trigger, dead_letter.broker, dead_letter.seq, dead_letter.attempts, dead_letter.code),
            *(dead_letter.answer, dead_letter.why, dead_letter.destination, dead_letter.at, dead_letter.sink),
            *to_row(dead_letter.stored),
        ),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def set_sink_outcome(tx: Tx, id: int, sink: str) -> None:
    """Write how the delivery of a dead letter to its sink ended."""
    tx.execute("UPDATE broker_dead_letters SET sink = ? WHERE id = ?", (sink, id))


def close(tx: Tx, id: int, closed: str) -> DeadLetter | None:
    """Close an open dead letter and return it; None if there is no open one with this id."""
    if not _is_id(id):
        return None
    row = tx.execute(
        f"UPDATE broker_dead_letters SET closed = ? WHERE id = ? AND closed IS NULL RETURNING {_ALL}",  # noqa: S608
        (closed, id),
    ).fetchone()
    return None if row is None else _from(row)


def _is_id(id: int) -> bool:
    """Return whether SQLite can hold a number."""
    return id.bit_length() < 64


def prune(tx: Tx, before: float) -> int:
    """Remove one chunk of the dead letters from before `before`; return how many of them were still open."""
    rows = tx.execute(
        "SELECT id, CAST(at AS REAL), closed FROM broker_dead_letters ORDER BY id LIMIT ?", (CHUNK,)
    ).fetchall()
    old = [(id, closed) for id, at, closed in rows if at < before]
    tx.executemany("DELETE FROM broker_dead_letters WHERE id = ?", [(id,) for id, _ in old])
    return sum(closed is None for _, closed in old)


def find(
    connection: sqlite3.Connection, after: int, limit: int, where: Mapping[str, str] | None = None
) -> list[DeadLetter]:
    """Return open dead letters with ids over `after`, oldest first; `where`: only those with these values of FILTERS."""
    where = where or {}
    conditions = "".join(f" AND {FILTERS[name]}" for name in where)
    rows = connection.execute(
        f"SELECT {_ALL} FROM broker_dead_letters WHERE id > ? AND closed IS NULL{conditions} ORDER BY id LIMIT ?",  # noqa: S608
        (after, *where.values(), limit),
    )
    return [_from(row) for row in rows]


def get(connection: sqlite3.Connection | Tx, id: int) -> DeadLetter | None:
    """Return the dead letter with this id, open or not; None if there is none."""
    if not _is_id(id):
        return None
    row = connection.execute(f"SELECT {_ALL} FROM broker_dead_letters WHERE id = ?", (id,)).fetchone()  # noqa: S608
    return None if row is None else _from(row)


def of_event(connection: sqlite3.Connection, seq: int) -> list[DeadLetter]:
    """Return the dead letters of one event, open or not."""
    rows = connection.execute(f"SELECT {_ALL} FROM broker_dead_letters WHERE seq = ? ORDER BY id", (seq,))  # noqa: S608
    return [_from(row) for row in rows]


def newest_id(connection: sqlite3.Connection) -> int:
    """Return the id of the newest dead letter, 0 if there is none."""
    (id,) = connection.execute("SELECT coalesce(max(id), 0) FROM broker_dead_letters").fetchone()
    return int(id)


def count_open(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many open dead letters each Trigger has."""
    return dict(
        connection.execute("SELECT trigger, count(*) FROM broker_dead_letters WHERE closed IS NULL GROUP BY trigger")
    )


def _from(row: Sequence[Any]) -> DeadLetter:
    id, trigger, broker, seq, attributes, data, headers, ttl, *rest = row
    return DeadLetter(id, trigger, broker, seq, from_row((attributes, data, headers, ttl)), *rest)
