"""Rows that cannot be read: named in the log, counted, and listed, while everything else continues.

A row stays where it is. A reader that asks for it by its key gets Unreadable, and does nothing that builds on it; a list
leaves it out. Once it can be read again, it is taken off the list.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, TypeVar

from greenlight.events import Event
from greenlight.ledger.port import SetAside, Unreadable
from greenlight.ledger.rows_json import NO_ROW, plain
from greenlight.model.arrivals import ProcessArrivals
from greenlight.model.policy import PoliciesInForce
from greenlight.model.rows import DecisionRow, Deployment, Due, Entry, Fact, Push, Record, Target
from greenlight.model.web_sessions import WebSession
from greenlight.telemetry import metrics

R = TypeVar("R")

MOST = 1000
"""Rows that are listed at most."""

NO_TIME = "1970-01-01T00:00:00.000000Z"
"""When an entry was written that cannot be read."""

LATER = timedelta(minutes=15)
"""When a row that was due, or waited to be published, and could not be read is read again. Until then it delays no others."""

Keys = Mapping[type, Callable[[Any], Sequence[str]]]
"""What a row says that its key is: one that was put under another key is not read as what it is not."""

NAMES: Keys = {
    Fact: lambda row: (row.id,),
    Record: lambda row: (row.repo, row.sha),
    Target: lambda row: (row.application, row.environment),
    DecisionRow: lambda row: (row.application, row.environment, row.repo, row.sha),
    Deployment: lambda row: (row.id,),
    PoliciesInForce: lambda row: (row.repo,),
    Push: lambda row: (row.fact,),
    Due: lambda row: (row.key,),
    Event: lambda row: (row.id,),
    WebSession: lambda row: (row.digest,),
    ProcessArrivals: lambda row: (row.process,),
}
"""Keys by the names that people know, which the columns of a table have."""

_log = logging.getLogger("greenlight.ledger")


class UnreadableRows:
    """Read rows for a ledger, and keep a list of those that cannot be read. Safe for threads."""

    def __init__(self, clock: Callable[[], datetime], keys: Keys) -> None:
        self._clock = clock
        self._keys = keys
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], SetAside] = {}

    def read(self, table: str, key: Sequence[str], decode: Callable[[], R]) -> R:
        """Return the row that `decode` makes. Raises Unreadable if it makes none, or one with another key."""
        try:
            row = decode()
            named = self._keys.get(type(row))
            if named is not None and tuple(named(row)) != tuple(key):
                raise ValueError(f"it says that it is the row of {'/'.join(named(row))}")
        except (*NO_ROW, zlib.error) as problem:
            name = "/".join(map(str, key))
            self._set_aside(table, name, f"{type(problem).__name__}: {problem}"[:300])
            raise Unreadable(
                f"the row {name} of {table} in the ledger cannot be read ({type(problem).__name__}), so nothing that depends "
                "on it is done; `greenlight doctor` reports it, docs/operations.md describes the repair"
            ) from problem
        if self._known:
            self._repaired(table, "/".join(map(str, key)))
        return row

    def those(self, table: str, rows: Iterable[tuple[Sequence[str], Callable[[], R]]]) -> list[R]:
        """Return the rows that can be read, of (key, decode)."""
        found = []
        for key, decode in rows:
            try:
                found.append(self.read(table, key, decode))
            except Unreadable:
                continue  # named, counted and listed
        return found

    def listed(self) -> Sequence[SetAside]:
        """Return the rows that this process could not read, and has not read since, the first one first."""
        with self._lock:
            return list(self._known.values())

    def _set_aside(self, table: str, key: str, why: str) -> None:
        with self._lock:
            if (table, key) in self._known or len(self._known) >= MOST:
                return
            self._known[table, key] = SetAside(table, key, why, self._clock())
            self._count()
        _log.error("the row %s of %s cannot be read, and is set aside: %s", key, table, why)

    def _repaired(self, table: str, key: str) -> None:
        with self._lock:
            if self._known.pop((table, key), None) is None:
                return
            self._count()
        _log.info("the row %s of %s can be read again", key, table)

    def _count(self) -> None:
        counts = Counter(table for table, _ in self._known)
        metrics.UNREADABLE.clear()
        for table, count in counts.items():
            metrics.UNREADABLE.labels(table).set(count)


def payload_of(text: str) -> dict[str, Any]:
    """Return the payload of a journal's entry. Raises one of NO_ROW."""
    found = plain(text)
    if type(found) is not dict:
        raise TypeError(f"{found!r:.40} is no object")
    return found


def whole_entry(entry: Entry) -> Entry:
    """Return the entry, if its values are of the types that they were written with. Raises one of NO_ROW."""
    texts = (entry.stream, entry.type, entry.at, entry.id)
    if type(entry.seq) is not int or type(entry.payload) is not dict or not all(type(text) is str for text in texts):
        raise TypeError("a value has another type than it should")
    datetime.fromisoformat(entry.at)
    return entry


def policy_of(digest: str, text: Any) -> str:
    """Return a policy's text, if it is the one that `digest` names. Raises ValueError."""
    wanted = digest.removeprefix("sha256:")
    if not isinstance(text, str) or (len(wanted) == 64 and sha256(text.encode()).hexdigest() != wanted):
        raise ValueError("its text is not the one that this digest names")
    return text
