"""Bodies in the ledger's own table, cut into items: where no bucket is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from greenlight.ledger.dynamodb import items as items
from greenlight.ledger.dynamodb.client import Dynamo, Key
from greenlight.ledger.dynamodb.items import ORDERED, item, joined, stamp

PIECE = 360 * 1024
"""Bytes in one item, which holds 400 KB."""


class InTable:
    """A file is the items of one partition. The first is written last and says how many there are."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def put(self, name: str, body: bytes, at: int) -> None:
        """Write the pieces. Raises Unavailable."""
        pieces = [body[start : start + PIECE] for start in range(0, len(body), PIECE)] or [b""]
        when = datetime.fromtimestamp(at / 1_000_000, UTC)
        for number in reversed(range(len(pieces))):
            attributes: dict[str, Any] = {"b": {"B": pieces[number]}}
            if number == 0:
                attributes |= {
                    "n": {"N": str(len(pieces))},
                    "q": {"S": items.shard("files", name)},
                    "o": {"S": joined(stamp(when), name)},
                }
            self._dynamo.put(item(_piece(name, number), **attributes))

    def get(self, name: str) -> bytes | None:
        """Return the pieces together, or None if they are not all there. Raises Unavailable."""
        found = list(self._dynamo.query("pk = :p", {"p": _piece(name, 0)[0]}))
        if not found or "n" not in found[0] or len(found) != int(found[0]["n"]["N"]):
            return None
        return b"".join(one["b"]["B"] for one in found)

    def sweep(self, wanted: Callable[[str], bool], before: int) -> None:
        """Drop those put before `before` that are not `wanted`, unless they were put again."""
        until = stamp(datetime.fromtimestamp(before / 1_000_000, UTC))
        for shard in items.shards("files"):
            for one in self._dynamo.query("q = :q AND o < :o", {"q": shard, "o": until}, index=ORDERED):
                name = one["o"]["S"].partition("#")[2]
                if not wanted(name) and self._dynamo.delete_if(_piece(name, 0), "o < :o", {"o": until}):
                    rest = self._dynamo.query("pk = :p", {"p": _piece(name, 0)[0]})
                    self._dynamo.delete([(piece["pk"]["S"], piece["sk"]["S"]) for piece in rest])


def _piece(name: str, number: int) -> Key:
    return joined("file", name), f"c{number:04d}"
