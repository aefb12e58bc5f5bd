"""A handler's attempts: it reads, decides and writes, and begins again if another writer was faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from greenlight.ledger.port import Conflict
from greenlight.lib.errors import Unavailable

T = TypeVar("T")

TRIES = 20
"""Conflicts of one handler after which its event is delivered again later."""


def until_settled(attempt: Callable[[], T]) -> T:
    """Return the result of `attempt`, which reads, computes and transacts; run it again on Conflict.

    Every Conflict means that another writer got through, so one of them always makes progress. Raises Unavailable after
    TRIES Conflicts: the event is delivered again later.
    """
    for _ in range(TRIES):
        try:
            return attempt()
        except Conflict:
            continue
    raise Unavailable(f"{TRIES} other writers were faster on the same rows; the delivery will be tried again")
