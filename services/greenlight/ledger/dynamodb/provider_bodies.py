"""The raw bodies of providers' webhooks: a small one lies in the table, a large one is a file that the table names."""

from __future__ import annotations

import zlib
from datetime import datetime
from typing import Any

from greenlight.ledger.bodies import Bodies, digits_of, named
from greenlight.ledger.dynamodb import items as items
from greenlight.ledger.dynamodb.client import Item
from greenlight.ledger.dynamodb.items import ORDERED, item, joined, stamp
from greenlight.ledger.dynamodb.reader import Reader, key_of

IN_ITEM = 4 * 1024
"""Bytes of a deflated body that is kept in the table, in the same transaction as its fact: up to there that costs no more
than a PUT to S3 does, and it is one thing less to wait for. A larger one goes to the files."""


class ProviderBodies:
    """Keep, read and forget bodies for one ledger, with the large ones in `files`."""

    def __init__(self, reader: Reader, files: Bodies) -> None:
        self._reader, self._dynamo, self._files = reader, reader.dynamo, files

    def kept(self, body: bytes, now: datetime) -> Item:
        """Return the item that marks a body as kept, with a small body in it.

        A large one is a file when this returns.
        """
        name, deflated = named(body), zlib.compress(body, 1)
        digest = name.removeprefix("sha256:")
        attributes: dict[str, Any] = {"q": {"S": items.shard("bodies", digest)}, "o": {"S": joined(stamp(now), digest)}}
        if len(deflated) <= IN_ITEM:
            attributes["b"] = {"B": deflated}
        else:
            self._files.put(_file(digest), body, int(now.timestamp() * 1_000_000))
        return item(items.body_key(name), **attributes)

    def body(self, digest: str) -> bytes | None:
        """Return the body with this digest, or None."""
        name = digits_of(digest)
        found = None if name is None else self._dynamo.get(items.body_key(digest))
        if name is None or found is None:
            return None
        if "b" in found:
            return self._reader.read("bodies", found, lambda: zlib.decompress(found["b"]["B"]))
        return self._files.get(_file(name))

    def forget(self, before: datetime) -> int:
        """Drop bodies stored before `before`; return how many."""
        until, forgotten = stamp(before), 0
        for shard in items.shards("bodies"):
            for one in self._dynamo.query("q = :q AND o < :o", {"q": shard, "o": until}, index=ORDERED, page=100):
                forgotten += self._dynamo.delete_if(key_of(one), "o < :o", {"o": until})  # one stored again stays
        self._files.sweep(self._wanted, int(before.timestamp() * 1_000_000))
        return forgotten

    def _wanted(self, name: str) -> bool:
        """Return whether a file is still needed: rows for ever, bodies while the table names them."""
        kind, _, digest = name.partition("-")
        return kind == "row" or (kind == "body" and self._dynamo.get(items.body_key(f"sha256:{digest}")) is not None)


def _file(digest: str) -> str:
    return f"body-{digest}"
