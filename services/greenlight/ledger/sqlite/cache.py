"""Rows that were written or read lately, so that the next read of a handler costs no statement.

One process owns the file and one ledger writes it, so this always has the newest commit: it hears of one before anybody who
waits for it, and before any event that it emits is on its way. Whatever is decided on a row is checked by its version when it
is written; a reader that is a commit behind gets a Conflict, as it would without this.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from greenlight.ledger.changes import Key

ROWS = 1000
"""Rows that are kept: those of about a hundred commits on their way. The one that was put in first goes first."""


class Cache:
    """Rows by key. Rows are frozen, so they are shared."""

    def __init__(self, rows: int = ROWS) -> None:
        self._limit = rows
        self._rows: dict[Key, Any] = {}
        self._lock = threading.Lock()
        self._commits = 0

    def get(self, key: Key) -> Any:
        """Return the row, None if it is not here."""
        return self._rows.get(key)

    def moment(self) -> int:
        """Return a number to ask for before a row is read from the file and offered to `keep`."""
        return self._commits

    def keep(self, key: Key, row: Any, moment: int) -> None:
        """Keep a row that was read, unless something was committed since: then it may be an old one."""
        with self._lock:
            if moment == self._commits:
                self._put(key, row)

    def committed(self, rows: Mapping[Key, Any]) -> None:
        """Replace rows after a commit; None: the row has changed, and must be read."""
        with self._lock:
            self._commits += 1
            for key, row in rows.items():
                self._rows.pop(key, None)
                if row is not None:
                    self._put(key, row)

    def _put(self, key: Key, row: Any) -> None:
        self._rows[key] = row
        if len(self._rows) > self._limit:
            del self._rows[next(iter(self._rows))]
