"""Commits as people know them: by title and author; and those that a target lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from greenlight.model.policy import Policy
from greenlight.model.rows import Push, Target
from greenlight.policy.refs import shipped
from greenlight.service.deps import Deps

MOST = 1000
"""Commits that are counted or listed; of more it is said that there are more."""


@dataclass(frozen=True, slots=True)
class Known:
    """A commit with what is known of it. Title and author are texts from outside, or empty."""

    repo: str
    sha: str
    title: str = ""
    author: str = ""
    refs: tuple[str, ...] = ()
    pushed: datetime | None = None

    @property
    def called(self) -> str:
        """Return its title, or the beginning of its sha where it has none."""
        return self.title or f"commit {self.sha[:7]}"

    @property
    def short(self) -> str:
        """Return the beginning of its sha."""
        return self.sha[:7]

    @property
    def ref(self) -> str:
        """Return the short names of its refs."""
        return ", ".join(ref.split("/", 2)[-1] for ref in self.refs)


def known(repo: str, shas: Iterable[str], deps: Deps) -> Mapping[str, Known]:
    """Return commits with title and author, by sha: those without are there, too."""
    wanted = sorted(set(shas))
    titles = deps.ledger.titles(repo, wanted)
    return {
        sha: Known(repo, sha, titles[sha].title, titles[sha].author) if sha in titles else Known(repo, sha)
        for sha in wanted
    }


def pushed_since(policy: Policy, target: Target, pushes: Sequence[Push], *, until: Push | None = None) -> Sequence[str]:
    """Return the commits that were pushed to shipped refs since what the target runs, newest first; at most MOST.

    `until`: only those that this push brought, or a push before it.
    """
    runs = target.running
    found: dict[str, None] = {}
    for push in reversed(pushes):
        if push.deleted or not shipped(policy, push.ref) or (until is not None and push.placed > until.placed):
            continue
        if runs is not None and (push.sha == runs.sha or (runs.push is not None and push.placed <= runs.push.placed)):
            continue
        found.update(dict.fromkeys((push.sha, *reversed(push.commits))))
        if len(found) >= MOST:
            break
    if runs is not None:
        found.pop(runs.sha, None)
    return list(found)[:MOST]
