"""The edge of every event service: event in, status out. The only place that knows what an outcome is in HTTP."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from flask import Flask, Response, request

from greenlight.events import Event, types
from greenlight.events.http import NotAnEvent, UnsupportedMedia, from_http, to_binary
from greenlight.ledger.port import Unavailable as LedgerUnavailable
from greenlight.runtime import metrics
from greenlight.runtime.deps import Deps
from greenlight.runtime.errors import Malformed, Rejected, Unavailable

D = TypeVar("D", bound=Deps)

Handler = Callable[[Event, D], Sequence[Event]]
"""From one event to the events that its own ledger transaction emitted."""

MAX_EVENT = 1 << 20
"""Bytes of one event: what Kafka's data plane takes; CloudEvents promises 64 KiB."""


def event_app(service: str, handlers: Mapping[str, Handler[D]], deps: D) -> Flask:
    """A Flask app that hands each event posted to `/` to the handler of its type.

    200 with the one event that follows; 202, empty: done, nothing to do, or not for us; 400 not an event; 413 too big;
    415 not understood; 422 can never succeed; 503 a dependency is down. Knative retries 404, 408, 409, 429 and 5xx only.
    """
    app = Flask(service)
    log = deps.log.getChild(service)

    @app.post("/")
    def receive() -> Response:
        try:
            event = _read()
            handler = _handler_of(handlers, event.type)
            if handler is None:
                return _done(service, "not for us")
            events = handler(event, deps)
            reply = deps.publisher.settle(events)
        except Exception as problem:
            return _refusal(service, problem, log)
        return _done(service, "done") if reply is None else _reply(service, reply)

    mount_health(app, deps)
    return app


def mount_health(app: Flask, deps: Deps) -> None:
    """`/healthz`: the process is alive. `/readyz`: what it depends on answers; 503 says what does not."""

    @app.get("/healthz")
    def healthz() -> Response:
        return Response("ok\n", mimetype="text/plain")

    @app.get("/readyz")
    def readyz() -> Response:
        try:
            deps.ledger.ready()
        except LedgerUnavailable as problem:
            return problem_response(503, "not ready", str(problem))
        return Response("ready\n", mimetype="text/plain")


def problem_response(status: int, title: str, detail: str, *, retry_after: int | None = None) -> Response:
    """An error as application/problem+json (RFC 9457)."""
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}, ensure_ascii=False)
    response = Response(body, status=status, mimetype="application/problem+json")
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


class _TooLarge(Exception):
    """The event is larger than any broker promises to carry."""


def _read() -> Event:
    length = request.content_length
    if length is None or length > MAX_EVENT:
        raise _TooLarge(f"an event has a Content-Length of at most {MAX_EVENT} bytes")
    return from_http(request.headers, request.get_data(cache=False))


def _handler_of(handlers: Mapping[str, Handler[D]], type: str) -> Handler[D] | None:
    handler = handlers.get(type)
    if handler is None and type not in types.NOT_FACTS:
        handler = handlers.get(types.FACT)
    return handler


def _done(service: str, outcome: str) -> Response:
    metrics.handled(service, outcome)
    return Response(status=202)  # empty: a body that is no event counts as a failed delivery


def _reply(service: str, event: Event) -> Response:
    metrics.handled(service, "replied")
    headers, body = to_binary(event)
    return Response(body, status=200, headers=headers)


_STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (NotAnEvent, 400, "not a CloudEvent"),
    (Malformed, 400, "malformed"),
    (_TooLarge, 413, "too large"),
    (UnsupportedMedia, 415, "content type not understood"),
    (Rejected, 422, "can never succeed"),
    (LedgerUnavailable, 503, "a dependency is down"),
    (Unavailable, 503, "a dependency is down"),
)


def _refusal(service: str, problem: Exception, log: logging.Logger) -> Response:
    for kind, status, title in _STATUS:
        if isinstance(problem, kind):
            metrics.handled(service, title)
            log.warning("refused with %d: %s", status, problem)
            return problem_response(status, title, str(problem), retry_after=1 if status == 503 else None)
    metrics.handled(service, "error")
    log.error("an error of ours", exc_info=problem)
    return problem_response(500, "an error of ours", "the service's log has the details")
