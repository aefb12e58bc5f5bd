"""Records that are too large for one item: a base with every part, and an item for what each later write changed.

Both are written once and never changed, so what one process has read stays right: it asks for the record's own item, and of its
changes for those that it has not read. When there are as many changes as the base has parts, the next write makes a new base:
on the average a fact writes twice what it changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from greenlight.ledger import parts
from greenlight.ledger.bounded_cache import BoundedCache
from greenlight.ledger.dynamodb import items as items
from greenlight.ledger.dynamodb.client import Dynamo, Item, Key
from greenlight.ledger.dynamodb.items import Rows, item
from greenlight.model.rows import Record

KEPT = 32
"""Large records that a process keeps. The one that was read or written first goes first."""


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record and how it is stored."""

    record: Record
    base: int  # the version whose base holds all parts of that version
    parts: int  # how many the base has
    changes: int  # items of changes since

    @property
    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the record's own item."""
        return {"b": {"N": str(self.base)}, "m": {"N": str(self.parts)}, "n": {"N": str(self.changes)}}


class Records:
    """Read records, and keep the large ones. Safe for threads."""

    def __init__(self, dynamo: Dynamo, rows: Rows) -> None:
        self._dynamo = dynamo
        self._rows = rows
        self._kept: BoundedCache[Key, StoredRecord] = BoundedCache(KEPT)

    def read(self, found: Item) -> Record:
        """Return the record whose own item this is."""
        if "b" not in found:
            return self._rows.unpack(Record, found)
        key = found["pk"]["S"], found["sk"]["S"]
        base, count, changes, version = (int(found[name]["N"]) for name in ("b", "m", "n", "v"))
        kept = self._kept.get(key)
        if kept is not None and kept.record.version == version:
            return kept.record
        rest = self._rows.unpack(Record, found["rest"]["M"], version=version)
        if kept is not None and base <= kept.record.version < version:
            record = parts.over(kept.record, rest, self._pieces(rest, kept.record.version + 1))
        else:
            pieces = ",".join(self._pieces(rest, base))
            record = parts.whole(self._rows.unpack_text(found["rest"]["M"]), f"[{pieces}]", version=version)
        self.keep(StoredRecord(record, base, count, changes))
        return record

    def _pieces(self, rest: Record, first: int) -> list[str]:
        """Return what the versions from `first` to this one wrote, in order."""
        partition = items.parts_pk(rest.repo, rest.sha)
        between = {"p": partition, "a": items.parts_sk(first), "z": items.parts_sk(rest.version)}
        found = self._dynamo.query("pk = :p AND sk BETWEEN :a AND :z", between)
        return [self._rows.unpack_text(one) for one in found]

    def keep(self, large: StoredRecord) -> None:
        """Keep how the record is stored. An older version than another process knows costs only a read."""
        self._kept.put(items.record_key(large.record.repo, large.record.sha), large)

    def stored_after(self, row: Record, now: datetime) -> tuple[StoredRecord, Item | None]:
        """Return how a large record will be stored in place of the present version, and the item beside its own."""
        after = replace(row, version=row.version + 1)
        kept = self._kept.get(items.record_key(row.repo, row.sha))
        if kept is not None and kept.record.version == row.version:
            new, gone = parts.changed(kept.record, row)
            if not gone and kept.changes < max(parts.WHOLE, kept.parts):
                if not new:
                    return replace(kept, record=after), None
                return replace(kept, record=after, changes=kept.changes + 1), self._piece(after, new, now)
        everything = parts.parts(row)
        return StoredRecord(after, after.version, len(everything), 0), self._piece(after, everything, now)

    def _piece(self, after: Record, some: parts.Parts, now: datetime) -> Item:
        key = items.parts_pk(after.repo, after.sha), items.parts_sk(after.version)
        return item(key, **self._rows.pack_text(parts.piece(some), now))
