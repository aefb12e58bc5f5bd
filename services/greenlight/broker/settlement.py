"""The outcome of an attempt, as it is written: the reply, the next retry, or the dead letter."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from greenlight.broker.delivery import Delivery
from greenlight.broker.fair_queue import Job
from greenlight.broker.log import cursor_table, dead_letters, retry_table
from greenlight.broker.log.dead_letters import DeadLetter
from greenlight.broker.log.retry_table import Retry
from greenlight.broker.log.stored_event import PreparedEvent, StoredEvent, prepare
from greenlight.broker.outcomes import Delivered, Failed
from greenlight.broker.retry_schedule import RetrySchedule
from greenlight.broker.runtime import Runtime
from greenlight.broker.work_queue import WorkQueue
from greenlight.lib.errors import Unavailable
from greenlight.store import Tx

_log = logging.getLogger("greenlight.broker")


class Append(Protocol):
    """Append an event inside a transaction; see Dispatcher.append."""

    def __call__(
        self, tx: Tx, broker: str, event: PreparedEvent, *, cause: int | None = None, by: str = ""
    ) -> None: ...


class Settlement:
    """Write the outcomes of one Trigger's attempts, without waiting. Has no lock: the WorkQueue holds what changes."""

    def __init__(
        self,
        runtime: Runtime,
        trigger: str,
        queue: WorkQueue,
        schedule: RetrySchedule,
        append: Append,
        progressed: Callable[[], None],
    ) -> None:
        """Make a writer that calls `progressed` after each write."""
        self._runtime, self._trigger, self._queue = runtime, trigger, queue
        self._schedule, self._append, self._progressed = schedule, append, progressed

    def record(self, delivery: Delivery, job: Job, outcome: Delivered | Failed) -> None:
        """Settle the delivery, or let it go on."""
        if isinstance(outcome, Delivered):
            self._delivered(delivery, job, outcome)
        elif outcome.again and job.tries < delivery.spec.delivery.retry:
            self._retry(delivery, job, outcome)
        elif job.dead_letter is not None:
            self._sink_done(job, job.dead_letter, f"failed: {outcome.why}")
        else:
            self._dead_letter(delivery, job, outcome, delivery.subscriber.url)

    def write_row(self, retry: Retry) -> None:
        """Give a delivery in flight a row of its own, so that the cursor can pass it."""
        self._write(lambda tx: retry_table.save(tx, self._trigger, retry), lambda: self._queue.has_row([retry]))

    def _delivered(self, delivery: Delivery, job: Job, outcome: Delivered) -> None:
        if outcome.note is not None:
            _log.warning("Trigger %s, event %s: %s", self._trigger, _name(job), outcome.note)
        if job.dead_letter is not None:
            self._sink_done(job, job.dead_letter, "delivered")
        elif outcome.reply is not None:
            self._reply(delivery, job, outcome)
        else:
            self._queue.settle(job.seq)

    def _reply(self, delivery: Delivery, job: Job, outcome: Delivered) -> None:
        """Append the reply for all Triggers, in the commit that settles its cause. It has one hop less than that."""
        assert job.stored is not None
        assert outcome.reply is not None
        broker, ttl = delivery.spec.broker_key, job.stored.ttl - 1
        if ttl <= 0:
            why = "its reply was refused: the event has passed this Broker too often, there is a loop"
            self._dead_letter(delivery, job, Failed(False, 400, why), f"http://broker/{broker}")
            return
        reply = prepare(StoredEvent(outcome.reply, ttl, outcome.headers), self._runtime.clock)
        self._write_end(job, lambda tx: self._append(tx, broker, reply, cause=job.seq, by=self._trigger))

    def _retry(self, delivery: Delivery, job: Job, outcome: Failed) -> None:
        self._runtime.metrics.retried(self._trigger)
        options, tries = delivery.spec.delivery, job.tries + 1
        wait = options.wait(tries)
        _log.info(
            "Trigger %s, event %s: attempt %d of %d: %s; again in %g s",
            self._trigger, _name(job), tries, options.retry + 1, outcome.why, wait,
        )  # fmt: skip
        retry = Retry(job.seq, job.dead_letter, tries, self._runtime.now() + wait)

        def change(tx: Tx) -> None:
            retry_table.save(tx, self._trigger, retry)
            retry_table.save_failure(tx, self._trigger, retry, self._runtime.now(), outcome.code, outcome.why)

        def committed() -> None:
            self._queue.has_row([retry])
            self._schedule.after(retry.next_at - self._runtime.now(), job.seq)

        self._write(change, committed)

    def _dead_letter(self, delivery: Delivery, job: Job, outcome: Failed, destination: str) -> None:
        """Write a dead letter, and send it to the dead-letter sink if there is one."""
        assert job.stored is not None
        self._runtime.metrics.dead_lettered(self._trigger)
        if job.stored.unreadable is not None:
            self._runtime.metrics.unreadable(self._trigger)
        _log.warning(
            "Trigger %s, event %s is a dead letter after %d attempts: %s",
            self._trigger, _name(job), job.tries + 1, outcome.why,
        )  # fmt: skip
        dead_letter = DeadLetter(
            id=0,
            trigger=self._trigger,
            broker=delivery.spec.broker_key,
            seq=job.seq,
            stored=job.stored,
            attempts=job.tries + 1,
            code=outcome.code,
            answer=outcome.body,
            why=outcome.why,
            destination=destination,
            at=self._runtime.now(),
            sink=None if delivery.sink is None or job.stored.unreadable is not None else "pending",
        )
        if dead_letter.sink is None:
            self._write_end(job, lambda tx: dead_letters.add(tx, dead_letter))
        else:
            self._write_for_sink(dead_letter)

    def _write_for_sink(self, dead_letter: DeadLetter) -> None:
        """Write a dead letter, and the row by which it is sent to the sink at once."""

        def change(tx: Tx) -> None:
            retry = Retry(dead_letter.seq, dead_letters.add(tx, dead_letter), 0, dead_letter.at)
            retry_table.save(tx, self._trigger, retry)
            tx.on_commit(lambda: self._queue.has_row([retry]))

        self._write(change, lambda: self._queue.due(dead_letter.seq))

    def _sink_done(self, job: Job, dead_letter: int, sink: str) -> None:
        self._write_end(job, lambda tx: dead_letters.set_sink_outcome(tx, dead_letter, sink))

    def _write_end(self, job: Job, change: Callable[[Tx], object]) -> None:
        """Write `change` and the end of the delivery: its row is deleted, and the cursor passes it if it is the lowest."""

        def end(tx: Tx) -> None:
            change(tx)
            retry_table.delete(tx, self._trigger, [job.seq])
            cursor_table.advance(tx, self._trigger, self._queue.cursor(without=job.seq))

        self._write(end, lambda: self._queue.settle(job.seq, row_deleted=True))

    def _write(self, change: Callable[[Tx], object], committed: Callable[[], None]) -> None:
        """Write durably, then call `committed` in the store's thread; repeat this while the store cannot write."""

        def run(tx: Tx) -> None:
            change(tx)
            tx.on_commit(committed)

        def ended(future: Future[None]) -> None:
            self._queue.end_busy()
            problem = future.exception()
            if problem is not None:
                self._runtime.report(f"Trigger {self._trigger} cannot write, and tries again", problem)
                self._runtime.later(lambda: self._write(change, committed))
            self._progressed()

        self._queue.begin_busy()
        try:
            self._runtime.store.submit(run).add_done_callback(ended)
        except Unavailable:  # closed: the next start delivers it again
            self._queue.end_busy()


def _name(job: Job) -> str:
    if job.stored is None or job.stored.unreadable is not None:
        return f"number {job.seq}"
    return job.stored.event.id
