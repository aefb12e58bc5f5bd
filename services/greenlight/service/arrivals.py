"""The last webhooks that this process answered, for the board: accepted, ignored and refused, with the reason."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

KEPT = 200
"""Webhooks that are kept of those that were signed right, and of the others: a flood of one hides none of the other."""

SENDERS = 200
"""Senders of which the last webhook is kept."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A webhook that was answered."""

    at: datetime
    sender: str  # the file of its secrets, or the route's label where the signature was wrong
    verdict: str  # accepted, ignored, refused, unauthenticated, malformed, ...
    status: int
    why: str = ""  # why it was ignored or refused
    repo: str | None = None
    sha: str | None = None
    fact: str | None = None

    @property
    def signed(self) -> bool:
        """Return whether its sender is known."""
        return self.verdict in ("accepted", "ignored")


class Arrivals:
    """Keep the last webhooks. Safe for threads; memory is bounded, and a restart begins anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._signed: deque[Arrival] = deque(maxlen=KEPT)
        self._refused: deque[Arrival] = deque(maxlen=KEPT)
        self._last: OrderedDict[str, Arrival] = OrderedDict()

    def add(self, arrival: Arrival) -> None:
        """Keep one more."""
        with self._lock:
            (self._signed if arrival.signed else self._refused).append(arrival)
            if arrival.signed:
                self._last[arrival.sender] = arrival
                self._last.move_to_end(arrival.sender)
                while len(self._last) > SENDERS:
                    self._last.popitem(last=False)

    def newest(self, limit: int) -> Sequence[Arrival]:
        """Return the last ones, newest first."""
        with self._lock:
            found = [*self._signed, *self._refused]
        return sorted(found, key=lambda it: it.at, reverse=True)[:limit]

    def last_of(self, sender: str) -> Arrival | None:
        """Return the last one of a sender that was signed right."""
        with self._lock:
            return self._last.get(sender)

    def last_refused(self, label: str) -> Arrival | None:
        """Return the last one of a route that was not."""
        with self._lock:
            return next((it for it in reversed(self._refused) if it.sender == label), None)
