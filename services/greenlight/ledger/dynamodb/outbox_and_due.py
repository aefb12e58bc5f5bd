"""The outbox, and what is due: rows that an index lists by time, and that the table then shows as they are."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

from greenlight.events import Event
from greenlight.ledger.bounded_cache import BoundedCache
from greenlight.ledger.dynamodb import items as items
from greenlight.ledger.dynamodb.client import Cancelled, Item
from greenlight.ledger.dynamodb.items import ORDERED, stamp
from greenlight.ledger.dynamodb.reader import Reader
from greenlight.ledger.unreadable import LATER
from greenlight.model.rows import Due

H = TypeVar("H", Event, Due)

EMITTED = 5000
"""Events without a row in the outbox that a process remembers until they are published."""


class OutboxAndDue:
    """Read the outbox and what is due for one ledger, and remove what was published."""

    def __init__(self, reader: Reader) -> None:
        self._reader, self._dynamo = reader, reader.dynamo
        self._only_due: BoundedCache[str, bool] = BoundedCache(EMITTED)

    def emitted(self, events: Sequence[Event], due: Sequence[Due]) -> None:
        """Remember which of the events that were just emitted have no row in the outbox, because they are due."""
        ids = {row.event.id for row in due}
        for event in events:
            if event.id in ids:
                self._only_due.put(event.id, True)
            else:
                self._only_due.drop(event.id)

    def outbox(self, older_than: datetime, limit: int) -> Sequence[Event]:
        """Return events that were emitted before `older_than` and are not known to be published."""
        found = self._readable(Event, self._before("outbox", stamp(older_than), limit), older_than)
        for event in found:  # another process may have emitted it again
            self._only_due.drop(event.id)
        return found

    def published(self, ids: Sequence[str]) -> None:
        """Remove these events from the outbox. Those that were never there cost no request."""
        there = [id for id in ids if self._only_due.get(id) is None]
        if there:
            self._dynamo.delete([items.outbox_key(id) for id in there])

    def due(self, before: datetime, limit: int) -> Sequence[Due]:
        """Return what is due at or before `before`, earliest first."""
        until = stamp(before + timedelta(microseconds=1))
        return self._readable(Due, self._before("due", until, limit), before)

    def next_due(self) -> datetime | None:
        """Return when the first is due."""
        queries = [self._dynamo.query("q = :q", {"q": shard}, index=ORDERED, page=1) for shard in items.shards("due")]
        first = [one for query in queries for one in islice(query, 1)]
        return min((items.from_stamp(one["o"]["S"]) for one in first), default=None)

    def _before(self, kind: str, until: str, limit: int) -> list[Item]:
        """Return the earliest of what the index says of a kind before `until`, as the table has it now."""
        found = [
            self._dynamo.query("q = :q AND o < :o", {"q": shard, "o": until}, index=ORDERED, page=limit)
            for shard in items.shards(kind)
        ]
        earliest = islice(heapq.merge(*found, key=lambda one: one["o"]["S"]), limit)
        there = [one for one in self._reader.behind(earliest) if one["o"]["S"] < until]
        return sorted(there, key=lambda one: one["o"]["S"])

    def _readable(self, kind: type[H], there: Sequence[Item], now: datetime) -> list[H]:
        """Return those that can be read; the others are looked at again LATER, so that they are in the way of none."""
        found = []
        for one in there:
            readable = self._reader.those(kind, [one])
            found += readable
            if not readable:
                self._look_later(one, now)
        return found

    def _look_later(self, one: Item, now: datetime) -> None:
        """Move the item within its index, unless it has moved since it was read."""
        old = one["o"]["S"]
        update = {
            "Key": {"pk": one["pk"], "sk": one["sk"]},
            "UpdateExpression": "SET o = :new",
            "ConditionExpression": "o = :old",
            "ExpressionAttributeValues": {":new": {"S": stamp(now + LATER) + old[26:]}, ":old": {"S": old}},
        }
        with suppress(Cancelled):
            self._dynamo.transact([("Update", update)])
