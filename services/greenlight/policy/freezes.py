"""Freezes of a target: windows of the pipeline file, and people's. Those that hold, and what they let through. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from greenlight.model.freezes import TargetFreeze
from greenlight.model.policy import Environment, Freeze
from greenlight.model.rows import POLICY, Request, Target

FOLLOWED = 100
"""Freezes that are followed one after another. After that time, it is looked at again."""

MOST = 10
"""People's freezes that may hold or be planned in one target."""

AHEAD = timedelta(days=366)
"""How far ahead the end of a person's freeze may be."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """The freezes that hold, and when the last of those ends that follow each other without a gap."""

    freezes: Sequence[Freeze | TargetFreeze]
    until: datetime

    @property
    def by_people(self) -> bool:
        """Return whether a person's freeze is among them, which an operator may end."""
        return any(isinstance(freeze, TargetFreeze) for freeze in self.freezes)

    def __str__(self) -> str:
        return f"frozen until {self.until:%Y-%m-%d %H:%M:%S} UTC: {'; '.join(map(_called, self.freezes))}"


def frozen(environment: Environment, target: Target, request: Request | None, now: datetime) -> Frozen | None:
    """Return what keeps a request from being served now, or without one, a candidate from going out; None: nothing does.

    The policy's own rollback goes through: it restores what ran.
    """
    if request is not None and request.person == POLICY:
        return None
    groups = set() if request is None else set(request.groups)
    every: list[Freeze | TargetFreeze] = [*environment.freeze, *target.freezes]
    freezes = [freeze for freeze in every if not groups & set(freeze.excepted)]
    hold = [freeze for freeze in freezes if freeze.ends(now) is not None]
    until = now
    for _ in range(FOLLOWED):
        ends = [end for freeze in freezes if (end := freeze.ends(until)) is not None]
        if not ends:
            break
        until = max(ends)
    return Frozen(hold, until) if hold else None


def lasting(target: Target, now: datetime) -> Sequence[TargetFreeze]:
    """Return people's freezes that hold or are planned, in the order in which they begin."""
    freezes = [freeze for freeze in target.freezes if freeze.until > now]
    return sorted(freezes, key=lambda freeze: (freeze.begins, freeze.until, freeze.id))


def refusal(target: Target, freeze: TargetFreeze, now: datetime) -> str | None:
    """Return why a person's freeze cannot be added to a target; None: it can."""
    where = f"{target.application}/{target.environment}"
    if freeze.until <= now:
        return f"a freeze must end in the future, and {freeze.until:%Y-%m-%d %H:%M:%S} UTC is over"
    if freeze.until > now + AHEAD:
        return f"a freeze must end within {AHEAD.days} days: a longer one belongs into the pipeline file, or is a pause"
    if freeze.until <= freeze.begins:
        return "a freeze must end after it begins: `until` is not later than `from`"
    if len(lasting(target, now)) >= MOST:
        return f"{where} has {MOST} freezes of people already: end one with `greenlight unfreeze`"
    return None


def with_freeze(target: Target, freeze: TargetFreeze, now: datetime) -> Target:
    """Return the target with one more freeze, and without those that have ended."""
    return replace(target, freezes=(*lasting(target, now), freeze))


def without_freeze(target: Target, freeze: TargetFreeze, now: datetime) -> Target:
    """Return the target without a freeze that a person ends, and without those that have ended."""
    return replace(target, freezes=tuple(other for other in lasting(target, now) if other.id != freeze.id))


def _called(freeze: Freeze | TargetFreeze) -> str:
    notes = [f"by {freeze.person}"] if isinstance(freeze, TargetFreeze) else []
    notes += [f"except requests of {', '.join(freeze.excepted)}"] if freeze.excepted else []
    return freeze.reason + (f" ({', '.join(notes)})" if notes else "")
