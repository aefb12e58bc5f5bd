"""The meaning of a subscriber's response for the delivery.

Rules: Knative's data-plane contract and its multi-tenant broker (1.23), which are followed unless stated otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from greenlight.events import Event
from greenlight.events.context import parse
from greenlight.events.http import NotAnEvent, from_http
from greenlight.lib.errors import UnsupportedMedia

BAD_GATEWAY = 502
"""The code of a 2xx response whose body is no event (knative.dev/eventing, filter handler)."""

NO_RESPONSE = 500
"""The code of a dead letter when there was no response at all."""

_PASSED_ON = frozenset({"x-request-id", "retry-after", "traceparent", "tracestate", "baggage"})

_RETRIED = frozenset({404, 408, 409, 429})


@dataclass(frozen=True, slots=True)
class SubscriberResponse:
    """A subscriber's response; `body` is cut at MAX_RESPONSE."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Delivered:
    """The subscriber took the event; `reply` is the event in its response."""

    reply: Event | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None  # a warning for the log


@dataclass(frozen=True, slots=True)
class Failed:
    """The subscriber did not take the event. `again`: a retry may help."""

    again: bool
    code: int
    why: str
    body: bytes = b""


def outcome_of(response: SubscriberResponse) -> Delivered | Failed:
    """Return what a response means for the delivery."""
    status = response.status
    if 200 <= status < 300:
        return _accepted(response)
    again = status in _RETRIED or status >= 500
    if 300 <= status < 400:
        why = f"answered {status}: a redirection is not followed"
    else:
        why = f"answered {status}"
    return Failed(again, status, why, response.body)


def _accepted(response: SubscriberResponse) -> Delivered | Failed:
    """Read a 2xx response: empty is done, an event is a reply, anything else is the subscriber's error, and retried."""
    try:
        event = reply_of(response)
    except (NotAnEvent, UnsupportedMedia) as problem:
        why = f"answered {response.status} with a body that is no CloudEvent ({problem}); answer with an empty body"
        return Failed(True, BAD_GATEWAY, why, response.body)
    if event is not None and response.status == 202:
        # The specification: 202 is no final response, and an event in it MUST NOT be taken for a reply.
        return Delivered(note="answered 202 with an event, which is not a reply; answer 200 to have it routed")
    return Delivered() if event is None else Delivered(event, passed_on(response.headers))


def reply_of(response: SubscriberResponse) -> Event | None:
    """Return the event in a response; None if it is empty. Raises NotAnEvent or UnsupportedMedia."""
    names = {name.lower() for name in response.headers}
    if not response.body and "ce-specversion" not in names:
        return None
    return from_http(response.headers, response.body)


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the HTTP headers that are passed on with an event: Knative's allow-list, and the W3C trace context if valid."""
    if not headers:
        return {}
    lowered = {name.lower(): value for name, value in headers.items()}
    kept = {
        name: value for name, value in lowered.items() if name in _PASSED_ON or name.startswith(("knative-", "x-b3-"))
    }
    if parse(kept.get("traceparent")) is None:
        kept.pop("traceparent", None)
        kept.pop("tracestate", None)
    return kept
