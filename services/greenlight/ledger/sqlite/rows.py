"""Rows of the ledger's file: from the cache where it has them, and without unreadable ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from greenlight.events import Event
from greenlight.ledger.changes import Key
from greenlight.ledger.port import Unreadable
from greenlight.ledger.rows_json import loads
from greenlight.ledger.sqlite.cache import Cache
from greenlight.ledger.unreadable import NO_TIME, UnreadableRows, payload_of, whole_entry
from greenlight.model.arrivals import ProcessArrivals
from greenlight.model.policy import PoliciesInForce
from greenlight.model.rows import DecisionRow, Deployment, Due, Entry, Fact, Target, Title
from greenlight.store import Store

R = TypeVar("R")

TABLES = {
    Fact: "facts", Target: "targets", DecisionRow: "decisions", Deployment: "deployments", Due: "due", Event: "outbox",
    PoliciesInForce: "policies_in_force", Title: "titles", ProcessArrivals: "arrivals",
}  # fmt: skip


KEYS = {Target: 2, DecisionRow: 4, Deployment: 1, Due: 1, Event: 1, PoliciesInForce: 1, Title: 2, ProcessArrivals: 1}
"""Columns of a key, by kind of row."""


class Rows:
    """Read rows for one ledger. Safe for threads."""

    def __init__(self, store: Store, cache: Cache, aside: UnreadableRows) -> None:
        self._store, self._cache, self._aside = store, cache, aside

    def row(self, kind: type[R], sql: str, key: tuple[str, ...], column: str = "version") -> R | None:
        """Return the row of `kind` that `sql` finds by `key`: its text, and the one column that changes without it."""
        found: R | None = self.at_hand((kind, *key))
        if found is not None:
            return found
        moment = self._cache.moment()
        row = self.one(sql, *key)
        if row is None:
            return None
        text, value = row
        found = self._aside.read(TABLES[kind], key, lambda: loads(kind, text, **{column: value}))
        self._cache.keep((kind, *key), found, moment)
        return found

    def those(self, kind: type[R], rows: Sequence[Sequence[Any]]) -> list[R]:
        """Return the readable ones of the rows of `kind`, (key…, json, version) or (key…, json)."""
        keys = KEYS[kind]

        def decoding(row: Sequence[Any]) -> Callable[[], R]:
            return lambda: loads(kind, row[keys], **({"version": row[keys + 1]} if len(row) > keys + 1 else {}))

        return self._aside.those(TABLES[kind], [(row[:keys], decoding(row)) for row in rows])

    def at_hand(self, key: Key) -> Any:
        """Return the cache's row; nothing once the store is closed, which then tells its reader so."""
        return None if self._store.closed else self._cache.get(key)

    def one(self, sql: str, *parameters: object) -> tuple[Any, ...] | None:
        """Return the first row of a SELECT, None if there is none."""
        with self._store.read() as connection:
            row: tuple[Any, ...] | None = connection.execute(sql, parameters).fetchone()
            return row

    def all(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return every row of a SELECT."""
        with self._store.read() as connection:
            return connection.execute(sql, parameters).fetchall()

    def entry(self, row: Sequence[Any]) -> Entry:
        """Return an entry of a journal; for an unreadable one, an entry with the reason, at which the chain breaks."""
        stream, seq, type, at, id, payload, prev, hash = row

        def decode() -> Entry:
            return whole_entry(Entry(stream, seq, type, at, id, payload_of(payload), prev.hex(), hash.hex()))

        try:
            return self._aside.read("entries", (stream, str(seq)), decode)
        except Unreadable as problem:
            number = seq if isinstance(seq, int) else 0
            return Entry(
                str(stream), number, str(type), NO_TIME, str(id), {"unreadable": str(problem)}, _hex(prev), _hex(hash)
            )


def _hex(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else ""
