"""The routes of the API about deployments: a target's history, one deployment, its output, and what would go out."""

from __future__ import annotations

import json
import re
from typing import Any

from flask import Blueprint, Response, request

from greenlight.board import reading, view
from greenlight.board.links import Pages, pages_of
from greenlight.events import rfc3339
from greenlight.ledger.port import Unreadable
from greenlight.lib.errors import Rejected
from greenlight.lib.paging import limit_of
from greenlight.model.policy import Policy
from greenlight.model.rows import Deployment, Push, Target
from greenlight.policy.between import between, lacking, newest
from greenlight.policy.history import History
from greenlight.policy.paths import candidate
from greenlight.service.deps import Deps
from greenlight.service.pushes import pushes_since

PAGE, MOST = 20, 100
"""Deployments of a page, and the most that can be asked for."""

_AFTER = re.compile(r"([0-9]{1,9})\.([0-9]{1,15})")


def mount(api: Blueprint, deps: Deps) -> None:
    """Add the routes to the API."""

    @api.get("/deployments/<id>")
    def deployment(id: str) -> Response:
        return _json(deployment_of(reading.deployment_of(id, deps), deps))

    @api.get("/deployments/<id>/log")
    def log(id: str) -> Response:
        return _json(log_of(reading.deployment_of(id, deps), request.args.get("after") or None))

    @api.get("/targets/<application>/<environment>/deployments")
    def history(application: str, environment: str) -> Response:
        target, limit = reading.target_of(application, environment, deps), limit_of(request.args, PAGE, MOST)
        rows = reading.deployments_of(target, deps, limit=limit + 1, after=request.args.get("cursor") or None)
        following = rows[limit - 1].id if len(rows) > limit else None
        return _json({"deployments": [deployment_of(row, deps) for row in rows[:limit]], "next": following})

    @api.get("/targets/<application>/<environment>/diff")
    def diff(application: str, environment: str) -> Response:
        target = reading.target_of(application, environment, deps)
        return _json(diff_of(target, request.args.get("sha") or None, deps))


def deployment_of(row: Deployment, deps: Deps) -> dict[str, Any]:
    """Return a deployment with its target and the request that it served, without its output."""
    shown = view.deployment(row)
    del shown["output"]
    return {
        **shown,
        "application": row.application,
        "environment": row.environment,
        "repo": row.repo,
        "ref": row.push.ref if row.push else None,
        "previous": row.previous,
        "again": rfc3339(row.again) if row.again else None,
        "requested": _requested(row, deps),
    }


def _requested(row: Deployment, deps: Deps) -> dict[str, Any] | None:
    """Return the request that a deployment served; None: it served none."""
    if row.request is None:
        return None
    try:
        fact = deps.ledger.fact(row.request)
    except Unreadable:
        fact = None
    details = fact.details if fact is not None else {}
    return {"id": row.request, "person": details.get("person"), "reason": details.get("reason")}


def log_of(row: Deployment, after: str | None) -> dict[str, Any]:
    """Return what a deployment has printed since an earlier answer's `next`. Raises Rejected.

    Another try of the deployment has an output of its own, which is returned from its beginning.
    """
    text = row.output or ""
    printed = max(row.printed, len(text))
    tries, offset = _place(after)
    if tries != row.tries or offset > printed:
        offset = 0
    first = printed - len(text)
    return {
        "text": text[max(offset - first, 0) :],
        "skipped": max(first - offset, 0),
        "next": f"{row.tries}.{printed}",
        "outcome": row.outcome,
        "reason": row.reason,
        "ended": rfc3339(row.ended) if row.ended else None,
    }


def _place(after: str | None) -> tuple[int, int]:
    if after is None:
        return 0, 0
    found = _AFTER.fullmatch(after)
    if found is None:
        raise Rejected("after is not the `next` of an answer of this route")
    return int(found[1]), int(found[2])


def diff_of(target: Target, sha: str | None, deps: Deps) -> dict[str, Any]:
    """Return the commits that a deployment of a commit, or else of the newest, would bring to a target, or take from it."""
    policy, runs = reading.policy_of(target.application, deps), target.running
    history = pushes_since(deps.ledger, target)
    push = newest(policy, history) if sha is None else _push_of(policy, target, sha, history, deps)
    end, begin = (push.sha if push else None), (runs.sha if runs else None)
    found, back = between(push, begin, history) if push and end != begin else None, False
    if found is not None and not found.complete and runs is not None and runs.push is not None:
        reverse = between(runs.push, end, history)
        if reverse.complete:
            found, back = reverse, True
    shas = found.shas if found else ()
    titles = deps.ledger.titles(target.repo, shas)
    return {
        "repo": target.repo,
        "from": begin,
        "to": end,
        "back": back,
        "complete": found is None or found.complete,
        "commits": [
            {"sha": sha, "title": titles[sha].title if sha in titles else None, "author": _author(sha, titles)}
            for sha in shas
        ],
        "compare": _compare(pages_of(target.repo, deps.ledger), begin, end, back=back),
    }


def behind(target: Target, deps: Deps) -> int | None:
    """Return how many commits came to shipped refs since what a target runs; None: nothing runs, or it is not known."""
    policy = deps.pipeline().applications.get(target.application)
    if policy is None or target.running is None:
        return None
    try:
        return len(lacking(policy, target, pushes_since(deps.ledger, target)))
    except Unreadable:
        return None


def _push_of(policy: Policy, target: Target, sha: str, history: History, deps: Deps) -> Push:
    """Return the push by which a commit is a candidate. Raises NotFound, Ambiguous; Rejected without such a push."""
    record = reading.record_of(target.repo, sha, deps)
    push = candidate(policy, record, history, target.running, asked=True)
    if push is None:
        raise Rejected(f"{record.sha[:7]} was pushed to no ref that {target.application} ships")
    return push


def _author(sha: str, titles: Any) -> str | None:
    return titles[sha].author if sha in titles else None


def _compare(pages: Pages, begin: str | None, end: str | None, *, back: bool) -> str | None:
    """Return the page at GitHub that shows the difference; None where there is nothing to compare, or no such page."""
    if begin is None or end is None or begin == end:
        return None
    older, newer = (end, begin) if back else (begin, end)
    return pages.compare(older, newer)


def _json(document: Any) -> Response:
    return Response(json.dumps(document, ensure_ascii=False), mimetype="application/json")
