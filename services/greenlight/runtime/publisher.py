"""How events leave a service once the ledger has them in its outbox."""

from __future__ import annotations

from collections.abc import Sequence
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
