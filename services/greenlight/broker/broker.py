"""The embedded Broker: durable, with the data-plane contract of Knative's, over one store."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence

from greenlight.broker import letters
from greenlight.broker.courier import Courier
from greenlight.broker.delivery import travelling
from greenlight.broker.dispatcher import Dispatcher, Limits
from greenlight.broker.errors import Overloaded, UnknownBroker
from greenlight.broker.ingress import Ingress
from greenlight.broker.letters import DeadLetter
from greenlight.broker.log import MAX_TTL, TTL, Entry
from greenlight.broker.manifests import BrokerSpec, Manifests, TriggerSpec
from greenlight.broker.metrics import Metrics
from greenlight.broker.operations import Operations
from greenlight.broker.subscribers import Services, Subscriber, resolve
from greenlight.events import Event
from greenlight.lib.clock import Clock, SystemClock
from greenlight.lib.errors import ConfigurationError, Rejected, Unavailable
from greenlight.store import Store, Tx
from greenlight.telemetry.tracing import OFF, Tracer

_NUMBER = re.compile(r"([+-]?[0-9]{1,18})(?:\.[0-9]*)?")

_log = logging.getLogger("greenlight.broker")


class Broker:
    """Some Brokers and their Triggers. The store must have been opened with `log.SCHEMA`.

    From the moment it is made, events can be appended and published; they are delivered from `start` on. What an
    earlier run left undelivered is delivered too. Deliveries are at least once.
    """

    def __init__(
        self,
        store: Store,
        brokers: Sequence[BrokerSpec],
        triggers: Sequence[TriggerSpec],
        *,
        services: Services | None = None,
        clock: Clock | None = None,
        limits: Limits | None = None,
        tracer: Tracer = OFF,
    ) -> None:
        """`services`: what refs to Knative Services mean here. Raises ConfigurationError for those it lacks."""
        self._store = store
        self._clock = clock or SystemClock()
        self._services = services or {}
        self._tracer = tracer
        limits = limits or Limits()
        self._workers = limits.workers
        self._brokers = {broker.key for broker in brokers}
        self._manifests = Manifests(tuple(brokers), tuple(triggers))
        self.metrics = Metrics()
        self._dispatcher = Dispatcher(store, self._clock, limits, self.metrics, self._couriers(triggers))
        self.ingress = Ingress(self.publish, self.metrics, tracer=tracer)  # the WSGI app behind every Broker's address
        self.operations = Operations(store, self._dispatcher)

    def start(self) -> None:
        """Begin delivering."""
        self._dispatcher.start()

    def change(self, brokers: Sequence[BrokerSpec], triggers: Sequence[TriggerSpec]) -> set[str]:
        """Make these the Brokers and Triggers from now on; nothing is lost or repeated by it.

        A Trigger that is new gets events from now on; of one that is gone, what it is owed becomes dead letters. Returns the
        keys of Triggers that wait until that is done: call again. Raises ConfigurationError, and then nothing has changed.
        """
        were = {trigger.key: trigger for trigger in self._manifests.triggers}
        moved = [it for it in triggers if it.key in were and were[it.key].broker_key != it.broker_key]
        if moved:
            raise ConfigurationError(
                "\n".join(
                    f"{it.where}: spec.broker of Trigger {it.key} was {were[it.key].broker} and cannot be changed; take the "
                    "Trigger away first, or give it another name"
                    for it in moved
                )
            )
        pairs = self._couriers(triggers)
        self._brokers = {broker.key for broker in brokers}
        waiting = self._dispatcher.adopt(pairs)
        self._manifests = Manifests(tuple(brokers), tuple(it for it in triggers if it.key not in waiting))
        return waiting

    # In.

    def appending(self, event: Event, *, broker: str | None = None) -> Callable[[Tx], None]:
        """What appends an event inside somebody's transaction: it is on its way when, and only if, that is durable.

        `broker` (NAMESPACE/NAME) may be left out if there is only one. Raises Rejected if no hops are left.
        """
        key, arrived = self._key(broker), self._dispatcher.arrived(Entry(event, _hops(event)))
        return lambda tx: self._dispatcher.append(tx, key, arrived)

    def publish(self, event: Event, *, broker: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        """Take an event from outside; it is durable on return. `headers`: the HTTP headers it came with.

        Raises UnknownBroker, Rejected (it has been around too often), Overloaded, or Unavailable (of the store).
        """
        key = self._key(broker)
        entry = Entry(event, _hops(event), travelling(headers or {}))
        self._has_room()
        arrived = self._dispatcher.arrived(entry)
        self._store.write(lambda tx: self._dispatcher.append(tx, key, arrived))

    def _key(self, broker: str | None) -> str:
        key = broker
        if key is None and len(self._brokers) == 1:
            (key,) = self._brokers
        if key is None:
            raise UnknownBroker("there are several Brokers here: say which one, as NAMESPACE/NAME")
        if key not in self._brokers:
            raise UnknownBroker(
                f"there is no Broker {key} here; there are {', '.join(sorted(self._brokers)) or 'none'}"
            )
        return key

    def ready(self) -> None:
        """Return if events can be taken: Overloaded, or Unavailable (of the store), says why not."""
        self._has_room()
        self._store.probe()

    def _has_room(self) -> None:
        if self._dispatcher.full():
            raise Overloaded("too many events wait to be delivered; come back later")

    # Out.

    def dead_letters(self, *, after: int = 0, limit: int = 100) -> list[DeadLetter]:
        """What no attempt could deliver and nobody has dealt with, oldest first, with ids over `after`."""
        with self._store.read() as connection:
            return letters.find(connection, after, limit)

    def lag(self) -> dict[str, int]:
        """Events that each Trigger (NAMESPACE/NAME) has not settled; those it has not looked at yet count in full."""
        return {lane.spec.key: lane.progress.lag() for lane in self._dispatcher.lanes}

    def idle(self, timeout: float) -> bool:
        """Wait until every Trigger has settled everything, at most `timeout` seconds. Returns whether they have."""
        return self._dispatcher.wait(lambda lane: lane.progress.settled(), timeout)

    def drain(self, timeout: float) -> bool:
        """Begin no more deliveries and wait for those on their way, at most `timeout` seconds.

        Returns whether all ended. Events are still taken; the next start delivers them.
        """
        self._dispatcher.pause()
        rested = self._dispatcher.wait(lambda lane: lane.progress.resting(), timeout)
        try:
            self._dispatcher.flush()
        except Unavailable as problem:
            _log.warning("the cursors cannot be written; the next start repeats some deliveries: %s", problem)
        return rested

    def stop(self) -> None:
        """End at once. What is on its way is delivered again at the next start; `drain` first to wait for it."""
        self._dispatcher.stop()

    def _couriers(self, triggers: Sequence[TriggerSpec]) -> list[tuple[TriggerSpec, Courier]]:
        """Who carries each Trigger's events. Raises ConfigurationError with every subscriber that cannot be resolved."""
        pairs: list[tuple[TriggerSpec, Courier]] = []
        errors: list[str] = []
        for spec in triggers:
            connections = spec.concurrency or self._workers
            try:
                subscriber = resolve(spec.subscriber, self._services, connections)
                sink: Subscriber | None = None
                if spec.delivery.dead_letter_sink is not None:
                    sink = resolve(spec.delivery.dead_letter_sink, self._services, connections)
            except LookupError as problem:
                errors.append(str(problem))
                continue
            pairs.append((spec, Courier(spec, subscriber, sink, self.metrics, self._tracer)))
        if errors:
            raise ConfigurationError("\n".join(errors))
        return pairs


def _hops(event: Event) -> int:
    """Hops left once the Broker has taken the event. Raises Rejected if there are none: events go round in a circle.

    A fraction is cut off; a value that is no number of 32 bits counts as absent (Knative's ttl.go).
    """
    value = _NUMBER.fullmatch(str(event.extensions.get(TTL)))
    if value is None or not -(2**31) <= int(value[1]) < 2**31:
        return MAX_TTL
    hops = int(value[1]) - 1
    if hops <= 0:
        raise Rejected(f"the event has no hops left ({TTL}): it goes round in a circle")
    return hops
