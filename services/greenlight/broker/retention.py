"""Removal from the log: of settled events and dead letters by age; of settled events by size too."""

from __future__ import annotations

import logging
import threading

from greenlight.broker.backlog import Backlog
from greenlight.broker.log import dead_letters, event_table
from greenlight.broker.runtime import Runtime
from greenlight.lib.errors import Unavailable

EVERY = 60.0
"""Seconds between two looks, while events come in; nothing looks while none do."""

_log = logging.getLogger("greenlight.broker")


class Retention:
    """Remove in chunks, each in a commit of its own, so that others write in between.

    `_lock` guards `_scheduled`; while it is held nothing is called.
    """

    def __init__(self, runtime: Runtime, backlog: Backlog) -> None:
        self._runtime, self._backlog = runtime, backlog
        self._lock = threading.Lock()
        self._scheduled = False

    def schedule(self) -> None:
        """Look in a while, unless that is going to happen already."""
        with self._lock:
            first, self._scheduled = not self._scheduled, True
        if first:
            self._runtime.timer.after(EVERY, self._remove)

    def _remove(self) -> None:
        with self._lock:
            self._scheduled = False
        try:
            floor = self._backlog.measure()
        except Unavailable as problem:
            self._failed(problem)
            return
        now, limits = self._runtime.now(), self._runtime.limits
        self._remove_events(0, floor, now - limits.keep_events)
        self._runtime.submit(
            lambda tx: dead_letters.prune(tx, now - limits.keep_dead_letters), self._removed_dead_letters, self._failed
        )

    def _remove_events(self, after: int, floor: int, before: float) -> None:
        def removed(more: int | None) -> None:
            if more is not None:
                self._remove_events(more, floor, before)

        keep = self._runtime.limits.keep_bytes
        self._runtime.submit(lambda tx: event_table.prune(tx, floor, after, before, keep), removed, self._failed)

    def _removed_dead_letters(self, open: int) -> None:
        if open:
            _log.warning("%d open dead letters were dropped for their age", open)

    def _failed(self, problem: BaseException) -> None:
        self._runtime.report("old events cannot be dropped", problem)
