"""Kept arrivals in the ledger's file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from greenlight.ledger.arrivals import MOST, bounded
from greenlight.ledger.sqlite.rows import Rows
from greenlight.ledger.sqlite.schema import micros
from greenlight.model.arrivals import ProcessArrivals
from greenlight.store import Store, Tx


class SqliteArrivals:
    """The rows in `store`. Safe for threads."""

    def __init__(self, store: Store, rows: Rows, clock: Callable[[], datetime]) -> None:
        self._store, self._rows, self._clock = store, rows, clock

    def keep(self, row: ProcessArrivals, lasts: timedelta) -> None:
        """Store the row, and remove those whose time is over."""
        values = (row.process, micros(row.at), micros(row.at + lasts), bounded(row))
        now = micros(self._clock())

        def change(tx: Tx) -> None:
            tx.execute("DELETE FROM arrivals WHERE until <= ?", (now,))
            tx.execute("INSERT OR REPLACE INTO arrivals (process, at, until, json) VALUES (?, ?, ?, ?)", values)

        self._store.write(change)

    def newest(self) -> Sequence[ProcessArrivals]:
        """Return the rows that were written last."""
        sql = "SELECT process, json FROM arrivals WHERE until > ? ORDER BY at DESC, process LIMIT ?"
        return self._rows.those(ProcessArrivals, self._rows.all(sql, micros(self._clock()), MOST))
