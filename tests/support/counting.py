"""Counts of what a store asks SQLite for. They do not depend on the machine."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

READS, WRITES, BEGINS, TRANSACTIONS, OTHERS = "reads", "writes", "begins", "transactions", "others"

_KINDS = {
    "SELECT": READS,
    "INSERT": WRITES,
    "UPDATE": WRITES,
    "DELETE": WRITES,
    "REPLACE": WRITES,
    "BEGIN": BEGINS,
    "COMMIT": TRANSACTIONS,
}


def kind_of(sql: str) -> str:
    """Return what a statement counts as. OTHERS are those that no event causes, such as a checkpoint."""
    first = sql.lstrip()[:8].split(None, 1)[:1]
    return _KINDS.get("".join(first).upper(), OTHERS)


@dataclass(frozen=True)
class Counts:
    """Statements that ran, and transactions that were committed."""

    reads: int
    writes: int
    begins: int
    transactions: int
    others: int

    @property
    def statements(self) -> int:
        """Return how often an event's work asked SQLite for something: a wait for the interpreter's lock each."""
        return self.reads + self.writes + self.begins + self.transactions


class Statements:
    """The statements that ran since they were counted last."""

    def __init__(self) -> None:
        self._ran: list[str] = []
        self.ran = self._ran.append  # a function in C: it is no Python call that a profiler would see

    def take(self) -> Counts:
        """Count what has run since the last time. Every work on the store must have ended."""
        ran, found = self._ran[:], Counter[str]()
        del self._ran[: len(ran)]
        found.update(map(kind_of, ran))
        return Counts(**{kind: found[kind] for kind in (READS, WRITES, BEGINS, TRANSACTIONS, OTHERS)})


@contextmanager
def counted() -> Iterator[Statements]:
    """Count the statements of each connection that is opened within the block."""
    statements, connect = Statements(), sqlite3.connect

    def connecting(*words: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*words, **options)
        connection.set_trace_callback(statements.ran)
        return connection

    with mock.patch.object(sqlite3, "connect", connecting):
        yield statements
