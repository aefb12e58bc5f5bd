"""The entries of the journals: those of one stream, and those about one commit in any stream."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from greenlight.ledger.dynamodb import items as items
from greenlight.ledger.dynamodb.client import Item
from greenlight.ledger.dynamodb.items import GROUPED, joined
from greenlight.ledger.dynamodb.reader import Reader
from greenlight.ledger.port import Unreadable
from greenlight.ledger.unreadable import NO_TIME, payload_of, whole_entry
from greenlight.model.keys import commit_stream
from greenlight.model.rows import Entry

PAGE = 1000
"""Entries that one request reads at the most."""

LAST = items.entry_key("", 10**10 - 1)[1]
"""The sort key of the last entry that a stream can have."""


class Journals:
    """Read the journals of one ledger."""

    def __init__(self, reader: Reader) -> None:
        self._reader, self._dynamo = reader, reader.dynamo

    def journal(self, stream: str, after: int, limit: int) -> Sequence[Entry]:
        """Return the entries of a stream with seq > after, in order."""
        partition, first = items.entry_key(stream, after + 1)
        values = {"p": partition, "a": first, "z": LAST}
        found = self._dynamo.query("pk = :p AND sk BETWEEN :a AND :z", values, page=min(limit, PAGE))
        return [self._entry(one) for one in islice(found, limit)]

    def newest_entries(self, stream: str, limit: int) -> Sequence[Entry]:
        """Return the last `limit` entries of a stream, in order."""
        partition, first = items.entry_key(stream, 1)
        values = {"p": partition, "a": first, "z": LAST}
        found = self._dynamo.query("pk = :p AND sk BETWEEN :a AND :z", values, newest=True, page=min(limit, PAGE))
        return [self._entry(one) for one in islice(found, limit)][::-1]

    def entries(self, repo: str, sha: str, limit: int | None) -> Sequence[Entry]:
        """Return the newest `limit` entries about a commit in any stream, by time."""
        own, first = items.entry_key(commit_stream(repo, sha), 1)
        between, about = {"p": own, "a": first, "z": LAST}, {"g": joined("commit", repo, sha)}
        page = 0 if limit is None else min(limit, PAGE)
        mine = self._dynamo.query("pk = :p AND sk BETWEEN :a AND :z", between, newest=True, page=page)
        others = self._dynamo.query("g = :g", about, index=GROUPED, newest=True, page=page)
        own_newest = islice((one for one in mine if "g" not in one), limit)
        found = [self._entry(one) for one in (*own_newest, *self._reader.behind(islice(others, limit)))]
        found.sort(key=lambda entry: (entry.at, entry.stream, entry.seq))
        return found if limit is None else found[max(0, len(found) - limit) :]

    def _entry(self, found: Item) -> Entry:
        """Return an entry; for an unreadable one, an entry with the reason, at which the chain breaks."""
        stream, seq = found["stream"]["S"], int(found["sk"]["S"][1:])

        def decode() -> Entry:
            return whole_entry(Entry(stream=stream, seq=seq, **payload_of(self._reader.rows.unpack_text(found))))

        try:
            return self._reader.read("entries", found, decode)
        except Unreadable as problem:
            return Entry(stream, seq, "unreadable", NO_TIME, "", {"unreadable": str(problem)}, "", "")
