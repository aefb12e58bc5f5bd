"""The edge of every event service: event in, status out. The only place that knows what an outcome is in HTTP."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Generic, TypeVar
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, request
from werkzeug.exceptions import HTTPException

from greenlight.events import Event, types
from greenlight.events.http import from_http, to_binary, trace_header
from greenlight.ledger.port import Unreadable
from greenlight.lib.errors import PROBLEM, Problem, phrase, problem_json
from greenlight.lib.problems import allowed
from greenlight.lib.wsgi import EVENT, length_of
from greenlight.service.deps import Deps
from greenlight.service.health import DOWN, Answer, mount_health
from greenlight.telemetry import metrics
from greenlight.telemetry.tracing import CONSUMER, PRODUCER, Step, step

D = TypeVar("D", bound=Deps)

Handler = Callable[[Event, D], Sequence[Event]]
"""From one event to the events that its own ledger transaction emitted."""

MAX_EVENT = 1 << 20
"""Bytes of one event: what Kafka's data plane takes; CloudEvents promises 64 KiB."""

MAX_REFUSAL = 768
"""Bytes of an answer that refuses an event. One more ends the dispatcher of Knative's in-memory channel, with all that it
carries, where the Trigger has a dead-letter sink (seen on Eventing 1.23)."""


HandlerOf = Callable[[str], Handler[D] | None]
"""From an event's type to its handler; None: such events are not for us."""


def event_app(
    service: str, handlers: Mapping[str, Handler[D]], deps: D, more: Mapping[str, HandlerOf[D]] | None = None
) -> Flask:
    """A Flask app that hands each event posted to `/` to the handler of its type, those posted to the paths of `more` there.

    200 with the one event that follows; 202, empty: done, nothing to do, not for us, or set aside, because a row that it
    builds on cannot be read; 400 not an event; 413 too big; 415 not understood; 422 can never succeed; 503 a dependency is
    down. Knative retries 404, 408, 409, 429 and 5xx only.
    `GET /healthz` and `/readyz` say what service/health.py does.
    """
    app = Flask(__name__, static_folder=None)
    app.extensions[EVENT] = True
    mount_health(app, deps)
    routes: Mapping[str, HandlerOf[D]] = {"/": partial(_handler_of, handlers), **(more or {})}

    @app.errorhandler(404)
    @app.errorhandler(405)
    def unknown(error: HTTPException) -> Answer:
        status, headers = (405, {"Allow": "POST"}) if request.path in routes else (error.code or 404, allowed(error))
        answer = _problem(status, "POST events, or GET /healthz or /readyz")
        return answer._replace(headers=answer.headers | headers)

    app.wsgi_app = _EventEdge(app.wsgi_app, service, routes, deps)  # type: ignore[method-assign]
    return app


class _EventEdge(Generic[D]):
    """Answers events itself, and leaves the rest to Flask: an event is worth its handler's time, not a router's."""

    def __init__(self, rest: WSGIApplication, service: str, routes: Mapping[str, HandlerOf[D]], deps: D) -> None:
        self._rest, self._service, self._routes, self._deps = rest, service, routes, deps
        self._log = deps.log.getChild(service)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO") or "/"
        if environ["REQUEST_METHOD"] != "POST" or path not in self._routes:
            return self._rest(environ, start_response)
        return self._take(self._routes[path], environ, start_response)

    def _take(
        self, handler_of: HandlerOf[D], environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        with self._deps.tracer.scope(self._service, "read event", CONSUMER) as scope:
            try:
                event = _read(environ)
                handler = handler_of(event.type)
                if handler is None:
                    return _done(self._service, "not for us", start_response)
                scope.event(event, environ.get("HTTP_TRACEPARENT"))
                reply = self._send(handler(event, self._deps))
            except Unreadable as problem:
                # Sent again, it would find the same row. It stays due, so that it comes once the row is mended.
                self._log.warning("set aside: %s", problem)
                scope.failed(type(problem).__name__)
                return _done(self._service, "set aside", start_response)
            except Exception as problem:
                refusal = _refusal(self._service, problem, self._log)
                scope.failed(type(problem).__name__)
                scope.note("http.response.status_code", refusal.status)
                return _say(refusal, start_response)
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


def sending(event: Event) -> Step:
    """The step of sending an event of ours."""
    return step("send event", kind=PRODUCER, key=event.id, **{"cloudevents.event_type": event.type})


class _TooLarge(Problem):
    """The event is larger than any broker promises to carry."""

    status = 413


def _read(environ: WSGIEnvironment) -> Event:
    length = length_of(environ)
    if length is None or length > MAX_EVENT:
        raise _TooLarge(f"an event has a Content-Length of at most {MAX_EVENT} bytes")
    if EVENT in environ:
        event: Event = environ[EVENT]
        return event
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


def _refusal(service: str, problem: Exception, log: logging.Logger) -> Answer:
    if isinstance(problem, Problem):
        outcome = DOWN if problem.status == 503 else phrase(problem.status).lower()
        metrics.handled(service, outcome)
        log.warning("refused with %d: %s", problem.status, problem)
        return _problem(problem.status, _brief(str(problem)))
    metrics.handled(service, "error")
    log.error("internal error", exc_info=problem)
    return _problem(500, "the service's log has the details")


def _problem(status: int, detail: str) -> Answer:
    headers = {"Content-Type": PROBLEM} | ({"Retry-After": "1"} if status == 503 else {})
    return Answer(problem_json(status, detail), status, headers)


def _say(answer: Answer, start_response: StartResponse) -> Iterable[bytes]:
    body = answer.body.encode()
    headers = [*answer.headers.items(), ("Content-Length", str(len(body)))]
    start_response(f"{answer.status} {phrase(answer.status)}", headers)
    return [body]


def _brief(detail: str) -> str:
    """As much of it as leaves the answer within MAX_REFUSAL; the log has all of it."""
    room = MAX_REFUSAL - 128  # for what problem_json puts around it
    while len(json.dumps(detail, ensure_ascii=False).encode()) > room:
        detail = detail[: len(detail) * 3 // 4] + "…"
    return detail
