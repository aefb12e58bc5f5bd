"""One attempt: the request that a subscriber or a dead-letter sink gets, and what its answer means."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping

from greenlight.broker.delivery import NO_ANSWER, Delivered, Failed, verdict
from greenlight.broker.letters import DeadLetter
from greenlight.broker.log import ERRORS, TTL, Entry, with_added, without
from greenlight.broker.manifests import TriggerSpec
from greenlight.broker.metrics import Metrics
from greenlight.broker.subscribers import Message, Subscriber, Undelivered
from greenlight.events import Event
from greenlight.telemetry.tracing import CLIENT, OFF, Scope, Tracer

ERROR_BYTES = 768
"""Bytes of an answer that a dead letter carries: 1024 characters of base64, as Knative's broker has it."""


class Courier:
    """Carries one Trigger's events."""

    def __init__(
        self,
        spec: TriggerSpec,
        subscriber: Subscriber,
        sink: Subscriber | None,
        metrics: Metrics,
        tracer: Tracer = OFF,
    ) -> None:
        self.subscriber, self.sink, self._tracer = subscriber, sink, tracer
        self._hop = f"{spec.name}.{spec.namespace}"
        self._observe = metrics.dispatched(spec.broker, spec.name, spec.namespace)
        self._timeout = spec.delivery.timeout
        self._structured = spec.delivery.format == "json"
        self._namespace = {"Kn-Namespace": spec.namespace}
        self._extra = {"Prefer": "reply", **self._namespace}

    def deliver(self, entry: Entry, tries: int = 0) -> Delivered | Failed:
        """Bring an event to the subscriber. `tries`: how often that has failed."""
        event = without(entry.event, [TTL])
        with self._traced("trigger", entry, tries) as scope:
            passed_on = _next(entry.headers or {}, scope)
            return self._post(scope, self.subscriber, Message(event, {**passed_on, **self._extra}, self._structured))

    def bury(self, letter: DeadLetter, tries: int = 0) -> Delivered | Failed:
        """Bring a dead letter to the sink, always in binary mode. An answer's event is not a reply there."""
        assert self.sink is not None
        with self._traced("dead-letter", letter.entry, tries) as scope:
            passed_on = _next(letter.entry.headers or {}, scope)
            message = Message(_with_reason(letter), {**passed_on, **self._namespace})
            return self._post(scope, self.sink, message, replies=False)

    def close(self) -> None:
        """Let go of connections."""
        self.subscriber.close()
        if self.sink is not None:
            self.sink.close()

    def _traced(self, kind: str, entry: Entry, tries: int) -> Scope:
        """The span of this attempt, where the event is part of a trace."""
        name = f"{kind}:{self._hop}"
        scope = self._tracer.scope("broker", name, CLIENT)
        header = entry.headers.get("traceparent") if entry.headers else None
        scope.hop(entry.event, header, f"{name} {tries + 1}" if tries else name)
        return scope

    def _post(self, scope: Scope, port: Subscriber, message: Message, replies: bool = True) -> Delivered | Failed:
        began = time.perf_counter()
        try:
            answer = port.deliver(message, self._timeout)
        except Undelivered as problem:
            self._observe(0, time.perf_counter() - began)
            scope.failed(type(problem).__name__)
            return Failed(True, NO_ANSWER, str(problem), f"dispatch error: {problem}".encode())
        self._observe(answer.status, time.perf_counter() - began)
        scope.note("http.response.status_code", answer.status)
        if answer.status >= 300:
            scope.failed(str(answer.status))
        if not replies and 200 <= answer.status < 300:
            return Delivered()
        return verdict(answer)


def _next(headers: Mapping[str, str], scope: Scope) -> Mapping[str, str]:
    """The headers that travel along; the trace goes on from this hop's span."""
    return headers if scope.traceparent is None else {**headers, "traceparent": scope.traceparent}


def _with_reason(letter: DeadLetter) -> Event:
    """The event as a sink gets it: with Knative's three attributes that say why it died, and the hops it has left.

    Values from an earlier death are replaced: they would tell of another failure.
    """
    dest, code, data = ERRORS
    answer = base64.b64encode(letter.answer[:ERROR_BYTES]).decode()
    reason: dict[str, str | int] = {dest: letter.destination, code: letter.code, data: answer, TTL: letter.entry.ttl}
    return with_added(without(letter.entry.event, ERRORS), reason)
