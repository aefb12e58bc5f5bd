"""CPU time by part: each thread's clock is read where a function of another part begins, and where it ends.

A part gets the time of its functions without that of other parts' functions within them, so no time is counted twice. Reading
the clocks costs time, too. That is measured when a stopwatch is made, and is subtracted from the parts.
"""

from __future__ import annotations

import functools
import gc
import importlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

REST = "other"
"""The part of whatever belongs to no other one."""

_TRIES, _CALLS = 20, 2000


@dataclass
class _Thread:
    """What one thread has spent, in nanoseconds, and how often it went into a part, and out of one into another."""

    since: int
    thread: threading.Thread = field(default_factory=threading.current_thread)
    part: str = REST
    spent: Counter[str] = field(default_factory=Counter)
    entered: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)


class Stopwatch:
    """Measures from when it is made."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._threads: list[_Thread] = []
        self._inside, self._outside = self._own_cost()
        self._threads.clear()
        self._local = threading.local()

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, with its time counted in `part`."""
        clock = time.thread_time_ns

        @functools.wraps(function)
        def timing(*words: Any, **options: Any) -> Any:
            try:
                mine = self._local.mine
            except AttributeError:
                mine = self._thread()
            outer, mine.part = mine.part, part
            mine.left[outer] += 1
            mine.entered[part] += 1
            now = clock()
            mine.spent[outer] += now - mine.since
            mine.since = now
            try:
                return function(*words, **options)
            finally:
                now = clock()
                mine.spent[part] += now - mine.since
                mine.since = now
                mine.part = outer

        return timing

    def time_garbage(self, part: str) -> None:
        """Count the garbage collector's time in `part`, whichever thread it interrupts."""
        outer: list[str] = []  # one thread collects at a time

        def collecting(phase: str, info: object) -> None:
            mine = getattr(self._local, "mine", None) or self._thread()
            now = time.thread_time_ns()
            mine.spent[mine.part] += now - mine.since
            mine.since = now
            if phase == "start":
                outer.append(mine.part)
                mine.part = part
            elif outer:
                mine.part = outer.pop()

        gc.callbacks.append(collecting)

    def seconds(self) -> tuple[dict[str, float], float]:
        """Return the seconds of each part so far, and those of the stopwatch itself, which are in none of them.

        Exact while the other threads wait for work.
        """
        spent, own = Counter[str](), 0.0
        for mine in list(self._threads):
            if mine.thread.is_alive():
                spent[mine.part] += _clock_of(mine.thread) - mine.since
            for part, nanoseconds in list(mine.spent.items()):
                extra = mine.entered[part] * self._inside + mine.left[part] * self._outside
                spent[part] += nanoseconds - extra  # type: ignore[assignment]
                own += extra
        return {part: nanoseconds / 1e9 for part, nanoseconds in spent.items()}, own / 1e9

    def _thread(self) -> _Thread:
        mine = self._local.mine = _Thread(time.thread_time_ns())
        self._threads.append(mine)
        return mine

    def _own_cost(self) -> tuple[float, float]:
        """Return the nanoseconds that a call costs in the part of its function, and in the part that calls it."""

        def nothing() -> None:
            pass

        timing, inside, outside = self.timed("inner", nothing), [], []
        calling = self.timed("outer", lambda: [timing() for _ in range(_CALLS)])
        bare = min(_nanoseconds(lambda: [nothing() for _ in range(_CALLS)]) for _ in range(_TRIES)) / _CALLS
        for _ in range(_TRIES):
            calling()
            mine: _Thread = self._local.mine
            inside.append(mine.spent["inner"] / _CALLS)
            outside.append(mine.spent["outer"] / _CALLS)
            mine.spent.clear()
        return min(inside), max(min(outside) - bare, 0.0)


def _clock_of(thread: threading.Thread) -> int:
    assert thread.ident is not None
    return time.clock_gettime_ns(time.pthread_getcpuclockid(thread.ident))


def _nanoseconds(call: Callable[[], object]) -> int:
    before = time.thread_time_ns()
    call()
    return time.thread_time_ns() - before


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
