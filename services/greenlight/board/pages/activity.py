"""The pages for operators: webhooks and their verdicts, Triggers and dead letters, and how to set up the senders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, g, redirect, render_template, request

from greenlight.board import actions, domain, reading
from greenlight.board.pages.forms import Form, answer, logged_in_person, text
from greenlight.board.pages.shown import Pages
from greenlight.board.sources import Deliveries, Sources
from greenlight.ledger.port import Unreadable
from greenlight.lib.errors import NotFound, Rejected
from greenlight.service.arrivals import KnownArrivals, known_arrivals
from greenlight.service.deps import Deps

SHOWN, FIRST = 60, 20
"""Webhooks that are shown: all that the page has; of them, those that it has at first."""

LETTERS = 50
"""Dead letters that are shown."""


def routes(blueprint: Blueprint, pages: Pages, sources: Sources, deps: Deps) -> None:
    """Add the pages of activity and setup, and the forms about dead letters."""

    @blueprint.get("/activity")
    def activity() -> Response:
        return pages.show("activity.html", lambda: _activity(sources, deps))

    @blueprint.get("/setup")
    def setup() -> Response:
        return pages.show("setup.html", lambda: _setup(sources, deps))

    @blueprint.get("/activity/dead-letters/<int:id>")
    def dead_letter(id: int) -> str:
        letter = _letter(_deliveries(sources), id)
        refused = None if g.person is None else _may_discard(letter, deps)
        return render_template("dead_letter.html", frame="base.html", live=None, letter=letter, refused=refused)

    @blueprint.route("/activity/dead-letters/<int:id>/<any(replay, discard):verb>", methods=["GET", "POST"])
    def on_dead_letter(id: int, verb: str) -> Any:
        person = logged_in_person()
        deliveries = _deliveries(sources)
        letter = _letter(deliveries, id)

        def act() -> None:
            if verb == "replay":
                deliveries.replay(id)
                return
            reason = text("reason")
            if reason is None:
                raise Rejected("a reason must be given")
            deliveries.discard(id, reason, actions.discards(person, list(deps.pipeline().applications.values())))

        return answer(lambda: _form(verb, letter, deps), act)

    @blueprint.get("/me")
    def me() -> Any:
        if g.person is None:
            return redirect("/login")
        policies = list(deps.pipeline().applications.values())
        return render_template("me.html", frame="base.html", live=None, policies=policies, operates=_operates(policies))


def _known(sources: Sources, deps: Deps) -> KnownArrivals:
    return known_arrivals(deps.ledger.arrivals, sources.arrivals, deps.clock.now())


def _activity(sources: Sources, deps: Deps) -> Mapping[str, Any]:
    known, deliveries = _known(sources, deps), sources.deliveries
    return {
        "arrivals": known.arrivals.newest(SHOWN if "everything" in request.args else FIRST),
        "total": sum(sum(process.counts.values()) for process in known.processes),
        "known": known,
        "SHOWN": SHOWN,
        "triggers": None if deliveries is None else deliveries.triggers(),
        "letters": [] if deliveries is None else deliveries.dead_letters(limit=LETTERS),
        "lasts": 2.0,  # webhooks that were refused change nothing in the ledger
    }


def _setup(sources: Sources, deps: Deps) -> Mapping[str, Any]:
    known = _known(sources, deps)
    repositories = reading.repositories(deps)
    last, refused = known.arrivals.last_of, known.arrivals.last_refused
    return {
        "senders": [(sender, last(sender.name), refused(sender.label)) for sender in sources.senders()],
        "known": known,
        "repositories": repositories,
        "pushed": _pushed([repository["repo"] for repository in repositories], deps),
        "policies": list(deps.pipeline().applications.values()),
        "lasts": 2.0,
    }


def _pushed(repositories: Sequence[str], deps: Deps) -> Mapping[str, datetime | None]:
    """Return when the last push of each repository was heard, None: never; without those whose pushes cannot be read."""
    found: dict[str, datetime | None] = {}
    for repo in repositories:
        try:
            newest = deps.ledger.pushes(repo, limit=1)
        except Unreadable:
            continue
        found[repo] = newest[-1].arrived if newest else None
    return found


def _deliveries(sources: Sources) -> Deliveries:
    if sources.deliveries is None:
        raise NotFound("Knative's Broker delivers here, and keeps its own dead letters: see docs/operations.md")
    return sources.deliveries


def _letter(deliveries: Deliveries, id: int) -> Mapping[str, Any]:
    try:
        return deliveries.dead_letter(id)
    except LookupError as problem:
        raise NotFound(str(problem.args[0])) from None


def _form(verb: str, letter: Mapping[str, Any], deps: Deps) -> Form:
    what = f"{letter['event']['type']} for {letter['trigger']}"
    closed = "it is closed already" if letter["closed"] else None
    if verb == "replay":
        effects = ["The event is delivered again, to this Trigger alone, with the same id."]
        return Form(f"Replay {what}?", "Replay", effects, "/activity", closed, reason=None)
    effects = ["The event is not delivered any more. The dead letter stays in the log, with your name and the reason."]
    return Form(f"Discard {what}?", "Discard", effects, "/activity", closed or _may_discard(letter, deps), danger=True)


def _may_discard(letter: Mapping[str, Any], deps: Deps) -> str | None:
    about = letter["event"].get("extensions") or letter["event"]
    return domain.may_discard(g.person, list(deps.pipeline().applications.values()), about)


def _operates(policies: Sequence[Any]) -> Sequence[str]:
    return [policy.name for policy in policies if domain.may_operate(g.person, policy) is None]
