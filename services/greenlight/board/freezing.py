"""Freezes of a target by people: begun or planned, and ended before their time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from greenlight.board import reading
from greenlight.board.actions import operated
from greenlight.board.notes import action_data, note_of, publish
from greenlight.events import ids, rfc3339, types
from greenlight.ledger.port import Transaction
from greenlight.lib.errors import Rejected
from greenlight.model import keys
from greenlight.model.freezes import TargetFreeze
from greenlight.model.rows import DUE_AFTER, Due, Target
from greenlight.policy.freezes import AHEAD, frozen, lasting, refusal, with_freeze, without_freeze
from greenlight.service.deps import Deps
from greenlight.service.people import Person
from greenlight.service.retry import until_settled

GROUPS, NAME = 20, re.compile(keys.NAME)
"""Groups that a freeze may except, and how the name of one is written."""


@dataclass(frozen=True, slots=True)
class AskedFreeze:
    """A freeze as a person asks for it."""

    application: str
    environment: str
    reason: str | None
    begins: datetime | None = None  # None: now
    until: datetime | None = None
    lasts: timedelta | None = None  # in place of `until`
    excepted: tuple[str, ...] = ()


def freeze(asks: AskedFreeze, person: Person, deps: Deps) -> TargetFreeze:
    """Freeze a target for a time; return the freeze. Asking again for one that there is changes nothing.

    Nothing has to happen when it begins, as decisions are made anew before a deployment begins; and whatever it keeps back
    is due when it ends. Raises Forbidden, Rejected.
    """
    operated(asks.application, asks.environment, person, deps)
    if not asks.reason:
        raise Rejected("a freeze needs a reason")
    if (asks.until is None) is (asks.lasts is None):
        raise Rejected("a freeze needs its end: `until` a time, or `for` a duration, and not both")
    if len(asks.excepted) > GROUPS or not all(NAME.fullmatch(group) for group in asks.excepted):
        raise Rejected(f"except must be a list of at most {GROUPS} names of groups")

    def attempt() -> TargetFreeze:
        target, now = reading.target_of(asks.application, asks.environment, deps), deps.clock.now()
        made = _made(asks, target, person, now)
        same = next((freeze for freeze in lasting(target, now) if _same(freeze, made)), None)
        if same is not None:
            return same
        why = refusal(target, made, now)
        if why is not None:
            raise Rejected(why)
        times = {"from": rfc3339(made.begins), "until": rfc3339(made.until), "except": list(made.excepted)}
        note = note_of(types.TARGET_FROZEN, made.id, target, {**action_data(target, person, made.reason), **times}, now)
        deps.ledger.transact(
            Transaction(targets=[with_freeze(target, made, now)], entries=[note.entry], emit=[note.event])
        )
        publish([note.event], deps)
        return made

    return until_settled(attempt)


def _made(asks: AskedFreeze, target: Target, person: Person, now: datetime) -> TargetFreeze:
    begins = max(asks.begins or now, now)
    until = asks.until or min(begins, now + AHEAD) + (asks.lasts or timedelta(0))
    id = ids.derive(types.TARGET_FROZEN, target.application, target.environment, target.version)
    return TargetFreeze(id, person.id, asks.reason or "", begins, until, now, tuple(sorted(set(asks.excepted))))


def _same(one: TargetFreeze, made: TargetFreeze) -> bool:
    """Return whether a freeze is what the same person asks for again."""
    alike = (one.person, one.reason, one.until, one.excepted) == (made.person, made.reason, made.until, made.excepted)
    return alike and max(one.begins, made.at) == made.begins


def unfreeze(
    application: str, environment: str, id: str | None, reason: str | None, person: Person, deps: Deps
) -> TargetFreeze:
    """End a person's freeze of a target, or a planned one, before its time; return it.

    `id` may be the beginning of its id, and None where there is only one. Raises Forbidden, Rejected.
    """
    operated(application, environment, person, deps)

    def attempt() -> TargetFreeze:
        target, now = reading.target_of(application, environment, deps), deps.clock.now()
        chosen = _chosen(target, id, now, deps)
        data = {**action_data(target, person, reason), "freeze": chosen.id, "frozen_by": chosen.person}
        note = note_of(types.TARGET_UNFROZEN, ids.derive(types.TARGET_UNFROZEN, chosen.id), target, data, now)
        deps.ledger.transact(
            Transaction(
                targets=[without_freeze(target, chosen, now)],
                entries=[note.entry],
                emit=[note.event],
                due=[Due(keys.resumption_due(application, environment), now + DUE_AFTER, note.event)],
            )
        )
        publish([note.event], deps)
        return chosen

    return until_settled(attempt)


def _chosen(target: Target, id: str | None, now: datetime, deps: Deps) -> TargetFreeze:
    """Return the freeze that is meant. Raises Rejected, with those that there are."""
    where, every = f"{target.application}/{target.environment}", lasting(target, now)
    found = [freeze for freeze in every if freeze.id.startswith(id or "")]
    if len(found) == 1:
        return found[0]
    if every:
        known = ", ".join(f"{freeze.id[:7]} ({freeze.reason})" for freeze in every)
        raise Rejected(f"name one freeze of {where} by its id: {known}")
    environment = reading.policy_of(target.application, deps).environments[target.environment]
    window = "; the freeze window is the pipeline file's" if frozen(environment, target, None, now) else ""
    raise Rejected(f"there is no freeze of {where} by a person, or it has ended{window}")
