"""The delivery options of Brokers and Triggers: `spec.delivery` of Knative's manifests."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

_DURATION = re.compile(
    r"P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:[.,]\d+)?)S)?)?"
)
_SECONDS = {"weeks": 604_800.0, "days": 86_400.0, "hours": 3_600.0, "minutes": 60.0, "seconds": 1.0}


@dataclass(frozen=True, slots=True)
class Ref:
    """A Kubernetes object that has an address."""

    api_version: str
    kind: str
    name: str
    namespace: str


@dataclass(frozen=True, slots=True)
class Destination:
    """The destination of events: an absolute `uri`, or a `ref` with a `uri` relative to it.

    `where` is its file and line.
    """

    ref: Ref | None = None
    uri: str | None = None
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """Durations in seconds. Absent options mean what they mean to Knative: no retry, no wait."""

    retry: int = 0
    backoff_policy: str | None = None
    backoff_delay: float | None = None
    timeout: float | None = None
    format: str = "binary"
    dead_letter_sink: Destination | None = None

    def wait(self, failures: int) -> float:
        """Return the seconds to wait after the `failures`-th failed attempt (from 1). Policy and delay work only together.

        Exponential: delay, 2 delay, 4 delay …; linear: none, delay, 2 delay … as Knative's broker has it.
        """
        if self.backoff_delay is None or self.backoff_policy is None:
            return 0.0
        if self.backoff_policy == "linear":
            return self.backoff_delay * (failures - 1)
        return self.backoff_delay * 2.0 ** min(failures - 1, 40)


DEFAULT = DeliveryOptions(retry=10, backoff_policy="exponential", backoff_delay=0.2)
"""What a Broker without any delivery of its own gets (Knative's config-br-defaults)."""


def effective(trigger: DeliveryOptions | None, broker: DeliveryOptions) -> DeliveryOptions:
    """Merge two options: a Trigger's own delivery replaces its Broker's as a whole, except the dead-letter sink.

    A Broker's `format` is never used: Knative reads it from the Trigger only.
    """
    if trigger is None:
        return replace(broker, format="binary")
    return replace(trigger, dead_letter_sink=trigger.dead_letter_sink or broker.dead_letter_sink)


def seconds(text: str) -> float:
    """Return an ISO 8601 duration, such as PT0.2S or P1D, in seconds. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    parts = {name: value for name, value in match.groupdict().items() if value is not None} if match else {}
    if not parts or text.endswith("T"):
        raise ValueError(f"{text!r} is not an ISO 8601 duration such as PT0.2S, PT1M or P1D")
    return sum(_SECONDS[name] * float(value.replace(",", ".")) for name, value in parts.items())
