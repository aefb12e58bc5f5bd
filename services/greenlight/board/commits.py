"""Commits as people know them: by title and author; and those that a target lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from greenlight.model.rows import Push, Target
from greenlight.policy.between import between
from greenlight.policy.history import History
from greenlight.service.deps import Deps


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


def brought(push: Push, target: Target, history: History) -> Sequence[str]:
    """Return the commits that a push would bring to a target, newest first."""
    runs = target.running.sha if target.running else None
    return () if push.sha == runs else between(push, runs, history).shas
