"""Kept arrivals in the ledger's table: an item for each process, which DynamoDB drops when its time is over (TTL)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import islice

from greenlight.ledger.arrivals import MOST, bounded
from greenlight.ledger.dynamodb import items as items
from greenlight.ledger.dynamodb.items import ORDERED, item, joined, stamp, text
from greenlight.ledger.dynamodb.reader import Reader
from greenlight.model.arrivals import ProcessArrivals


class DynamoArrivals:
    """The rows in the table of `reader`. Safe for threads."""

    def __init__(self, reader: Reader, clock: Callable[[], datetime]) -> None:
        self._reader, self._clock = reader, clock

    def keep(self, row: ProcessArrivals, lasts: timedelta) -> None:
        """Store the row, by one request. It is small enough for an item."""
        self._reader.dynamo.put(
            item(
                items.arrivals_key(row.process),
                q=text("arrivals"),
                o=text(joined(stamp(row.at), row.process)),
                expires={"N": str(int((row.at + lasts).timestamp()))},
                **self._reader.rows.pack_text(bounded(row), row.at),
            )
        )

    def newest(self) -> Sequence[ProcessArrivals]:
        """Return the rows that the index has last: DynamoDB drops what has expired some days late."""
        found = self._reader.dynamo.query("q = :q", {"q": "arrivals"}, index=ORDERED, newest=True, page=MOST)
        now = int(self._clock().timestamp())
        there = [one for one in self._reader.behind(islice(found, MOST)) if int(one["expires"]["N"]) > now]
        return self._reader.those(ProcessArrivals, there)
