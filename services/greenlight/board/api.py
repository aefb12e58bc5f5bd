"""The JSON API, which the command line uses, and on which scripts may rely."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, g, request

from greenlight.board import (
    actions,
    api_deployments,
    filters,
    freezing,
    notifications,
    openapi,
    preview,
    reading,
    view,
    votes,
)
from greenlight.board.trace import trace_of
from greenlight.board.usual import Usual
from greenlight.events import rfc3339, time_of
from greenlight.ledger.names import clocks_ahead
from greenlight.lib.bodies import LONGEST_TEXT, json_object
from greenlight.lib.durations import duration
from greenlight.lib.errors import Rejected
from greenlight.lib.paging import BAD_CURSOR, limit_of, number_of
from greenlight.model import keys
from greenlight.model.rows import Entry, Request, Target
from greenlight.policy.freezes import AHEAD, frozen
from greenlight.policy.requests import SERVED_WITHIN
from greenlight.service.deps import Deps

PAGE, MOST = 50, 200
"""Commits of a page, and the most that can be asked for."""

ENTRIES = 1000
LONGEST = timedelta(days=30)
"""How long a request may wait."""


def blueprint(deps: Deps) -> Blueprint:
    """Return the routes below /api/v1."""
    api = Blueprint("api", __name__, url_prefix="/api/v1")
    _reads(api, deps)
    _senders(api, deps)
    _targets(api, deps)
    api_deployments.mount(api, deps)
    _writes(api, deps)
    notifications.mount(api, deps)
    return api


def _reads(api: Blueprint, deps: Deps) -> None:
    usual = Usual(deps)

    @api.get("/commits")
    def commits() -> Response:
        asked = {
            name: request.args.get(name) or None
            for name in ("repo", "ref", "application", "environment", "decision", "cursor")
        }
        if asked["repo"]:
            asked["repo"] = asked["repo"].lower()
        decision = asked.pop("decision")
        outcome, author = (request.args.get(name) or None for name in ("outcome", "author"))
        # The ledger keeps what holds of the commit alone: only these two say no less than the decision in the target.
        kept = decision if decision in ("ready", "blocked") else None
        limit = limit_of(request.args, PAGE, MOST)
        try:
            page = deps.ledger.records(**asked, decision=kept, limit=limit)
        except ValueError:
            raise Rejected(BAD_CURSOR) from None
        shown = reading.commits_of(page.records, deps)
        if decision is not None or outcome is not None:
            where = (asked["application"], asked["environment"])
            shown = [commit for commit in shown if filters.stands(commit, decision, outcome, *where)]
        if author is not None:
            shown = filters.by_author(shown, author, deps)
        return _json({"commits": shown, "next": page.next})

    @api.get("/commits/<owner>/<name>/<sha>")
    def commit(owner: str, name: str, sha: str) -> Response:
        return _json(reading.commit_of(reading.record_of(f"{owner}/{name}", sha, deps), deps))

    @api.get("/commits/<owner>/<name>/<sha>/journal")
    def journal(owner: str, name: str, sha: str) -> Response:
        record = reading.record_of(f"{owner}/{name}", sha, deps)
        return _json(_entries(keys.commit_stream(record.repo, record.sha), deps))

    @api.get("/commits/<owner>/<name>/<sha>/trace")
    def trace(owner: str, name: str, sha: str) -> Response:
        record = reading.record_of(f"{owner}/{name}", sha, deps)
        return _json(trace_of(record, deps, usual))


def _senders(api: Blueprint, deps: Deps) -> None:
    @api.get("/senders")
    def senders() -> Response:
        ahead = clocks_ahead(deps.ledger, deps.clock.now())
        return _json({"repositories": reading.repositories(deps), "clocks_ahead": ahead})


def _targets(api: Blueprint, deps: Deps) -> None:
    @api.get("/targets")
    def targets() -> Response:
        now, counted = deps.clock.now(), request.args.get("behind") == "true"  # which reads the pushes of each
        shown = [
            {
                **view.target(row, [], now, _frozen(row, None, deps)),
                **({"behind": None if why else api_deployments.behind(row, deps)} if counted else {}),
                **({"unreadable": why} if why else {}),
            }
            for row, why in reading.every_target(deps)
        ]
        return _json({"targets": shown})

    @api.get("/unreadable")
    def unreadable() -> Response:
        rows = deps.ledger.unreadable()
        return _json({"rows": [{**asdict(row), "since": rfc3339(row.since)} for row in rows]})

    @api.get("/targets/<application>/<environment>")
    def target(application: str, environment: str) -> Response:
        row = reading.target_of(application, environment, deps)
        deployments = reading.deployments_of(row, deps)
        shown = view.target(row, deployments, deps.clock.now(), _frozen(row, None, deps))
        return _json({**shown, "behind": api_deployments.behind(row, deps)})

    @api.get("/targets/<application>/<environment>/journal")
    def target_journal(application: str, environment: str) -> Response:
        row = reading.target_of(application, environment, deps)
        return _json(_entries(keys.target_stream(row.application, row.environment), deps))

    @api.get("/openapi.json")
    def description() -> Response:
        return Response(openapi.text(), mimetype="application/json")

    @api.get("/people/me")
    def me() -> Response:
        person = g.person
        return _json({"id": person.id, "name": person.name, "groups": list(person.groups)})


def _writes(api: Blueprint, deps: Deps) -> None:
    def vote(say: Callable[..., str], owner: str, name: str, sha: str) -> Response:
        body = json_object()
        with reading.acted_on(f"{owner}/{name}", sha, deps) as record:
            comment = _text(body, "comment", needed=False)
            id = say(record, _need(body, "application"), _need(body, "gate"), comment, g.person, deps)
        return _json({"id": id}, 202)

    @api.post("/commits/<owner>/<name>/<sha>/approvals")
    def approvals(owner: str, name: str, sha: str) -> Response:
        return vote(votes.approve, owner, name, sha)

    @api.post("/commits/<owner>/<name>/<sha>/revocations")
    def revocations(owner: str, name: str, sha: str) -> Response:
        return vote(votes.revoke, owner, name, sha)

    @api.post("/people/erasures")
    def erasures() -> Response:
        body = json_object()
        erased = actions.erase_author(_texts(body, "github"), _texts(body, "emails"), g.person, deps)
        return _json({"erased": erased}, 202)

    @api.post("/policy/preview")
    def previews() -> Response:
        files = json_object().get("files")
        if not isinstance(files, dict) or not all(isinstance(text, str) for text in files.values()):
            raise Rejected("files must be an object of the pipeline files' texts, by name")
        return _json({"targets": preview.of_edit(files, deps)})

    @api.post("/commits/<owner>/<name>/<sha>/overrides")
    def overrides(owner: str, name: str, sha: str) -> Response:
        body = json_object()
        with reading.acted_on(f"{owner}/{name}", sha, deps) as record:
            application, environment, gate = (_need(body, name) for name in ("application", "environment", "gate"))
            reason = _text(body, "reason", needed=False)
            id = votes.override(record, application, environment, gate, reason, g.person, deps)
        return _json({"id": id}, 202)

    @api.post("/targets/<application>/<environment>/deployments")
    def deployments(application: str, environment: str) -> Response:
        body = json_object()
        reading.target_of(application, environment, deps)
        kind, sha = _need(body, "kind"), _text(body, "sha", needed=False)
        if sha is None and kind != "rollback":
            raise Rejected("sha is missing: only a rollback finds its commit by itself")
        asks = actions.Asked(
            application,
            environment,
            kind,
            sha or "",
            _text(body, "reason", needed=False) or "",
            _lasts(_text(body, "for", needed=False)),
            _flag(body, "pause"),
        )
        made = actions.request(asks, g.person, deps)
        row = reading.target_of(application, environment, deps)
        waits, red = _frozen(row, made, deps), view.states(reading.red_of(made, row, deps))
        answer = {"id": made.fact, "sha": made.sha, "until": rfc3339(made.until), "red": red}
        return _json({**answer, **({"waits": waits} if waits else {})}, 202)

    @api.post("/targets/<application>/<environment>/cancel")
    def cancel(application: str, environment: str) -> Response:
        body = json_object()
        what, reason = _need(body, "what"), _text(body, "reason", needed=False)
        if what == "request":
            request = actions.cancel_request(application, environment, reason, g.person, deps)
            return _json({"id": request.fact, "sha": request.sha, "kind": request.kind}, 202)
        if what == "deployment":
            return _json({"id": actions.cancel_deployment(application, environment, reason, g.person, deps)}, 202)
        raise Rejected("what must be request or deployment")

    @api.post("/targets/<application>/<environment>/pause")
    def pause(application: str, environment: str) -> Response:
        reason = _text(json_object(), "reason", needed=False)
        return _json({"id": actions.set_paused(application, environment, True, reason, g.person, deps)}, 202)

    @api.post("/targets/<application>/<environment>/resume")
    def resume(application: str, environment: str) -> Response:
        reason = _text(json_object(), "reason", needed=False)
        return _json({"id": actions.set_paused(application, environment, False, reason, g.person, deps)}, 202)

    @api.post("/targets/<application>/<environment>/freeze")
    def freeze(application: str, environment: str) -> Response:
        body = json_object()
        lasts = _text(body, "for", needed=False)
        asks = freezing.AskedFreeze(
            application,
            environment,
            _text(body, "reason", needed=False),
            _time(body, "from"),
            _time(body, "until"),
            None if lasts is None else _duration(lasts, AHEAD),
            tuple(_texts(body, "except")),
        )
        made = freezing.freeze(asks, g.person, deps)
        return _json({"id": made.id, "from": rfc3339(made.begins), "until": rfc3339(made.until)}, 202)

    @api.post("/targets/<application>/<environment>/unfreeze")
    def unfreeze(application: str, environment: str) -> Response:
        body = json_object()
        id, reason = _text(body, "freeze", needed=False), _text(body, "reason", needed=False)
        return _json({"id": freezing.unfreeze(application, environment, id, reason, g.person, deps).id}, 202)


def _frozen(row: Target, request: Request | None, deps: Deps) -> str | None:
    """Return until when and why a freeze window keeps a request, or without one a candidate, from going out; or None."""
    policy = deps.pipeline().applications.get(row.application)
    environment = None if policy is None else policy.environments.get(row.environment)
    shut = None if environment is None else frozen(environment, row, request, deps.clock.now())
    return None if shut is None else str(shut)


def _lasts(text: str | None) -> timedelta:
    """Return how long a request waits. Raises Rejected."""
    return SERVED_WITHIN if text is None else _duration(text, LONGEST)


def _duration(text: str, most: timedelta) -> timedelta:
    try:
        lasts = duration(text)
    except (ValueError, OverflowError):
        lasts = timedelta(0)
    if not timedelta(0) < lasts <= most:
        raise Rejected(f"for must be a duration such as 30m or 12h, at most {most.days}d")
    return lasts


def _time(body: dict[str, Any], name: str) -> datetime | None:
    text = _text(body, name, needed=False)
    found = None if text is None else time_of(text)
    if text is not None and found is None:
        raise Rejected(f"{name} must be a time with its offset, such as 2026-12-04T18:00:00+01:00")
    return found


def _need(body: dict[str, Any], name: str) -> str:
    value = _text(body, name, needed=True)
    assert value is not None
    return value


def _text(body: dict[str, Any], name: str, *, needed: bool) -> str | None:
    value = body.get(name)
    if value is None and not needed:
        return None
    if not isinstance(value, str) or not value or len(value) > LONGEST_TEXT:
        raise Rejected(f"{name} is missing, or not a text of at most {LONGEST_TEXT} characters")
    return value


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if not isinstance(value, bool | None):
        raise Rejected(f"{name} is neither true nor false")
    return value is True


def _texts(body: dict[str, Any], name: str) -> list[str]:
    value = body.get(name, [])
    if not isinstance(value, list) or not all(isinstance(each, str) and len(each) <= LONGEST_TEXT for each in value):
        raise Rejected(f"{name} is not a list of texts")
    return value


def _entries(stream: str, deps: Deps) -> dict[str, Any]:
    """Return a page of a journal. Raises Rejected."""
    limit = limit_of(request.args, ENTRIES, ENTRIES)
    entries = deps.ledger.journal(stream, after=number_of(request.args), limit=limit)
    following = str(entries[-1].seq) if len(entries) == limit else None
    return {"entries": [_entry(entry) for entry in entries], "next": following}


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "type": entry.type,
        "at": entry.at,
        "id": entry.id,
        "payload": entry.payload,
        "prev": entry.prev,
        "hash": entry.hash,
    }


def _json(document: Any, status: int = 200) -> Response:
    return Response(json.dumps(document, ensure_ascii=False), status=status, mimetype="application/json")
