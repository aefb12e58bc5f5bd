"""The edge of every event service: event in, status out. The only place that knows what an outcome is in HTTP."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Generic, TypeVar
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Response

from greenlight.events import Event, types
from greenlight.events.http import NotAnEvent, UnsupportedMedia, from_http, to_binary, trace_header
from greenlight.ledger.port import Unavailable as LedgerUnavailable
from greenlight.runtime import metrics
from greenlight.runtime.deps import Deps
from greenlight.runtime.errors import Malformed, Rejected, Unavailable
from greenlight.runtime.problems import problem_response
from greenlight.runtime.tracing import CONSUMER, PRODUCER, Step, step
from greenlight.runtime.wsgi import length_of

D = TypeVar("D", bound=Deps)

Handler = Callable[[Event, D], Sequence[Event]]
"""From one event to the events that its own ledger transaction emitted."""

MAX_EVENT = 1 << 20
"""Bytes of one event: what Kafka's data plane takes; CloudEvents promises 64 KiB."""

MAX_REFUSAL = 768
"""Bytes of an answer that refuses an event. One more ends the dispatcher of Knative's in-memory channel, with all that it
carries, where the Trigger has a dead-letter sink (seen on Eventing 1.23)."""


def event_app(service: str, handlers: Mapping[str, Handler[D]], deps: D) -> Flask:
    """A Flask app that hands each event posted to `/` to the handler of its type.

    200 with the one event that follows; 202, empty: done, nothing to do, or not for us; 400 not an event; 413 too big;
    415 not understood; 422 can never succeed; 503 a dependency is down. Knative retries 404, 408, 409, 429 and 5xx only.
    """
    app = Flask(__name__, static_folder=None)
    mount_health(app, deps)
    mount_events(app, "/", service, partial(_handler_of, handlers), deps)
    return app


def mount_events(app: Flask, path: str, service: str, handler_of: Callable[[str], Handler[D] | None], deps: D) -> None:
    """Events posted to `path` go to the handler of their type; None: such events are not for us."""
    app.wsgi_app = _EventEdge(app.wsgi_app, path, service, handler_of, deps)  # type: ignore[method-assign]


class _EventEdge(Generic[D]):
    """Answers `POST` to its path itself, and leaves the rest to Flask: an event is worth its handler's time, not a router's."""

    def __init__(
        self,
        rest: WSGIApplication,
        path: str,
        service: str,
        handler_of: Callable[[str], Handler[D] | None],
        deps: D,
    ) -> None:
        self._rest, self._path, self._service, self._deps = rest, path, service, deps
        self._handler_of = handler_of
        self._log = deps.log.getChild(service)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "POST" or (environ.get("PATH_INFO") or "/") != self._path:
            return self._rest(environ, start_response)
        with self._deps.tracer.scope(self._service, "read event", CONSUMER) as scope:
            try:
                event = _read(environ)
                handler = self._handler_of(event.type)
                if handler is None:
                    return _done(self._service, "not for us", start_response)
                scope.event(event, environ.get("HTTP_TRACEPARENT"))
                reply = self._send(handler(event, self._deps))
            except Exception as problem:
                refusal = _refusal(self._service, problem, self._log)
                scope.failed(type(problem).__name__)
                scope.note("http.response.status_code", refusal.status_code)
                return refusal(environ, start_response)
            scope.note("http.response.status_code", 202 if reply is None else 200)
        if reply is None:
            return _done(self._service, "done", start_response)
        return _reply(self._service, reply, start_response)

    def _send(self, events: Sequence[Event]) -> Event | None:
        """Let them go; a step each, whose span is the one that the event's own traceparent may name."""
        with ExitStack() as steps:
            for event in events:
                steps.enter_context(sending(event))
            return self._deps.publisher.settle(events)


def mount_alive(app: Flask) -> None:
    """`/healthz`: the process is alive. All that the internet needs to know."""

    @app.get("/healthz")
    def healthz() -> Response:
        return Response("ok\n", mimetype="text/plain")


def mount_health(app: Flask, deps: Deps) -> None:
    """`/healthz`, and `/readyz`: what the process depends on answers; 503 says what does not."""
    mount_alive(app)

    @app.get("/readyz")
    def readyz() -> Response:
        try:
            deps.ledger.ready()
        except LedgerUnavailable as problem:
            return problem_response(503, "not ready", str(problem))
        return Response("ready\n", mimetype="text/plain")


def sending(event: Event) -> Step:
    """The step of sending an event of ours."""
    return step("send event", kind=PRODUCER, key=event.id, **{"cloudevents.event_type": event.type})


class _TooLarge(Exception):
    """The event is larger than any broker promises to carry."""


def _read(environ: WSGIEnvironment) -> Event:
    length = length_of(environ)
    if length is None or length > MAX_EVENT:
        raise _TooLarge(f"an event has a Content-Length of at most {MAX_EVENT} bytes")
    headers = {key[5:].replace("_", "-"): value for key, value in environ.items() if key.startswith("HTTP_CE_")}
    headers["content-type"] = environ.get("CONTENT_TYPE", "")
    return from_http(headers, environ["wsgi.input"].read(length))


def _handler_of(handlers: Mapping[str, Handler[D]], type: str) -> Handler[D] | None:
    handler = handlers.get(type)
    if handler is None and type not in types.NOT_FACTS:
        handler = handlers.get(types.FACT)
    return handler


def _done(service: str, outcome: str, start_response: StartResponse) -> Iterable[bytes]:
    metrics.handled(service, outcome)
    start_response("202 Accepted", [("Content-Length", "0")])
    return []  # empty: a body that is no event counts as a failed delivery


def _reply(service: str, event: Event, start_response: StartResponse) -> Iterable[bytes]:
    metrics.handled(service, "replied")
    headers, body = to_binary(event)
    headers |= trace_header(event)
    start_response("200 OK", [*headers.items(), ("Content-Length", str(len(body)))])
    return [body]


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
            return problem_response(status, title, _brief(str(problem)), retry_after=1 if status == 503 else None)
    metrics.handled(service, "error")
    log.error("an error of ours", exc_info=problem)
    return problem_response(500, "an error of ours", "the service's log has the details")


def _brief(detail: str) -> str:
    """As much of it as leaves the answer within MAX_REFUSAL; the log has all of it."""
    room = MAX_REFUSAL - 128  # for what problem_json puts around it
    while len(json.dumps(detail, ensure_ascii=False).encode()) > room:
        detail = detail[: len(detail) * 3 // 4] + "…"
    return detail
