"""The commits that a target may deploy, from all that the ledger knows of its repository."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from greenlight.ledger.port import Ledger
from greenlight.model.policy import Policy
from greenlight.model.rows import Push, Target
from greenlight.policy.lineage import Lineage, newer, newest_tried
from greenlight.policy.refs import shipped

OPEN = ("ready", "waiting", "blocked")
"""Decisions that may still become a deployment."""

ALL = 1_000_000
"""More candidates than any target has."""


def candidates(policy: Policy, environment: str, target: Target, pushes: Lineage, ledger: Ledger) -> Iterable[str]:
    """Return the shas that may be deployed to a target.

    They are requested ones, then open decisions and heads of refs, newest first.
    """
    tried = newest_tried(policy, target, pushes)
    rows = [row for name in policy.names for row in ledger.decisions(name, environment, OPEN, limit=ALL)]
    placed = [row.push for row in rows if row.push is not None]
    placed += _heads(policy, ledger.pushes(policy.repo, limit=None))
    known = pushes.knowing(*placed)
    open_pushes = [push for push in placed if tried is None or push.sha == tried.sha or newer(push, tried, known)]
    ordered = sorted(open_pushes, key=known.place, reverse=True)
    return dict.fromkeys([*(request.sha for request in reversed(target.requests)), *(push.sha for push in ordered)])


def _heads(policy: Policy, pushes: Sequence[Push]) -> list[Push]:
    """Return the newest push of each ref that the application ships, where the ref was not deleted."""
    newest: dict[str, Push] = {}
    known = Lineage.of(pushes)
    for push in pushes:
        if shipped(policy, push.ref) and (push.ref not in newest or newer(push, newest[push.ref], known)):
            newest[push.ref] = push
    return [push for push in newest.values() if not push.deleted]
