"""One Trigger at work: takes jobs from its books, makes the attempts, and settles what comes of them.

A lane shares no lock and no limit with another one, so a subscriber that is dead, slow or hanging delays nobody else.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

from greenlight.broker import letters, log
from greenlight.broker.courier import Courier
from greenlight.broker.crew import Alarm, Crew
from greenlight.broker.delivery import NO_ANSWER, Delivered, Failed
from greenlight.broker.letters import DeadLetter
from greenlight.broker.log import Arrived, Attempt, Entry
from greenlight.broker.manifests import TriggerSpec
from greenlight.broker.metrics import Metrics
from greenlight.broker.progress import Gap, Progress
from greenlight.broker.turns import Job
from greenlight.events import Event
from greenlight.lib.clock import Clock
from greenlight.lib.errors import Unavailable
from greenlight.store import Store, Tx

PATIENCE = 1.0
"""Seconds before something that the store refused is tried again."""

PACE = 0.02
"""Seconds between two tries of one Trigger that fall due together, or a thousand at once would take the others' time."""

_log = logging.getLogger("greenlight.broker")


class Hub(Protocol):
    """What the lanes share."""

    store: Store
    crew: Crew
    alarm: Alarm
    clock: Clock
    metrics: Metrics
    announced: int
    head: int

    def arrived(self, entry: Entry) -> Arrived:
        """An event as the log will have it, for `append`."""
        ...

    def append(self, tx: Tx, broker: str, arrived: Arrived, *, cause: int | None = None, by: str = "") -> None:
        """Append an event to the log inside a transaction."""
        ...

    def touched(self, lane: Lane) -> None:
        """Something was settled. Never called with a lane's lock held."""
        ...


