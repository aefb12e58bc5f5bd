"""The worker that delivers one Trigger's events.

A worker shares no lock and no limit with another one, so a subscriber that is dead, slow or hanging delays no other Trigger.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from greenlight.broker.cursor import LogEnd, LogRange
from greenlight.broker.delivery import Delivery
from greenlight.broker.fair_queue import Job
from greenlight.broker.log import cursor_table, dead_letters, event_table, retry_table
from greenlight.broker.log.retry_table import Retry
from greenlight.broker.log.stored_event import StoredEvent
from greenlight.broker.outcomes import NO_RESPONSE, Delivered, Failed
from greenlight.broker.retry_schedule import RetrySchedule
from greenlight.broker.runtime import Runtime
from greenlight.broker.settlement import Append, Settlement
from greenlight.broker.trigger_spec import TriggerSpec
from greenlight.broker.work_queue import WorkQueue
from greenlight.events import Event
from greenlight.lib.errors import Unavailable
from greenlight.store import Tx

_log = logging.getLogger("greenlight.broker")


class TriggerWorker:
    """Take jobs from a queue, make the attempts, and write their outcomes, in threads of the pool.

    Has no lock: `delivery` is replaced as a whole, the rest is in the queue.
    """

    def __init__(
        self,
        runtime: Runtime,
        end: LogEnd,
        delivery: Delivery,
        position: int,
        retries: Sequence[Retry],
        append: Append,
        progressed: Callable[[TriggerWorker], None],
    ) -> None:
        """Continue from `position` and `retries` of an earlier run.

        `progressed` is called after something was settled or written.
        """
        self.delivery = delivery
        self._runtime, self._progressed = runtime, progressed
        self._retries = retries
        self.queue = WorkQueue(end, position, retries, self._threads(), self._start_thread, delivery.spec.per_key)
        self._schedule = RetrySchedule(runtime.timer, self.queue.due)
        self._settlement = Settlement(runtime, self.key, self.queue, self._schedule, append, lambda: progressed(self))

    @property
    def spec(self) -> TriggerSpec:
        """Return the Trigger's spec."""
        return self.delivery.spec

    @property
    def key(self) -> str:
        """Return the Trigger's NAMESPACE/NAME."""
        return self.delivery.spec.key

    def start(self) -> None:
        """Begin delivering, with the retries of an earlier run."""
        for retry in self._retries:
            longest = self.spec.delivery.wait(max(retry.tries, 1))  # a clock that was set back must not stop us
            self._schedule.after(min(retry.next_at - self._runtime.now(), longest), retry.seq)
        self._retries = ()
        self.queue.resume()

    def change(self, delivery: Delivery) -> None:
        """Go on with another spec: attempts in flight end as they began, everything after that goes by the new one."""
        before, self.delivery = self.delivery, delivery
        self.queue.limit(self._threads(), delivery.spec.per_key)
        before.close()

    def remove(self, tx: Tx) -> None:
        """Stop, and write a row for each pending delivery, so that the rows alone say what is pending."""
        self.queue.pause()
        position, pending = self.queue.pending()
        retries = [Retry(seq, None, 0, self._runtime.now()) for seq in pending]
        for retry in retries:
            retry_table.save(tx, self.key, retry)
        cursor_table.advance(tx, self.key, position)
        cursor_table.mark_removed(tx, self.key)
        tx.on_commit(lambda: self.queue.has_row(retries))

    def wants(self, event: Event) -> bool:
        """Return whether the Trigger's filter passes the event. An error in a filter means no, as with Knative."""
        try:
            return self.spec.filter(event)
        except Exception:
            _log.exception("the filter of Trigger %s failed on event %s", self.key, event.id)
            return False

    def write_rows_of_overtaken(self) -> None:
        """Give deliveries that hold the cursor back rows of their own."""
        for retry in self.queue.overtaken(self._runtime.now()):
            self._settlement.write_row(retry)

    def _threads(self) -> int:
        return self.spec.concurrency or self._runtime.limits.workers

    # In the pool's threads.

    def _start_thread(self) -> None:
        try:
            self._runtime.pool.run(self._work)
        except RuntimeError as problem:  # the system has no more threads
            _log.warning("Trigger %s cannot deliver now, and waits: %s", self.key, problem)
            self.queue.thread_ended()
            self._runtime.later(self.queue.wake)

    def _work(self) -> None:
        try:
            while (step := self.queue.take()) is not None:
                if isinstance(step, LogRange):
                    self._read(step)
                else:
                    self._deliver(step)
                self._progressed(self)
        except BaseException:
            self.queue.thread_ended()
            raise

    def _read(self, part: LogRange) -> None:
        spec = self.spec
        try:
            with self._runtime.store.read() as connection:
                logged, until = event_table.page(connection, spec.broker_key, spec.key, part.after, part.end)
        except Unavailable as problem:
            _log.warning("Trigger %s cannot read the log, and waits: %s", spec.key, problem)
            self._runtime.later(self.queue.read_later)
            return
        wanted = [
            (each.seq, each.stored)
            for each in logged
            if each.only or each.stored.unreadable or self.wants(each.stored.event)
        ]
        self.queue.add_read(wanted, until)

    def _deliver(self, job: Job) -> None:
        delivery = self.delivery
        outcome: Delivered | Failed | None = None
        try:
            outcome = self._attempt(delivery, job)
        except Unavailable as problem:
            _log.warning("Trigger %s cannot read the log, and waits: %s", self.key, problem)
        except Exception as problem:
            _log.exception("Trigger %s: an internal error with event number %d", self.key, job.seq)
            why = f"an internal error: {type(problem).__name__}; the log has the details"
            outcome = Failed(True, NO_RESPONSE, why)
        self.queue.attempted(job)
        try:
            if outcome is None:
                self._runtime.later(lambda: self._schedule.after(0, job.seq))
            else:
                self._settlement.record(delivery, job, outcome)
        finally:
            self.queue.end_busy()

    def _attempt(self, delivery: Delivery, job: Job) -> Delivered | Failed:
        """Make the attempt. Raises Unavailable if the log cannot be read."""
        if job.dead_letter is not None:
            return self._attempt_at_sink(delivery, job, job.dead_letter)
        if job.stored is None:
            with self._runtime.store.read() as connection:
                job.stored = event_table.get(connection, job.seq)
        if job.stored is None:
            return Delivered(note="it is no longer in the log")
        return _unreadable(job.stored) or delivery.send(job.stored, job.tries)

    def _attempt_at_sink(self, delivery: Delivery, job: Job, id: int) -> Delivered | Failed:
        with self._runtime.store.read() as connection:
            dead_letter = dead_letters.get(connection, id)
        if dead_letter is None or delivery.sink is None:
            return Delivered(note="the dead letter, or its sink, no longer exists")
        job.stored = dead_letter.stored
        return _unreadable(job.stored) or delivery.send_dead_letter(dead_letter, job.tries)


def _unreadable(stored: StoredEvent) -> Failed | None:
    """Return the failure of an event that cannot be read, which makes it a dead letter; None: it can be read."""
    if stored.unreadable is None:
        return None
    return Failed(False, NO_RESPONSE, f"it cannot be read from the log: {stored.unreadable.why}")
