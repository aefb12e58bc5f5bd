"""CPU time by part: each thread's clock is read where a function of another part begins, and where it ends.

A part gets the time of its functions without that of other parts' functions within them, so no time is counted twice. Reading
the clocks costs time, too, in the part that begins and in the one that it interrupts. So the readings are counted.
"""

from __future__ import annotations

import functools
import gc
import importlib
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

REST = "other"
"""The part of whatever belongs to no other one."""


@dataclass(slots=True)
class _Account:
    """What one thread has spent in one part, and how often its clock was read there."""

    nanoseconds: int = 0
    readings: int = 0


class _Thread:
    """The accounts of one thread, and the one to which its time goes, `since` when."""

    __slots__ = ("account", "accounts", "since", "thread")

    def __init__(self) -> None:
        self.thread = threading.current_thread()
        self.accounts: defaultdict[str, _Account] = defaultdict(_Account)
        self.account = self.accounts[REST]
        self.since = time.thread_time_ns()

    def read(self, now: int) -> None:
        """Book the time until now."""
        self.account.nanoseconds += now - self.since
        self.since = now


class Stopwatch:
    """Measures from when it is made."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._threads: list[_Thread] = []

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, with its time counted in `part`."""
        clock = time.thread_time_ns

        @functools.wraps(function)
        def timing(*words: Any, **options: Any) -> Any:
            try:
                mine = self._local.mine
            except AttributeError:
                mine = self._begin()
            outer, inner = mine.account, mine.accounts[part]
            outer.readings += 1
            inner.readings += 1
            now = clock()
            outer.nanoseconds += now - mine.since
            mine.since, mine.account = now, inner
            try:
                return function(*words, **options)
            finally:
                now = clock()
                inner.nanoseconds += now - mine.since
                mine.since, mine.account = now, outer

        return timing

    def time_garbage(self, part: str) -> None:
        """Count the garbage collector's time in `part`, whichever thread it interrupts."""
        interrupted: list[_Account] = []  # one thread collects at a time

        def collecting(phase: str, info: object) -> None:
            mine = getattr(self._local, "mine", None) or self._begin()
            mine.read(time.thread_time_ns())
            if phase == "start":
                interrupted.append(mine.account)
                mine.account = mine.accounts[part]
            elif interrupted:
                mine.account = interrupted.pop()

        gc.callbacks.append(collecting)

    def so_far(self) -> dict[str, dict[str, float]]:
        """Return the seconds and the readings of each part. Exact while all other threads wait for work."""
        found: dict[str, dict[str, float]] = defaultdict(lambda: {"seconds": 0.0, "readings": 0})
        for mine in list(self._threads):
            if mine.thread.is_alive():
                mine.read(_clock_of(mine.thread))
            for part, account in list(mine.accounts.items()):
                found[part]["seconds"] += account.nanoseconds / 1e9
                found[part]["readings"] += account.readings
        return found

    def _begin(self) -> _Thread:
        mine = self._local.mine = _Thread()
        self._threads.append(mine)
        return mine


def _clock_of(thread: threading.Thread) -> int:
    assert thread.ident is not None
    return time.clock_gettime_ns(time.pthread_getcpuclockid(thread.ident))


def replace(name: str, wrap: Callable[[Callable[..., Any]], Any]) -> None:
    """Replace a function (`package.module:function`) or method (`package.module:Class.method`) by what `wrap` makes of it.

    Other modules of the package that have imported the function get the new one, too. Call it after they were imported, and
    before objects are made that keep one of their methods. Raises LookupError for a name that is not there.
    """
    where, _, what = name.partition(":")
    owner: Any = importlib.import_module(where)
    *classes, last = what.split(".")
    try:
        for word in classes:
            owner = getattr(owner, word)
        found = vars(owner)[last]
    except (AttributeError, KeyError):
        raise LookupError(f"{name} is no longer there: correct the table that names it") from None
    if isinstance(found, classmethod):
        setattr(owner, last, classmethod(wrap(found.__func__)))
        return
    wrapped = wrap(found)
    setattr(owner, last, wrapped)
    package = where.partition(".")[0]
    for module in list(sys.modules.values()):
        if not classes and module is not None and module.__name__.partition(".")[0] == package:
            for key, value in list(vars(module).items()):
                if value is found:
                    setattr(module, key, wrapped)
