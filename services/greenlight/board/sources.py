"""The neighbours of the board in the same process: webhooks, the Broker, and the senders that are expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from greenlight.events import Event
from greenlight.service.arrivals import KeptArrivals


class Deliveries(Protocol):
    """The Broker's side: its Triggers and their dead letters, as documents of JSON's types."""

    def triggers(self) -> Sequence[Mapping[str, Any]]: ...

    def dead_letters(self, *, limit: int = 100) -> Sequence[Mapping[str, Any]]: ...

    def dead_letter(self, id: int) -> Mapping[str, Any]:
        """Return one with its event's data and every failed attempt. Raises LookupError."""
        ...

    def replay(self, id: int) -> None:
        """Deliver one again. Raises LookupError, Rejected."""
        ...

    def discard(self, id: int, reason: str, who: Callable[[Event], str | None]) -> None:
        """Close one for good. Raises LookupError, and what `who` raises."""
        ...


@dataclass(frozen=True, slots=True)
class Sender:
    """A sender that is expected, with how to set it up."""

    name: str  # the file of its secrets
    label: str  # of its route
    how: str
    codes: tuple[str, ...]  # the parts of `how` that are typed in somewhere as they are
    trial: str | None = None  # a command that tries it without a tunnel


@dataclass(frozen=True, slots=True)
class Sources:
    """The neighbours; None where another process has them."""

    arrivals: KeptArrivals | None = None
    deliveries: Deliveries | None = None
    senders: Callable[[], Sequence[Sender]] = tuple
