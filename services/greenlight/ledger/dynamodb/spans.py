"""Kept spans in the ledger's table: an item for each part, which DynamoDB drops by itself when its time is over."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from itertools import islice

from greenlight.ledger.dynamodb.client import Dynamo
from greenlight.ledger.dynamodb.items import item, joined, stamp
from greenlight.ledger.spans import MOST


class DynamoSpans:
    """Spans in the table of `dynamo`. Safe for threads."""

    def __init__(self, dynamo: Dynamo, clock: Callable[[], datetime]) -> None:
        self._dynamo, self._clock = dynamo, clock

    def keep(self, parts: Sequence[tuple[str, bytes]], lasts: timedelta) -> None:
        """Store the parts by as few requests as possible. What DynamoDB has no capacity for now is lost."""
        now = self._clock()
        until, at = str(int((now + lasts).timestamp())), stamp(now)
        self._dynamo.put_some([
            item(
                (joined("spans", trace), joined(at, f"{n:04d}", secrets.token_hex(4))),
                b={"B": body},
                expires={"N": until},
            )
            for n, (trace, body) in enumerate(parts)
        ])  # fmt: skip

    def of(self, traces: Collection[str]) -> Sequence[bytes]:
        """Return the parts of these traces."""
        found = [
            (one["sk"]["S"], one["b"]["B"])
            for trace in traces
            for one in islice(self._dynamo.query("pk = :p", {"p": joined("spans", trace)}, newest=True), MOST)
        ]
        return [body for _, body in sorted(found)]
