"""A lock for each key, given to those who wait for it in the order in which they came."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 0.25
"""Seconds that a thread waits for the one that holds the lock of its key, before it goes on beside it: some 50 times what a
webhook or an event takes. What takes longer, such as deciding a thousand commits anew, holds up nobody for more than that."""

ALONE = 1.0
"""Seconds without any other key after which those of one key do not wait for each other: longer than another repository's
commit is at work elsewhere between two of its events, which are 10 to 30 ms apart."""


class KeyedLock:
    """Let threads work for a key one at a time, while others work for other keys.

    A thread that has finished and comes again waits behind all that were there before it. This is about fairness alone,
    and protects nothing: two hold the lock of one key where the first does so for more than `patience` seconds, or no
    other key was asked for within `alone` seconds.
    """

    def __init__(self, patience: float = PATIENCE, alone: float = ALONE) -> None:
        self.patience, self.alone = patience, alone
        self._lock = threading.Lock()
        self._queues: dict[str, deque[threading.Event]] = {}  # by key: who holds it, then who waits
        self._latest, self._since = "", 0.0  # the last key that was asked for, and since when no other one was

    @contextmanager
    def holding(self, key: str) -> Iterator[None]:
        """Hold the lock of `key` for the block; nothing is held for an empty key. Must not be nested for one key."""
        if not key:
            yield
            return
        mine = threading.Event()
        self._wait(key, mine)
        try:
            yield
        finally:
            with self._lock:
                self._leave(key, mine)

    def waiting(self, key: str) -> int:
        """Count the threads that wait for the lock of `key`."""
        with self._lock:
            return sum(not one.is_set() for one in self._queues.get(key, ()))

    def _wait(self, key: str, mine: threading.Event) -> None:
        with self._lock:
            queue = self._queues.setdefault(key, deque())
            queue.append(mine)
            first = queue[0]
            if self._is_alone(key) or first is mine:
                mine.set()
        while not mine.wait(self.patience):
            with self._lock:
                if not mine.is_set():
                    self._leave(key, first)
                    first = queue[0]

    def _leave(self, key: str, one: threading.Event) -> None:
        """Let the next thread in line hold the lock. Do nothing if `one` has left already."""
        queue = self._queues.get(key, deque())
        if one not in queue:
            return
        queue.remove(one)
        if queue:
            queue[0].set()
        else:
            del self._queues[key]

    def _is_alone(self, key: str) -> bool:
        now = time.monotonic()
        if key != self._latest:
            self._latest, self._since = key, now
        return now - self._since > self.alone
