"""Events that wait for a thread of one Trigger: those of one partition key in their order, the keys in turn.

However many events wait for one repository, the next event of another one is at most one event of each key away.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from greenlight.broker.log.stored_event import StoredEvent

READY_EVENTS = 256
READY_BYTES = 4 << 20
"""How much of waiting events is held in memory; further ones are held by number, and read from the log again."""

KEY = "partitionkey"
"""CloudEvents' extension that says which events belong together (Partitioning extension 1.0)."""


@dataclass(slots=True)
class Job:
    """One attempt, after `tries` that failed. `stored` None: the event is to be read from the log.

    `dead_letter`: the id of the dead letter to send to the dead-letter sink; None: the event goes to the subscriber.
    """

    seq: int
    tries: int = 0
    dead_letter: int | None = None
    stored: StoredEvent | None = None
    key: str | None = None  # the key whose turn it took


class FairQueue:
    """Queue jobs, of one key at most `per_key` in flight at once (None: any number).

    It has no lock: its WorkQueue has one.
    """

    def __init__(self, per_key: int | None) -> None:
        self.per_key = per_key
        self._waiting: dict[str, deque[int]] = {}  # by key, in the keys' turns; none of them empty
        self._in_flight: Counter[str] = Counter()
        self._stored: dict[int, StoredEvent] = {}
        self._bytes = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, seq: int, stored: StoredEvent) -> None:
        """Queue an event behind those of its key."""
        key = str(stored.event.extensions.get(KEY) or "")
        self._waiting.setdefault(key, deque()).append(seq)
        self._count += 1
        if len(self._stored) < READY_EVENTS and self._bytes <= READY_BYTES:
            self._stored[seq] = stored
            self._bytes += stored.size

    @property
    def ready(self) -> bool:
        """Return whether an event may be taken."""
        return self._next_key() is not None

    def take(self) -> Job | None:
        """Return the first event of the next key; None if no key has one."""
        key = self._next_key()
        if key is None:
            return None
        events = self._waiting.pop(key)
        seq = events.popleft()
        if events:
            self._waiting[key] = events
        self._count -= 1
        self._in_flight[key] += 1
        stored = self._stored.pop(seq, None)
        if stored is not None:
            self._bytes -= stored.size
        return Job(seq, stored=stored, key=key)

    def done(self, job: Job) -> None:
        """End a job. Nothing happens for one that took no turn."""
        if job.key is None:
            return
        self._in_flight[job.key] -= 1
        if not self._in_flight[job.key]:
            del self._in_flight[job.key]

    def _next_key(self) -> str | None:
        if self.per_key is None:
            return next(iter(self._waiting), None)
        return next((key for key in self._waiting if self._in_flight[key] < self.per_key), None)
