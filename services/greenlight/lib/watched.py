"""Files that operators edit while the process runs: read again when they change, and never less than they were before."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from greenlight.lib.clock import Clock
from greenlight.lib.errors import ConfigurationError, UnreadableFile

T = TypeVar("T")


class Watched(Generic[T]):
    """The content of files, as last read without an error.

    A wrong edit changes nothing, and the log has the error. Files that cannot be read now are tried again at the next look;
    the log has the reason once. Safe for threads: while one looks, the others get the content before.
    """

    def __init__(
        self,
        name: str,
        stamp: Callable[[], Hashable],
        read: Callable[[], T],
        clock: Clock,
        log: logging.Logger,
        *,
        every: float,
    ) -> None:
        """Read the files. Raises ConfigurationError.

        `name`: for the log. `stamp`: tells one state of the files from another; raises OSError if it cannot. `every`: the
        seconds between two looks at the stamp, at least.
        """
        self._name, self._stamp, self._read = name, stamp, read
        self._clock, self._log, self._every = clock, log, every
        self._lock = threading.Lock()
        self._changed: list[Callable[[T], object]] = []
        self._applied = self._now()  # the stamp of what is in force
        self._reason = ""  # why the files could not be read at the last look
        self._current = read()
        self._looked = clock.monotonic()

    def __call__(self) -> T:
        """Return the content in force, after a look if it is time for one."""
        if self._clock.monotonic() - self._looked >= self._every:
            self.look()
        return self._current

    def on_change(self, call: Callable[[T], object]) -> None:
        """Call with the content in force whenever it changes. What raises is called again at the next look."""
        self._changed.append(call)

    def again(self) -> None:
        """Read the files at the next look, and call everybody, as if they had changed."""
        self._applied = object()

    def look(self) -> None:
        """Read the files if they have changed, unless another thread does."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._looked = self._clock.monotonic()
            if (now := self._now()) != self._applied:
                self._take_up(now)
        finally:
            self._lock.release()

    def _now(self) -> Hashable:
        try:
            return self._stamp()
        except OSError:
            return object()  # differs from every state: reading the files finds the reason

    def _take_up(self, now: Hashable) -> None:
        try:
            fresh = self._read()
        except UnreadableFile as problem:
            if str(problem) != self._reason:
                self._log.error("%s: cannot be read now; the content before stays in force: %s", self._name, problem)
            self._reason = str(problem)
            return
        except ConfigurationError as problem:
            self._applied = now
            self._log.error("%s: the edit is wrong; the content before stays in force:\n%s", self._name, problem)
            return
        self._reason, self._current = "", fresh
        try:
            for call in self._changed:
                call(fresh)
        except Exception:
            self._log.exception("%s: the edit could not be acted on; the next look tries again", self._name)
            return
        self._applied = now
        self._log.info("%s: the edit is in force", self._name)
