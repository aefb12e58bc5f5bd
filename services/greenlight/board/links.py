"""Addresses of pages at GitHub, or at the GitHub Enterprise Server that the newest push of the repository came from."""

from __future__ import annotations

from dataclasses import dataclass

from greenlight.ledger.port import Ledger, Unreadable


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of one repository."""

    home: str | None  # None: no push of GitHub's is known, so nothing is linked

    def commit(self, sha: str) -> str | None:
        """Return the page of a commit."""
        return f"{self.home}/commit/{sha}" if self.home is not None else None

    def compare(self, older: str, newer: str) -> str | None:
        """Return the page that shows the commits from one to the other."""
        return f"{self.home}/compare/{older}...{newer}" if self.home is not None else None


def pages_of(repo: str, ledger: Ledger) -> Pages:
    """Return the pages of a repository: the source of a push's event is the address that GitHub signed."""
    try:
        newest = ledger.pushes(repo, limit=1)
        fact = ledger.fact(newest[-1].fact) if newest else None
    except Unreadable:
        return Pages(None)
    return Pages(fact.event.source if fact is not None and fact.type == "com.github.push" else None)
