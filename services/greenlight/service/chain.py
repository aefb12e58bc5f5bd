"""A ledger that stores each write together with what follows from it: one chain of handlers, one transaction, one fsync.

    accept or transact, in any thread
        │  waits in the queue
        ▼
    one of the waiting threads takes the writes that wait, at most BATCH, and for each of them
        │  collects the write in an overlay
        │  hands each event that it emits to the handlers that follow, whose writes go into the same overlay, and so on
        │  takes the overlay into that of the batch
        ▼
    stores the batch in one transaction, and wakes the threads that wait

Handlers know nothing of it: in the thread that runs a chain, this ledger reads and writes the overlay. Where a handler
fails, or a chain takes too long, the write alone is stored, and its events are delivered by the Broker as if
there was no chain. Every event is in the Broker's log in any case, with the Triggers that need not deliver it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from greenlight.events import Event
from greenlight.ledger.overlay import GivenUp, NotOverlaid, Overlay
from greenlight.ledger.port import Transaction, Unreadable
from greenlight.ledger.traced import as_step, writing
from greenlight.lib.errors import Unavailable
from greenlight.model.rows import Due, Fact

BATCH = 32
"""Writes that are stored by one transaction, at most, each with what follows from it."""

LONG = 0.05
"""Seconds of CPU after which a chain is given up, and after which no further chain is taken into a batch: some ten times what
one takes. What needs more, such as an edited policy by which hundreds of commits are decided anew, is done beside the chains,
because all other writes wait while one runs."""

REST = 5.0
"""Seconds for which what follows from a repository's events is left to the Broker, after one of its chains was too long: the
next one would be, too."""

TRIES = 2
"""How often a write is tried alone with what follows from it, where its batch could not be stored."""


class NotFollowed(Exception):
    """Report that a handler failed, so that the Broker has to deliver the event."""


class TooLong(GivenUp):
    """Report that a chain has taken LONG."""


Follow = Callable[[Event], Collection[str]]
"""Hands an event to the handlers that follow, and returns the keys of their Triggers. Raises NotFollowed."""


class LedgerOfOverlays(Protocol):
    """A ledger whose changes are collected in overlays."""

    def overlay(self) -> Overlay: ...

    def store(self, overlay: Overlay) -> None: ...

    def keeping(self, body: bytes | None) -> AbstractContextManager[tuple[str, bytes | None] | None]: ...


class _Write:
    """One write, for which a thread waits."""

    __slots__ = ("_woken", "apply", "error", "over", "result")

    def __init__(self, apply: Callable[[Overlay], bool]) -> None:
        self.apply = apply
        self.over = False
        self.result = False
        self.error: BaseException | None = None
        self._woken = threading.Lock()
        self._woken.acquire()

    def end(self, error: BaseException | None = None) -> None:
        """Wake the thread that waits: the write is stored, or has an error."""
        self.error, self.over = error, True
        self._woken.release()

    def lead(self) -> None:
        """Wake the thread that waits, to run the chains of all that wait."""
        self._woken.release()

    def wait(self) -> None:
        """Wait for `end` or `lead`."""
        self._woken.acquire()

    def outcome(self) -> bool:
        """Return the result. Raises the error."""
        assert self.over, "the thread that takes a write from the queue ends it"
        if self.error is not None:
            raise self.error
        return self.result


class Chain:
    """A Ledger over `ledger`. Every method may be called from any thread."""

    def __init__(
        self,
        ledger: LedgerOfOverlays,
        follow: Follow,
        log: logging.Logger,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        """Make a chain. `spent`: the seconds of CPU that the calling thread has used."""
        self._ledger, self._follow, self._log, self._spent = ledger, follow, log, spent
        self._waiting: deque[_Write] = deque()
        self._gate = threading.Lock()  # guards the queue and what follows
        self._busy = False  # a thread runs chains, or has been woken for it
        self._runner: int | None = None  # the thread that runs a chain; what follows is its own
        self._overlay: Overlay | None = None
        self._until = 0.0  # what it may have spent by the end of its chain
        self._resting: dict[str, float] = {}  # by repository, until when its chains are not tried

    # What handlers and other callers use.

    def accept(self, fact: Fact, body: bytes | None, due: Due) -> bool:
        """Store a fact with what follows from it; False if it is there already. No handler in a chain may do that."""
        if self._chained() is not None:
            raise NotOverlaid("a fact is accepted in a transaction of its own")
        with writing(), self._ledger.keeping(body) as kept:
            return self._write(lambda overlay: overlay.accept(fact, kept, due))

    def transact(self, transaction: Transaction) -> None:
        """Write it all with what follows from it, or raise Conflict and write nothing.

        Durable when it returns; what a handler writes in a chain is durable when the chain is.
        """
        as_step(self._transact, transaction)

    def _transact(self, transaction: Transaction) -> None:
        overlay = self._chained()
        if overlay is not None:
            overlay.transact(transaction)
        else:
            self._write(lambda overlay: _transacted(overlay, transaction))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chained() or self._ledger, name)

    def _chained(self) -> Overlay | None:
        """Return the overlay of the chain that this thread runs; None if it runs none. Raises TooLong."""
        if self._runner != threading.get_ident():
            return None
        if self._spent() > self._until:
            raise TooLong(f"a chain of handlers takes at most {LONG} s of CPU; the Broker delivers its events")
        return self._overlay

    # Whose turn it is to run chains.

    def _write(self, apply: Callable[[Overlay], bool]) -> bool:
        """Store a write in its turn: in this thread, if no other one runs chains, or if the one that did leaves it to this."""
        write = _Write(apply)
        with self._gate:
            self._waiting.append(write)
            leads, self._busy = not self._busy, True
        if not leads:
            write.wait()
        if not write.over:
            try:
                self._run()
            finally:
                self._pass_on()
        return write.outcome()

    def _pass_on(self) -> None:
        """Leave what came meanwhile to the first thread that waits, so that no caller works for others again and again."""
        with self._gate:
            if self._waiting:
                self._waiting[0].lead()
            else:
                self._busy = False

    # In the thread whose turn it is.

    def _run(self) -> None:
        """Store a batch of writes, and wake the threads that wait for them."""
        taken: list[_Write] = []
        try:
            self._store(taken)
        except BaseException as error:
            for write in taken:
                if not write.over:
                    write.end(error)
            if not isinstance(error, Exception):
                raise

    def _store(self, taken: list[_Write]) -> None:
        batch, end = self._ledger.overlay(), self._spent() + LONG
        refused: dict[_Write, Exception] = {}
        while len(taken) < BATCH and (not taken or self._spent() < end) and (write := self._next(taken)) is not None:
            try:
                self._collect(write, batch)
            except Exception as reason:  # what it builds on has changed, or cannot be read: the batch has nothing of it
                refused[write] = reason
        collected = [write for write in taken if write not in refused]
        error = self._stored(batch)
        together = error is None or (isinstance(error, Unavailable) and not isinstance(error, Unreadable))
        for write in collected:
            write.end(error if together else self._alone(write))
        for write, problem in refused.items():  # now, when what they conflict with can be read
            write.end(problem)

    def _next(self, taken: list[_Write]) -> _Write | None:
        """Take the first write that waits."""
        with self._gate:
            if not self._waiting:
                return None
            taken.append(self._waiting.popleft())
        return taken[-1]

    def _stored(self, overlay: Overlay) -> Exception | None:
        """Store what was collected; return the error if that failed."""
        try:
            if not overlay.is_empty():
                self._ledger.store(overlay)
        except Exception as error:
            return error
        return None

    def _alone(self, write: _Write) -> Exception | None:
        """Store one write by a transaction of its own, reading again what was changed meanwhile; return its error.

        In the end without what follows from it: only what is wrong with the write itself is its error.
        """
        error: Exception | None = None
        for follow in [True] * TRIES + [False]:
            overlay = self._ledger.overlay()
            try:
                self._collect(write, overlay, follow=follow)
            except Exception as problem:
                error = problem
                continue
            error = self._stored(overlay)
            if error is None:
                return None
        return error

    def _collect(self, write: _Write, batch: Overlay, *, follow: bool = True) -> None:
        """Collect a write with what follows from it in the batch. Raises what the write raises, and then adds nothing."""
        overlay = Overlay(batch)
        write.result = write.apply(overlay)
        if follow:
            handled = self._followed(overlay)
            if handled is None:
                overlay = Overlay(batch)
                write.result = write.apply(overlay)
            else:
                overlay.changes.note_handled(handled)
        batch.absorb(overlay)

    def _followed(self, overlay: Overlay) -> Sequence[Collection[str]] | None:
        """Let the handlers follow; return who has handled each emitted event, None if the Broker has to deliver them."""
        handled: list[Collection[str]] = []
        repositories: set[str] = set()
        self._runner, self._overlay, self._until = threading.get_ident(), overlay, self._spent() + LONG
        try:
            while len(handled) < len(overlay.changes.emitted):
                event = overlay.changes.emitted[len(handled)].event
                repositories.add(str(event.extensions.get("repo", "")))
                if self._rest(repositories):
                    return None
                handled.append(self._follow(event))
        except NotFollowed as problem:
            self._log.debug("the Broker delivers what %s has not handled", problem)
            return None
        except Exception:
            self._log.exception("an internal error in a chain: the Broker delivers its events")
            return None
        finally:
            if self._spent() > self._until:
                self._resting |= dict.fromkeys(repositories, time.monotonic() + REST)
            self._runner = self._overlay = None
        return handled

    def _rest(self, repositories: Collection[str]) -> bool:
        """Return whether a chain of one of these repositories was too long a moment ago."""
        if not self._resting:
            return False
        now = time.monotonic()
        self._resting = {repo: until for repo, until in self._resting.items() if until > now}
        return not self._resting.keys().isdisjoint(repositories)


def _transacted(overlay: Overlay, transaction: Transaction) -> bool:
    overlay.transact(transaction)
    return True
