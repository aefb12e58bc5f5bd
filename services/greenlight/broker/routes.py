"""Which lanes to ask about an event: a few of a thousand, by what their filters say an attribute must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from greenlight.broker.filters import attribute
from greenlight.broker.lane import Lane
from greenlight.events import Event

_Index = tuple[Callable[[Event], str | None], dict[str, list[Lane]]]


class Routes:
    """Lanes by Broker and by the one attribute that tells each of them from the most others. Made anew for every change."""

    def __init__(self, lanes: Iterable[Lane]) -> None:
        lanes = list(lanes)
        crowds = Counter(
            (lane.spec.broker_key, name, value)
            for lane in lanes
            for name, values in lane.spec.limits.items()
            for value in values
        )
        self._always: dict[str, list[Lane]] = {}
        self._indexes: dict[str, dict[str, _Index]] = {}
        for lane in lanes:
            broker, limits = lane.spec.broker_key, lane.spec.limits
            if not limits:
                self._always.setdefault(broker, []).append(lane)
                continue
            name = min(limits, key=lambda name: sum(crowds[broker, name, value] for value in limits[name]))
            _, found = self._indexes.setdefault(broker, {}).setdefault(name, (attribute(name), {}))
            for value in limits[name]:
                found.setdefault(value, []).append(lane)

    def of(self, broker: str, event: Event) -> Iterable[Lane]:
        """The lanes of `broker` (NAMESPACE/NAME) that may want the event. None that wants it is left out."""
        yield from self._always.get(broker, ())
        for get, found in self._indexes.get(broker, {}).values():
            value = get(event)
            if value is not None:
                yield from found.get(value, ())
