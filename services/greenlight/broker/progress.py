"""How far one Trigger is: what waits, what is on its way, what is tried again, and up to where all is settled.

New events are offered in the order of their commits. When more wait than memory should hold, the Trigger falls behind:
offers pass it by, and the log is read page by page until it has caught up. What waits is taken in turn by partition key.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from greenlight.broker.log import Attempt, Entry
from greenlight.broker.turns import Job, Turns

AHEAD = 10_000
"""Events that wait for their key's turn at most; further ones are not looked at before some of these are on their way."""

TRIED = 1000
"""Deliveries that are tried again at a time; with more, new events wait in the log (congestion control)."""

WINDOW = 1000
"""How far the cursor may stay behind one delivery that does not end, before that gets a row of its own."""


class Feed(Protocol):
    """The end of the log. `head` is never ahead of `announced`."""

    announced: int  # the newest event that is being offered
    head: int  # the newest event that has been offered to everybody


@dataclass(frozen=True, slots=True)
class Gap:
    """A part of the log that must be read: numbers over `after`, up to `end`."""

    after: int
    end: int


class Progress:
    """The books of one Trigger. `spawn` is called, under the lock, to have one more worker ask `take`."""

    def __init__(
        self,
        feed: Feed,
        cursor: int,
        tried: Sequence[Attempt],
        workers: int,
        spawn: Callable[[], None],
        of_one: int | None = None,
    ) -> None:
        self._feed, self._limit, self._spawn = feed, workers, spawn
        self._lock = threading.Lock()
        self._paused = True
        self._workers = 0
        self._busy = 0  # attempts whose outcome is not settled in memory, and writes that are not durable
        self._ready = Turns(of_one)
        self._open: set[int] = set()  # fresh and not settled
        self._line: deque[int] = deque()  # the same, oldest first, with some that are settled
        self._flying: dict[int, Job] = {}
        self._tried = {attempt.seq: attempt for attempt in tried}
        self._left = frozenset(self._tried)  # by an earlier run: the log will show them, but they are not fresh
        self._due: deque[int] = deque()
        self._finished: list[int] = []  # settled, but the row in broker_attempts is still there
        self._position = cursor  # up to here the log was read; while tailing, offers are farther
        self._stored = cursor
        self._tailing = cursor >= feed.announced
        self._filling = False

    # Workers.

    def resume(self) -> None:
        """Let workers take jobs."""
        with self._lock:
            self._paused = False
            self._wake()

    def pause(self) -> None:
        """Give out no more jobs."""
        with self._lock:
            self._paused = True

    def limit(self, workers: int, of_one: int | None = None) -> None:
        """Let at most so many workers take jobs, `of_one` partition key, from now on; those that are at work finish theirs."""
        with self._lock:
            self._limit, self._ready.of_one = workers, of_one
            for _ in range(workers):
                self._wake()

    def take(self) -> Job | Gap | None:
        """The next thing for a worker to do; None: nothing, and the worker is counted as gone."""
        with self._lock:
            if not self._workable() or self._workers > self._limit:
                self._workers -= 1
                return None
            if self._due:
                attempt = self._tried[self._due.popleft()]
                return self._launch(Job(attempt.seq, attempt.tries, attempt.letter))
            if self._reads_on():
                self._filling = True
                return Gap(self._position, self._feed.announced)
            job = self._ready.take()
            assert job is not None, "it was workable"
            return self._launch(job)

    def land(self, job: Job) -> None:
        """The attempt has an outcome; it is settled between this and `rest`."""
        with self._lock:
            del self._flying[job.seq]
            self._ready.done(job)

    def rest(self) -> None:
        """One attempt or write less to wait for."""
        with self._lock:
            self._busy -= 1
            self._wake()

    def begin(self) -> None:
        """One write more to wait for."""
        with self._lock:
            self._busy += 1

    # Where events come from.

    def offer(self, seq: int, entry: Entry) -> None:
        """Take an event that was just committed, unless it is left to, or was already found by, reading the log."""
        with self._lock:
            if not self._tailing or seq <= self._position:
                return
            if len(self._ready) >= AHEAD:
                self._tailing = False
                self._position = seq - 1
                return
            self._queue(seq, entry)
            self._wake()

    def fill(self, found: Sequence[tuple[int, Entry]], until: int) -> None:
        """Take what was found in the log, which is now known up to `until`."""
        with self._lock:
            self._filling = False
            self._position = until
            for seq, entry in found:
                if seq not in self._left:
                    self._queue(seq, entry)
            # An event that is being offered right now may have passed us by; then we stay behind and read it too.
            self._tailing = until >= self._feed.announced
            for _ in found or (None,):
                self._wake()

    def fill_later(self) -> None:
        """The log could not be read; the next worker tries again."""
        with self._lock:
            self._filling = False
            self._wake()

    # What becomes of them.

    def tracked(self, attempt: Attempt) -> None:
        """The delivery has a row of its own now, so the cursor can go over it."""
        with self._lock:
            known = self._tried.get(attempt.seq)
            if known is None and attempt.seq not in self._open:  # it was settled meanwhile
                self._finished.append(attempt.seq)
            elif known is None or attempt.supersedes(known):
                self._open.discard(attempt.seq)
                self._tried[attempt.seq] = attempt

    def set_aside(self, attempts: Sequence[Attempt]) -> None:
        """The same for all that is not settled."""
        for attempt in attempts:
            self.tracked(attempt)

    def due(self, seq: int) -> None:
        """The time of a further try has come."""
        with self._lock:
            if seq in self._tried:
                self._due.append(seq)
                self._wake()

    def settle(self, seq: int, *, row_gone: bool = False) -> None:
        """Nothing more is to be done for this event. `row_gone`: nor for its row, if it had one."""
        with self._lock:
            if self._tried.pop(seq, None) is not None and not row_gone:
                self._finished.append(seq)
            self._open.discard(seq)
            self._wake()

    def stragglers(self, now: float) -> list[Attempt]:
        """Deliveries that do not end and hold the cursor back; each should get a row (`tracked`)."""
        with self._lock:
            seen = self._feed.head if self._tailing else self._position
            return [
                Attempt(seq, None, job.tries, now)
                for seq, job in self._flying.items()
                if seq in self._open and seen - seq > WINDOW
            ]

    # Questions.

    def cursor(self, without: int | None = None) -> int:
        """Up to here everything is settled or has a row of its own; with `without`, as if that event were settled."""
        with self._lock:
            return self._cursor(without)

    def unsaved(self) -> tuple[int, list[int]] | None:
        """The cursor and the rows to delete, if the store should hear of them. They count as told."""
        with self._lock:
            cursor = self._cursor(None)
            if cursor == self._stored and not self._finished:
                return None
            finished, self._finished = self._finished, []
            self._stored = cursor
            return cursor, finished

    def unsave(self, finished: Sequence[int]) -> None:
        """The store did not take them: tell it again."""
        with self._lock:
            self._finished += finished
            self._stored = -1

    def owed(self) -> tuple[int, list[int]]:
        """Up to where the log was looked at, and which of these events are not settled and have no row of their own."""
        with self._lock:
            return (self._feed.head if self._tailing else self._position), sorted(self._open)

    def where(self, seq: int) -> str | None:
        """What an event waits for here, in a word or two; None if nothing: it is settled, or was never wanted."""
        with self._lock:
            if seq in self._flying:
                return "on its way"
            if seq in self._tried:
                return "tried again"
            if seq in self._open:
                return "queued"
            return "not looked at yet" if not self._tailing and seq > self._position else None

    def counts(self) -> dict[str, int]:
        """How many events are on their way, are tried again, and are not settled at all."""
        with self._lock:
            unseen = 0 if self._tailing else self._feed.announced - self._position
            lag = unseen + len(self._open) + len(self._tried)
            return {"lag": lag, "in_flight": len(self._flying), "retrying": len(self._tried)}

    def lag(self) -> int:
        """Events that are not settled; those that were not looked at yet count in full."""
        return self.counts()["lag"]

    def settled(self) -> bool:
        """Whether nothing is left to do."""
        with self._lock:
            return self._tailing and not (self._open or self._tried or self._busy)

    def resting(self) -> bool:
        """Whether nothing is on its way."""
        with self._lock:
            return not self._busy

    # The lock is held.

    def _workable(self) -> bool:
        if self._paused:
            return False
        fresh = self._reads_on() or self._ready.ready
        # What failed counts from the attempt on: until its row is durable it is among the busy ones.
        return bool(self._due or (fresh and len(self._tried) + self._busy < TRIED))

    def _reads_on(self) -> bool:
        """Whether the log is to be read on: what waits there may be another key's turn."""
        return not self._tailing and not self._filling and len(self._ready) < AHEAD

    def _wake(self) -> None:
        if self._workers < self._limit and self._workable():
            self._workers += 1
            self._spawn()

    def _launch(self, job: Job) -> Job:
        self._flying[job.seq] = job
        self._busy += 1
        return job

    def _queue(self, seq: int, entry: Entry) -> None:
        self._ready.add(seq, entry)
        self._open.add(seq)
        self._line.append(seq)

    def _cursor(self, without: int | None) -> int:
        while self._line and self._line[0] not in self._open:
            self._line.popleft()
        oldest = next((seq for seq in self._line if seq in self._open and seq != without), None)
        if oldest is not None:
            return oldest - 1
        return self._feed.head if self._tailing else self._position
