"""Values that were read or written lately, up to a limit."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Values by key. Of more than `limit`, the one that was put in first goes first. Safe for threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: dict[K, V] = {}
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """Return the value, None if it is not kept."""
        return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep the value, as the newest."""
        with self._lock:
            self._values.pop(key, None)
            self._values[key] = value
            if len(self._values) > self._limit:
                del self._values[next(iter(self._values))]

    def drop(self, key: K) -> None:
        """Keep it no longer."""
        with self._lock:
            self._values.pop(key, None)
