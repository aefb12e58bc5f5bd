"""Detection of a silent repository: no sender reports that its webhook was removed, or is sent elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from greenlight.model.rows import Push

LOOKED_AT = 100
"""Pushes whose pauses say what is usual."""

LEAST = timedelta(days=3)
"""No shorter silence is remarkable: a long weekend."""


def remarkable(pushes: Sequence[Push]) -> timedelta:
    """Return the remarkable length of silence after these pushes.

    It is twice the longest pause between two of them, LEAST at least.
    """
    heard = sorted(push.arrived for push in pushes[-LOOKED_AT:])
    return max([LEAST, *(2 * (after - before) for before, after in pairwise(heard))])


def silent_since(pushes: Sequence[Push], now: datetime) -> datetime | None:
    """Return when the last of the pushes was heard, if that is remarkably long ago.

    Without pushes a repository is not silent.
    """
    heard = max((push.arrived for push in pushes), default=None)
    return heard if heard is not None and now - heard > remarkable(pushes) else None
