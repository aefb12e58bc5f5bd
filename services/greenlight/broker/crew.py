"""Threads: a crew that grows when needed, and an alarm for what is due later. Both sleep while nothing happens."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

Task = Callable[[], None]

KEEP = 8
"""Threads that stay when there is nothing to do, so that the next event finds one awake at once."""

IDLE = 10.0
"""Seconds after which the others end."""

_log = logging.getLogger("greenlight.broker")


class Crew:
    """Runs each task at once: in a parked thread, or in a new one. Whoever gives the tasks bounds their number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parked: list[_Worker] = []
        self._stopped = False

    def run(self, task: Task) -> None:
        """Have `task` run in another thread. After stop() nothing is run."""
        with self._lock:
            if self._stopped:
                return
            worker = self._parked.pop() if self._parked else None
        if worker is None:
            _Worker(self, task).start()
        else:
            worker.give(task)

    def stop(self) -> None:
        """Let the parked threads end; the others end with their task."""
        with self._lock:
            self._stopped = True
            parked, self._parked = self._parked, []
        for worker in parked:
            worker.give(None)

    def park(self, worker: _Worker) -> bool:
        """Note that `worker` is free; False if it should end."""
        with self._lock:
            if not self._stopped:
                self._parked.append(worker)
            return not self._stopped

    def may_leave(self, worker: _Worker) -> bool | None:
        """Whether a worker that waited long may end; None if it was given a task just now."""
        with self._lock:
            if worker not in self._parked:
                return None
            if len(self._parked) <= KEEP:
                return False
            self._parked.remove(worker)
            return True


class _Worker:
    """One thread of a crew."""

    def __init__(self, crew: Crew, task: Task) -> None:
        self._crew = crew
        self._task: Task | None = task
        self._given = threading.Lock()  # released when there is a task: the cheapest signal that there is
        self._given.acquire()
        self._thread = threading.Thread(target=self._run, name="broker delivery", daemon=True)

    def start(self) -> None:
        """Begin with the first task."""
        self._thread.start()

    def give(self, task: Task | None) -> None:
        """Wake it for `task`; None ends it."""
        self._task = task
        self._given.release()

    def _run(self) -> None:
        while self._task is not None:
            try:
                self._task()
            except Exception:
                _log.exception("a delivery thread met an error of ours")
            if not self._crew.park(self) or not self._wait():
                return

    def _wait(self) -> bool:
        """Wait for the next task; False if there is none for long and the crew is large."""
        if self._given.acquire(timeout=IDLE):
            return True
        if self._crew.may_leave(self):
            return False
        return self._given.acquire()


class Alarm:
    """Calls what is due, in a thread of its own that sleeps until then. Calls must be quick."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Task]] = []
        self._order = itertools.count()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def after(self, seconds: float, call: Task) -> None:
        """Call `call` in `seconds`. After stop() nothing is called."""
        due = time.monotonic() + seconds
        with self._changed:
            if self._stopped:
                return
            heapq.heappush(self._heap, (due, next(self._order), call))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="broker alarm", daemon=True)
                self._thread.start()
            elif self._heap[0][2] is call:
                self._changed.notify()

    def stop(self) -> None:
        """Forget everything and end the thread."""
        with self._changed:
            self._stopped = True
            self._heap.clear()
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except Exception:
                _log.exception("a call that was due failed")

    def _next(self) -> Task | None:
        with self._changed:
            while not self._stopped:
                if not self._heap:
                    self._changed.wait()
                elif (left := self._heap[0][0] - time.monotonic()) > 0:
                    self._changed.wait(min(left, threading.TIMEOUT_MAX))
                else:
                    return heapq.heappop(self._heap)[2]
        return None
