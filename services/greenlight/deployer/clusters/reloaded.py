"""Values that are made of files, which third parties may replace at any time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from greenlight.lib.watched import Stamp, stamp_of

T = TypeVar("T")

Read = Callable[[], tuple[T, Sequence[Path]]]
"""Reads the value, and returns it with the files that it depends on."""


class ReloadedValue(Generic[T]):
    """Keep a value that is read from files, and read it again once one of them has changed. Safe for many threads.

    Credentials that cannot be read any more are not used any more, so an error is raised and no earlier value returned.
    """

    def __init__(self, read: Read[T], files: Sequence[Path]) -> None:
        """Read nothing yet. `files` are those that are known before."""
        self._read, self._files = read, files
        self._lock = threading.Lock()
        self._kept: tuple[T, Stamp] | None = None

    def value(self) -> T:
        """Return the value. Raises what `read` raises; then the next call reads again."""
        with self._lock:
            if self._kept is not None and self._kept[1] == stamp_of(self._files):
                return self._kept[0]
            self._kept = None
            while True:
                # Stamps are taken before the files are read, so that a change in between is noticed next time.
                stamps = stamp_of(self._files)
                value, files = self._read()
                if files == self._files:
                    self._kept = (value, stamps)
                    return value
                self._files = files

    def forget(self) -> None:
        """Read again at the next call, whatever the files look like."""
        with self._lock:
            self._kept = None
