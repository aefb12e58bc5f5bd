"""The embedded Broker: durable, with the data-plane contract of Knative's, over one store."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence

from greenlight.broker.delivery import Delivery
from greenlight.broker.engine import Engine
from greenlight.broker.errors import Overloaded, UnknownBroker
from greenlight.broker.ingress import Ingress
from greenlight.broker.limits import BrokerLimits
from greenlight.broker.log import dead_letters
from greenlight.broker.log.dead_letters import DeadLetter
from greenlight.broker.log.stored_event import MAX_TTL, TTL, StoredEvent, prepare
from greenlight.broker.metrics import Metrics
from greenlight.broker.operations import Operations
from greenlight.broker.outcomes import Delivered, passed_on
from greenlight.broker.subscribers import LocalSubscriber, Services, Subscriber, resolve
from greenlight.broker.trigger_spec import BrokerSpec, Manifests, TriggerSpec
from greenlight.events import Event
from greenlight.lib.clock import Clock, SystemClock
from greenlight.lib.errors import ConfigurationError, Rejected, Unavailable
from greenlight.store import Store, Tx
from greenlight.telemetry.tracing import OFF, Tracer

_NUMBER = re.compile(r"([+-]?[0-9]{1,18})(?:\.[0-9]*)?")

_log = logging.getLogger("greenlight.broker")


class Broker:
    """Some Brokers and their Triggers. The store must have been opened with `log.SCHEMA`.

    As soon as it is made, events can be appended and published; they are delivered from `start` on, and so is what an earlier
    run left undelivered. Deliveries are at least once.
    """

    def __init__(
        self,
        store: Store,
        brokers: Sequence[BrokerSpec],
        triggers: Sequence[TriggerSpec],
        *,
        services: Services | None = None,
        clock: Clock | None = None,
        limits: BrokerLimits | None = None,
        tracer: Tracer = OFF,
    ) -> None:
        """Make the broker; `services` resolves refs to Knative Services.

        Raises ConfigurationError for a ref not among them.
        """
        self._store = store
        self._clock = clock or SystemClock()
        self._services = services or {}
        self._tracer = tracer
        limits = limits or BrokerLimits()
        self._workers = limits.workers
        self._brokers = {broker.key for broker in brokers}
        self._manifests = Manifests(tuple(brokers), tuple(triggers))
        self.metrics = Metrics()
        self._engine = Engine(store, self._clock, limits, self.metrics, self._deliveries(triggers))
        self.ingress = Ingress(self.publish, self.metrics, tracer=tracer)  # the WSGI app behind every Broker's address
        self.operations = Operations(store, self._engine)

    def start(self) -> None:
        """Begin delivering."""
        self._engine.start()

    def change(self, brokers: Sequence[BrokerSpec], triggers: Sequence[TriggerSpec]) -> set[str]:
        """Make these the Brokers and Triggers from now on; nothing is lost or repeated by it.

        A new Trigger gets events from now on; what is pending for a removed one becomes dead letters. Returns the keys of
        Triggers that wait until that is done: call again. Raises ConfigurationError, and then nothing has changed.
        """
        were = {trigger.key: trigger for trigger in self._manifests.triggers}
        moved = [
            f"{trigger.where}: spec.broker of Trigger {trigger.key} was {were[trigger.key].broker} and cannot be changed; "
            "remove the Trigger first, or give it another name"
            for trigger in triggers
            if trigger.key in were and were[trigger.key].broker_key != trigger.broker_key
        ]
        if moved:
            raise ConfigurationError("\n".join(moved))
        deliveries = self._deliveries(triggers)
        self._brokers = {broker.key for broker in brokers}
        waiting = self._engine.adopt(deliveries)
        self._manifests = Manifests(
            tuple(brokers), tuple(trigger for trigger in triggers if trigger.key not in waiting)
        )
        return waiting

    # In.

    def appending(self, event: Event, *, handled: Collection[str] = ()) -> Callable[[Tx], None]:
        """Return a function that appends an event inside a caller's transaction; it is delivered once that is durable.

        The event is for the only Broker. `handled`: keys of Triggers whose subscribers have handled the event already. Raises
        Rejected if no hops are left.
        """
        key, prepared = self._key(None), prepare(StoredEvent(event, _hops(event)), self._clock)
        return lambda tx: self._engine.append(tx, key, prepared, handled=handled)

    def hand_over(self, event: Event, trigger: str) -> bool | None:
        """Make one attempt to deliver an event that is not in the log yet to the subscriber of a Trigger.

        Returns whether the subscriber has handled it; None if there is no such Trigger, if it does not want the event, or if
        its subscriber is not a service in this process.
        """
        worker = self._engine.table.by_key.get(trigger)
        if worker is None or not isinstance(worker.delivery.subscriber, LocalSubscriber) or not worker.wants(event):
            return None
        outcome = worker.delivery.send(StoredEvent(event, _hops(event)))
        return isinstance(outcome, Delivered) and outcome.reply is None

    def publish(self, event: Event, *, broker: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        """Take an event from outside; it is durable on return. `headers`: the HTTP headers it came with.

        Raises UnknownBroker, Rejected (it has been around too often), Overloaded, or Unavailable (of the store).
        """
        key = self._key(broker)
        stored = StoredEvent(event, _hops(event), passed_on(headers or {}))
        self._check_room()
        prepared = prepare(stored, self._clock)
        self._store.write(lambda tx: self._engine.append(tx, key, prepared))

    def _key(self, broker: str | None) -> str:
        key = broker
        if key is None and len(self._brokers) == 1:
            (key,) = self._brokers
        if key is None:
            raise UnknownBroker("there are several Brokers here: name one, as NAMESPACE/NAME")
        if key not in self._brokers:
            raise UnknownBroker(
                f"there is no Broker {key} here; there are {', '.join(sorted(self._brokers)) or 'none'}"
            )
        return key

    def ready(self) -> None:
        """Raise Overloaded if no events can be taken now, or the store's Unavailable."""
        self._check_room()
        self._store.probe()

    def _check_room(self) -> None:
        if self._engine.backlog.full():
            raise Overloaded("too many events wait to be delivered; try again later")

    # Out.

    def dead_letters(self, *, after: int = 0, limit: int = 100) -> list[DeadLetter]:
        """Return the events that no attempt could deliver and no person has closed, oldest first, with ids over `after`."""
        with self._store.read() as connection:
            return dead_letters.find(connection, after, limit)

    def lag(self) -> dict[str, int]:
        """Return how many events are not settled, by Trigger (NAMESPACE/NAME); those not looked at yet count in full."""
        return {worker.key: worker.queue.counts()["lag"] for worker in self._engine.table.workers}

    def idle(self, timeout: float) -> bool:
        """Wait until every Trigger has settled everything, at most `timeout` seconds. Returns whether they have."""
        return self._engine.wait(lambda worker: worker.queue.settled(), timeout)

    def drain(self, timeout: float) -> bool:
        """Begin no more deliveries and wait for those in flight, at most `timeout` seconds.

        Returns whether all ended. Events are still taken; the next start delivers them.
        """
        self._engine.pause()
        at_rest = self._engine.wait(lambda worker: worker.queue.at_rest(), timeout)
        try:
            self._engine.cursors.write_all()
        except Unavailable as problem:
            _log.warning("the cursors cannot be written; the next start repeats some deliveries: %s", problem)
        return at_rest

    def stop(self) -> None:
        """End at once. A delivery in flight is made again at the next start; `drain` first to wait for it."""
        self._engine.stop()

    def _deliveries(self, triggers: Sequence[TriggerSpec]) -> list[Delivery]:
        """Resolve the subscribers. Raises ConfigurationError with each one that cannot be resolved."""
        deliveries: list[Delivery] = []
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
            deliveries.append(Delivery(spec, subscriber, sink, self.metrics, self._tracer))
        if errors:
            raise ConfigurationError("\n".join(errors))
        return deliveries


def _hops(event: Event) -> int:
    """Return the hops left once the Broker has taken the event. Raises Rejected if there are none: events go in a circle.

    A fraction is cut off; a value that is no number of 32 bits counts as absent (Knative's ttl.go).
    """
    value = _NUMBER.fullmatch(str(event.extensions.get(TTL)))
    if value is None or not -(2**31) <= int(value[1]) < 2**31:
        return MAX_TTL
    hops = int(value[1]) - 1
    if hops <= 0:
        raise Rejected(f"the event has no hops left ({TTL}): it goes round in a circle")
    return hops
