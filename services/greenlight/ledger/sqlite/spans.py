"""Kept spans in the ledger's file: a table that is written once a second, and emptied at its old end by the same write."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

from greenlight.ledger.spans import MOST
from greenlight.ledger.sqlite.schema import micros
from greenlight.store import Store, Tx

BYTES = 128 << 20
"""Bytes that are kept; of more, the oldest go."""

DROPPED = 64
"""Rows that one write drops besides as many as it adds: so the table gets smaller, and no other write waits long."""


class SqliteSpans:
    """Spans in `store`. Safe for threads; one of them keeps."""

    def __init__(self, store: Store, clock: Callable[[], datetime], *, most: int = BYTES) -> None:
        self._store, self._clock, self._most = store, clock, most
        self._bytes: int | None = None  # of the table; None: not counted yet

    def keep(self, parts: Sequence[tuple[str, bytes]], lasts: timedelta) -> None:
        """Store the parts, and drop what is too old or too much."""
        now = self._clock()
        rows = [(bytes.fromhex(trace), micros(now), body) for trace, body in parts]
        before, held = micros(now - lasts), self._counted() + sum(len(body) for _, body in parts)

        def change(tx: Tx) -> None:
            tx.executemany("INSERT INTO spans (trace, at, body) VALUES (?, ?, ?)", rows)
            oldest = tx.execute(
                "SELECT id, at, length(body) FROM spans ORDER BY id LIMIT ?", (len(rows) + DROPPED,)
            ).fetchall()
            last, left = 0, held
            for id, at, size in oldest:
                if at >= before and left <= self._most:
                    break
                last, left = id, left - size
            if last:
                tx.execute("DELETE FROM spans WHERE id <= ?", (last,))
            tx.on_commit(lambda: self._holds(left))

        self._store.write(change)

    def of(self, traces: Collection[str]) -> Sequence[bytes]:
        """Return the parts of these traces."""
        sql = "SELECT id, body FROM spans WHERE trace = ? ORDER BY id DESC LIMIT ?"
        with self._store.read() as connection:
            found = [row for trace in traces for row in connection.execute(sql, (bytes.fromhex(trace), MOST))]
        return [body for _, body in sorted(found)]

    def _holds(self, count: int) -> None:
        self._bytes = count

    def _counted(self) -> int:
        if self._bytes is None:
            with self._store.read() as connection:
                self._bytes = int(connection.execute("SELECT coalesce(sum(length(body)), 0) FROM spans").fetchone()[0])
        return self._bytes
