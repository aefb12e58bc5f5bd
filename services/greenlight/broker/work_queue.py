"""The work for one Trigger: threads take it from here, and report the outcome.

New events are offered in the order of their commits. When more wait than memory should hold, the Trigger falls behind: offers
are passed over, and the log is read page by page until it has caught up. Partition keys take turns.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from greenlight.broker.cursor import Cursor, DeliveryState, LogEnd, LogRange, LogState
from greenlight.broker.fair_queue import FairQueue, Job
from greenlight.broker.log.retry_table import Retry
from greenlight.broker.log.stored_event import StoredEvent

AHEAD = 10_000
"""Events that wait for their key's turn at most; further ones are not looked at before some of these are in flight."""

MAX_RETRIES = 1000
"""Deliveries that are retried at a time; with more, new events wait in the log (congestion control)."""

WINDOW = 1000
"""How far the cursor may stay behind one delivery that does not end, before that gets a row of its own."""


class WorkQueue:
    """The jobs of one Trigger. Safe for threads.

    `_lock` guards every field, and the Cursor and the FairQueue in them. While it is held nothing else is called: no thread is
    started, nothing is logged, read or written, no other lock is taken.
    """

    def __init__(
        self,
        end: LogEnd,
        position: int,
        retries: Sequence[Retry],
        threads: int,
        start_thread: Callable[[], None],
        per_key: int | None = None,
    ) -> None:
        """Begin paused.

        `start_thread` has one more thread `take` until that returns None; at most `threads` do at once.
        """
        self._start_thread = start_thread
        self._lock = threading.Lock()
        self._paused = True
        self._limit = threads
        self._threads = 0
        self._busy = 0  # attempts whose outcome is not settled in memory, and writes that are not durable
        self._cursor = Cursor(end, position, retries)
        self._fresh = FairQueue(per_key)
        self._due: deque[int] = deque()
        self._in_flight: dict[int, Job] = {}

    # Threads.

    def resume(self) -> None:
        """Give out jobs from now on."""
        with self._lock:
            self._paused = False
            more = self._claim_threads()
        self._start(more)

    def pause(self) -> None:
        """Give out no more jobs."""
        with self._lock:
            self._paused = True

    def limit(self, threads: int, per_key: int | None = None) -> None:
        """Change the bounds; threads beyond them end with their job."""
        with self._lock:
            self._limit, self._fresh.per_key = threads, per_key
            more = self._claim_threads(threads)
        self._start(more)

    def thread_ended(self) -> None:
        """Note that a thread ended, or was not started, without `take` returning None."""
        with self._lock:
            self._threads -= 1

    def wake(self) -> None:
        """Start a thread if there is a job for it."""
        with self._lock:
            more = self._claim_threads()
        self._start(more)

    def take(self) -> Job | LogRange | None:
        """Return the next job for a thread; None: there is none, and the thread is counted as ended."""
        with self._lock:
            if not self._has_work() or self._threads > self._limit:
                self._threads -= 1
                return None
            if self._due:
                seq = self._due.popleft()
                row = self._cursor.row(seq)
                return self._launch(Job(seq) if row is None else Job(seq, row.tries, row.dead_letter))
            if self._should_read():
                return self._cursor.begin_reading()
            job = self._fresh.take()
            assert job is not None, "there was work"
            return self._launch(job)

    def attempted(self, job: Job) -> None:
        """Note that the attempt has an outcome. What it means is noted before `end_busy`."""
        with self._lock:
            del self._in_flight[job.seq]
            self._fresh.done(job)
            self._cursor.attempted(job.seq)

    def begin_busy(self) -> None:
        """Count one more write to wait for."""
        with self._lock:
            self._busy += 1

    def end_busy(self) -> None:
        """Count one attempt or write less to wait for."""
        with self._lock:
            self._busy -= 1
            more = self._claim_threads()
        self._start(more)

    # Where events come from.

    def offer(self, seq: int, stored: StoredEvent) -> None:
        """Take an event that was just committed, unless it is left to reading the log, or was found there already."""
        with self._lock:
            if not self._cursor.expects(seq):
                return
            if len(self._fresh) >= AHEAD:
                self._cursor.fall_behind(seq)
                return
            self._queue(seq, stored)
            more = self._claim_threads()
        self._start(more)

    def add_read(self, found: Sequence[tuple[int, StoredEvent]], until: int) -> None:
        """Take the events that were found in the log, which is now known up to `until`."""
        with self._lock:
            self._cursor.end_reading(until)
            for seq, stored in found:
                if not self._cursor.is_retry_of_earlier_run(seq):
                    self._queue(seq, stored)
            more = self._claim_threads(len(found) or 1)
        self._start(more)

    def read_later(self) -> None:
        """Note that the log could not be read: a thread tries again."""
        with self._lock:
            self._cursor.cancel_reading()
            more = self._claim_threads()
        self._start(more)

    # What comes of a delivery.

    def has_row(self, retries: Sequence[Retry]) -> None:
        """Note that the rows of these deliveries were written, so the cursor can pass them."""
        with self._lock:
            for retry in retries:
                self._cursor.has_row(retry)

    def due(self, seq: int) -> None:
        """Note that the time of a further attempt has come."""
        with self._lock:
            if not self._cursor.due(seq):
                return
            self._due.append(seq)
            more = self._claim_threads()
        self._start(more)

    def settle(self, seq: int, *, row_deleted: bool = False) -> None:
        """End a delivery. `row_deleted`: its row is deleted, if it had one."""
        with self._lock:
            self._cursor.settle(seq, row_deleted=row_deleted)
            more = self._claim_threads()
        self._start(more)

    def overtaken(self, now: float) -> list[Retry]:
        """Return rows for the deliveries in flight that hold the cursor back for too long."""
        with self._lock:
            seqs = self._cursor.overtaken(self._in_flight, WINDOW)
            return [Retry(seq, None, self._in_flight[seq].tries, now) for seq in seqs]

    # Questions.

    def cursor(self, without: int | None = None) -> int:
        """Return the number up to which each event is settled or has a row; with `without`, as if that one were settled."""
        with self._lock:
            return self._cursor.value(without)

    def take_unsaved(self) -> tuple[int, list[int]] | None:
        """Return the cursor and the rows to delete, if they are to be written; they count as written then."""
        with self._lock:
            return self._cursor.take_unsaved()

    def not_saved(self, obsolete: Sequence[int]) -> None:
        """Note that what `take_unsaved` returned could not be written."""
        with self._lock:
            self._cursor.not_saved(obsolete)

    def pending(self) -> tuple[int, list[int]]:
        """Return up to where events were looked at, and which of these are neither settled nor have a row."""
        with self._lock:
            return self._cursor.known_up_to(), self._cursor.without_row()

    def state(self, seq: int) -> str | None:
        """Return the state of an event here, in a word or two; None: it is settled, or was never wanted."""
        with self._lock:
            state = self._cursor.state(seq)
            if state is None:
                return "not looked at yet" if self._cursor.unread(seq) else None
            return _SHOWN.get(state, state).value

    def counts(self) -> dict[str, int]:
        """Return how many events are not settled, are in flight, are retried."""
        with self._lock:
            return {"lag": self._cursor.lag, "in_flight": len(self._in_flight), "retrying": self._cursor.rows}

    def settled(self) -> bool:
        """Return whether nothing is left to do."""
        with self._lock:
            return self._cursor.log_state is LogState.TAILING and not (self._cursor.unsettled or self._busy)

    def at_rest(self) -> bool:
        """Return whether nothing is in flight or being written."""
        with self._lock:
            return not self._busy

    # The lock is held, but for `_start`.

    def _has_work(self) -> bool:
        if self._paused:
            return False
        fresh = self._should_read() or self._fresh.ready
        # A failed delivery counts from its attempt on: it is busy until it has a row.
        return bool(self._due or (fresh and self._cursor.rows + self._busy < MAX_RETRIES))

    def _should_read(self) -> bool:
        """Return whether the log is to be read on: it may hold another key's turn."""
        return self._cursor.log_state is LogState.BEHIND and len(self._fresh) < AHEAD

    def _claim_threads(self, most: int = 1) -> int:
        """Count as many more threads as there may be, at most `most`; the caller starts them without the lock."""
        claimed = min(most, self._limit - self._threads) if self._has_work() else 0
        self._threads += max(claimed, 0)
        return claimed

    def _start(self, threads: int) -> None:
        for _ in range(threads):
            self._start_thread()

    def _launch(self, job: Job) -> Job:
        self._in_flight[job.seq] = job
        self._busy += 1
        self._cursor.taken(job.seq)
        return job

    def _queue(self, seq: int, stored: StoredEvent) -> None:
        self._fresh.add(seq, stored)
        self._cursor.queued(seq)


_SHOWN = {DeliveryState.RECORDING: DeliveryState.IN_FLIGHT, DeliveryState.DUE: DeliveryState.RETRYING}
"""States that operators are shown as another one."""
