"""The listing of records, newest first: the indexes say which, the table says what."""

from __future__ import annotations

import binascii
import heapq
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from greenlight.ledger.dynamodb import items as items
from greenlight.ledger.dynamodb.client import Dynamo, Item, Key
from greenlight.ledger.dynamodb.items import GROUPED, ORDERED, joined
from greenlight.ledger.port import Page
from greenlight.model.rows import DecisionRow, Record

Decisions = Callable[[Iterable[Item]], Sequence[DecisionRow]]
"""Those of some items that can be read as decisions."""

LOOKS = 1000
"""Records that are looked at for one page: a filter that few pass gives short pages, and a cursor to go on."""

LOOKS_AT_DECISIONS = 200
"""The same where each record's decisions have to be read for it."""

_POSITION = re.compile(r"(-|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})#[^#]+#[^#]+")


@dataclass(frozen=True, slots=True)
class Decided:
    """The filter for a record's decisions; None for any."""

    application: str | None
    environment: str | None
    state: str | None

    @property
    def anything(self) -> bool:
        """Return whether every record passes."""
        return self.application is None and self.environment is None and self.state is None

    def holds(self, row: DecisionRow) -> bool:
        """Return whether a decision passes."""
        return (
            self.application in (None, row.application)
            and self.environment in (None, row.environment)
            and self.state in (None, row.decision)
        )


def listing(
    dynamo: Dynamo,
    read: Callable[[Item], Record | None],
    those: Decisions,
    repo: str | None,
    ref: str | None,
    decided: Decided,
    cursor: str | None,
    limit: int,
) -> Page:
    """Return records by `updated`, without those of which `read` gives None.

    ValueError for a cursor that no listing gave.
    """
    after = None if cursor is None else _from_cursor(cursor)
    partitions = items.shards("records") if repo is None else [joined("records", repo)]
    index, name = (ORDERED, "q") if repo is None else (GROUPED, "g")
    pages = [_keys(dynamo, index, name, partition, after, min(limit + 1, 100)) for partition in partitions]
    candidates = heapq.merge(*pages, key=lambda one: one["o"]["S"], reverse=True)
    looks = LOOKS if decided.anything else LOOKS_AT_DECISIONS
    found: list[tuple[str, Record]] = []
    last = None
    while looks > 0 and len(found) <= limit:
        some = list(islice(candidates, min(limit + 1, 100, looks)))
        if not some:
            return Page([record for _, record in found], None)
        looks -= len(some)
        last = some[-1]["o"]["S"]
        there = dynamo.get_all([_key(one) for one in some])
        for one in some:
            stored = there.get(_key(one))
            # One that has moved up since the index was written is a page before this one.
            if stored is None or stored["o"]["S"] != one["o"]["S"]:
                continue
            record = read(stored)
            if record is not None and _passes(dynamo, those, record, ref, decided):
                found.append((one["o"]["S"], record))
    if len(found) > limit:
        last = found[limit - 1][0]
    assert last is not None, "it was looked at something"
    return Page([record for _, record in found[:limit]], _to_cursor(last))


def _keys(dynamo: Dynamo, index: str, name: str, partition: str, after: str | None, page: int) -> Iterator[Item]:
    if after is None:
        return dynamo.query(f"{name} = :p", {"p": partition}, index=index, newest=True, page=page)
    values = {"p": partition, "o": after}
    return dynamo.query(f"{name} = :p AND o < :o", values, index=index, newest=True, page=page)


def _key(one: Item) -> Key:
    return one["pk"]["S"], one["sk"]["S"]


def _passes(dynamo: Dynamo, those: Decisions, record: Record, ref: str | None, decided: Decided) -> bool:
    if ref is not None and ref not in record.pushes:
        return False
    if decided.anything:
        return True
    partition, _ = items.decision_key("", "", record.repo, record.sha)
    decisions = dynamo.query("pk = :p", {"p": partition})
    return any(decided.holds(row) for row in those(decisions))


def _to_cursor(position: str) -> str:
    """Return an opaque text, safe in a URL, that names a position: (updated, repo, sha)."""
    return urlsafe_b64encode(position.encode()).decode()


def _from_cursor(cursor: str) -> str:
    try:
        position = urlsafe_b64decode(cursor.encode("ascii")).decode()
    except (UnicodeError, binascii.Error):
        position = ""
    if not _POSITION.fullmatch(position):
        raise ValueError("the cursor is not one that a listing gave: start again without it")
    return position
