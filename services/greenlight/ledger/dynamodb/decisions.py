"""The decisions of a target: the table names them by state and push, and then they are read."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from itertools import islice

from greenlight.ledger.bounded_cache import BoundedCache
from greenlight.ledger.dynamodb import items as items
from greenlight.ledger.dynamodb.items import joined, stamp
from greenlight.ledger.dynamodb.reader import Reader
from greenlight.ledger.dynamodb.writes import SUPERSEDED
from greenlight.model.rows import DecisionRow

OLD_AGAIN = timedelta(minutes=1)
"""How long it is taken for sure that nothing is named where version 0.1 named decisions."""

OLD_PLACES = 5000
"""Places without decisions that a process keeps."""


class Decisions:
    """Read the decisions of one ledger's targets."""

    def __init__(self, reader: Reader, clock: Callable[[], datetime]) -> None:
        self._reader, self._clock = reader, clock
        self._empty: BoundedCache[str, datetime] = BoundedCache(OLD_PLACES)

    def newest(
        self,
        application: str,
        environment: str,
        states: Sequence[str],
        since: tuple[datetime, datetime] | None,
        limit: int,
    ) -> Sequence[DecisionRow]:
        """Return decisions as `Ledger.decisions` promises."""
        wanted, page = set(states), min(limit, 100)
        places = [items.candidates_pk(application, environment, state) for state in wanted]
        places += [place for place in _old_places(application, environment, wanted) if not self._is_empty(place)]
        later, then = ("", {}) if since is None else (" AND sk >= :s", {"s": joined(*map(stamp, since))})
        named = [
            self._reader.dynamo.query(f"pk = :p{later}", {"p": place, **then}, newest=True, page=page)
            for place in places
        ]
        pointers = heapq.merge(*named, key=lambda pointer: pointer["sk"]["S"], reverse=True)
        found: dict[tuple[str, str], DecisionRow] = {}
        while len(found) < limit:
            keys = [(pointer["d"]["S"], pointer["k"]["S"]) for pointer in islice(pointers, page)]
            if not keys:
                break
            there = self._reader.get_all(keys)
            rows = {key: there[key] for key in keys if key in there and there[key]["s"]["S"] in wanted}
            found |= {(row.repo, row.sha): row for row in self._reader.those(DecisionRow, rows.values())}
        return list(found.values())[:limit]

    def _is_empty(self, place: str) -> bool:
        """Return whether version 0.1 has no decision named there any more.

        Looked at again from time to time, while it may run.
        """
        last, now = self._empty.get(place), self._clock()
        if last is not None and now - last < OLD_AGAIN:
            return True
        if next(self._reader.dynamo.query("pk = :p", {"p": place}, page=1), None) is not None:
            return False
        self._empty.put(place, now)
        return True


def _old_places(application: str, environment: str, states: Collection[str]) -> set[str]:
    """Return the partitions in which version 0.1 named decisions of these states."""
    return {items.old_candidates_pk(application, environment, open=state != SUPERSEDED) for state in states}
