"""Events that wait for a worker of one Trigger: those of one partition key in their order, the keys in turn.

So however many wait for one repository, the next event of another one is at most one event of each away.
"""

from __future__ import annotations

from collections import deque
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


class Turns:
    """Not safe for threads: its owner has a lock."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[int]] = {}  # by key, in the keys' turns; none of them empty
        self._held: dict[int, Entry] = {}
        self._bytes = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, seq: int, entry: Entry) -> None:
        """An event waits, behind those of its key."""
        key = entry.event.extensions.get(KEY)
        self._waiting.setdefault(str(key or ""), deque()).append(seq)
        self._count += 1
        if len(self._held) < READY_EVENTS and self._bytes <= READY_BYTES:
            self._held[seq] = entry
            self._bytes += entry.size

    def take(self) -> Job:
        """The first event of the key whose turn it is. Raises StopIteration if nothing waits."""
        key = next(iter(self._waiting))
        events = self._waiting.pop(key)
        seq = events.popleft()
        if events:
            self._waiting[key] = events
        self._count -= 1
        entry = self._held.pop(seq, None)
        if entry is not None:
            self._bytes -= entry.size
        return Job(seq, entry=entry)
