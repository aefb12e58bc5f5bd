"""The pages: the states of commits, and everything about one of them. Rendered here, without a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from flask import Blueprint, render_template, request

from greenlight.board import reading, waterfall
from greenlight.events import moment
from greenlight.ledger.journal import summary
from greenlight.lib.errors import Rejected
from greenlight.service.deps import Deps
from greenlight.telemetry.layout import bars

PAGE = 25

ENTRIES = 500
"""Of a commit's entries, how many its page shows: the newest."""


def blueprint(deps: Deps) -> Blueprint:
    """Return the routes `/` and `/commits/OWNER/NAME/SHA`."""
    pages = Blueprint("pages", __name__, template_folder="templates", static_folder="static")
    pages.add_app_template_filter(lambda text: ago(moment(text), deps.clock.now()) if text else "", "ago")
    pages.add_app_template_filter(summary, "summary")

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
            bars=_drawn(waterfall.spans(record.repo, record.sha, entries), deps.clock.now()),
            entries=entries,
            newest=ENTRIES if more else None,
        )

    return pages


def ago(then: datetime, now: datetime) -> str:
    """Return how long ago it was, in the largest unit that fits: `12 s`, `5 min`, `3 h`, `9 d`."""
    seconds = max((now - then).total_seconds(), 0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago"


_WIDTH = 1000
"""Units of the line that a waterfall is drawn on."""


def _drawn(spans: Sequence[Mapping[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """Return the bars of a waterfall with their place in units; each is wide enough to be seen."""
    return [
        {
            **bar.span,
            "depth": bar.depth,
            "x": round(min(bar.start * _WIDTH, _WIDTH - 3), 1),
            "width": round(max(bar.share * _WIDTH, 3), 1),
            "length": bar.length,
        }
        for bar in bars(spans, now)
    ]
