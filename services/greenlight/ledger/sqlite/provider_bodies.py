"""The raw bodies of providers' webhooks: a small one lies in the table, a large one is a file that the table names."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from greenlight.ledger.bodies import Folder, digits_of, named
from greenlight.ledger.sqlite.rows import Rows
from greenlight.ledger.sqlite.schema import micros
from greenlight.ledger.unreadable import UnreadableRows
from greenlight.store import Store

IN_TABLE = 256 * 1024
"""Bytes of a body that is kept in the table, in the same commit as its fact; a larger one gets a file."""

FORGET_AT_ONCE = 200
"""Bodies that are dropped in one commit, so that other changes need not wait long."""


class ProviderBodies:
    """Keep, read and forget bodies for one ledger, with the large ones in a folder. Safe for threads."""

    def __init__(self, store: Store, rows: Rows, aside: UnreadableRows, folder: Path) -> None:
        self._store, self._rows, self._aside, self._folder = store, rows, aside, Folder(folder)
        self._files = threading.Lock()  # a large body's file and row come and go together

    @contextmanager
    def keeping(self, body: bytes | None, now: datetime) -> Iterator[tuple[str, bytes | None] | None]:
        """Yield the table's part of a body, (digest, deflated); meanwhile its file, if it is large, cannot be swept.

        Raises Unavailable if a large one cannot be kept now.
        """
        if body is None:
            yield None
        elif len(body) <= IN_TABLE:
            yield named(body), zlib.compress(body, 1)
        else:
            digest = named(body)
            with self._files:
                self._folder.put(digest.removeprefix("sha256:"), body, micros(now))
                yield digest, None

    def read(self, digest: str) -> bytes | None:
        """Return a body; None where it was never kept, or was forgotten."""
        name = digits_of(digest)
        row = None if name is None else self._rows.one("SELECT deflated FROM bodies WHERE digest = ?", digest)
        if name is None or row is None:
            return None
        if row[0] is not None:
            return self._aside.read("bodies", (digest,), lambda: zlib.decompress(row[0]))
        return self._folder.get(name)

    def forget(self, before: datetime) -> int:
        """Drop the bodies that were stored before then; return how many."""
        limit = micros(before)
        with self._files:
            total = count = self._forget_some(limit)
            while count == FORGET_AT_ONCE:
                count = self._forget_some(limit)
                total += count
            kept = {digest for (digest,) in self._rows.all("SELECT digest FROM bodies WHERE deflated IS NULL")}
            self._folder.sweep(lambda name: f"sha256:{name}" in kept, limit)
        return total

    def _forget_some(self, before: int) -> int:
        sql = "DELETE FROM bodies WHERE rowid IN (SELECT rowid FROM bodies WHERE stored < ? LIMIT ?)"
        return self._store.write(lambda tx: tx.execute(sql, (before, FORGET_AT_ONCE)).rowcount)
