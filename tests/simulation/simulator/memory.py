"""A store in memory: what the ledger's SQLite adapter runs on in a story, without a file, a lock or an fsync."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from greenlight.store.changes import Tx
from greenlight.store.readers import STATEMENTS
from greenlight.store.schema import Schema, migrate

T = TypeVar("T")


@cache
def _empty(schemas: tuple[Schema, ...]) -> bytes:
    """Make a database with these tables and nothing in them."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, schemas)
    image = connection.serialize()
    connection.close()
    return image


class MemoryStore:
    """Do what greenlight.store.Store does, as far as a ledger needs it. One task at a time uses it."""

    closed = False

    def __init__(self, schemas: Sequence[Schema]) -> None:
        self._connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS
        )
        self._connection.deserialize(_empty(tuple(schemas)))

    def write(self, change: Callable[[Tx], T]) -> T:
        """Run `change` in a transaction of its own."""
        tx = Tx(self._connection)
        self._connection.execute("BEGIN")
        try:
            result = change(tx)
            tx.end()
            self._connection.execute("COMMIT")
        except BaseException:
            tx.end()
            self._connection.execute("ROLLBACK")
            raise
        for call in tx.calls:
            call()
        return result

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection."""
        yield self._connection

    def probe(self) -> None:
        """Do nothing: it can be written."""

    def close(self) -> None:
        """Forget everything."""
        self._connection.close()
