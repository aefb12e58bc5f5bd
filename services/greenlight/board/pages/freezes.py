"""The forms by which people freeze a target for a time, and end that before its time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, request

from greenlight.board import domain, freezing, reading
from greenlight.board.pages.forms import Form, answer, logged_in_person, text
from greenlight.lib.errors import Rejected
from greenlight.lib.windows import instant, zone
from greenlight.model.policy import Policy
from greenlight.model.rows import Target
from greenlight.policy.freezes import lasting
from greenlight.service.deps import Deps
from greenlight.service.people import Person

LONGEST_NAME = 64
"""Characters of a time zone's name."""


def routes(pages: Blueprint, deps: Deps) -> None:
    """Add the forms of freezes."""

    @pages.route("/targets/<application>/<environment>/<any(freeze, unfreeze):verb>", methods=["GET", "POST"])
    def on_freeze(application: str, environment: str, verb: str) -> Any:
        person = logged_in_person()
        row = reading.target_of(application, environment, deps)
        policy = reading.policy_of(application, deps)
        if verb == "freeze":
            return answer(lambda: _freeze(row, policy, person), lambda: _do_freeze(row, person, deps))
        return answer(lambda: _unfreeze(row, policy, person, deps), lambda: _do_unfreeze(row, person, deps))


def _freeze(row: Target, policy: Policy, person: Person) -> Form:
    windows = [window for environment in policy.environments.values() for window in environment.freeze]
    return Form(
        f"Freeze {policy.name} in {row.environment}?",
        "Freeze",
        [
            "From its beginning until its end nothing goes out there by itself. What waits then goes out, newest first.",
            "Requests of people wait as well, except those of the groups that you choose.",
            "What is being deployed goes on. An operator may end the freeze before its time.",
        ],
        f"/targets/{policy.name}/{row.environment}",
        domain.may_operate(person, policy),
        zone=next((window.window.zone.key for window in windows), "UTC"),
        groups=sorted({*policy.operators, *(group for window in windows for group in window.excepted)}),
    )


def _do_freeze(row: Target, person: Person, deps: Deps) -> None:
    asks = freezing.AskedFreeze(
        row.application,
        row.environment,
        text("reason"),
        _time("from", last=False),
        _time("until", last=True),
        excepted=tuple(request.form.getlist("except")),
    )
    freezing.freeze(asks, person, deps)


def _time(name: str, *, last: bool) -> datetime | None:
    """Return a time of the form, which is local in the zone that the form names; None: it was left empty."""
    written, place = request.form.get(name, ""), request.form.get("zone", "").strip()[:LONGEST_NAME]
    if not written:
        return None
    try:
        wall = datetime.fromisoformat(written)
    except ValueError:
        wall = None
    if wall is None or wall.tzinfo is not None:
        raise Rejected(f"`{name}` must be a date with a time, such as 2026-12-04T18:00")
    try:
        return wall.replace(tzinfo=UTC) if place == "UTC" else instant(wall, zone(place), last=last)
    except ValueError as problem:
        raise Rejected(f"the time zone: {problem}") from None
    except OverflowError:
        raise Rejected(f"`{name}` is outside the years that can be counted with") from None


def _unfreeze(row: Target, policy: Policy, person: Person, deps: Deps) -> Form:
    every = lasting(row, deps.clock.now())
    return Form(
        f"End a freeze of {policy.name} in {row.environment}?",
        "End it",
        ["What waited goes out, newest first, unless another freeze or a pause holds it."],
        f"/targets/{policy.name}/{row.environment}",
        domain.may_operate(person, policy) or (None if every else f"no person has frozen {row.environment}"),
        needed=False,
        freezes=every,
    )


def _do_unfreeze(row: Target, person: Person, deps: Deps) -> None:
    freezing.unfreeze(row.application, row.environment, request.form.get("freeze"), text("reason"), person, deps)
