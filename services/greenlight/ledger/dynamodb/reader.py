"""The reader of the table's rows: from the handler's session where there is one, and without unreadable rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, TypeVar

from greenlight.events import Event
from greenlight.ledger.bodies import Bodies
from greenlight.ledger.dynamodb import items as items
from greenlight.ledger.dynamodb.client import Dynamo, Item, Key
from greenlight.ledger.dynamodb.items import Rows
from greenlight.ledger.dynamodb.session import Session
from greenlight.ledger.port import Reading
from greenlight.ledger.unreadable import Keys, UnreadableRows
from greenlight.model.arrivals import ProcessArrivals
from greenlight.model.policy import PoliciesInForce
from greenlight.model.rows import DecisionRow, Deployment, Due, Fact, Record, Target, Title
from greenlight.model.web_sessions import WebSession

R = TypeVar("R")

TABLES: Mapping[type, str] = {
    Target: "targets", DecisionRow: "decisions", Deployment: "deployments", Due: "due", Event: "outbox", Title: "titles",
    PoliciesInForce: "policies_in_force", ProcessArrivals: "arrivals",
}  # fmt: skip
"""What rows are called where one cannot be read."""

KEYS: Keys = {
    Fact: lambda row: items.fact_key(row.id),
    Record: lambda row: items.record_key(row.repo, row.sha),
    Target: lambda row: items.target_key(row.application, row.environment),
    DecisionRow: lambda row: items.decision_key(row.application, row.environment, row.repo, row.sha),
    Deployment: lambda row: items.deployment_key(row.id),
    PoliciesInForce: lambda row: items.in_force_key(row.repo),
    Due: lambda row: items.due_key(row.key),
    Event: lambda row: items.outbox_key(row.id),
    WebSession: lambda row: items.web_session_key(row.digest),
    ProcessArrivals: lambda row: items.arrivals_key(row.process),
}


class Reader:
    """Read for every part of one ledger. Safe for threads."""

    def __init__(self, dynamo: Dynamo, bodies: Bodies, clock: Callable[[], datetime]) -> None:
        self.dynamo, self.rows, self.aside = dynamo, Rows(bodies), UnreadableRows(clock, KEYS)
        self._session: ContextVar[Session | None] = ContextVar("session", default=None)

    # The session of this thread's handler.

    @property
    def session(self) -> Session | None:
        """Return this thread's session; None outside of a handler."""
        return self._session.get()

    @contextmanager
    def begin(self, reading: Reading) -> Iterator[None]:
        """Keep a session until the context ends."""
        token = self._session.set(Session(self.dynamo, reading))
        try:
            yield
        finally:
            self._session.reset(token)

    def written(self, operations: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Put what a transaction wrote into the session."""
        if self.session is not None:
            self.session.written(operations)

    def forget(self) -> None:
        """Let the session read everything again."""
        if self.session is not None:
            self.session.forget()

    # Items, strongly consistent.

    def get(self, key: Key) -> Item | None:
        """Return the item, or None."""
        return self.dynamo.get(key) if self.session is None else self.session.get_all([key]).get(key)

    def get_all(self, keys: Sequence[Key]) -> dict[Key, Item]:
        """Return those of the items that exist."""
        return self.dynamo.get_all(keys) if self.session is None else self.session.get_all(keys)

    def behind(self, found: Iterable[Item]) -> list[Item]:
        """Return the items that an index names, as the table has them now, in the index's order.

        Items that are gone since are left out.
        """
        keys = [key_of(one) for one in found]
        there = self.dynamo.get_all(keys)
        return [there[key] for key in keys if key in there]

    # Rows.

    def row(self, kind: type[R], key: Key) -> R | None:
        """Return the row of `kind` with this key, or None. Raises Unreadable."""
        found = self.get(key)
        return None if found is None else self.read(TABLES[kind], found, lambda: self.rows.unpack(kind, found))

    def read(self, table: str, found: Item, decode: Callable[[], R]) -> R:
        """Return what `decode` makes of an item. Raises Unreadable."""
        return self.aside.read(table, key_of(found), decode)

    def those(self, kind: type[R], there: Iterable[Item]) -> list[R]:
        """Return those of the items that hold a row of `kind`."""

        def decoding(one: Item) -> Callable[[], R]:
            return lambda: self.rows.unpack(kind, one)

        return self.aside.those(TABLES[kind], [(key_of(one), decoding(one)) for one in there])


def key_of(item: Item) -> Key:
    """Return the key of an item."""
    return item["pk"]["S"], item["sk"]["S"]
