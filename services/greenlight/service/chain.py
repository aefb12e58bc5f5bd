"""A ledger that stores each write together with what follows from it: one chain of handlers, one transaction, one fsync.

    accept or transact, in any thread
        │  waits in the queue
        ▼
    one of the waiting threads takes the writes that wait, at most BATCH, and for each of them
        │  collects the write in an overlay
        │  hands each event that it emits to the handlers that follow, whose writes go into the same overlay, and so on
        │  takes the overlay into that of the batch
        ▼
    stores the batch in one transaction, and wakes those who wait

Handlers know nothing of it: in the thread that runs a chain, this ledger reads and writes the overlay. Where a handler
fails, or asks for more than a chain may do, the write alone is stored, and its events are delivered by the Broker as if
there was no chain. Every event is in the Broker's log in any case, with the Triggers that need not deliver it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from greenlight.events import Event
from greenlight.ledger.overlay import Overlay
from greenlight.ledger.port import Conflict, Transaction
from greenlight.lib.errors import Unavailable
from greenlight.model.rows import Due, Fact

BATCH = 32
"""Writes that are stored by one transaction, at most, each with what follows from it."""

CALLS = 1000
"""Reads and writes of the ledger in one chain, at most. What needs more, such as an edited policy by which hundreds of commits
are decided anew, is done beside the chains, because other writes wait while one runs."""

TRIES = 3
"""How often a write is tried again alone, where a row that it builds on was changed outside of all chains."""


class NotFollowed(Exception):
    """Report that a handler failed, so that the Broker has to deliver the event."""


class TooLong(Unavailable):
    """Report that a chain has asked for more than CALLS."""


Follow = Callable[[Event], Collection[str]]
"""Hands an event to the handlers that follow, and returns the keys of their Triggers. Raises NotFollowed."""


class Stored(Protocol):
    """The ledger below: it collects changes in overlays, and stores them."""

    def overlay(self) -> Overlay: ...

    def store(self, overlay: Overlay) -> None: ...

    def keeping(self, body: bytes | None) -> AbstractContextManager[tuple[str, bytes | None] | None]: ...


class _Write:
    """One write, for which somebody waits."""

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
        if self.error is not None:
            raise self.error
        return self.result


class Chain:
    """A Ledger over `ledger`. Every method may be called from any thread."""

    def __init__(self, ledger: Stored, follow: Follow) -> None:
        self._ledger, self._follow = ledger, follow
        self._waiting: deque[_Write] = deque()
        self._gate = threading.Lock()  # guards the queue and what follows
        self._busy = False  # a thread runs chains, or has been woken for it
        self._runner: int | None = None  # the thread that runs a chain; the two below are its own
        self._overlay: Overlay | None = None
        self._calls = 0

    # What a handler, or anybody else, calls.

    def accept(self, fact: Fact, body: bytes | None, due: Due) -> bool:
        """Store a fact with what follows from it; False if it is there already."""
        with self._ledger.keeping(body) as kept:
            return self._write(lambda overlay: overlay.accept(fact, kept, due))

    def transact(self, transaction: Transaction) -> None:
        """Write it all with what follows from it, or raise Conflict and write nothing.

        Durable when it returns; what a handler writes in a chain is durable when the chain is.
        """
        mine = self._mine()
        if mine is not None:
            mine.transact(transaction)
        else:
            self._write(lambda overlay: _transacted(overlay, transaction))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mine() or self._ledger, name)

    def _mine(self) -> Overlay | None:
        """Return the overlay of the chain that this thread runs; None if it runs none. Raises TooLong."""
        if self._runner != threading.get_ident():
            return None
        self._calls += 1
        if self._calls > CALLS:
            raise TooLong(
                f"a chain of handlers makes at most {CALLS} calls to the ledger; the Broker delivers its events"
            )
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
                self._run(self._take())
            finally:
                self._pass_on()
        return write.outcome()

    def _take(self) -> Sequence[_Write]:
        with self._gate:
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH))]

    def _pass_on(self) -> None:
        """Leave what came meanwhile to the first thread that waits, so that no caller works for others again and again."""
        with self._gate:
            if self._waiting:
                self._waiting[0].lead()
            else:
                self._busy = False

    # In the thread whose turn it is.

    def _run(self, writes: Sequence[_Write]) -> None:
        """Store a batch of writes, and wake those who wait for them."""
        try:
            self._store(writes)
        except BaseException as error:
            for write in writes:
                if not write.over:
                    write.end(error)
            if not isinstance(error, Exception):
                raise

    def _store(self, writes: Sequence[_Write]) -> None:
        batch = self._ledger.overlay()
        stored = []
        for write in writes:
            try:
                self._chain(write, batch)
                stored.append(write)
            except (
                Exception
            ) as error:  # what it builds on has changed, or cannot be read: nothing of it is in the batch
                write.end(error)
        try:
            if not batch.is_empty():
                self._ledger.store(batch)
        except Conflict:
            for write in stored:
                write.end(self._alone(write))
            return
        for write in stored:
            write.end()

    def _alone(self, write: _Write) -> Exception | None:
        """Store one write by a transaction of its own, reading again what was changed meanwhile; return its error."""
        error: Exception | None = None
        for _ in range(TRIES):
            overlay = self._ledger.overlay()
            try:
                self._chain(write, overlay)
                if not overlay.is_empty():
                    self._ledger.store(overlay)
                return None
            except Conflict as conflict:
                error = conflict
            except Exception as problem:
                return problem
        return error

    def _chain(self, write: _Write, batch: Overlay) -> None:
        """Collect a write with what follows from it in the batch. Raises what the write raises, and then adds nothing."""
        overlay = Overlay(batch)
        write.result = write.apply(overlay)
        handled = self._followed(overlay)
        if handled is None:
            overlay = Overlay(batch)
            write.result = write.apply(overlay)
        else:
            overlay.changes.handled(handled)
        batch.absorb(overlay)

    def _followed(self, overlay: Overlay) -> Sequence[Collection[str]] | None:
        """Let the handlers follow; return who has handled each event that was emitted, None if one of them failed."""
        handled: list[Collection[str]] = []
        self._runner, self._overlay, self._calls = threading.get_ident(), overlay, 0
        try:
            while len(handled) < len(overlay.changes.emitted):
                handled.append(self._follow(overlay.changes.emitted[len(handled)].event))
        except NotFollowed:
            return None
        finally:
            self._runner = self._overlay = None
        return handled


def _transacted(overlay: Overlay, transaction: Transaction) -> bool:
    overlay.transact(transaction)
    return True
