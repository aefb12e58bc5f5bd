"""Pushes that may have changed what an application is made from, and so make a commit its candidate."""

from __future__ import annotations

from collections.abc import Sequence

from greenlight.model.policy import Policy
from greenlight.model.rows import Push, Record, Running
from greenlight.policy.history import History, link
from greenlight.policy.lineage import moving, superseded_by_force
from greenlight.policy.refs import MAX_NAME, like, shipped


def candidate(
    policy: Policy, record: Record, lineage: Sequence[Push], runs: Running | None = None, *, asked: bool = False
) -> Push | None:
    """Return the newest push that makes the commit a candidate of the application.

    A push that was not undone comes first. None: no push put the commit at the head of a shipped ref, or none since
    what the target runs touched `paths`, which a person who asks may waive.
    """
    seen = moving(push for ref, push in record.pushes.items() if shipped(policy, ref))
    pool = [push for push in seen if touched(policy, push, lineage, runs)] or (seen if asked else [])
    standing = [push for push in pool if not superseded_by_force(lineage, push)]
    return next(reversed(standing or pool), None)


def touched(policy: Policy, push: Push, lineage: Sequence[Push], runs: Running | None) -> bool:
    """Return whether any push of its ref, up to this one, may have changed what the application is made from.

    Of the pushes since what the target runs: followed back by their links, to what runs or to what is older. Where the
    links end before that (nothing runs, the ref was created or forced, a push is missing) anything may have changed.
    """
    if not policy.paths:
        return True
    history, seen = History.of(lineage), set[str]()
    here: Push | None = push
    while here is not None and here.fact not in seen:
        before = link(here)
        if before is None or here.paths is None or here.cut or _any_like(policy, here.paths):
            return True
        if runs is not None and before == runs.sha:
            return False
        seen.add(here.fact)
        here = history.before(here)
        if here is not None and not history.holds(here):
            return False
    return True


def _any_like(policy: Policy, paths: Sequence[str]) -> bool:
    """Return whether one of the paths is the application's; one that is too long to compare may be."""
    return any(len(path) > MAX_NAME or any(like(pattern, path) for pattern in policy.paths) for path in paths)
