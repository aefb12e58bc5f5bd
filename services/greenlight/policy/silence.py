"""Whether a repository has gone silent: a webhook that was removed, or sent elsewhere, tells nobody. Pure."""

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
    """The silence that is remarkable after these pushes: twice the longest pause between two of them, LEAST at least."""
    heard = sorted(push.arrived for push in pushes[-LOOKED_AT:])
    return max([LEAST, *(2 * (after - before) for before, after in pairwise(heard))])


def silent_since(pushes: Sequence[Push], now: datetime) -> datetime | None:
    """When the last of the pushes was heard, if that is remarkably long ago; a repository that had none is not silent."""
    heard = max((push.arrived for push in pushes), default=None)
    return heard if heard is not None and now - heard > remarkable(pushes) else None
