"""Several sources, each read by a thread of its own, as one queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

Source = Callable[[Callable[[T], None], threading.Event], None]
"""Puts what it finds, until the event is set; it looks at that at least whenever it waits."""


class MergedSources(Generic[T]):
    """The findings of all sources, in the order in which they are found."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._stopped = threading.Event()

    def add(self, name: str, source: Source[T]) -> None:
        """Begin to read a source."""
        threading.Thread(target=source, args=(self._queue.put, self._stopped), name=name, daemon=True).start()

    def next(self, seconds: float) -> list[T]:
        """Return all that is there, after waiting at most `seconds` for the first; empty if nothing came, or on `close`."""
        found: list[T | None] = []
        try:
            found.append(self._queue.get(timeout=max(seconds, 0.0)))
            while True:
                found.append(self._queue.get_nowait())
        except queue.Empty:
            return [item for item in found if item is not None]

    def close(self) -> None:
        """Stop the sources, and wake the thread that waits for them; the sources' end is not waited for."""
        self._stopped.set()
        self._queue.put(None)
