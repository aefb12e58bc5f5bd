"""The pushes of a repository. A push never changes, so a process decodes each once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from itertools import islice

from greenlight.ledger.bounded_cache import BoundedCache
from greenlight.ledger.dynamodb import items as items
from greenlight.ledger.dynamodb.client import Item, Key
from greenlight.ledger.dynamodb.items import stamp
from greenlight.ledger.dynamodb.reader import Reader, key_of
from greenlight.model.rows import Push

KEPT = 5000
"""Pushes that a process keeps."""

Of = Callable[[str], bool]
"""Which refs."""


class Pushes:
    """Read the pushes of one ledger."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._kept: BoundedCache[Key, Push] = BoundedCache(KEPT)

    def newest(self, repo: str, since: datetime | None, of: Of | None, limit: int | None) -> Sequence[Push]:
        """Return pushes as `Ledger.pushes` promises. A session reads all the pushes of a repository once."""
        session = self._reader.session
        if session is None or of is not None or limit is not None:
            return self._queried(repo, since, of, limit)
        found = session.pushes(repo, since)
        if found is None:
            found = self._queried(repo, since, of, limit)
            session.keep_pushes(repo, since, found)
        return found

    def _queried(self, repo: str, since: datetime | None, of: Of | None, limit: int | None) -> Sequence[Push]:
        partition, wanted = items.pushes_pk(repo), None if of is None else cache(of)
        if since is None:
            found = self._reader.dynamo.query("pk = :p", {"p": partition}, newest=True)
        else:
            since_then = {"p": partition, "s": stamp(since)}
            found = self._reader.dynamo.query("pk = :p AND sk >= :s", since_then, newest=True)
        newest = list(islice((one for one in found if wanted is None or wanted(one["ref"]["S"])), limit))
        return [self._push(one) for one in reversed(newest)]

    def _push(self, found: Item) -> Push:
        key = key_of(found)
        push = self._kept.get(key)
        if push is None:
            push = self._reader.read("pushes", found, lambda: self._reader.rows.unpack(Push, found))
            self._kept.put(key, push)
        return push
