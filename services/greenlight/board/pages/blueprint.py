"""The routes of the pages, and what their templates may use."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, g, request

from greenlight.board import domain, overview, reading, usual
from greenlight.board.brings import Brings
from greenlight.board.brings import brings as brought
from greenlight.board.commits import known
from greenlight.board.inbox import Waiting, inbox, others
from greenlight.board.listing import STATES, Search, listing
from greenlight.board.overview import Cell, Overview
from greenlight.board.pages import activity, api, forms, freezes, home
from greenlight.board.pages import commit as commit_page
from greenlight.board.pages import target as target_page
from greenlight.board.pages import trace as trace_page
from greenlight.board.pages.fresh import Fresh
from greenlight.board.pages.shown import MINUTE, SOON, Pages
from greenlight.board.pages.words import broken, coded, initials, length, moment, time_tag
from greenlight.board.sources import Sources
from greenlight.board.stops import Stop, people
from greenlight.board.track import track
from greenlight.board.usual import Usual
from greenlight.service.deps import Deps

VERSION = version("greenlight-pipeline")


class Board:
    """The data of several pages: the overview, read once for all who look at the same time."""

    def __init__(self, deps: Deps) -> None:
        self.deps = deps
        self.fresh = Fresh(deps)
        self.pages = Pages(self.fresh)

    def seen(self) -> Overview:
        """Return every target and what is on its way."""
        patient = "part" in request.args or self.deps.ledger.changes() is None
        return self.fresh.get("overview", lambda: overview.overview(self.deps), lasts=lambda _: SOON, patient=patient)

    def inbox(self) -> Sequence[Waiting]:
        """Return the approvals that the person who asks may give now."""
        return [] if g.person is None else inbox(self.seen(), g.person)


def blueprint(deps: Deps, sources: Sources) -> Blueprint:
    """Return the routes of the pages."""
    pages = Blueprint("pages", __name__, template_folder="../templates", static_folder="../static")
    board = Board(deps)
    _filters(pages, deps)

    @pages.app_context_processor
    def every_page() -> dict[str, Any]:
        return {
            "person": g.get("person"),
            "approvals_waiting": lambda: len(board.inbox()),
            "version": VERSION,
            "live": _live(),
        }

    _lists(pages, board, deps)
    _details(pages, board, deps)
    forms.routes(pages, deps)
    freezes.routes(pages, deps)
    activity.routes(pages, board.pages, sources, deps)
    api.routes(pages, board.pages)
    return pages


def _lists(pages: Blueprint, board: Board, deps: Deps) -> None:
    @pages.get("/")
    def index() -> Response:
        return board.pages.show("home.html", lambda: home.values(board.seen(), board.inbox(), deps))

    @pages.get("/approvals")
    def approvals() -> Response:
        def values() -> dict[str, Any]:
            mine = board.inbox()
            return {"inbox": mine, "others": others(board.seen(), mine)}

        return board.pages.show("approvals.html", values)

    @pages.get("/commits")
    def commits() -> Response:
        asked = {name: request.args.get(name, "") for name in ("repo", "application", "environment", "state", "author")}
        search = Search(request.args.get("q", "").strip(), **asked)

        def values() -> dict[str, Any]:
            policies = deps.pipeline().applications
            found = listing(search, request.args.get("cursor") or None, deps)
            kept = {key: value for key, value in request.args.items() if value and key not in ("cursor", "part")}
            return {
                "search": search,
                "rows": found.rows,
                "next": found.next,
                "query": urlencode(kept) + "&" if kept else "",
                "applications": list(policies),
                "environments": list(
                    dict.fromkeys(name for policy in policies.values() for name in policy.environments)
                ),
                "states": list(STATES),
            }

        return board.pages.show("commits.html", values)


def _details(pages: Blueprint, board: Board, deps: Deps) -> None:
    @pages.get("/commits/<owner>/<name>/<sha>")
    def commit(owner: str, name: str, sha: str) -> Response:
        return board.pages.show("commit.html", lambda: commit_page.values(owner, name, sha, g.person, deps))

    usually = Usual(deps)

    @pages.get("/commits/<owner>/<name>/<sha>/trace")
    def trace(owner: str, name: str, sha: str) -> Response:
        return board.pages.show("trace.html", lambda: trace_page.values(owner, name, sha, usually, deps))

    @pages.get("/targets/<application>/<environment>")
    def target(application: str, environment: str) -> Response:
        return board.pages.show("target.html", lambda: target_page.values(application, environment, g.person, deps))

    @pages.get("/deployments/<id>")
    def deployment(id: str) -> Response:
        def values() -> dict[str, Any]:
            row = reading.deployment_of(id, deps)
            named = known(row.repo, [row.sha, *([row.previous] if row.previous else [])], deps)
            target = reading.target_of(row.application, row.environment, deps)
            return {
                "row": row,
                "commit": named[row.sha],
                "previous": named.get(row.previous or ""),
                "output": row.output,
                "brought": target_page.brought_by(row, deps),
                "usually": usual.deployment(target, deps) if row.ended is None else None,
                "now": deps.clock.now(),
                "actions": target_page.of_deployment(row, g.person, deps),
                "every": 1 if row.ended is None else 2,
                "lasts": SOON if row.ended is None else MINUTE,
            }

        return board.pages.show("deployment.html", values)


def _live() -> str:
    """Return the address of this page's changing part."""
    query = request.query_string.decode("ascii", "replace")
    return f"{request.path}?{query + '&' if query else ''}part"


def _filters(pages: Blueprint, deps: Deps) -> None:
    """Add what the templates say times, lengths and names with."""

    def when(then: datetime | None) -> str:
        return time_tag(then, deps.clock.now())

    def when_ago(then: datetime | None) -> str:
        return time_tag(then, deps.clock.now(), "ago")

    def progress(cell: Cell) -> int:
        """Return how much of the usual time a deployment has taken, in percent; at most 97, since it has not ended."""
        if cell.under_way is None or not cell.usually:
            return 33
        return min(round(cell.took / cell.usually * 100), 97)

    def mine(stop: Stop | None) -> list[str]:
        """Return the gates at which the person who asks may approve the commit, in an environment."""
        return [missing.gate for missing in overview.signable(stop, g.person)]

    def why_not(it: Waiting) -> str | None:
        """Return why the person who asks may not give an approval."""
        if g.person is None:
            return None
        if g.person.id in it.stop.decision.gates[it.missing.gate].by:
            return "you have signed it"
        return domain.may_approve(g.person, it.row.policy.gates[it.missing.gate], it.stop.case)

    def brings(stop: Stop) -> Brings:
        return brought(stop, deps)

    def clock(took: timedelta) -> str:
        return length(took)

    filters = (when, when_ago, moment, clock, initials, broken, coded, track, progress, mine, people, why_not, brings)
    for filter in filters:
        pages.add_app_template_filter(filter, filter.__name__)
