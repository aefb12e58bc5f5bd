"""The edge to the internet: authenticate, then parse; persist, then acknowledge; then publish."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from greenlight.events import moment
from greenlight.lib.errors import NO_ROUTE, Malformed, Problem, Rejected
from greenlight.lib.printable import printable
from greenlight.lib.problems import allowed, problem_response
from greenlight.lib.signing import BadSignature
from greenlight.lib.wsgi import coding_of, headers_of, length_of, media_type_of
from greenlight.model import keys
from greenlight.model.arrivals import Arrival
from greenlight.model.policy import Pipeline
from greenlight.model.rows import DUE_AFTER, Due, Fact
from greenlight.policy.refs import shipped
from greenlight.service.arrivals import Arrivals
from greenlight.service.deps import Deps as BaseDeps
from greenlight.service.handling import sending
from greenlight.service.health import HEALTHZ, Answer, alive
from greenlight.service.secrets import Secret, Secrets
from greenlight.telemetry import metrics
from greenlight.telemetry.tracing import SERVER, Scope, step
from greenlight.webhooks.notices import Notices
from greenlight.webhooks.provider import AHEAD, Delivery, Ignored, Provider
from greenlight.webhooks.providers.registry import ROUTES, may_send
from greenlight.webhooks.senders import contexts

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, kw_only=True)
class Deps(BaseDeps):
    """The dependencies of the webhooks alone: the senders' secrets."""

    secrets: Secrets
    arrivals: Arrivals = field(default_factory=Arrivals)


