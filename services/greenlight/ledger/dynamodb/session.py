"""The session of one handler: what it has read of the table, and written to it, is not read twice.

Whatever is written on the ground of it is conditional on versions. So what others change meanwhile is found when it
matters: the transaction is not written, everything is forgotten, and the handler reads again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from greenlight.ledger.dynamodb import items as items
from greenlight.ledger.dynamodb.client import MOST_ITEMS, Dynamo, Item, Key
from greenlight.ledger.port import Reading
from greenlight.model.rows import Push


def keys_of(reading: Reading) -> list[Key]:
    """Name the items of a reading, as many as one request gives."""
    keys = [items.fact_key(id) for id in reading.facts]
    keys += [items.record_key(*commit) for commit in reading.records]
    keys += [items.deployment_key(id) for id in reading.deployments]
    keys += [items.due_key(key) for key in reading.due]
    keys += [(items.journal_pk(stream), items.HEAD) for stream in reading.streams]
    keys += [items.in_force_key(repo) for repo in reading.in_force]
    keys += [items.target_key(*target) for target in reading.targets]
    keys += [items.decision_key(*decided) for decided in reading.decisions]
    return list(dict.fromkeys(keys))[:MOST_ITEMS]


class Session:
    """The items and pushes that one handler has at hand. Of one thread."""

    def __init__(self, dynamo: Dynamo, reading: Reading) -> None:
        """Read nothing yet: the named items are read with the first one that is asked for, in one request."""
        self._dynamo = dynamo
        self._first = keys_of(reading)
        self._items: dict[Key, Item | None] = {}
        self._pushes: dict[str, tuple[datetime | None, Sequence[Push]]] = {}

    def get_all(self, keys: Sequence[Key]) -> dict[Key, Item]:
        """Return those of the items that exist, as they were first read, or as they were written since."""
        unknown = [key for key in keys if key not in self._items]
        if unknown:
            room = MOST_ITEMS - len(unknown)
            unknown = list(dict.fromkeys([*unknown, *self._first[: max(0, room)]]))
            self._first = []
            found = self._dynamo.get_all(unknown) if len(unknown) > 1 else self._one(unknown[0])
            self._items.update({key: found.get(key) for key in unknown})
        return {key: item for key in keys if (item := self._items[key]) is not None}

    def _one(self, key: Key) -> dict[Key, Item]:
        found = self._dynamo.get(key)
        return {} if found is None else {key: found}

    def pushes(self, repo: str, since: datetime | None) -> Sequence[Push] | None:
        """Return all pushes of a repository since then, oldest first; None if they were not read yet."""
        start, pushes = self._pushes.get(repo, (None, None))
        if pushes is None or (start is not None and (since is None or since < start)):
            return None
        return pushes if since == start or since is None else [push for push in pushes if push.pushed_at >= since]

    def keep_pushes(self, repo: str, since: datetime | None, pushes: Sequence[Push]) -> None:
        """Keep a repository's pushes."""
        self._pushes[repo] = since, pushes

    def written(self, operations: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Keep what a transaction wrote."""
        for kind, one in operations:
            if kind == "Put":
                self._items[_key(one["Item"])] = one["Item"]
            elif kind == "Delete":
                self._items[_key(one["Key"])] = None
            elif kind == "Update":
                self._items.pop(_key(one["Key"]), None)

    def forget(self, *, pushes_of: Sequence[str] | None = None) -> None:
        """Read again whatever is asked for next; or only the pushes of these repositories."""
        if pushes_of is None:
            self._items.clear()
            self._pushes.clear()
        for repo in pushes_of or ():
            self._pushes.pop(repo, None)


def _key(item: Mapping[str, Any]) -> Key:
    return item["pk"]["S"], item["sk"]["S"]
