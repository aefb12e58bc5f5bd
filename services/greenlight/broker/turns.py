"""Events that wait for a worker of one Trigger: those of one partition key in their order, the keys in turn.

So however many wait for one repository, the next event of another one is at most one event of each away.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from greenlight.broker.log import Entry

READY_EVENTS = 256
READY_BYTES = 4 << 20
"""What is held of waiting events at most; of further ones only the number is, and they are read from the log again."""

KEY = "partitionkey"
"""CloudEvents' extension that says which events belong together (Partitioning extension 1.0)."""


@dataclass(slots=True)
class Job:
    """One attempt. `tries` were made before; `letter`: a dead letter on its way to the sink; `entry` None: read it."""

    seq: int
    tries: int = 0
    letter: int | None = None
    entry: Entry | None = None
    key: str | None = None  # where it took its key's turn


class Turns:
    """Of one key, `of_one` are at work at once (None: any number). Not safe for threads: its owner has a lock."""

    def __init__(self, of_one: int | None) -> None:
        self.of_one = of_one
        self._waiting: dict[str, deque[int]] = {}  # by key, in the keys' turns; none of them empty
        self._at_work: Counter[str] = Counter()
        self._held: dict[int, Entry] = {}
        self._bytes = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, seq: int, entry: Entry) -> None:
        """An event waits, behind those of its key."""
        key = str(entry.event.extensions.get(KEY) or "")
        self._waiting.setdefault(key, deque()).append(seq)
        self._count += 1
        if len(self._held) < READY_EVENTS and self._bytes <= READY_BYTES:
            self._held[seq] = entry
            self._bytes += entry.size

    @property
    def ready(self) -> bool:
        """Whether there is a key whose turn it may be."""
        return self._turn() is not None

    def take(self) -> Job | None:
        """The first event of the key whose turn it is; None if there is no such key."""
        key = self._turn()
        if key is None:
            return None
        events = self._waiting.pop(key)
        seq = events.popleft()
        if events:
            self._waiting[key] = events
        self._count -= 1
        self._at_work[key] += 1
        entry = self._held.pop(seq, None)
        if entry is not None:
            self._bytes -= entry.size
        return Job(seq, entry=entry, key=key)

    def done(self, job: Job) -> None:
        """A job is not at work any more. Nothing happens for one that took no turn."""
        if job.key is None:
            return
        self._at_work[job.key] -= 1
        if not self._at_work[job.key]:
            del self._at_work[job.key]

    def _turn(self) -> str | None:
        if self.of_one is None:
            return next(iter(self._waiting), None)
        return next((key for key in self._waiting if self._at_work[key] < self.of_one), None)
