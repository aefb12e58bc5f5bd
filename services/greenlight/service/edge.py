"""The edge of every event service over HTTP: a small Flask app whose view takes a CloudEvent."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from greenlight.events import Event
from greenlight.events.http import trace_header
from greenlight.lib.errors import PROBLEM
from greenlight.lib.problems import allowed, problem_response
from greenlight.service.handling import MAX_EVENT, EventService, Outcome, TooLarge
from greenlight.service.health import mount_health
from greenlight.service.wire import read, write

RETRY_AFTER = 1
"""Seconds after which an event may be sent again that a dependency which is down did not let through."""


def event_app(service: EventService[Any]) -> Flask:
    """Return a Flask app that hands each event posted to a path of the service to it, and answers with the outcome.

    Refusals are application/problem+json. `GET /healthz` and `/readyz` say what service/health.py does.
    """
    app = Flask(__name__, static_folder=None)
    mount_health(app, service.deps)

    def take() -> Response:
        traceparent = service.deps.tracer.below(request.headers.get("traceparent"))
        try:
            event = _read()
        except HTTPException:
            raise  # the sender has closed the connection
        except Exception as problem:
            return _answer(service.refused(problem))
        return _answer(service.handle(event, request.path, traceparent))

    for path in service.paths:
        app.add_url_rule(path, path, take, methods=["POST"], provide_automatic_options=False)

    @app.errorhandler(HTTPException)
    def unknown(error: HTTPException) -> Response:
        elsewhere = error.code in (404, 405)
        detail = "POST events, or GET /healthz or /readyz" if elsewhere else error.description or error.name
        return problem_response(error.code or 500, detail, allowed(error))

    service.deps.tracer.instrument(app)
    return app


def _read() -> Event:
    length = request.content_length
    if length is None or length > MAX_EVENT:
        raise TooLarge(f"an event has a Content-Length of at most {MAX_EVENT} bytes")
    return read(request.headers.items(), request.get_data(cache=False))


def _answer(outcome: Outcome) -> Response:
    if outcome.reply is not None:
        headers, body = write(outcome.reply)
        return _response(outcome.status, body, headers | trace_header(outcome.reply))
    if not outcome.problem:
        return _response(outcome.status, b"", {})  # empty: a body that is no event counts as a failed delivery
    again = {"Retry-After": str(RETRY_AFTER)} if outcome.status == 503 else {}
    return _response(outcome.status, outcome.problem.encode(), {"content-type": PROBLEM, **again})


def _response(status: int, body: bytes, headers: dict[str, str]) -> Response:
    """Return a response without a Content-Type that Flask would add."""
    response = Response(body, status, headers)
    if "content-type" not in headers:
        del response.headers["Content-Type"]
    return response
