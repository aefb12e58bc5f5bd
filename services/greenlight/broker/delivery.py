"""How an event is delivered: a Trigger's delivery options, what an answer means, how long to wait before the next try.

Rules: Knative's data-plane contract and its multi-tenant broker (1.23), whose verdicts are kept unless said otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from greenlight.events import Event
from greenlight.events.context import parse
from greenlight.events.http import NotAnEvent, from_http
from greenlight.lib.errors import UnsupportedMedia

BAD_GATEWAY = 502
"""What a 2xx counts as whose body is no event (knative.dev/eventing, filter handler)."""

NO_ANSWER = 500
"""The code of a dead letter when nothing answered at all."""

_TRAVELLING = frozenset({"x-request-id", "retry-after", "traceparent", "tracestate", "baggage"})

_RETRIED = frozenset({404, 408, 409, 429})

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
    """Where events go: an absolute `uri`, or a `ref` with a `uri` relative to it. `where` is its file and line."""

    ref: Ref | None = None
    uri: str | None = None
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery options; durations in seconds. Absent ones mean what they mean to Knative: no retry, no wait."""

    retry: int = 0
    backoff_policy: str | None = None
    backoff_delay: float | None = None
    timeout: float | None = None
    format: str = "binary"
    dead_letter_sink: Destination | None = None

    def wait(self, failures: int) -> float:
        """Seconds to wait after the `failures`-th failed attempt (from 1). Policy and delay work only together.

        Exponential: delay, 2 delay, 4 delay …; linear: none, delay, 2 delay … as Knative's broker has it.
        """
        if self.backoff_delay is None or self.backoff_policy is None:
            return 0.0
        if self.backoff_policy == "linear":
            return self.backoff_delay * (failures - 1)
        return self.backoff_delay * 2.0 ** min(failures - 1, 40)


DEFAULT = Delivery(retry=10, backoff_policy="exponential", backoff_delay=0.2)
"""What a Broker without any delivery of its own gets (Knative's config-br-defaults)."""


def effective(trigger: Delivery | None, broker: Delivery) -> Delivery:
    """A Trigger's own delivery replaces its Broker's as a whole, except the dead-letter sink.

    A Broker's `format` is never used: Knative reads it from the Trigger only.
    """
    if trigger is None:
        return replace(broker, format="binary")
    return replace(trigger, dead_letter_sink=trigger.dead_letter_sink or broker.dead_letter_sink)


def seconds(text: str) -> float:
    """An ISO 8601 duration, such as PT0.2S or P1D, in seconds. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    parts = {name: value for name, value in match.groupdict().items() if value is not None} if match else {}
    if not parts or text.endswith("T"):
        raise ValueError(f"{text!r} is not an ISO 8601 duration such as PT0.2S, PT1M or P1D")
    return sum(_SECONDS[name] * float(value.replace(",", ".")) for name, value in parts.items())


def travelling(headers: Mapping[str, str]) -> dict[str, str]:
    """The HTTP headers that go along with an event: Knative's allow-list, and the W3C trace context if it is one."""
    if not headers:
        return {}
    lowered = {name.lower(): value for name, value in headers.items()}
    kept = {
        name: value for name, value in lowered.items() if name in _TRAVELLING or name.startswith(("knative-", "x-b3-"))
    }
    if parse(kept.get("traceparent")) is None:
        kept.pop("traceparent", None)
        kept.pop("tracestate", None)
    return kept


@dataclass(frozen=True, slots=True)
class Answer:
    """What a subscriber answered; `body` is cut at the bound of its port."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Delivered:
    """The subscriber has it; `reply` is the event it answered with."""

    reply: Event | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None  # something its author should know


@dataclass(frozen=True, slots=True)
class Failed:
    """The subscriber does not have it. `again`: trying again may help."""

    again: bool
    code: int
    why: str
    body: bytes = b""


def verdict(answer: Answer) -> Delivered | Failed:
    """What an answer means for the delivery."""
    status = answer.status
    if 200 <= status < 300:
        return _accepted(answer)
    again = status in _RETRIED or status >= 500
    if 300 <= status < 400:
        why = f"answered {status}: a redirection is not followed"
    else:
        why = f"answered {status}"
    return Failed(again, status, why, answer.body)


def _accepted(answer: Answer) -> Delivered | Failed:
    """2xx: empty is done; an event is a reply; anything else is an error of the subscriber, and tried again."""
    try:
        event = reply_of(answer)
    except (NotAnEvent, UnsupportedMedia) as problem:
        why = f"answered {answer.status} with a body that is no CloudEvent ({problem}); answer with an empty body"
        return Failed(True, BAD_GATEWAY, why, answer.body)
    if event is not None and answer.status == 202:
        # The specification: 202 is not an answer yet, and an event in it MUST NOT be taken for a reply.
        return Delivered(note="answered 202 with an event, which is not a reply; answer 200 to have it routed")
    return Delivered() if event is None else Delivered(event, travelling(answer.headers))


def reply_of(answer: Answer) -> Event | None:
    """The event in an answer; None if the answer is empty. Raises NotAnEvent or UnsupportedMedia."""
    names = {name.lower() for name in answer.headers}
    if not answer.body and "ce-specversion" not in names:
        return None
    return from_http(answer.headers, answer.body)
