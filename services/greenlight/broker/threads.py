"""Threads: a pool that grows when needed, a timer, and a way to wait for a condition. All sleep while nothing happens."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

Task = Callable[[], None]

KEEP = 8
"""Idle threads that stay, so that the next event finds one at once."""

IDLE = 10.0
"""Seconds after which further idle threads end."""

_log = logging.getLogger("greenlight.broker")


class ThreadPool:
    """Run each task at once, in an idle thread or in a new one. The callers bound their number.

    Why not ThreadPoolExecutor: the interpreter waits for its threads at exit, so one delivery that hangs, with a timeout of
    60 s, made `greenlight broker` end 59 s after SIGTERM; these threads are daemons, and it ends after 10 s, the time that
    deliveries get. And a task cost 16 to 18 µs of CPU instead of 10 to 12, and its threads never end.

    `_lock` guards `_idle` and `_stopped`; while it is held no task runs and no thread is started.
    """

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0  # threads that wait at `_tasks`, and for which nothing was put there yet
        self._stopped = False

    def run(self, task: Task) -> None:
        """Run `task` in another thread. After stop() nothing is run. Raises RuntimeError if no thread can be made."""
        with self._lock:
            if self._stopped:
                return
            idle = self._idle > 0
            self._idle -= idle
        if idle:
            self._tasks.put(task)
        else:
            threading.Thread(target=self._serve, args=(task,), name="broker delivery", daemon=True).start()

    def stop(self) -> None:
        """End the idle threads; the others end with their task."""
        with self._lock:
            self._stopped = True
            idle, self._idle = self._idle, 0
        for _ in range(idle):
            self._tasks.put(None)

    def _serve(self, task: Task | None) -> None:
        while task is not None:
            try:
                task()
            except Exception:
                _log.exception("a delivery thread met an internal error")
            task = self._next()

    def _next(self) -> Task | None:
        """Wait for a task; None: the thread ends."""
        with self._lock:
            if self._stopped:
                return None
            self._idle += 1
        try:
            return self._tasks.get(timeout=IDLE)
        except Empty:
            with self._lock:
                if self._idle > KEEP:
                    self._idle -= 1
                    return None
        return self._tasks.get()


class Timer:
    """Make calls at their time, in a thread of its own that sleeps until then. Calls must be quick.

    `_changed` guards all fields; while it is held no call is made.
    """

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
                self._thread = threading.Thread(target=self._run, name="broker timer", daemon=True)
                self._thread.start()
            elif self._heap[0][2] is call:
                self._changed.notify()

    def stop(self) -> None:
        """Drop every call and end the thread."""
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
                _log.exception("a timed call failed")

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


class Waiters:
    """Let callers wait until a condition holds. `notify` costs nothing while there are none.

    `_changed` guards `_count`; `notify` reads it without, after the change that it reports: a waiter counts itself first.
    While it is held, `until` is called, which may take the locks of WorkQueues; `notify` is called with none of them held.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def notify(self) -> None:
        """Have the waiters test their conditions again."""
        if self._count:
            with self._changed:
                self._changed.notify_all()

    def wait(self, until: Callable[[], bool], timeout: float) -> bool:
        """Wait until `until()` is true, at most `timeout` seconds. Returns whether it is."""
        with self._changed:
            self._count += 1
            try:
                return self._changed.wait_for(until, timeout)
            finally:
                self._count -= 1
