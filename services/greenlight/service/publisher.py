"""How events leave a service once the ledger has them in its outbox."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from greenlight.events import Event


class Publisher(Protocol):
    """Hands events that a ledger transaction emitted to the Broker."""

    def publish(self, events: Sequence[Event]) -> None:
        """Send them now. What cannot be sent stays in the outbox, and the sweeper sends it later: never raises for that."""
        ...

    def settle(self, events: Sequence[Event]) -> Event | None:
        """What a handler's answer carries: one event goes out as the reply and is returned; several are published first."""
        ...


class InLog:
    """For a ledger whose outbox is the Broker's own log: what was emitted is already where it belongs."""

    def publish(self, events: Sequence[Event]) -> None:
        """Nothing to do: the transaction that emitted them put them into the log."""

    def settle(self, events: Sequence[Event]) -> Event | None:
        """No reply: it would put the event into the log a second time."""
        return None


SENDERS = 8
"""Threads that send what nobody waits for."""

AHEAD = 32
"""Events that may wait for one of them. Whoever has more sends them himself, which slows him down to what the Broker takes."""


class Afterwards:
    """For a service whose caller waits, and to whom the Broker is nothing: events are sent while he has his answer."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._room = threading.BoundedSemaphore(AHEAD)
        self._senders = ThreadPoolExecutor(SENDERS, "send")  # a process that ends waits for what they have

    def publish(self, events: Sequence[Event]) -> None:
        """Have them sent soon."""
        if not self._room.acquire(blocking=False):
            self._publisher.publish(events)
            return
        self._senders.submit(self._publisher.publish, events).add_done_callback(lambda _: self._room.release())

    def settle(self, events: Sequence[Event]) -> Event | None:
        """Its answers are no replies to a Broker."""
        self.publish(events)
        return None
