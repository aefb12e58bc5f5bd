"""The writer of all Triggers' cursors, which writes a moment after they move, many in one commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from greenlight.broker.cursor import LogEnd
from greenlight.broker.log import cursor_table, retry_table
from greenlight.broker.routing import RoutingTable
from greenlight.broker.runtime import Runtime
from greenlight.broker.worker import TriggerWorker
from greenlight.store import Tx

DELAY = 0.02
"""Seconds that cursors may wait, so that their commits keep out of the events' way. A crash repeats so much."""

ALL_AFTER = 1000
"""Events after which the cursors of all Triggers are written, of those without work too: a crash reads so many again."""

_Move = tuple[TriggerWorker, int, list[int]]
"""A cursor to write, and the retries whose rows are obsolete."""


class CursorWriter:
    """Write cursors in a thread. `_lock` guards `_moved` and `_scheduled`; while it is held nothing is called.

    `_all_at` is written by the timer's thread, and by the store's when a write failed; a lost update costs one more write.
    """

    def __init__(self, runtime: Runtime, end: LogEnd, table: RoutingTable, writing: Callable[[], None]) -> None:
        """Make a writer that calls `writing` before each write."""
        self._runtime, self._end, self._table, self._writing = runtime, end, table, writing
        self._lock = threading.Lock()
        self._moved: set[TriggerWorker] = set()
        self._scheduled = False
        self._all_at = end.offered  # when all cursors were written last

    def schedule(self, moved: TriggerWorker | None = None) -> None:
        """Write soon; `moved`: the Trigger whose cursor may have moved."""
        with self._lock:
            if moved is not None:
                self._moved.add(moved)
            first, self._scheduled = not self._scheduled, True
        if first:
            self._runtime.timer.after(DELAY, self._write_soon)

    def appended(self, seq: int) -> None:
        """Note that an event came in: the cursors of Triggers that do not want it move too."""
        if seq - self._all_at >= ALL_AFTER:
            self.schedule()

    def write_all(self) -> None:
        """Write every cursor now. Raises Unavailable."""
        self._write(_moves(self._table.workers))

    def write_one(self, worker: TriggerWorker) -> None:
        """Write one Trigger's cursor now. Raises Unavailable."""
        self._write(_moves([worker]))

    def _write(self, moves: Sequence[_Move]) -> None:
        self._runtime.store.write(lambda tx: _save(tx, moves))

    def _write_soon(self) -> None:
        with self._lock:
            self._scheduled = False
            moved, self._moved = self._moved, set()
        self._writing()
        workers: Iterable[TriggerWorker] = moved
        if self._end.offered - self._all_at >= ALL_AFTER:
            self._all_at, workers = self._end.offered, self._table.workers
        for worker in workers:
            worker.write_rows_of_overtaken()
        moves = _moves(workers)
        if moves:
            self._runtime.submit(
                lambda tx: _save(tx, moves), lambda _: None, lambda problem: self._failed(moves, problem)
            )

    def _failed(self, moves: Sequence[_Move], problem: BaseException) -> None:
        for worker, _, obsolete in moves:
            worker.queue.not_saved(obsolete)
        self._all_at = self._end.offered - ALL_AFTER
        self._runtime.report("the cursors cannot be written", problem)
        self._runtime.later(self.schedule)


def _moves(workers: Iterable[TriggerWorker]) -> list[_Move]:
    return [(worker, *unsaved) for worker in workers if (unsaved := worker.queue.take_unsaved()) is not None]


def _save(tx: Tx, moves: Sequence[_Move]) -> None:
    for worker, cursor, obsolete in moves:
        if obsolete:
            retry_table.delete(tx, worker.key, obsolete)
        cursor_table.advance(tx, worker.key, cursor)
