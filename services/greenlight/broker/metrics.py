"""The metrics of a broker, with Knative's names where it has them.

Knative's own (eventing 1.23, OpenTelemetry in the spelling of Prometheus): `kn_eventing_dispatch_duration_seconds` with
`kn_broker_name`, `kn_broker_namespace`, `messaging_destination_name` and `http_response_status_code`. Its label for the event
type is left out: the types of third-party events are without number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from prometheus_client import Counter, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Seconds; those of Knative's broker."""

GAUGES = {
    "lag": "Events that the Trigger has not settled.",
    "in_flight": "Deliveries of the Trigger that are on their way.",
    "retrying": "Deliveries of the Trigger that are tried again.",
    "oldest": "Age in seconds of the oldest event that the Trigger has not settled.",
    "dead_letters": "Open dead letters of the Trigger.",
}


class Metrics:
    """The counters of one broker; in no registry until it is given one (`collector`)."""

    def __init__(self) -> None:
        self._durations = Histogram(
            "kn_eventing_dispatch_duration_seconds",
            "Time to dispatch an event to a Trigger's subscriber.",
            ["kn_broker_name", "kn_broker_namespace", "messaging_destination_name", "http_response_status_code"],
            buckets=_BOUNDS,
            registry=None,
        )
        self._received = Counter(
            "greenlight_broker_received_total", "Events that were sent to a Broker.", ["status"], registry=None
        )
        self._retries = Counter(
            "greenlight_broker_retries_total", "Attempts after the first.", ["trigger"], registry=None
        )
        self._dead = Counter(
            "greenlight_broker_dead_lettered_total", "Events that became dead letters.", ["trigger"], registry=None
        )

        self._unreadable = Counter(
            "greenlight_broker_unreadable_total",
            "Events in the log that could not be read, and became dead letters.",
            ["trigger"],
            registry=None,
        )

    def received(self, status: int) -> None:
        """Count one request with an event, by its answer."""
        self._received.labels(str(status)).inc()

    def dead_lettered(self, trigger: str) -> None:
        """Count one dead letter."""
        self._dead.labels(trigger).inc()

    def unreadable(self, trigger: str) -> None:
        """Count one of those dead letters that could not be read."""
        self._unreadable.labels(trigger).inc()

    def retried(self, trigger: str) -> None:
        """Count one attempt after the first."""
        self._retries.labels(trigger).inc()

    def dispatched(self, broker: str, name: str, namespace: str) -> Callable[[int, float], None]:
        """Return a function that records one attempt of a Trigger.

        It takes the response's status (0: none), and the seconds it took.
        """
        known: dict[int, Any] = {}

        def observe(status: int, seconds: float) -> None:
            child = known.get(status)
            if child is None:
                labels = (broker, namespace, f"trigger:{name}.{namespace}", str(status or ""))
                child = known[status] = self._durations.labels(*labels)
            child.observe(seconds)

        return observe

    def collector(self, status: TriggerStatus) -> Collector:
        """Return the collector for a registry: the counters, and each Trigger's position at the time of the scrape."""
        return _Collector([self._durations, self._received, self._retries, self._dead, self._unreadable], status)


class TriggerStatus(Protocol):
    """The positions of Triggers; Operations is one implementation."""

    def triggers(self) -> list[dict[str, Any]]:
        """Return a document for each."""
        ...

    def sizes(self) -> dict[str, int]:
        """Return bytes by name."""
        ...


class _Collector(Collector):
    def __init__(self, counters: Iterable[Collector], status: TriggerStatus) -> None:
        self._counters, self._status = counters, status

    def collect(self) -> Iterable[Metric]:
        """Collect the metrics of one scrape."""
        for counter in self._counters:
            yield from counter.collect()
        triggers = self._status.triggers()
        for name, help in GAUGES.items():
            gauge = GaugeMetricFamily(f"greenlight_broker_{name}", help, labels=["trigger"])
            for trigger in triggers:
                gauge.add_metric([trigger["trigger"]], trigger[name] or 0)
            yield gauge
        for name, size in self._status.sizes().items():
            yield GaugeMetricFamily(f"greenlight_broker_{name}_bytes", f"Bytes of the {name}.", value=size)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: a registry calls this before the first scrape, and it would read the store."""
        return []
