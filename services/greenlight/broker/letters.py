"""Dead letters: events that a Trigger's subscriber did not take, kept until a person replays or discards them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenlight.broker.log import CHUNK, EVENT, Entry, columns, to_entry
from greenlight.store import Tx

_LETTER = f"id, trigger, broker, seq, {EVENT}, attempts, code, answer, why, destination, at, sink, closed"


def _attribute(name: str) -> str:
    """The condition that an attribute has some value. What is no JSON has none, and must not end the query."""
    return f"CASE WHEN json_valid(attributes) THEN json_extract(attributes, '$.{name}') END = ?"


FILTERS: Mapping[str, str] = {
    "trigger": "trigger = ?",
    "event": _attribute("id"),
    "type": _attribute("type"),
    "source": _attribute("source"),
    "code": "code = CAST(? AS INTEGER)",
}
"""What dead letters can be chosen by, and the condition of each in SQL."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a Trigger's subscriber did not take.

    `at` in seconds since 1970; `sink`: what its dead-letter sink said; `closed`: what a person did with it.
    """

    id: int
    trigger: str
    broker: str
    seq: int
    entry: Entry
    attempts: int
    code: int
    answer: bytes
    why: str
    destination: str
    at: float
    sink: str | None = None
    closed: str | None = None


# Writing, inside a transaction of the store.


def bury(tx: Tx, letter: DeadLetter) -> int:
    """Keep a dead letter and return its id; the one in `letter` is not used."""
    cursor = tx.execute(
        "INSERT INTO broker_dead_letters (trigger, broker, seq, attempts, code, answer, why, destination, at, "  # noqa: S608
        f"sink, {EVENT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(letter.trigger, letter.broker, letter.seq, letter.attempts, letter.code, letter.answer, letter.why),
            *(letter.destination, letter.at, letter.sink, *columns(letter.entry)),
        ),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def tell(tx: Tx, letter: int, sink: str) -> None:
    """Note what became of a dead letter at its sink."""
    tx.execute("UPDATE broker_dead_letters SET sink = ? WHERE id = ?", (sink, letter))


def close(tx: Tx, letter: int, closed: str) -> DeadLetter | None:
    """Take an open dead letter away, and return it; None if there is none with this id."""
    row = tx.execute(
        f"UPDATE broker_dead_letters SET closed = ? WHERE id = ? AND closed IS NULL RETURNING {_LETTER}",  # noqa: S608
        (closed, letter),
    ).fetchone()
    return None if row is None else _letter(row)


def prune(tx: Tx, before: float) -> int:
    """Drop one chunk of dead letters from before `before`, and return how many of them nobody had looked after."""
    rows = tx.execute(
        "SELECT id, CAST(at AS REAL), closed FROM broker_dead_letters ORDER BY id LIMIT ?", (CHUNK,)
    ).fetchall()
    old = [(id, closed) for id, at, closed in rows if at < before]
    tx.executemany("DELETE FROM broker_dead_letters WHERE id = ?", [(id,) for id, _ in old])
    return sum(closed is None for _, closed in old)


# Reading.


def find(
    connection: sqlite3.Connection, after: int, limit: int, where: Mapping[str, str] | None = None
) -> list[DeadLetter]:
    """Open dead letters with ids over `after`, oldest first; `where`: only those with these values of FILTERS."""
    where = where or {}
    conditions = "".join(f" AND {FILTERS[name]}" for name in where)
    rows = connection.execute(
        f"SELECT {_LETTER} FROM broker_dead_letters WHERE id > ? AND closed IS NULL{conditions} ORDER BY id LIMIT ?",  # noqa: S608
        (after, *where.values(), limit),
    )
    return [_letter(row) for row in rows]


def get(connection: sqlite3.Connection | Tx, id: int) -> DeadLetter | None:
    """The dead letter with this id, open or not."""
    row = connection.execute(f"SELECT {_LETTER} FROM broker_dead_letters WHERE id = ?", (id,)).fetchone()  # noqa: S608
    return None if row is None else _letter(row)


def of_event(connection: sqlite3.Connection, seq: int) -> list[DeadLetter]:
    """The dead letters that one event of the log became, open or not."""
    rows = connection.execute(f"SELECT {_LETTER} FROM broker_dead_letters WHERE seq = ? ORDER BY id", (seq,))  # noqa: S608
    return [_letter(row) for row in rows]


def newest(connection: sqlite3.Connection) -> int:
    """The id of the newest dead letter, 0 if there is none."""
    (id,) = connection.execute("SELECT coalesce(max(id), 0) FROM broker_dead_letters").fetchone()
    return int(id)


def count_open(connection: sqlite3.Connection) -> dict[str, int]:
    """How many open dead letters each Trigger has."""
    return dict(
        connection.execute("SELECT trigger, count(*) FROM broker_dead_letters WHERE closed IS NULL GROUP BY trigger")
    )


def _letter(row: Sequence[Any]) -> DeadLetter:
    id, trigger, broker, seq, attributes, data, headers, ttl, *rest = row
    return DeadLetter(id, trigger, broker, seq, to_entry((attributes, data, headers, ttl)), *rest)
