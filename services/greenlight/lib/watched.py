"""Files that operators edit while the process runs: read again when they change, and never less than they were before."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Generic, TypeVar

from greenlight.lib.clock import Clock
from greenlight.lib.errors import ConfigurationError, UnreadableFile

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Messages:
    """The log's messages about an edit. The problem follows all but `in_force`."""

    unreadable: str
    wrong: str
    failed: str
    in_force: str = ""  # nothing: who is called says it

    @classmethod
    def about(cls, name: str) -> Messages:
        """Return the usual ones."""
        return cls(
            unreadable=f"{name}: cannot be read now; the content before stays in force: ",
            wrong=f"{name}: the edit is wrong; the content before stays in force:\n",
            failed=f"{name}: the edit could not be acted on; the next look tries again: ",
            in_force=f"{name}: the edit is in force",
        )


Stamp = tuple[tuple[str, int, int, int] | None, ...]
"""Differs whenever one of some files is written, replaced, taken away or added."""

_UNKNOWN: Final = object()
"""The state of files that cannot be looked at. It differs from every other, so that reading them finds the reason."""


class Watched(Generic[T]):
    """The content of files, as last read without an error.

    A wrong edit changes nothing, and the log has the error. Files that cannot be read now are tried again at the next look;
    the log has the reason once. Safe for threads: while one looks, the others get the content before.
    """

    def __init__(
        self,
        messages: Messages,
        stamp: Callable[[], Hashable],
        read: Callable[[], T],
        clock: Clock,
        log: logging.Logger,
        *,
        every: float,
        settle: Callable[[], bool] = lambda: False,
    ) -> None:
        """Read the files. Raises ConfigurationError.

        `stamp`: tells one state of the files from another; raises OSError if it cannot. `every`: the seconds between two
        looks at the stamp, at least. `settle`: says whether a change counts only once two looks agree on it, because its
        author may still be writing.
        """
        self._messages, self._stamp, self._read = messages, stamp, read
        self._clock, self._log, self._every, self._settle = clock, log, every, settle
        self._lock = threading.Lock()
        self._changed: list[Callable[[T], object]] = []
        self._applied = self._seen = self._now()  # the stamp of what is in force; the one at the last look
        self._reason = ""  # why the edit could not be taken up at the last look
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
            now = self._now()
            agreed, self._seen = now == self._seen, now
            if now == self._applied:
                self._reason = ""
            elif agreed or not self._may_be_half():
                self._take_up(now)
        finally:
            self._lock.release()

    def _now(self) -> Hashable:
        try:
            return self._stamp()
        except OSError:
            return _UNKNOWN

    def _may_be_half(self) -> bool:
        try:
            return self._settle()
        except OSError:
            return False  # reading finds the reason

    def _take_up(self, now: Hashable) -> None:
        try:
            found = self._read()
        except UnreadableFile as problem:
            self._log_once(self._messages.unreadable, problem)
            return
        except ConfigurationError as problem:
            self._applied = now
            self._log.error("%s%s", self._messages.wrong, problem)
            return
        if self._now() != now:
            return  # written while it was read: half of it may be old
        self._applied, self._current = now, found
        try:
            for call in self._changed:
                call(self._current)
        except Exception as problem:
            self.again()
            self._log_once(self._messages.failed, problem, traceback=True)
            return
        self._reason = ""
        if self._messages.in_force:
            self._log.info(self._messages.in_force)

    def _log_once(self, what: str, problem: Exception, *, traceback: bool = False) -> None:
        """Log a problem, unless it is the one of the last look."""
        before, self._reason = self._reason, str(problem)
        if self._reason != before:
            self._log.error("%s%s", what, problem, exc_info=traceback)


def stamp_of(files: Iterable[Path]) -> Stamp:
    """Return the stamp of files as they are now; of what a link leads to, since the kubelet replaces the link."""
    return tuple(map(_mark, files))


def written_since(files: Iterable[Path], at: datetime) -> bool:
    """Return whether one of the files was written, or put there, at or after a time."""
    return any(mark is not None and mark[1] >= at.timestamp() * 1e9 for mark in stamp_of(files))


def _mark(file: Path) -> tuple[str, int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return str(file), found.st_ctime_ns, found.st_size, found.st_ino
