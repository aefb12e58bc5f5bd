"""Work that stops where the story says: at every call that touches shared state, another one may run first.

Nothing here runs at the same time as anything else. Work that is to pause runs in a thread of its own, which waits until the
story goes on with it; all other work runs where it was started.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from greenlight.lib.errors import Unavailable


class Died(BaseException):
    """The process that did this work is gone. No handler of exceptions gets it: nothing of the process goes on."""


@dataclass(frozen=True)
class Stop:
    """An interruption at the `at`-th point from here: `pause`, `die`, or `fail`, as if the ledger could not be reached.

    A negative number counts only the points before something is written or started.
    """

    at: int
    how: str


class Task:
    """One request, delivery or look at the files, from its start to its end."""

    def __init__(self, name: str, process: str, work: Callable[[], Any], tasks: Tasks) -> None:
        self.name, self.process, self.points = name, process, 0
        self.over, self.died = False, False
        self.result: Any = None
        self.problem: BaseException | None = None
        self.began = 0  # the model's count of what had happened when it was started
        self.about: Any = None  # what the world knows of it
        self._work, self._tasks, self._left, self._how, self._doomed = work, tasks, 0, "", False
        self._thread: threading.Thread | None = None
        self._turn, self._back = threading.Lock(), threading.Lock()
        self._turn.acquire()
        self._back.acquire()

    def start(self, stop: Stop | None) -> None:
        """Run it to its end, or to where it stops."""
        self._until(stop)
        if stop is None or stop.how != "pause":
            self._run()
            return
        self._thread = threading.Thread(target=copy_context().run, args=(self._in_thread,), daemon=True)
        self._thread.start()
        self._back.acquire()

    def go_on(self, stop: Stop | None) -> None:
        """Continue after a pause."""
        self._until(stop)
        self._turn.release()
        self._back.acquire()
        self._joined()

    def kill(self) -> None:
        """End it where it stands: nothing more of what it does has an effect."""
        self._doomed = True
        self.go_on(None)

    def point(self, write: bool) -> None:
        """Let others run here; `write` says that something is about to be changed."""
        self.points += 1
        if self._doomed:
            raise Died
        if self._left == 0 or (self._left < 0 and not write):
            return
        if self._how == "pause" and self._tasks.undivided:
            return
        self._left += 1 if self._left < 0 else -1
        if self._left != 0:
            return
        if self._how == "die":
            self._doomed = True
            raise Died
        if self._how == "fail":
            raise Unavailable("the story says so")
        self._back.release()
        self._turn.acquire()
        self._tasks.current = self
        if self._doomed:
            raise Died

    def _until(self, stop: Stop | None) -> None:
        self._left, self._how = (0, "") if stop is None else (stop.at, stop.how)

    def _run(self) -> None:
        self._tasks.current = self
        try:
            self.result = self._work()
        except Died:
            self.died = True
        except Exception as problem:
            self.problem = problem
        finally:
            self.over = True
            self._tasks.current = None

    def _in_thread(self) -> None:
        try:
            self._run()
        finally:
            self._back.release()

    def _joined(self) -> None:
        if self.over and self._thread is not None:
            self._thread.join()
            self._thread = None


class Tasks:
    """All work under way, of which one at a time runs."""

    def __init__(self) -> None:
        self.current: Task | None = None
        self.paused: list[Task] = []
        self.undivided = False

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let nobody else run until the block ends: the others could do nothing but wait for it."""
        self.undivided = True
        try:
            yield
        finally:
            self.undivided = False

    def point(self, write: bool = False) -> None:
        """Let others run, before everything that others can see, or that others could have changed."""
        if self.current is not None:
            self.current.point(write)

    def start(self, task: Task, stop: Stop | None) -> Task:
        """Start it; it is over afterwards, or among `paused`."""
        task.start(stop)
        self.current = None
        if not task.over:
            self.paused.append(task)
        return task

    def go_on(self, task: Task, stop: Stop | None) -> Task:
        """Continue one of `paused`."""
        task.go_on(stop)
        self.current = None
        if task.over:
            self.paused.remove(task)
        return task

    def kill(self, *, process: str | None = None) -> list[Task]:
        """Kill the paused tasks of a process, or all; return them."""
        doomed = [task for task in self.paused if process in (None, task.process)]
        for task in doomed:
            task.kill()
            self.paused.remove(task)
        self.current = None
        return doomed
