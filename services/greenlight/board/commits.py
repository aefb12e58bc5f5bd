"""Commits as people know them: by title and author."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

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
