"""The pages: where commits stand, and everything about one of them. Rendered here, without a script."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, render_template, request

from greenlight.board import reading, waterfall
from greenlight.events import moment
from greenlight.runtime.deps import Deps
from greenlight.runtime.errors import Rejected

PAGE = 25


def blueprint(deps: Deps) -> Blueprint:
    """`/` and `/commits/OWNER/NAME/SHA`."""
    pages = Blueprint("pages", __name__, template_folder="templates", static_folder="static")
    pages.add_app_template_filter(lambda text: ago(moment(text), deps.clock.now()) if text else "", "ago")

    @pages.get("/")
    def index() -> str:
        try:
            page = deps.ledger.records(cursor=request.args.get("cursor"), limit=PAGE)
        except ValueError:
            raise Rejected("the cursor is not one that this page gave") from None
        commits = [reading.commit_of(record, deps) for record in page.records]
        policies = deps.pipeline().applications.values()
        targets = [reading.target_of(policy.name, name, deps) for policy in policies for name in policy.environments]
        return render_template("index.html", commits=commits, targets=targets, next=page.next)

    @pages.get("/commits/<owner>/<name>/<sha>")
    def commit(owner: str, name: str, sha: str) -> str:
        record = reading.record_of(f"{owner}/{name}", sha, deps)
        entries = deps.ledger.entries(record.repo, record.sha)
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
            bars=bars(waterfall.spans(record.repo, record.sha, entries)),
            entries=entries,
        )

    return pages


def ago(then: datetime, now: datetime) -> str:
    """How long ago, in the largest unit that says it: `12 s`, `5 min`, `3 h`, `9 d`."""
    seconds = max((now - then).total_seconds(), 0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago"


def bars(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Spans with their place on a line of 1000 units, and their length as text."""
    if not spans:
        return []
    begin = moment(spans[0]["start"])
    whole = max((moment(spans[0]["end"]) - begin).total_seconds(), 1e-6)
    return [_bar(span, begin, whole) for span in spans]


def _bar(span: dict[str, Any], begin: datetime, whole: float) -> dict[str, Any]:
    start = (moment(span["start"]) - begin).total_seconds()
    length = (moment(span["end"]) - begin).total_seconds() - start if span["end"] else whole - start
    x = min(start / whole * 1000, 997)
    took = duration(length) if length > 0 else f"at {duration(start)}"
    return {**span, "x": round(x, 1), "width": round(max(length / whole * 1000, 3), 1), "length": took}


def duration(seconds: float) -> str:
    """`0.4 ms`, `120 ms`, `3.2 s`, `4.0 min`, `2.1 h`."""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
