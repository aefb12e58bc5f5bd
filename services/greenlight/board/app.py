"""The board: pages for people, JSON for the command line. Reading may be free; every write needs a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Blueprint, Flask, Response, g
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from greenlight.board import actions, answers, api, pages
from greenlight.board.login import mount
from greenlight.board.login.config import LoginConfig
from greenlight.board.login.guard import Guard, to_login
from greenlight.board.sources import Sources
from greenlight.events import Event
from greenlight.lib.errors import TooManyRequests, Unauthenticated
from greenlight.lib.problems import refusal
from greenlight.model.policy import Pipeline
from greenlight.service.deps import Deps as BaseDeps
from greenlight.service.health import mount_health
from greenlight.service.people import People
from greenlight.telemetry.tracing import OFF, SERVER, Tracer

MAX_BODY = 64 << 10


@dataclass(frozen=True, kw_only=True)
class Deps(BaseDeps):
    """The dependencies of the board alone.

    People and how they log in, whether it listens on loopback only, the secrets of web logins, other routes to guard.
    """

    people: People
    open_reads: bool = False
    login: LoginConfig = field(default_factory=LoginConfig)
    secret: Callable[[str], str | None] = lambda name: None
    guests: Sequence[Blueprint] = ()
    sources: Sources = field(default_factory=Sources)


def create_app(deps: Deps) -> Flask:
    """Return the board as a service."""
    app = Flask("greenlight.board")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    mount_health(app, deps)
    app.register_blueprint(api.blueprint(deps))
    app.register_blueprint(pages.blueprint(deps, deps.sources))
    for routes in deps.guests:
        app.register_blueprint(routes)

    guard = Guard(
        deps.login,
        deps.people,
        deps.ledger,
        deps.clock,
        deps.log.getChild("board"),
        on_loopback=deps.open_reads,
        secret=deps.secret,
    )
    mount.login(app, guard)

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    app.after_request(answers.finished)

    @app.after_request
    def headers(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"  # with no-referrer, browsers send forms with `Origin: null`
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self'; "
            "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
        return response

    app.register_error_handler(Exception, lambda problem: _problem(problem, guard, deps))
    if deps.tracer is not OFF:
        app.wsgi_app = _Traced(app.wsgi_app, deps.tracer)  # type: ignore[method-assign]
    return app


def discards(pipeline: Pipeline) -> Callable[[Event], str]:
    """Return who discards a dead letter in this request, for the broker's routes below this app (actions.discards)."""
    return actions.discards(g.person, list(pipeline.applications.values()))


class _Traced:
    """Record what people do as spans: one for every POST that becomes a fact."""

    def __init__(self, rest: WSGIApplication, tracer: Tracer) -> None:
        self._rest, self._tracer = rest, tracer

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "POST":
            return self._rest(environ, start_response)
        with self._tracer.scope("board", "receive", SERVER) as scope:
            scope.note("http.request.method", "POST")
            scope.note("url.path", environ["PATH_INFO"])

            def answer(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
                scope.note("http.response.status_code", int(status[:3]))
                if status.startswith("5"):
                    scope.failed(status[:3])
                return start_response(status, headers, error)

            return self._rest(environ, answer)


def _problem(problem: Exception, guard: Guard, deps: Deps) -> Response:
    if type(problem) is Unauthenticated and guard.can_ask_to_log_in():
        return to_login()
    response = refusal(problem, deps.log.getChild("board"))
    if isinstance(problem, TooManyRequests):
        response.headers["Retry-After"] = str(problem.wait)
    if pages.is_for_people():
        response = pages.error_page(response)
    if response.status_code == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
