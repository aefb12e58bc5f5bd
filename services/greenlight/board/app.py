"""The board: pages for people, JSON for the command line. Reading may be free; every write needs a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Blueprint, Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from greenlight.board import actions, api, pages
from greenlight.board.sources import Sources
from greenlight.events import Event
from greenlight.lib.errors import Forbidden, Unauthenticated
from greenlight.lib.origins import foreign
from greenlight.lib.problems import refusal
from greenlight.model.policy import Pipeline
from greenlight.service.deps import Deps as BaseDeps
from greenlight.service.health import HEALTHZ, READYZ, mount_health
from greenlight.service.people import People
from greenlight.telemetry.tracing import OFF, SERVER, Tracer

MAX_BODY = 64 << 10
_OPEN = (HEALTHZ, READYZ)


@dataclass(frozen=True, kw_only=True)
class Deps(BaseDeps):
    """The dependencies of the board alone: people, whether it listens on loopback only, other routes to guard."""

    people: People
    open_reads: bool = False
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

    @app.before_request
    def who() -> None:
        if request.path in _OPEN:
            return
        if (why := foreign(request.environ, named=deps.open_reads)) is not None:
            raise Forbidden(why)
        g.person = _person(deps)
        if g.person is None and not (
            deps.open_reads and request.method in ("GET", "HEAD") and request.path != "/api/v1/people/me"
        ):
            raise Unauthenticated(
                "the token is missing: send `Authorization: Bearer TOKEN`; `greenlight people token ID` makes one"
            )

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    @app.after_request
    def guard(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self'; "
            "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
        return response

    app.register_error_handler(Exception, lambda problem: _problem(problem, deps))
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


def _person(deps: Deps) -> object:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if not token:
        return None
    person = deps.people.by_token(token.strip()) if scheme.lower() == "bearer" else None
    if person is None:
        raise Unauthenticated(
            "this token belongs to no person; it may have been replaced: `greenlight people token ID` makes a new one"
        )
    return person


def _problem(problem: Exception, deps: Deps) -> Response:
    response = refusal(problem, deps.log.getChild("board"))
    if pages.is_for_people():
        response = pages.error_page(response)
    if response.status_code == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
