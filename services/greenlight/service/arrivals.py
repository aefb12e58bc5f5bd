"""The last webhooks that were answered, for the board: accepted, ignored and refused, with the reason.

The process that answers them keeps them in memory, and writes them down in the ledger, from where every board reads them.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, zip_longest

from greenlight.ledger.arrivals import BYTES, MOST, ArrivalRows
from greenlight.ledger.rows_json import dumps
from greenlight.lib.clock import Clock
from greenlight.lib.later import Later
from greenlight.model.arrivals import Arrival, ProcessArrivals

KEPT = 60
"""Webhooks that are kept of those that were signed right, and of the others: a flood of one hides none of the other."""

SENDERS = 200
"""Senders of which the last webhook is kept."""

LASTS = timedelta(days=3)
"""For how long the ledger has what a process wrote down last: over a weekend."""

DELAY = 5.0
"""Seconds between two writes of one process, however many webhooks it answers."""

ALONE = 60.0
"""The same on one machine, where the board has them from memory, and only the next process reads what was written."""


class Arrivals:
    """Keep the last webhooks. Safe for threads; memory is bounded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._signed: deque[Arrival] = deque(maxlen=KEPT)
        self._refused: deque[Arrival] = deque(maxlen=KEPT)
        self._last: OrderedDict[tuple[str, bool], Arrival] = OrderedDict()
        self._counts: Counter[str] = Counter()

    def add(self, arrival: Arrival) -> None:
        """Keep one more."""
        sender = (arrival.sender, arrival.signed)
        with self._lock:
            (self._signed if arrival.signed else self._refused).append(arrival)
            self._counts[arrival.verdict] += 1
            self._last[sender] = arrival
            self._last.move_to_end(sender)
            while len(self._last) > SENDERS:
                self._last.popitem(last=False)

    def newest(self, limit: int) -> Sequence[Arrival]:
        """Return the last ones, newest first: of those that were signed right at least half of them, if there are."""
        with self._lock:
            signed, refused = list(reversed(self._signed)), list(reversed(self._refused))
        half = limit // 2
        found = signed[: max(half, limit - len(refused))] + refused[: max(half, limit - len(signed))]
        return sorted(found, key=lambda arrival: arrival.at, reverse=True)

    def last_of(self, sender: str) -> Arrival | None:
        """Return the last one of a sender that was signed right."""
        with self._lock:
            return self._last.get((sender, True))

    def last_refused(self, label: str) -> Arrival | None:
        """Return the last one of a route that was not."""
        with self._lock:
            return self._last.get((label, False))

    def kept(self) -> Sequence[Arrival]:
        """Return all that is kept, the most useful first: the last of each sender, then the newest of both kinds."""
        with self._lock:
            both = zip_longest(reversed(self._signed), reversed(self._refused))
            newest = [arrival for pair in both for arrival in pair if arrival is not None]
            return list(dict.fromkeys([*reversed(self._last.values()), *newest]))

    def counts(self) -> dict[str, int]:
        """Return how many there were, by verdict."""
        with self._lock:
            return dict(self._counts)


class KeptArrivals(Arrivals):
    """Keep the last webhooks of this process in the ledger, too.

    A thread writes them, so that no answer waits for the ledger or fails with it.
    """

    def __init__(
        self, rows: ArrivalRows, process: str, clock: Clock, log: logging.Logger, *, alone: bool = False
    ) -> None:
        super().__init__()
        self._rows, self._clock, self._log = rows, clock, log.getChild("arrivals")
        self.process, self.since = process, clock.now()
        self._failed = False
        self._later = Later(self._write, "arrivals", ALONE if alone else DELAY)
        self._written = 0  # webhooks that are counted in what was written last

    def add(self, arrival: Arrival) -> None:
        """Keep one more; it is written down a moment later."""
        super().add(arrival)
        self._later.due()

    def start(self) -> None:
        """Begin to write."""
        self._later.start()

    def stop(self, timeout: float) -> None:
        """Write the last ones."""
        self._later.stop(timeout)

    def row(self) -> ProcessArrivals:
        """Return what is written down, as much as a row may have."""
        now, counts = self._clock.now(), self.counts()
        empty = ProcessArrivals(self.process, self.since, now, counts, ())
        return ProcessArrivals(self.process, self.since, now, counts, tuple(_fitting(self.kept(), _size(empty))))

    def _write(self) -> None:
        row = self.row()
        total = sum(row.counts.values())
        if total == self._written:
            return
        try:
            self._rows.keep(row, LASTS)
        except Exception as problem:
            if not self._failed:
                self._log.warning(
                    "the last webhooks cannot be written down for the board; it is tried again: %s", problem
                )
            self._failed = True
            self._later.due()
            return
        self._written, self._failed = total, False


def _fitting(arrivals: Iterable[Arrival], used: int) -> Iterable[Arrival]:
    """Yield the first arrivals, as many as fit into a row beside the bytes that are used."""
    for arrival in arrivals:
        used += _size(arrival) + 1
        if used > BYTES:
            return
        yield arrival


def _size(row: Arrival | ProcessArrivals) -> int:
    return len(dumps(row).encode())


@dataclass(frozen=True, slots=True)
class KnownArrivals:
    """The last webhooks that are known, and the processes that answered them."""

    arrivals: Arrivals
    processes: Sequence[ProcessArrivals]  # the one that wrote last first
    since: datetime  # all that were answered since then are among those of these processes


def known_arrivals(rows: ArrivalRows, own: KeptArrivals | None, now: datetime) -> KnownArrivals:
    """Return what the processes have written down, and what this one, `own`, has since."""
    processes = [row for row in rows.newest() if own is None or row.process != own.process]
    found = chain.from_iterable(row.arrivals for row in processes)
    if own is not None:
        processes, found = [own.row(), *processes], chain(own.kept(), found)
    arrivals = Arrivals()
    for arrival in sorted(found, key=lambda arrival: arrival.at):
        arrivals.add(arrival)
    since = max(now - LASTS, min((row.since for row in processes), default=now - LASTS))
    if len(processes) >= MOST:
        since = max(since, processes[-1].at)
    return KnownArrivals(arrivals, processes, since if own is None else min(since, own.since))