class _Refused(Exception):
    """A refusal before the body was read."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.headers = status, headers or {}


def create_app(deps: Deps) -> Flask:
    """Return an app with a route for each provider: `POST /webhooks/github`, `/webhooks/gates/NAME` and so on."""
    app = Flask(__name__, static_folder=None)

    @app.get(HEALTHZ)
    def healthz() -> Answer:
        """Answer, and read the secrets again, so that unreadable ones are reported also while no webhook comes."""
        deps.secrets.refresh()
        return alive()

    app.wsgi_app = _WebhookEndpoint(app.wsgi_app, deps)  # type: ignore[method-assign]

    @app.errorhandler(404)
    @app.errorhandler(405)
    def unknown(error: HTTPException) -> Response:
        where = f"POST to {', '.join(route + provider.files.word for route, provider in ROUTES.items())}"
        if _provider(request.path):
            return problem_response(405, where, {"Allow": "POST"})
        return problem_response(error.code or 404, where, allowed(error), reason=NO_ROUTE)

    return app


class _WebhookEndpoint:
    """Answer webhooks without Flask, which costs more than a webhook may, and pass all other requests to Flask."""

    def __init__(self, rest: WSGIApplication, deps: Deps) -> None:
        self._rest, self._deps = rest, deps
        self._log = deps.log.getChild("webhooks")
        self._notices = Notices(deps)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        found = _provider(environ["PATH_INFO"]) if environ["REQUEST_METHOD"] == "POST" else None
        if found is None:
            return self._rest(environ, start_response)
        return _answer(environ, *found, self._deps, self._notices, self._log)(environ, start_response)


def _provider(path: str) -> tuple[Provider, str] | None:
    """Return the provider of a route, and the name at its end."""
    if path in ROUTES and not path.endswith("/"):
        return ROUTES[path], ""
    route, slash, name = path.rpartition("/")
    provider = ROUTES.get(route + slash)
    return (provider, name) if provider and name else None


class _Taken:
    """The answer 202 with a line of JSON, as a WSGI app: what nearly every webhook gets."""

    status_code = 202

    def __init__(self, document: Mapping[str, str], repo: str | None, sha: str | None = None) -> None:
        self.ignored, self.repo, self.sha = document.get("ignored", ""), repo, sha
        self._body = json.dumps(document).encode()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("202 Accepted", [("Content-Type", "application/json"), ("Content-Length", str(len(self._body)))])
        return [self._body]


def _answer(
    environ: WSGIEnvironment, provider: Provider, name: str, deps: Deps, notices: Notices, log: logging.Logger
) -> Response | _Taken:
    """Answer one request. The verdict is counted and logged, never the body or the signature."""
    start = deps.clock.monotonic()
    with deps.tracer.scope("webhooks", "receive", SERVER) as scope:
        verdict, response = _take(environ, provider, name, scope, deps, notices, log)
        scope.note("http.request.method", "POST")
        scope.note("url.path", environ["PATH_INFO"])
        scope.note("http.response.status_code", response.status_code)
    metrics.WEBHOOKS.labels(provider.label, verdict).inc()
    ignored = response.ignored if isinstance(response, _Taken) else ""
    deps.arrivals.add(_arrival(provider, name, verdict, response, deps.clock.now()))
    log.log(
        logging.INFO if response.status_code == 202 else logging.WARNING,
        "%s %s %d in %.1f ms, delivery %.64r%.300s",
        provider.label,
        verdict,
        response.status_code,
        (deps.clock.monotonic() - start) * 1000,
        environ.get("HTTP_X_GITHUB_DELIVERY") or environ.get("HTTP_WEBHOOK_ID") or "",
        f": {ignored!r}" if ignored else "",
    )
    return response


def _arrival(provider: Provider, name: str, verdict: str, response: Response | _Taken, now: datetime) -> Arrival:
    """Return what the board shows of a webhook; who sent one that was not signed right is not known."""
    if isinstance(response, _Taken):
        sender, repo = provider.sender(name), response.repo and _shown(response.repo)
        return Arrival(now, sender, verdict, response.status_code, _shown(response.ignored), repo, response.sha)
    why = str((response.get_json(silent=True, force=True) or {}).get("detail", ""))
    return Arrival(now, provider.label, verdict, response.status_code, _shown(why))


def _shown(text: str) -> str:
    """Return a text in which a sender may have had a say, as the board shows it."""
    return printable(text[:300])


def _take(
    environ: WSGIEnvironment,
    provider: Provider,
    name: str,
    scope: Scope,
    deps: Deps,
    notices: Notices,
    log: logging.Logger,
) -> tuple[str, Response | _Taken]:
    """Return the verdict and the answer.

    A refused webhook has no span, so that unknown senders cannot fill the backend.
    """
    try:
        with step("receiving request"):
            delivery = _read(environ, provider, name, deps)
        with step("validate signature"):
            used = provider.verify(delivery, deps.secrets.of(provider.sender(name)))
        for secret in used:
            secret.used()
        with step("create event"):
            pipeline = deps.pipeline()
            fact = provider.fact(delivery, pipeline)
            if isinstance(fact, Fact) and not may_send(provider, fact.type):
                raise Rejected(f"the type {fact.type[:64]!r} is accepted on its own route only")
        renamed = _renamed(fact, used, pipeline, notices)
        if fact.repo is not None and not _speaks(used, fact.repo):
            raise BadSignature("this secret does not speak for that repository")
        if isinstance(fact, Fact):
            fact = wanted(fact, pipeline)
        if renamed is not None:
            fact = Ignored(renamed)
        if isinstance(fact, Ignored):
            return "ignored", _Taken({"ignored": fact.reason}, fact.repo)
        _unclaimed(provider, delivery, fact, deps)
        scope.arrival(fact.event, fact.repo, fact.sha, fact.signal, fact.outcome, contexts(delivery.headers, fact))
        if AHEAD in fact.details:
            notices.ahead(provider.sender(name), moment(fact.details[AHEAD]), fact.accepted)
        accept(fact, delivery.body, deps)
        return "accepted", _Taken({"id": fact.id}, fact.repo, fact.sha)
    except _Refused as refusal:
        return "refused", problem_response(refusal.status, str(refusal), refusal.headers)
    except BadSignature as problem:
        if deps.secrets.unread(provider.sender(name)):
            detail = "the secrets of this sender cannot be read, so no signature can be checked; the log says why"
            return _VERDICTS[503], problem_response(503, detail)
        return _VERDICTS[401], problem_response(401, str(problem))
    except Problem as problem:
        if problem.status == 503:
            scope.failed("Unavailable")
        return _VERDICTS[problem.status], problem_response(problem.status, str(problem))
    except Exception:
        scope.failed("error")
        log.exception("internal error")
        return "error", problem_response(500, "nothing was stored; the service's log has the details")


_VERDICTS = {400: "malformed", 401: "unauthenticated", 415: "unsupported", 422: "unusable", 503: "unavailable"}
"""What the metric of webhooks calls an answer."""


def _read(environ: WSGIEnvironment, provider: Provider, name: str, deps: Deps) -> Delivery:
    """Read a request within bounds: coding, length, type, then the bytes."""
    if name and not _NAME.fullmatch(name):
        raise _Refused(404, "the name of a gate or sender has only letters, digits, and . _ -")
    if coding := coding_of(environ):
        detail = f"Content-Encoding {coding[:64]!r} is not supported: send the body without one"
        raise _Refused(415, detail, {"Accept-Encoding": "identity"})
    length = length_of(environ)
    if length is None and not environ.get("wsgi.input_terminated"):
        raise _Refused(411, "send a Content-Length")
    if length is not None and length > provider.limit:
        raise _too_large(provider)
    if provider.only_json and media_type_of(environ) != "application/json":
        raise _Refused(415, "send application/json")
    body = environ["wsgi.input"].read(provider.limit + 1 if length is None else length)
    if len(body) > provider.limit:
        raise _too_large(provider)
    if length is not None and len(body) != length:
        raise Malformed("the body ended before its Content-Length")
    return Delivery(headers_of(environ), body, name, deps.clock.now())


def _too_large(provider: Provider) -> _Refused:
    return _Refused(413, f"at most {provider.limit} bytes")


def _speaks(used: Sequence[Secret], repo: str) -> bool:
    return any(secret.speaks_for(repo) for secret in used)


def _renamed(found: Fact | Ignored, used: Sequence[Secret], pipeline: Pipeline, notices: Notices) -> str | None:
    """Return the answer, if a configured repository now has the name in the body."""
    if found.repo is None:
        return None
    former = found.former if isinstance(found, Ignored) else None
    return notices.seen(found.repo, found.repository, former, pipeline, partial(_speaks, used))


def wanted(fact: Fact, pipeline: Pipeline) -> Fact | Ignored:
    """Return the fact, or why no application can use it."""
    if not pipeline.knows(fact.repo):
        return Ignored(f"no application of the pipeline file is made from {fact.repo}")
    push = fact.push
    if push is None or not (push.deleted or push.ref.startswith("refs/tags/")):
        return fact
    if any(shipped(policy, push.ref) for policy in pipeline.of(fact.repo)):
        return fact
    return Ignored(f"no application ships {push.ref}")


def _unclaimed(provider: Provider, delivery: Delivery, fact: Fact, deps: Deps) -> None:
    """Refuse a message id of Standard Webhooks that was used for another body or fact.

    In binary mode an event's type and id are headers, which are not signed: who replays a message cannot make another
    fact of it.
    """
    if "webhook-id" not in delivery.headers or not provider.files.standard:
        return
    digest = hashlib.sha256(fact.id.encode() + delivery.body).hexdigest()
    if deps.ledger.claim(provider.sender(delivery.name), delivery.headers["webhook-id"], digest) != digest:
        raise Rejected("this webhook-id was used before, with another body or event")


def accept(fact: Fact, body: bytes, deps: BaseDeps) -> bool:
    """Write fact, event and body in one transaction; then publish the event. A repetition changes nothing: False."""
    if deps.ledger.accept(fact, body, Due(keys.fact_due(fact.id), fact.accepted + DUE_AFTER, fact.event)):
        with sending(fact.event):
            deps.publisher.publish([fact.event])
        return True
    return False
