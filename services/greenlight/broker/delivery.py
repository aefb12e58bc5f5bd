"""One attempt: the request that a subscriber or a dead-letter sink gets, and what its response means."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping

from greenlight.broker.log.dead_letters import DeadLetter
from greenlight.broker.log.stored_event import ERRORS, TTL, StoredEvent, with_added, without
from greenlight.broker.metrics import Metrics
from greenlight.broker.outcomes import NO_RESPONSE, Delivered, Failed, outcome_of
from greenlight.broker.subscribers import Message, Subscriber, Undelivered
from greenlight.broker.trigger_spec import TriggerSpec
from greenlight.events import Event
from greenlight.telemetry.tracing import CLIENT, OFF, Scope, Tracer

ERROR_BYTES = 768
"""Bytes of a response that a dead letter carries: 1024 characters of base64, as Knative's broker has it."""


class Delivery:
    """The delivery of one Trigger's events: by its spec, to its subscriber and its dead-letter sink."""

    def __init__(
        self, spec: TriggerSpec, subscriber: Subscriber, sink: Subscriber | None, metrics: Metrics, tracer: Tracer = OFF
    ) -> None:
        self.spec, self.subscriber, self.sink, self._tracer = spec, subscriber, sink, tracer
        self._hop = f"{spec.name}.{spec.namespace}"
        self._observe = metrics.dispatched(spec.broker, spec.name, spec.namespace)
        self._timeout = spec.delivery.timeout
        self._structured = spec.delivery.format == "json"
        self._namespace = {"Kn-Namespace": spec.namespace}
        self._extra = {"Prefer": "reply", **self._namespace}

    def send(self, stored: StoredEvent, tries: int = 0) -> Delivered | Failed:
        """Send an event to the subscriber, after `tries` failed attempts."""
        event = without(stored.event, [TTL])
        with self._traced("trigger", stored, tries) as scope:
            headers = {**_next_hop(stored.headers or {}, scope), **self._extra}
            return self._post(scope, self.subscriber, Message(event, headers, self._structured))

    def send_dead_letter(self, dead_letter: DeadLetter, tries: int = 0) -> Delivered | Failed:
        """Send a dead letter to the sink, always in binary mode. An event in its response is no reply."""
        assert self.sink is not None
        with self._traced("dead-letter", dead_letter.stored, tries) as scope:
            headers = {**_next_hop(dead_letter.stored.headers or {}, scope), **self._namespace}
            message = Message(_with_reason(dead_letter), headers)
            return self._post(scope, self.sink, message, replies=False)

    def close(self) -> None:
        """Close idle connections."""
        self.subscriber.close()
        if self.sink is not None:
            self.sink.close()

    def _traced(self, kind: str, stored: StoredEvent, tries: int) -> Scope:
        """Return the span of this attempt, where the event is part of a trace."""
        name = f"{kind}:{self._hop}"
        scope = self._tracer.scope("broker", name, CLIENT)
        header = stored.headers.get("traceparent") if stored.headers else None
        scope.hop(stored.event, header, f"{name} {tries + 1}" if tries else name)
        return scope

    def _post(self, scope: Scope, to: Subscriber, message: Message, replies: bool = True) -> Delivered | Failed:
        began = time.perf_counter()
        try:
            response = to.deliver(message, self._timeout)
        except Undelivered as problem:
            self._observe(0, time.perf_counter() - began)
            scope.failed(type(problem).__name__)
            return Failed(True, NO_RESPONSE, str(problem), f"dispatch error: {problem}".encode())
        self._observe(response.status, time.perf_counter() - began)
        scope.note("http.response.status_code", response.status)
        if response.status >= 300:
            scope.failed(str(response.status))
        if not replies and 200 <= response.status < 300:
            return Delivered()
        return outcome_of(response)


def _next_hop(headers: Mapping[str, str], scope: Scope) -> Mapping[str, str]:
    """Return the headers to pass on; the trace continues from this hop's span."""
    return headers if scope.traceparent is None else {**headers, "traceparent": scope.traceparent}


def _with_reason(dead_letter: DeadLetter) -> Event:
    """Return the event for a sink: with Knative's three attributes that give the reason, and the hops it has left.

    Values from an earlier failure are replaced.
    """
    dest, code, data = ERRORS
    response = base64.b64encode(dead_letter.answer[:ERROR_BYTES]).decode()
    reason: dict[str, str | int] = {
        dest: dead_letter.destination,
        code: dead_letter.code,
        data: response,
        TTL: dead_letter.stored.ttl,
    }
    return with_added(without(dead_letter.stored.event, ERRORS), reason)
