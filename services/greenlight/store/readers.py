"""The read-only connections of a store's file: kept for the next reader, and opened when more threads read at once."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from queue import Empty, SimpleQueue

READERS = 16
"""Idle connections that are kept. More are opened when more threads read at once, and closed afterwards."""

STATEMENTS = 256
"""Prepared statements that a connection keeps: more than there are in the code."""


class Readers:
    """Connections to one file. Safe for threads; a connection is one thread's from `take` to `give_back`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._closed = False

    def take(self) -> sqlite3.Connection:
        """Return an idle connection, or open one. Raises sqlite3.Error."""
        try:
            return self._idle.get_nowait()
        except Empty:
            pass
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS,
        )
        connection.text_factory = text_of
        return connection

    def give_back(self, connection: sqlite3.Connection) -> None:
        """End what the connection reads, and keep it for the next reader."""
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if self._closed or self._idle.qsize() >= READERS:
            connection.close()
        else:
            self._idle.put(connection)

    def close(self) -> None:
        """Close the idle connections; those that are in use are closed when they are given back."""
        self._closed = True
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return


def text_of(raw: bytes) -> str:
    """Decode a text of the file. Bytes that are no UTF-8 spoil their own row for its reader, not the whole query."""
    return raw.decode("utf-8", "surrogateescape")
