"""The pages: where commits stand, and everything about one of them. Rendered here, without a script."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, render_template, request

from greenlight.board import reading, waterfall
from greenlight.events import moment
from greenlight.ledger.journal import said
from greenlight.lib.errors import Rejected
from greenlight.service.deps import Deps

PAGE = 25

ENTRIES = 500
"""Of a commit's entries, how many its page shows: the newest."""


def blueprint(deps: Deps) -> Blueprint:
    """`/` and `/commits/OWNER/NAME/SHA`."""
    pages = Blueprint("pages", __name__, template_folder="templates", static_folder="static")
    pages.add_app_template_filter(lambda text: ago(moment(text), deps.clock.now()) if text else "", "ago")
    pages.add_app_template_filter(said, "said")

    @pages.get("/")
    def index() -> str:
        try:
            page = deps.ledger.records(cursor=request.args.get("cursor"), limit=PAGE)
        except ValueError:
            raise Rejected("the cursor is not one that this page gave") from None
        commits = reading.commits_of(page.records, deps)
        return render_template(
            "index.html",
            commits=commits,
            targets=reading.every_target(deps),
            next=page.next,
            unreadable=deps.ledger.unreadable(),
        )

    @pages.get("/commits/<owner>/<name>/<sha>")
    def commit(owner: str, name: str, sha: str) -> str:
        record = reading.record_of(f"{owner}/{name}", sha, deps)
        entries = deps.ledger.entries(record.repo, record.sha, limit=ENTRIES + 1)
        more, entries = len(entries) > ENTRIES, entries[-ENTRIES:]
        deployments = [
            deployment
            for policy in deps.pipeline().of(record.repo)
            for environment in policy.environments
            for deployment in deps.ledger.deployments(policy.name, environment)
            if deployment.sha == record.sha
        ]
        return render_template(
            "commit.html",
            commit=reading.commit_of(record, deps),
            deployments=deployments,
            bars=bars(waterfall.spans(record.repo, record.sha, entries), deps.clock.now()),
            entries=entries,
            newest=ENTRIES if more else None,
        )

    return pages


def ago(then: datetime, now: datetime) -> str:
    """How long ago, in the largest unit that says it: `12 s`, `5 min`, `3 h`, `9 d`."""
    seconds = max((now - then).total_seconds(), 0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago"


def bars(spans: list[dict[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """Spans with depth, place on a line of 1000 units, and length as text. What has no end lasts until now."""
    if not spans:
        return []
    begin = moment(spans[0]["start"])
    whole = max((_end(spans[0], now) - begin).total_seconds(), 1e-6)
    depth: dict[str | None, int] = {None: -1}
    found = []
    for span in spans:
        depth[span["span_id"]] = depth[span["parent_id"]] + 1
        start = (moment(span["start"]) - begin).total_seconds()
        length = (_end(span, now) - begin).total_seconds() - start
        took = duration(length) if length > 0 else f"at {duration(start)}"
        place = {
            "depth": depth[span["span_id"]],
            "x": round(min(start / whole * 1000, 997), 1),
            "width": round(max(length / whole * 1000, 3), 1),
            "length": took if span["end"] else f"{took} so far",
        }
        found.append({**span, **place})
    return found


def _end(span: dict[str, Any], now: datetime) -> datetime:
    return moment(span["end"]) if span["end"] else max(now, moment(span["start"]))


def duration(seconds: float) -> str:
    """`0.4 ms`, `120 ms`, `3.2 s`, `4.0 min`, `2.1 h`, `3.0 d`."""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
