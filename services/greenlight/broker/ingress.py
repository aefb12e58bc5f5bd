"""`POST /NAMESPACE/BROKER`: how events come in over HTTP. A bare WSGI app, because every event passes it.

Rules: Knative's data-plane contract, `specs/eventing/data-plane.md`, and its multi-tenant broker's ingress.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Protocol

from greenlight.broker.errors import Overloaded, UnknownBroker
from greenlight.broker.metrics import Metrics
from greenlight.events import Event
from greenlight.events.http import NotAnEvent, from_http
from greenlight.lib.errors import PROBLEM, Rejected, Unavailable, UnsupportedMedia, problem_json
from greenlight.lib.wsgi import coding_of, headers_of
from greenlight.telemetry.tracing import OFF, SERVER, Tracer

MAX_EVENT = 1 << 20
"""Bytes of one event: what Kafka's data plane takes; CloudEvents promises 64 KiB."""

_log = logging.getLogger("greenlight.broker")

_HANDSHAKE = {"Allow": "POST, OPTIONS", "WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "*"}

Environ = dict[str, Any]


class Publish(Protocol):
    """Take an event for a Broker, durably; see Broker.publish for what it raises."""

    def __call__(self, event: Event, *, broker: str, headers: Mapping[str, str]) -> None: ...


class _Refusal(Exception):
    """A response that is not 202."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


class Ingress:
    """Answer 202, empty, once an event is durable.

    Else 400 (no event, or no hops left), 404, 405, 413, 415, 429 (full), 503.
    """

    def __init__(self, publish: Publish, metrics: Metrics, *, max_event: int = MAX_EVENT, tracer: Tracer = OFF) -> None:
        self._publish, self._metrics, self._tracer = publish, metrics, tracer
        self._max_event = max_event

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, as a WSGI app."""
        try:
            status, headers = self._answer(environ)
            body = b""
        except _Refusal as refusal:
            status, body = refusal.status, _problem(refusal)
            headers = {**refusal.headers, "Content-Type": PROBLEM}
        if environ["REQUEST_METHOD"] == "POST":
            self._metrics.received(status)
        start_response(f"{status} {HTTPStatus(status).phrase}", [*headers.items(), ("Content-Length", str(len(body)))])
        return [body]

    def _answer(self, environ: Environ) -> tuple[int, Mapping[str, str]]:
        if str(environ.get("HTTP_USER_AGENT", "")).startswith("kube-probe/"):
            return 200, {}
        method = environ["REQUEST_METHOD"]
        if method == "OPTIONS":  # the CloudEvents web hook handshake: anyone may send
            return 200, _HANDSHAKE
        if method != "POST":
            raise _Refusal(405, f"{method} is not for events: POST one", {"Allow": "POST, OPTIONS"})
        self._take(_broker(environ), environ)
        return 202, {}

    def _take(self, broker: str, environ: Environ) -> None:
        if coding := coding_of(environ):
            detail = f"Content-Encoding {coding[:64]!r} is not supported: send the event without one"
            raise _Refusal(415, detail, {"Accept-Encoding": "identity"})
        headers = headers_of(environ)
        body = self._body(environ)
        try:
            event = from_http(headers, body)
            with self._tracer.scope("broker", _span(broker), SERVER) as scope:
                scope.hop(event, headers.get("traceparent"), _span(broker))
                scope.note("http.request.method", "POST")
                scope.note("url.path", f"/{broker}")
                if scope.traceparent is not None:
                    headers["traceparent"] = scope.traceparent
                self._publish(event, broker=broker, headers=headers)
                scope.note("http.response.status_code", 202)
        except (NotAnEvent, UnsupportedMedia, Rejected) as problem:
            raise _Refusal(400, str(problem)) from None
        except UnknownBroker as problem:
            raise _Refusal(404, str(problem)) from None
        except Overloaded as problem:
            raise _Refusal(429, str(problem), {"Retry-After": "1"}) from None
        except Unavailable as problem:
            _log.debug("an event was refused: %s", problem)  # the store has logged why, once
            detail = "the event cannot be stored now; nothing was taken"
            raise _Refusal(503, detail, {"Retry-After": "1"}) from None

    def _body(self, environ: Environ) -> bytes:
        """Read the body, only up to the bound."""
        text = environ.get("CONTENT_LENGTH") or ""
        if text and not (text.isascii() and text.isdigit()):
            raise _Refusal(400, "Content-Length is not a number")
        length = int(text) if text else self._max_event + 1 if environ.get("wsgi.input_terminated") else 0
        if text and length > self._max_event:
            raise self._too_large()
        body: bytes = environ["wsgi.input"].read(length)
        if len(body) > self._max_event:
            raise self._too_large()
        if text and len(body) < length:
            raise _Refusal(400, "the body ended early")
        return body

    def _too_large(self) -> _Refusal:
        return _Refusal(
            413, f"an event has at most {self._max_event} bytes; store larger data elsewhere and send a link"
        )


def _broker(environ: Environ) -> str:
    """Return NAMESPACE/NAME of the request's address, as it was sent. One slash may follow; a query is part of the name."""
    target = environ.get("REQUEST_URI") or environ.get("PATH_INFO") or "/"
    if target == "/":
        raise _Refusal(404, "the address of a Broker is /NAMESPACE/NAME")
    start, *segments = target.removesuffix("/").split("/")
    if start or len(segments) != 2:
        raise _Refusal(400, "the address of a Broker is /NAMESPACE/NAME")
    return "/".join(segments)


def _span(broker: str) -> str:
    """Return Knative's name for the hop."""
    namespace, _, name = broker.partition("/")
    return f"broker:{name}.{namespace}"


def _problem(refusal: _Refusal) -> bytes:
    return problem_json(refusal.status, refusal.detail).encode()
