"""The Triggers that may want an event: a few of a thousand, by the attribute values that their filters require."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from greenlight.broker.event_attributes import attribute
from greenlight.broker.worker import TriggerWorker
from greenlight.events import Event

_Index = tuple[Callable[[Event], str | None], dict[str, list[TriggerWorker]]]


class RoutingTable:
    """The workers of all Triggers. The Registry replaces them as a whole; all others read them, without a lock."""

    def __init__(self) -> None:
        self.workers: Sequence[TriggerWorker] = ()
        self.by_key: Mapping[str, TriggerWorker] = {}  # by the key of their Trigger
        self._routes = _Routes(())

    def replace(self, workers: Sequence[TriggerWorker]) -> None:
        """Replace the workers by these, or look at their changed specs."""
        self._routes = _Routes(workers)
        self.by_key = {worker.key: worker for worker in workers}
        self.workers = workers

    def candidates(self, broker: str, event: Event, only: str | None) -> Iterable[TriggerWorker]:
        """Return the workers of `broker` that may want the event; of a replay, the one of the Trigger `only`."""
        if only is not None:
            return [worker for worker in self.workers if worker.key == only]
        return self._routes.of(broker, event)


class _Routes:
    """Workers by Broker, and by the one attribute that sets each apart from the most others. Never changed."""

    def __init__(self, workers: Sequence[TriggerWorker]) -> None:
        sharing = Counter(
            (worker.spec.broker_key, name, value)
            for worker in workers
            for name, values in worker.spec.required_values.items()
            for value in values
        )
        self._always: dict[str, list[TriggerWorker]] = {}
        self._indexes: dict[str, dict[str, _Index]] = {}
        for worker in workers:
            broker, required = worker.spec.broker_key, worker.spec.required_values
            if not required:
                self._always.setdefault(broker, []).append(worker)
                continue
            name = min(required, key=lambda name: sum(sharing[broker, name, value] for value in required[name]))
            _, found = self._indexes.setdefault(broker, {}).setdefault(name, (attribute(name), {}))
            for value in required[name]:
                found.setdefault(value, []).append(worker)

    def of(self, broker: str, event: Event) -> Iterable[TriggerWorker]:
        yield from self._always.get(broker, ())
        for get, found in self._indexes.get(broker, {}).values():
            value = get(event)
            if value is not None:
                yield from found.get(value, ())
