"""The freeze windows of an environment that are open, and the requests that they let through. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from greenlight.model.policy import Environment, Freeze
from greenlight.model.rows import POLICY, Request

MOST = 100
"""Windows that are followed one after another. After that time, it is looked at again."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """The windows that are open, and when the last of those ends that follow each other without a pause."""

    windows: Sequence[Freeze]
    until: datetime

    def __str__(self) -> str:
        return f"frozen until {self.until:%Y-%m-%d %H:%M:%S} UTC: {'; '.join(map(_called, self.windows))}"


def frozen(environment: Environment, request: Request | None, now: datetime) -> Frozen | None:
    """Return what keeps a request from being served now, or without one, a candidate from going out; None: nothing does.

    The policy's own rollback goes through: it restores what ran.
    """
    if request is not None and request.person == POLICY:
        return None
    groups = set() if request is None else set(request.groups)
    windows = [it for it in environment.freeze if not groups & set(it.excepted)]
    shut = [it for it in windows if it.window.ends(now) is not None]
    until = now
    for _ in range(MOST):
        ends = [end for it in windows if (end := it.window.ends(until)) is not None]
        if not ends:
            break
        until = max(ends)
    return Frozen(shut, until) if shut else None


def _called(freeze: Freeze) -> str:
    return freeze.reason + (f" (except requests of {', '.join(freeze.excepted)})" if freeze.excepted else "")
