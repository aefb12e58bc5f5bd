"""The commits between what a target runs and another commit, by the pushes that are stored. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from greenlight.model.policy import Policy
from greenlight.model.rows import Push, Running, Target
from greenlight.policy.history import History, link
from greenlight.policy.lineage import superseded_by_force
from greenlight.policy.refs import shipped

MOST = 1000
"""Commits that are followed back, or counted."""


@dataclass(frozen=True, slots=True)
class CommitRange:
    """The commits of one way back from a commit, newest first."""

    shas: tuple[str, ...]
    complete: bool  # whether it ends at the other commit: else commits may be missing, or the way leads elsewhere


def between(start: Push, end: str | None, history: History) -> CommitRange:
    """Follow the pushes from one back to the commit `end`, which is left out; None: to the first that is stored."""
    shas: dict[str, None] = {}
    here: Push | None = start
    whole = True
    while here is not None and len(shas) < MOST:
        whole &= not here.cut
        for sha in (here.sha, *reversed(here.commits)):
            if sha == end:
                return CommitRange(tuple(shas), whole)
            shas[sha] = None
        before = link(here)
        if before is not None and before == end:
            return CommitRange(tuple(shas), whole)
        following = history.before(here)
        here = None if following is not None and following.sha in shas else following
    return CommitRange(tuple(shas), False)


def lacking(policy: Policy, target: Target, history: History) -> tuple[str, ...]:
    """Return the commits that came to shipped refs since what the target runs, newest first; at most MOST.

    What was forced away is left out.
    """
    runs, shas = target.running, dict[str, None]()
    for push in reversed(history):
        if push.deleted or not shipped(policy, push.ref) or (runs is not None and _is_in(push, runs, history)):
            continue
        if len(shas) >= MOST:
            break
        if not superseded_by_force(history, push):
            shas.update(dict.fromkeys((push.sha, *reversed(push.commits))))
    if runs is not None:
        shas.pop(runs.sha, None)
    return tuple(shas)[:MOST]


def _is_in(push: Push, runs: Running, history: History) -> bool:
    """Return whether a push came no later than the one that a target runs."""
    return push.sha == runs.sha or (runs.push is not None and history.place(push) <= history.place(runs.push))


def newest(policy: Policy, history: History) -> Push | None:
    """Return the newest push that stands on a ref which the application ships; None: there is none."""
    standing = (push for push in history if shipped(policy, push.ref) and not push.deleted)
    return max((push for push in standing if not superseded_by_force(history, push)), key=history.place, default=None)
