"""A Broker as Knative promises it and no better: at least once, in any order, or never.

A refused event is a dead letter.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from greenlight.events import Event
from greenlight.flow import Edge, wanting

from .outside import name_of

TRIES = 4
"""Deliveries that fail before an event becomes a dead letter."""


@dataclass(eq=False)
class Delivery:
    """One event on its way to one subscriber."""

    event: Event
    edge: Edge
    tries: int = 0
    taken: bool = False  # somebody works on it

    @property
    def name(self) -> str:
        """Return its name in a story."""
        about = self.event.extensions
        commit = about.get("commit")
        words = [self.edge.trigger, self.event.type, name_of(str(commit)) if commit else "", about.get("environment")]
        return " ".join(str(word) for word in words if word)


class Broker:
    """Events on their way."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    def put(self, event: Event, handled: Collection[str] = ()) -> None:
        """Add an event for every subscriber with a Trigger for it that has not `handled` it.

        A ping goes straight to the reconciler.
        """
        edges = [edge for edge in wanting(event) if edge.service != "feedback"]  # which changes nothing here
        self.deliveries += [Delivery(event, edge) for edge in edges if edge.trigger not in handled]

    def waiting(self) -> list[Delivery]:
        """Return the deliveries that nobody works on."""
        return [delivery for delivery in self.deliveries if not delivery.taken]

    def find(self, name: str) -> Delivery | None:
        """Return the oldest delivery of that name that nobody works on."""
        return next((it for it in self.deliveries if not it.taken and it.name == name), None)

    def done(self, delivery: Delivery) -> None:
        """Remove a delivery: it was acknowledged, or is lost."""
        if delivery in self.deliveries:
            self.deliveries.remove(delivery)

    def failed(self, delivery: Delivery) -> bool:
        """Note that a delivery failed; return whether it is a dead letter now."""
        delivery.taken, delivery.tries = False, delivery.tries + 1
        if delivery.tries < TRIES:
            return False
        self.done(delivery)
        return True

    def again(self, delivery: Delivery) -> None:
        """Let a delivery come once more."""
        self.deliveries.append(replace(delivery, taken=False))
