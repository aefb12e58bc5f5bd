"""The removal of a Trigger: events pending for it become dead letters, for a person to replay or discard.

The rows of the log say what is pending: which deliveries have a row, and up to where the rest of the log was looked at. Each
step is one commit, so that a start goes on where a crash ended it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial

from greenlight.broker.filters import FilterError, Predicate, compile_filters, everything
from greenlight.broker.log import cursor_table, dead_letters, event_table, retry_table
from greenlight.broker.log.cursor_table import CursorRow
from greenlight.broker.log.dead_letters import DeadLetter
from greenlight.broker.log.event_table import LoggedEvent
from greenlight.broker.log.retry_table import Retry
from greenlight.broker.log.stored_event import StoredEvent
from greenlight.broker.outcomes import NO_RESPONSE
from greenlight.broker.runtime import Runtime
from greenlight.broker.worker import TriggerWorker
from greenlight.lib.errors import Unavailable
from greenlight.store import Tx

WHY = "its Trigger was removed before it was delivered"

_log = logging.getLogger("greenlight.broker")


class Removals:
    """Triggers that were removed while events were pending for them.

    `_lock` guards `_running`; while it is held nothing is called. `pending` is a dictionary that threads add to and take from
    by single steps, and iterate over by a copy.
    """

    def __init__(
        self, runtime: Runtime, write_cursor: Callable[[TriggerWorker], None], progressed: Callable[[], None]
    ) -> None:
        """Keep `write_cursor`, which writes a worker's cursor durably, and `progressed`, called after each removal."""
        self._runtime, self._write_cursor, self._progressed = runtime, write_cursor, progressed
        self.pending: dict[str, TriggerWorker | None] = {}  # by key; None: the Trigger was removed before the start
        self._lock = threading.Lock()
        self._running: set[str] = set()  # those at which a thread is at work

    def begin(self) -> None:
        """Start each pending removal of which no event is in flight."""
        for key, worker in list(self.pending.items()):
            if (worker is None or worker.queue.at_rest()) and self._is_first(key):
                self._start(key, worker)

    def _start(self, key: str, worker: TriggerWorker | None) -> None:
        try:
            self._runtime.pool.run(partial(self._finish, key, worker))
        except RuntimeError as problem:  # the system has no more threads
            self._ended(key)
            self._try_again(key, problem)

    def _is_first(self, key: str) -> bool:
        with self._lock:
            first = key not in self._running
            self._running.add(key)
            return first

    def _ended(self, key: str) -> None:
        with self._lock:
            self._running.discard(key)

    def _finish(self, key: str, worker: TriggerWorker | None) -> None:
        """Do the removal, in a thread of the pool."""
        try:
            if worker is not None:
                self._write_cursor(worker)
            with self._runtime.store.read() as connection:
                rows = [row for row in cursor_table.rows(connection) if row.trigger == key]
            for row in rows:
                make_dead_letters(self._runtime, row)
            self.pending.pop(key, None)
            if worker is not None:
                worker.delivery.close()
        except Unavailable as problem:
            self._try_again(key, problem)
        finally:
            self._ended(key)
        self._progressed()

    def _try_again(self, key: str, problem: Exception) -> None:
        self._runtime.report(f"what is pending for the Trigger {key} cannot become dead letters now", problem)
        self._runtime.later(self.begin)


def make_dead_letters(runtime: Runtime, row: CursorRow) -> int:
    """Make dead letters of everything pending for a removed Trigger, then delete its row. Returns how many were made.

    None of it may be in flight. Raises Unavailable; what was done until then is done.
    """
    store = runtime.store
    with store.read() as connection:
        retries = retry_table.of_trigger(connection, row.trigger)
    made = sum(_from_retry(runtime, row, retry) for retry in retries)
    known = {retry.seq for retry in retries}
    wants = _filter(row)
    after, end = row.seq, row.gone or row.seq
    while after < end:
        with store.read() as connection:
            logged, until = event_table.page(connection, row.broker, row.trigger, after, end)
        pending = [each for each in logged if each.seq not in known and (each.only or wants(each.stored.event))]
        store.write(partial(_add_page, row, pending, until, runtime.now()))
        made += len(pending)
        after = until
    store.write(lambda tx: cursor_table.delete(tx, row.trigger))
    if made:
        _log.warning("Trigger %s is gone; %d events that were pending for it are dead letters now", row.trigger, made)
    return made


def _filter(row: CursorRow) -> Predicate:
    try:
        return compile_filters(row.spec)
    except FilterError:  # an older version read it otherwise; too many are better than too few
        return everything


def _from_retry(runtime: Runtime, row: CursorRow, retry: Retry) -> int:
    """End a delivery that has a row; return how many dead letters were made, 0 or 1. One for the sink stays what it is."""
    with runtime.store.read() as connection:
        stored = event_table.get(connection, retry.seq)
    at = runtime.now()

    def change(tx: Tx) -> None:
        if retry.dead_letter is not None:
            dead_letters.set_sink_outcome(tx, retry.dead_letter, "never delivered: the Trigger was removed")
        elif stored is not None:
            dead_letters.add(tx, _dead_letter(row, retry.seq, stored, retry.tries, at))
        retry_table.delete(tx, row.trigger, [retry.seq])

    runtime.store.write(change)
    return int(retry.dead_letter is None and stored is not None)


def _add_page(row: CursorRow, pending: Sequence[LoggedEvent], until: int, at: float, tx: Tx) -> None:
    for logged in pending:
        dead_letters.add(tx, _dead_letter(row, logged.seq, logged.stored, 0, at))
    cursor_table.advance(tx, row.trigger, until)


def _dead_letter(row: CursorRow, seq: int, stored: StoredEvent, attempts: int, at: float) -> DeadLetter:
    return DeadLetter(0, row.trigger, row.broker, seq, stored, attempts, NO_RESPONSE, b"", WHY, "", at)
