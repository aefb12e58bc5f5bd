"""The pushes to a repository as links: each put a commit at the head of a ref, on top of the commit that was there before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from typing import Any

from greenlight.ledger.rows import Push
from greenlight.policy.lineage import TAG, order


class History(Sequence[Push]):
    """The pushes since what a target runs, whatever the ref. Older ones are read commit by commit, where they are needed."""

    def __init__(
        self,
        pushes: Sequence[Push],
        older: Callable[[str], Collection[Push]] = lambda sha: (),
        older_refs: Callable[[], Collection[str]] = lambda: (),
    ) -> None:
        """Keep `pushes`; `older` reads the pushes that put a commit at a head, `older_refs` the refs of all older pushes."""
        self._pushes, self._older, self._older_refs = pushes, older, older_refs

    @classmethod
    def of(cls, pushes: Sequence[Push]) -> History:
        """Pushes as a history: one that was read from a ledger as it is, and a plain list as all that there is."""
        return pushes if isinstance(pushes, History) else cls(pushes)

    def __getitem__(self, index: Any) -> Any:
        return self._pushes[index]

    def __len__(self) -> int:
        return len(self._pushes)

    def __iter__(self) -> Iterator[Push]:
        return iter(self._pushes)

    def since(self, sha: str) -> Sequence[Push]:
        """The pushes since what the target runs that put this commit at a head."""
        return self._by_sha.get(sha, ())

    def at(self, sha: str) -> Sequence[Push]:
        """The pushes that put this commit at a head, older ones where there is none since what the target runs."""
        return self.since(sha) or [push for push in self._older(sha) if push.sha == sha]

    def missing(self, push: Push) -> bool:
        """Whether the push before this one was never stored: it says of one that nobody knows, and is not its ref's first."""
        if link(push) is None or any(other.ref == push.ref for other in self.at(push.before or "")):
            return False
        first = order(other for other in self._pushes if other.ref == push.ref)[:1]
        return (bool(first) and first[0].fact != push.fact) or push.ref in self._known_refs

    @cached_property
    def _by_sha(self) -> dict[str, list[Push]]:
        found: dict[str, list[Push]] = {}
        for push in self._pushes:
            if not push.deleted:
                found.setdefault(push.sha, []).append(push)
        return found

    @cached_property
    def _known_refs(self) -> Collection[str]:
        return self._older_refs()


def link(push: Push) -> str | None:
    """The commit that the push built on: every commit since then is in its list. None: a created or forced ref, a tag."""
    return None if push.forced or push.ref.startswith(TAG) else push.before
