"""Pushes that may have changed what an application is made from, and so make a commit its candidate."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from greenlight.model.policy import Policy
from greenlight.model.rows import Push, Record, Running
from greenlight.policy.history import History, link
from greenlight.policy.lineage import moving, pushed_after, superseded_by_force
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
        if _may_touch(policy, here):
            return True
        if runs is not None and link(here) == runs.sha:
            return False
        seen.add(here.fact)
        here = history.before(here)
        if here is not None and not history.holds(here):
            return False
    return True


def brought_after(policy: Policy, push: Push, moment: datetime, lineage: Sequence[Push]) -> bool:
    """Return whether the push was made after that moment, and what was pushed since then is something of the application.

    With `paths`, a push since then may have touched them: what others push on top of an earlier change brings nothing new.
    """
    history, seen = History.of(lineage), set[str]()
    here: Push | None = push
    while here is not None and here.fact not in seen and pushed_after(here, moment, history):
        if _may_touch(policy, here):
            return True
        seen.add(here.fact)
        here = history.before(here)
    return False


def _may_touch(policy: Policy, push: Push) -> bool:
    """Return whether the push alone may have changed what the application is made from."""
    return not policy.paths or link(push) is None or push.paths is None or push.cut or _any_like(policy, push.paths)


def _any_like(policy: Policy, paths: Sequence[str]) -> bool:
    """Return whether one of the paths is the application's; one that is too long to compare may be."""
    return any(len(path) > MAX_NAME or any(like(pattern, path) for pattern in policy.paths) for path in paths)
