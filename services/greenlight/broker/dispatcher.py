"""Brings every event to the lanes that want it, and keeps their cursors, the log and dead letters in order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

from greenlight.broker import letters, log
from greenlight.broker.courier import Courier
from greenlight.broker.crew import Alarm, Crew
from greenlight.broker.departure import depart
from greenlight.broker.lane import PATIENCE, Lane
from greenlight.broker.log import ARRIVAL, TTL, Arrived, Entry
from greenlight.broker.manifests import TriggerSpec
from greenlight.broker.metrics import Metrics
from greenlight.broker.routes import Routes
from greenlight.events import rfc3339
from greenlight.lib.clock import Clock
from greenlight.lib.errors import Unavailable
from greenlight.store import Store, Tx

FLUSH = 0.02
"""Seconds that cursors may wait, so that their commits keep out of the events' way. A crash repeats so much."""

FLUSH_EVENTS = 1000
"""Events after which the cursors are written even of those that nothing happened to: a crash reads so many again."""

PRUNE = 60.0
"""Seconds between two looks for what is old enough to drop."""


_Move = tuple[Lane, int, list[int]]
"""A cursor to write, and rows of broker_attempts to delete."""

_log = logging.getLogger("greenlight.broker")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much, and for how long. Ages in seconds, sizes in bytes."""

    workers: int = 8  # deliveries of one Trigger at once, unless the Trigger says otherwise
    backlog_events: int = 2_000_000  # behind the slowest Trigger; with more, producers are told to come back later
    backlog_bytes: int = 4 << 30
    keep_events: float = 7 * 86_400.0  # settled events
    keep_bytes: int = 1 << 30
    keep_letters: float = 90 * 86_400.0


class Dispatcher:
    """The lanes of every Trigger over one log. Between `open` and `start` events are kept, but not delivered."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        limits: Limits,
        metrics: Metrics,
        wanted: Sequence[tuple[TriggerSpec, Courier]],
    ) -> None:
        """Read cursors and tries; a Trigger that is new starts here. Raises Unavailable."""
        self.store, self.clock, self.limits, self.metrics = store, clock, limits, metrics
        self.crew, self.alarm = Crew(), Alarm()
        self.lanes: list[Lane] = []
        self._leaving: dict[str, Lane | None] = {}  # Triggers that are gone and owed something; None: since a crash
        self._quiet = threading.Condition()
        self._waiting = 0
        self._marks = threading.Lock()
        self._flush_set = False
        self._moved: set[Lane] = set()  # since the last flush
        self._prune_set = False
        self._departing: set[str] = set()  # leaving ones that a thread sees off right now
        self._started = self._stopped = False
        with store.read() as connection:
            self.announced = self.head = self._flushed = log.last(connection.execute)
            gone = [it.trigger for it in log.standings(connection) if it.trigger not in {s.key for s, _ in wanted}]
        store.write(lambda tx: [log.leave(tx, trigger) for trigger in gone])
        self._leaving.update(dict.fromkeys(gone))
        self._arrive(wanted)
        self._floor, self._held = self._measure()

    def start(self) -> None:
        """Begin delivering, and see to what Triggers are owed that are not there any more."""
        self._started = True
        for lane in self.lanes:
            lane.start()
        self._see_off()

    # Triggers come, change and go.

    def adopt(self, wanted: Sequence[tuple[TriggerSpec, Courier]]) -> set[str]:
        """Make these the Triggers from now on. Raises Unavailable.

        Returns the keys of those that have to wait, because what an earlier Trigger of that name is owed is not over.
        """
        lanes = {lane.spec.key: lane for lane in self.lanes}
        for key in lanes.keys() - {spec.key for spec, _ in wanted}:
            self._depart(lanes[key])
        for spec, courier in wanted:
            if spec.key in lanes and lanes[spec.key].spec != spec:
                self._change(lanes[spec.key], spec, courier)
        fresh = [(spec, courier) for spec, courier in wanted if spec.key not in lanes]
        self._arrive([(spec, courier) for spec, courier in fresh if spec.key not in self._leaving])
        waiting = {spec.key for spec, _ in fresh if spec.key in self._leaving}
        self._see_off()
        return waiting

    def _arrive(self, pairs: Sequence[tuple[TriggerSpec, Courier]]) -> None:
        """More lanes. They are there from the commit of their rows on, so that no event falls between the two."""

        def change(tx: Tx) -> None:
            cursors = [log.register(tx, spec.key, spec.broker_key, spec.spec) for spec, _ in pairs]
            tx.on_commit(lambda: arrived(cursors))

        def arrived(cursors: Sequence[int]) -> None:
            lanes = [
                Lane(self, spec, courier, spec.concurrency or self.limits.workers, cursor, tried[spec.key])
                for (spec, courier), cursor in zip(pairs, cursors, strict=True)
            ]
            self._route([*self.lanes, *lanes])
            for lane in lanes if self._started else ():
                lane.start()

        if not pairs:
            return
        with self.store.read() as connection:
            tried = {spec.key: log.attempts(connection, spec.key) for spec, _ in pairs}
        self.store.write(change)

    def _change(self, lane: Lane, spec: TriggerSpec, courier: Courier) -> None:
        self.store.write(lambda tx: log.register(tx, spec.key, spec.broker_key, spec.spec))
        lane.change(spec, courier, spec.concurrency or self.limits.workers)
        self._route(self.lanes)

    def _depart(self, lane: Lane) -> None:
        key = lane.spec.key

        def change(tx: Tx) -> None:
            lane.set_aside(tx)
            log.leave(tx, key)
            tx.on_commit(left)

        def left() -> None:
            self._leaving[key] = lane
            self._route([other for other in self.lanes if other is not lane])

        self.store.write(change)

    def _route(self, lanes: list[Lane]) -> None:
        self._routes = Routes(lanes)
        self.lanes = lanes

    def _see_off(self) -> None:
        """Have what leaving Triggers are owed made dead letters, of each once nothing of it is on its way."""
        for key, lane in list(self._leaving.items()):
            if (lane is None or lane.progress.resting()) and self._seeing_off(key):
                self.crew.run(lambda key=key, lane=lane: self._bury_the_rest(key, lane))  # type: ignore[misc]

    def _seeing_off(self, key: str) -> bool:
        """Whether nobody does it yet: then the caller must."""
        with self._marks:
            first = key not in self._departing
            self._departing.add(key)
            return first

    def _bury_the_rest(self, key: str, lane: Lane | None) -> None:
        try:
            if lane is not None:
                self._write_moves([(lane, *unsaved)] if (unsaved := lane.progress.unsaved()) else [])
            with self.store.read() as connection:
                found = [it for it in log.standings(connection) if it.trigger == key]
            for standing in found:
                depart(self.store, standing, lambda: self.clock.now().timestamp())
            self._leaving.pop(key, None)
            if lane is not None:
                lane.courier.close()
        except Unavailable as problem:
            self._complain(f"what the Trigger {key} is owed cannot be kept", problem, self._see_off)
        finally:
            with self._marks:
                self._departing.discard(key)
        self.touched()

    # In.

    def arrived(self, entry: Entry) -> Arrived:
        """An event as the log will have it. Better made before a transaction than in it, where all others wait."""
        now = self.clock.now()
        extensions = {**entry.event.extensions, ARRIVAL: rfc3339(now)}
        extensions.pop(TTL, None)
        kept = Entry(replace(entry.event, extensions=extensions), entry.ttl, entry.headers)
        return Arrived(kept, now.timestamp(), log.columns(kept))

    def append(
        self, tx: Tx, broker: str, arrived: Arrived, *, only: str | None = None, cause: int | None = None, by: str = ""
    ) -> None:
        """Append an event inside a transaction; it is on its way as soon as that is durable.

        `only`: to one Trigger. `cause`, `by`: the event that it answers, and for which Trigger.
        """
        seq = log.insert(tx, broker, arrived.row, arrived.at, only=only, cause=cause, by=by)
        tx.on_commit(lambda: self._committed(broker, seq, arrived.entry, only))

    def full(self) -> bool:
        """Whether some Trigger is so far behind that producers should wait."""
        if self._within():
            return False
        self._floor, self._held = self._measure()
        return not self._within()

    def _within(self) -> bool:
        behind = self.announced - self._floor
        return behind <= self.limits.backlog_events and self._held <= self.limits.backlog_bytes

    def _measure(self) -> tuple[int, int]:
        """Up to where every Trigger has everything, and how many bytes there are after that."""
        floor = self.floor()
        with self.store.read() as connection:
            return floor, log.held(connection, floor)

    def _committed(self, broker: str, seq: int, entry: Entry, only: str | None) -> None:
        """Offer an event to the lanes that want it. Runs in the store's writer thread, in the order of the numbers."""
        self.announced = seq
        for lane in self._candidates(broker, entry, only):
            if only is not None or lane.wants(entry.event):
                lane.progress.offer(seq, entry)
        self.head = seq
        self._held += entry.size
        if seq - self._flushed >= FLUSH_EVENTS:
            self.touched()

    def _candidates(self, broker: str, entry: Entry, only: str | None) -> Iterable[Lane]:
        if only is not None:
            return [lane for lane in self.lanes if lane.spec.key == only]
        return self._routes.of(broker, entry.event)

    # Cursors.

    def touched(self, lane: Lane | None = None) -> None:
        """Something was settled: write cursors soon, and wake who waits for that."""
        if self._leaving:
            self._see_off()
        with self._marks:
            if lane is not None:
                self._moved.add(lane)
            first, self._flush_set = not self._flush_set, True
        if first:
            self.alarm.after(FLUSH, self._flush)
        if self._waiting:
            with self._quiet:
                self._quiet.notify_all()

    def _flush(self) -> None:
        """Of a thousand lanes most have nothing to tell, so all of them are asked only once in FLUSH_EVENTS."""
        with self._marks:
            self._flush_set = False
            prune, self._prune_set = not self._prune_set, True
            moved, self._moved = self._moved, set()
        if prune:
            self.alarm.after(PRUNE, self._prune)
        lanes: Iterable[Lane] = moved
        if self.head - self._flushed >= FLUSH_EVENTS:
            self._flushed, lanes = self.head, self.lanes
        for lane in lanes:
            lane.part_with_stragglers()
        moves = _moves(lanes)

        def failed(problem: BaseException) -> None:
            for lane, _, finished in moves:
                lane.progress.unsave(finished)
            self._flushed = self.head - FLUSH_EVENTS
            self._complain("the cursors cannot be written", problem, self.touched)

        if moves:
            self._submit(lambda tx: _move(tx, moves), lambda _: None, failed)

    def flush(self) -> None:
        """Write the cursors now. Raises Unavailable."""
        self._write_moves(_moves(self.lanes))

    def _write_moves(self, moves: list[_Move]) -> None:
        self.store.write(lambda tx: _move(tx, moves))

    # What is old.

    def _prune(self) -> None:
        with self._marks:
            self._prune_set = False
        try:
            self._floor, self._held = self._measure()
        except Unavailable as problem:
            self._old(problem)
            return
        now = self.clock.now().timestamp()
        self._prune_events(0, self._floor, now - self.limits.keep_events)
        self._submit(lambda tx: letters.prune(tx, now - self.limits.keep_letters), self._pruned_letters, self._old)

    def _prune_events(self, after: int, floor: int, before: float) -> None:
        """Drop a chunk, then, in a commit of its own, the next: others write in between."""

        def done(more: int | None) -> None:
            if more is not None:
                self._prune_events(more, floor, before)

        self._submit(lambda tx: log.prune(tx, floor, after, before, self.limits.keep_bytes), done, self._old)

    def _pruned_letters(self, open: int) -> None:
        if open:
            _log.warning("%d dead letters were dropped for their age; nobody had looked after them", open)

    def _old(self, problem: BaseException) -> None:
        self._complain("old events cannot be dropped", problem, lambda: None)

    def _complain(self, what: str, problem: BaseException, again: Callable[[], None]) -> None:
        if not self._stopped:
            _log.log(logging.DEBUG if isinstance(problem, Unavailable) else logging.WARNING, "%s: %s", what, problem)
            self.alarm.after(PATIENCE, again)

    def _submit(
        self, change: Callable[[Tx], object], done: Callable[..., None], failed: Callable[[BaseException], None]
    ) -> None:
        def call(future: Future[object]) -> None:
            problem = future.exception()
            if problem is None:
                done(future.result())
            else:
                failed(problem)

        try:
            self.store.submit(change).add_done_callback(call)
        except Unavailable as problem:
            failed(problem)

    def floor(self) -> int:
        """Up to where no Trigger needs the log any more, those that are leaving included."""
        lowest = min((lane.progress.cursor() for lane in self.lanes), default=self.head)
        if not self._leaving:
            return lowest
        with self.store.read() as connection:
            return min(lowest, *(it.seq for it in log.standings(connection)))

    # Waiting.

    def wait(self, until: Callable[[Lane], bool], timeout: float) -> bool:
        """Wait until `until` holds for every lane at once, at most `timeout` seconds. Returns whether it does."""
        end = time.monotonic() + timeout
        with self._quiet:
            self._waiting += 1
            try:
                while not all(until(lane) for lane in self.lanes):
                    left = end - time.monotonic()
                    if left <= 0:
                        return False
                    self._quiet.wait(left)
                return True
            finally:
                self._waiting -= 1

    def pause(self) -> None:
        """Begin no more deliveries."""
        for lane in self.lanes:
            lane.progress.pause()

    def stop(self) -> None:
        """End the threads. What is on its way is not waited for, and is delivered again at the next start."""
        self._stopped = True
        self.pause()
        self.alarm.stop()
        self.crew.stop()
        for lane in self.lanes:
            lane.courier.close()


def _moves(lanes: Iterable[Lane]) -> list[_Move]:
    return [(lane, *unsaved) for lane in lanes if (unsaved := lane.progress.unsaved()) is not None]


def _move(tx: Tx, moves: Iterable[_Move]) -> None:
    for lane, cursor, finished in moves:
        if finished:
            log.forget(tx, lane.spec.key, finished)
        log.move(tx, lane.spec.key, cursor)
