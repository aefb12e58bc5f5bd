"""The commits between what a target runs and another commit, by the pushes that are stored. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from greenlight.model.policy import Policy
from greenlight.model.rows import Push
from greenlight.policy.history import History, link
from greenlight.policy.lineage import superseded_by_force
from greenlight.policy.refs import shipped

MOST = 1000
"""Commits that are followed back."""


@dataclass(frozen=True, slots=True)
class Between:
    """The commits of one way back from a commit, newest first."""

    shas: tuple[str, ...]
    complete: bool  # whether it ends at the other commit: else commits may be missing, or the way leads elsewhere


def between(start: Push, end: str | None, history: History) -> Between:
    """Follow the pushes from one back to the commit `end`, which is left out; None: to the first that is stored."""
    shas: dict[str, None] = {}
    here: Push | None = start
    whole = True
    while here is not None and len(shas) < MOST:
        whole &= not here.cut
        for sha in (here.sha, *reversed(here.commits)):
            if sha == end:
                return Between(tuple(shas), whole)
            shas[sha] = None
        before = link(here)
        if before is not None and before == end:
            return Between(tuple(shas), whole)
        following = history.before(here)
        here = None if following is not None and following.sha in shas else following
    return Between(tuple(shas), False)


def newest(policy: Policy, history: History) -> Push | None:
    """Return the newest push that stands on a ref which the application ships; None: there is none."""
    standing = (push for push in history if shipped(policy, push.ref) and not push.deleted)
    return max((push for push in standing if not superseded_by_force(history, push)), key=history.place, default=None)
