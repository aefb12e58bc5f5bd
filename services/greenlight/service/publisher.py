"""Publishers, which send a service's events once the ledger has them in its outbox."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from greenlight.events import Event


class Publisher(Protocol):
    """Hand events that a ledger transaction emitted to the Broker."""

    def publish(self, events: Sequence[Event]) -> None:
        """Send events now.

        What cannot be sent stays in the outbox, and the sweeper sends it later: never raises for that.
        """
        ...

    def settle(self, events: Sequence[Event]) -> Event | None:
        """Return the event for a handler's answer: a single event goes out as the reply.

        Several are published first.
        """
        ...


class InLog:
    """Publish nothing: the ledger's outbox is the Broker's own log, which has every emitted event."""

    def publish(self, events: Sequence[Event]) -> None:
        """Do nothing: the transaction that emitted the events put them into the log."""

    def settle(self, events: Sequence[Event]) -> Event | None:
        """Return no reply: it would put the event into the log a second time."""
        return None


SENDERS = 8
"""Threads that send events for which no caller waits."""

AHEAD = 32
"""Events that may wait for one of these threads. Beyond that a caller sends its events itself (back-pressure)."""


class DeferredPublisher:
    """Publish in a thread, for a service whose caller waits and is not the Broker: events are sent after the answer."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._room = threading.BoundedSemaphore(AHEAD)
        self._senders = ThreadPoolExecutor(SENDERS, "send")  # a process that ends waits for what they have

    def publish(self, events: Sequence[Event]) -> None:
        """Send the events soon."""
        if not self._room.acquire(blocking=False):
            self._publisher.publish(events)
            return
        self._senders.submit(self._publisher.publish, events).add_done_callback(lambda _: self._room.release())

    def settle(self, events: Sequence[Event]) -> Event | None:
        """Return no reply: the answers of this service do not go to a Broker."""
        self.publish(events)
        return None
