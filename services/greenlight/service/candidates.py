"""The commits that a target may deploy, from all that the ledger knows of its repository."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from greenlight.ledger.port import Ledger, Unreadable
from greenlight.model.policy import Policy, Situation
from greenlight.model.rows import DecisionRow, Push, Target
from greenlight.policy.conditions import may_begin
from greenlight.policy.decide import decide
from greenlight.policy.lineage import Lineage, newer, newest_tried
from greenlight.policy.refs import shipped

OPEN = ("ready", "waiting", "blocked")
"""Decisions that may still become a deployment."""

ALL = 1_000_000
"""More candidates than any target has."""

PAGE = 5
"""Candidates that are read at once, and four times as many where that is not enough."""


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


def ready_since(policy: Policy, environment: str, push: Push | None, ledger: Ledger) -> Iterator[DecisionRow]:
    """Yield the decisions `ready` of a target, newest push first, that are not older than the push."""
    limit, since = PAGE, None if push is None else push.placed
    while True:
        rows = ledger.decisions(policy.name, environment, ("ready",), since=since, limit=limit)
        if len(rows) < limit or rows[-1].push is None:
            return (row for row in rows if row.repo == policy.repo)  # it may have been made from another one before
        limit *= 4


def newer_is_ready(case: Situation, push: Push | None, ledger: Ledger) -> bool:
    """Return whether a candidate that is newer than the push is ready, too, and not promoted yet."""
    if push is None or Lineage.of(case.pushes).knowing(push).is_newest(push, partial(shipped, case.policy)):
        return False
    for row in ready_since(case.policy, case.environment.name, push, ledger):
        if row.push is None or row.push.sha == push.sha or not newer(row.push, push, case.pushes):
            continue
        with suppress(Unreadable):  # an older candidate goes out instead of one that cannot be read
            record = ledger.record(row.repo, row.sha)
            if record is not None and may_begin(other := case.of(record), decide(other)):
                return True
    return False