class Lane:
    """Delivers one Trigger's events, at most `workers` at once."""

    def __init__(
        self, hub: Hub, spec: TriggerSpec, courier: Courier, workers: int, cursor: int, tried: Sequence[Attempt]
    ) -> None:
        self.spec, self.courier = spec, courier
        self._hub = hub
        self._left = tried  # by an earlier run
        self._turns: deque[int] = deque()  # of tries whose time has come
        self._turning = False
        self.progress = Progress(hub, cursor, tried, workers, lambda: hub.crew.run(self._work), spec.of_one_key)

    def start(self) -> None:
        """Begin delivering, with what an earlier run left."""
        for attempt in self._left:
            longest = self.spec.delivery.wait(max(attempt.tries, 1))  # a clock that was set back must not stop us
            self._later(attempt.seq, min(attempt.next_at - self._now(), longest))
        self._left = ()
        self.progress.resume()

    def change(self, spec: TriggerSpec, courier: Courier, workers: int) -> None:
        """Go on with another spec: what is on its way ends as it began, everything after that goes by the new one."""
        self.spec, before, self.courier = spec, self.courier, courier
        self.progress.limit(workers, spec.of_one_key)
        before.close()

    def set_aside(self, tx: Tx) -> None:
        """The Trigger is going away: write down what it is owed, so that its rows alone say it."""
        self.progress.pause()
        position, unsettled = self.progress.owed()
        kept = [Attempt(seq, None, 0, self._now()) for seq in unsettled]
        for attempt in kept:
            log.keep(tx, self.spec.key, attempt)
        log.move(tx, self.spec.key, position)
        tx.on_commit(lambda: self.progress.set_aside(kept))

    def wants(self, event: Event) -> bool:
        """Whether the Trigger's filter passes it. An error in a filter is a no, as with Knative."""
        try:
            return self.spec.filter(event)
        except Exception:
            _log.exception("the filter of Trigger %s failed on event %s", self.spec.key, event.id)
            return False

    def part_with_stragglers(self) -> None:
        """Give deliveries that hold the cursor back rows of their own."""
        for attempt in self.progress.stragglers(self._now()):
            self._track(attempt)

    # Work, in the crew's threads.

    def _work(self) -> None:
        while (step := self.progress.take()) is not None:
            if isinstance(step, Gap):
                self._read(step)
            else:
                self._do(step)
            self._hub.touched(self)

    def _read(self, gap: Gap) -> None:
        try:
            with self._hub.store.read() as connection:
                found, until = log.page(connection, self.spec.broker_key, self.spec.key, gap.after, gap.end)
        except Unavailable as problem:
            _log.warning("Trigger %s cannot read the log, and waits: %s", self.spec.key, problem)
            self._hub.alarm.after(PATIENCE, self.progress.fill_later)
            return
        wanted = [(seq, entry) for seq, only, entry in found if only or entry.unread or self.wants(entry.event)]
        self.progress.fill(wanted, until)

    def _do(self, job: Job) -> None:
        outcome: Delivered | Failed | None = None
        try:
            outcome = self._attempt(job)
        except Unavailable as problem:
            _log.warning("Trigger %s cannot read the log, and waits: %s", self.spec.key, problem)
        except Exception as problem:
            _log.exception("Trigger %s: an error of ours with event number %d", self.spec.key, job.seq)
            outcome = Failed(True, NO_ANSWER, f"an error of ours: {type(problem).__name__}; the log has the details")
        self.progress.land(job)
        try:
            if outcome is None:
                self._later(job.seq, PATIENCE)
            else:
                self._settle(job, outcome)
        finally:
            self.progress.rest()

    def _attempt(self, job: Job) -> Delivered | Failed:
        """Make the attempt. Raises Unavailable if what is to be delivered cannot be read now."""
        if job.letter is not None:
            with self._hub.store.read() as connection:
                letter = letters.get(connection, job.letter)
            if letter is None or self.courier.sink is None:
                return Delivered(note="the dead letter, or its sink, is not there any more")
            job.entry = letter.entry
            return _unreadable(job.entry) or self.courier.bury(letter, job.tries)
        if job.entry is None:
            with self._hub.store.read() as connection:
                job.entry = log.entry(connection, job.seq)
        if job.entry is None:
            return Delivered(note="the log does not have it any more")
        return _unreadable(job.entry) or self.courier.deliver(job.entry, job.tries)

    # What comes of an attempt.

    def _settle(self, job: Job, outcome: Delivered | Failed) -> None:
        if isinstance(outcome, Delivered):
            self._delivered(job, outcome)
        elif outcome.again and job.tries < self.spec.delivery.retry:
            self._try_again(job, outcome)
        elif job.letter is not None:
            self._tell(job, f"failed: {outcome.why}")
        else:
            self._bury(job, outcome, self.courier.subscriber.url)

    def _delivered(self, job: Job, outcome: Delivered) -> None:
        if outcome.note is not None:
            _log.warning("Trigger %s, event %s: %s", self.spec.key, _name(job), outcome.note)
        if job.letter is not None:
            self._tell(job, "delivered")
        elif outcome.reply is not None:
            self._reply(job, outcome)
        else:
            self.progress.settle(job.seq)

    def _reply(self, job: Job, outcome: Delivered) -> None:
        """Append the reply for all Triggers, in the commit that settles its cause, whose hops it goes on counting."""
        assert job.entry is not None
        assert outcome.reply is not None
        ttl = job.entry.ttl - 1
        if ttl <= 0:
            why = "its reply was refused: the event has been through this Broker too often, there is a loop"
            self._bury(job, Failed(False, 400, why), f"http://broker/{self.spec.broker_key}")
            return
        reply = self._hub.arrived(Entry(outcome.reply, ttl, outcome.headers))
        self._write_end(
            job, lambda tx: self._hub.append(tx, self.spec.broker_key, reply, cause=job.seq, by=self.spec.key)
        )

    def _try_again(self, job: Job, outcome: Failed) -> None:
        self._hub.metrics.retried(self.spec.key)
        tries = job.tries + 1
        wait = self.spec.delivery.wait(tries)
        _log.info(
            "Trigger %s, event %s: attempt %d of %d: %s; again in %g s",
            self.spec.key, _name(job), tries, self.spec.delivery.retry + 1, outcome.why, wait,
        )  # fmt: skip
        attempt = Attempt(job.seq, job.letter, tries, self._now() + wait)
        self._track(attempt, outcome, lambda: self._later(job.seq, attempt.next_at - self._now()))

    def _bury(self, job: Job, outcome: Failed, destination: str) -> None:
        """Keep the event as a dead letter, and send it on its way to the dead-letter sink if there is one."""
        assert job.entry is not None
        self._hub.metrics.dead_lettered(self.spec.key)
        if job.entry.unread is not None:
            self._hub.metrics.unreadable(self.spec.key)
        _log.warning(
            "Trigger %s, event %s is a dead letter after %d attempts: %s",
            self.spec.key, _name(job), job.tries + 1, outcome.why,
        )  # fmt: skip
        sink = None if self.courier.sink is None or job.entry.unread is not None else "pending"
        letter = DeadLetter(
            id=0,
            trigger=self.spec.key,
            broker=self.spec.broker_key,
            seq=job.seq,
            entry=job.entry,
            attempts=job.tries + 1,
            code=outcome.code,
            answer=outcome.body,
            why=outcome.why,
            destination=destination,
            at=self._now(),
            sink=sink,
        )
        if sink is None:
            self._write_end(job, lambda tx: letters.bury(tx, letter))
            return

        def change(tx: Tx) -> None:
            attempt = Attempt(job.seq, letters.bury(tx, letter), 0, letter.at)
            log.keep(tx, self.spec.key, attempt)
            tx.on_commit(lambda: self.progress.tracked(attempt))

        self._write(change, lambda: self.progress.due(job.seq))

    def _tell(self, job: Job, sink: str) -> None:
        """Note how a dead letter's way to its sink ended."""
        letter = job.letter
        assert letter is not None
        self._write_end(job, lambda tx: letters.tell(tx, letter, sink))

    # Writing without waiting.

    def _write_end(self, job: Job, change: Callable[[Tx], object]) -> None:
        """Write `change` and the end of the delivery: its row goes, and the cursor goes over it if it is lowest."""

        def end(tx: Tx) -> None:
            change(tx)
            log.forget(tx, self.spec.key, [job.seq])
            log.move(tx, self.spec.key, self.progress.cursor(without=job.seq))

        self._write(end, lambda: self.progress.settle(job.seq, row_gone=True))

    def _track(self, attempt: Attempt, outcome: Failed | None = None, then: Callable[[], None] = lambda: None) -> None:
        """Write a row for a delivery that is not over, and why its last attempt failed if it did."""

        def change(tx: Tx) -> None:
            log.keep(tx, self.spec.key, attempt)
            if outcome is not None:
                log.failed(tx, self.spec.key, attempt, self._now(), outcome.code, outcome.why)

        def committed() -> None:
            self.progress.tracked(attempt)
            then()

        self._write(change, committed)

    def _write(self, change: Callable[[Tx], object], then: Callable[[], None]) -> None:
        """Write durably, then call `then` in the writer's thread; again and again while the store cannot."""

        def run(tx: Tx) -> None:
            change(tx)
            tx.on_commit(then)

        def done(future: Future[None]) -> None:
            self.progress.rest()
            problem = future.exception()
            if problem is not None:
                # What ails the store, the store has said, once.
                level = logging.DEBUG if isinstance(problem, Unavailable) else logging.WARNING
                _log.log(level, "Trigger %s cannot write, and tries again: %s", self.spec.key, problem)
                self._hub.alarm.after(PATIENCE, lambda: self._write(change, then))
            self._hub.touched(self)

        self.progress.begin()
        try:
            self._hub.store.submit(run).add_done_callback(done)
        except Unavailable:  # closed: the next start delivers it again
            self.progress.rest()

    def _later(self, seq: int, wait: float) -> None:
        self._hub.alarm.after(max(wait, 0.0), lambda: self._due(seq))

    def _due(self, seq: int) -> None:
        """The time of a try has come, but for its turn. In the alarm's thread alone."""
        self._turns.append(seq)
        if not self._turning:
            self._turning = True
            self._turn()

    def _turn(self) -> None:
        """Let the try that waits longest begin, and see to the next one PACE later, however late this one is."""
        if self._turns:
            self.progress.due(self._turns.popleft())
            self._hub.alarm.after(PACE, self._turn)
        else:
            self._turning = False

    def _now(self) -> float:
        return self._hub.clock.now().timestamp()


def _unreadable(entry: Entry) -> Failed | None:
    """The end of what cannot be read, which is set aside as a dead letter, as it is. None: it can be read."""
    if entry.unread is None:
        return None
    return Failed(False, NO_ANSWER, f"the log has it in a form that cannot be read: {entry.unread.why}")


def _name(job: Job) -> str:
    if job.entry is None or job.entry.unread is not None:
        return f"number {job.seq}"
    return job.entry.event.id
