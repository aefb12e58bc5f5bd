"""The content of the manifests of Brokers and Triggers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from greenlight.broker.delivery_options import DEFAULT, DeliveryOptions, Destination, Ref
from greenlight.broker.filters import Predicate, everything


@dataclass(frozen=True, slots=True)
class BrokerSpec:
    """A Broker: an address to which events are sent."""

    namespace: str
    name: str
    delivery: DeliveryOptions = DEFAULT

    @property
    def key(self) -> str:
        """Return NAMESPACE/NAME: its name in the log and the path of its address."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class TriggerSpec:
    """A Trigger: which events of its Broker go to which subscriber, and how. `delivery` has the Broker's merged in."""

    namespace: str
    name: str
    broker: str
    filter: Predicate = field(compare=False)
    subscriber: Destination
    delivery: DeliveryOptions
    spec: Mapping[str, Any] = field(default_factory=dict)  # as it was read
    concurrency: int | None = None  # deliveries in flight at once
    per_key: int | None = None  # the same for one partition key
    required_values: Mapping[str, frozenset[str]] = field(
        default_factory=dict
    )  # attributes, and the only values that can pass
    where: str = field(default="", compare=False)

    @classmethod
    def to_service(cls, name: str, service: str) -> TriggerSpec:
        """Make a Trigger of Greenlight's Broker that sends every event to a Knative Service, with default delivery options."""
        ref = Ref("serving.knative.dev/v1", "Service", service, "greenlight")
        return cls("greenlight", name, "default", everything, Destination(ref, where=f"Trigger {name}"), DEFAULT)

    @property
    def key(self) -> str:
        """Return NAMESPACE/NAME: its name in the log."""
        return f"{self.namespace}/{self.name}"

    @property
    def broker_key(self) -> str:
        """Return the key of its Broker, which is in the same namespace."""
        return f"{self.namespace}/{self.broker}"


class Manifests(NamedTuple):
    """Every Broker and Trigger of a folder, in the order of the files' names."""

    brokers: tuple[BrokerSpec, ...]
    triggers: tuple[TriggerSpec, ...]
