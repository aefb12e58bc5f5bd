"""Heads of branches that no webhook reported, although a push has moved them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from greenlight.policy.lineage import Lineage

ARRIVES_WITHIN = timedelta(minutes=10)
"""How long the webhook of a push may take: GitHub's own time, and a redelivery that was asked for meanwhile."""

LATELY = timedelta(days=7)
"""How old a deletion is at most. Those of branches that nothing shipped then were ignored."""

NONE = "0" * 40
"""The head of a branch that does not exist."""


@dataclass(frozen=True, slots=True)
class Move:
    """A push that moved a branch, as GitHub lists it."""

    after: str
    at: datetime


def unheard(
    heads: Mapping[str, str],
    moves: Mapping[str, Move],
    pushes: Lineage,
    ships: Callable[[str], bool],
    since: datetime,
    now: datetime,
) -> Mapping[str, str]:
    """Return the head of each shipped branch, by ref, where it is another one than the newest push said.

    A branch of which no push is known counts only if it was pushed after `since`, when Greenlight was there. Of two
    readings that differ, the branch is just being moved.
    """
    found = {}
    for ref in sorted({*heads, *(ref for ref, push in pushes.last.items() if not push.deleted)}):
        head, known, move = heads.get(ref, NONE), pushes.last.get(ref), moves.get(ref)
        if not ships(ref) or (known is not None and known.sha == head):
            continue
        if move is not None and (move.after != head or now - move.at < ARRIVES_WITHIN):
            continue
        if known is None and (move is None or move.at < since):
            continue
        if head == NONE and (move is None or now - move.at > LATELY):
            continue
        found[ref] = head
    return found
