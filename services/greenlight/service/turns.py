"""Threads that answer requests in turn by sender, so that many of one sender delay another's by one at most."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from waitress.task import ThreadedTaskDispatcher

LOG = logging.getLogger("greenlight.server")


class Turns(ThreadedTaskDispatcher):  # type: ignore[misc]
    """waitress's dispatcher with a queue for each key, of which at most `at_once` are at work.

    `key` must be quick. What it has no key for (an empty one) is a queue without that limit.
    """

    def __init__(self, key: Callable[[Any], str], at_once: int) -> None:
        super().__init__()
        self._key, self._at_once = key, at_once
        self._waiting: dict[str, deque[Any]] = {}  # by key, in the keys' turns; none of them empty
        self._at_work: Counter[str] = Counter()

    def add_task(self, task: Any) -> None:
        """Queue a connection that has a whole request."""
        key = self._key(task)
        with self.lock:
            self._waiting.setdefault(key, deque()).append(task)
            self.queue_cv.notify()

    def handler_thread(self, thread_no: int) -> None:
        """Answer requests until this thread is one too many."""
        while (taken := self._take(thread_no)) is not None:
            key, task = taken
            try:
                task.service()
            except BaseException:
                LOG.exception("a request could not be answered")
            with self.lock:
                self._at_work[key] -= 1
                if not self._at_work[key]:
                    del self._at_work[key]
                self.queue_cv.notify()

    def _take(self, thread_no: int) -> tuple[str, Any] | None:
        """Return the next request; None: the thread ends."""
        with self.lock:
            while self.stop_count == 0:
                key = next((key for key in self._waiting if not key or self._at_work[key] < self._at_once), None)
                if key is None:
                    self.queue_cv.wait()
                    continue
                tasks = self._waiting.pop(key)
                task = tasks.popleft()
                if tasks:
                    self._waiting[key] = tasks
                self._at_work[key] += 1
                return key, task
            self.stop_count -= 1
            self.threads.discard(thread_no)
            self.thread_exit_cv.notify()
            return None

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """End the threads; what waits is given up."""
        with self.lock:
            self.queue.extend(task for tasks in self._waiting.values() for task in tasks)
            self._waiting.clear()
        done: bool = super().shutdown(cancel_pending, timeout)
        return done
