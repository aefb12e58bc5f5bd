"""The pushes to a repository as links: each put a commit at the head of a ref, on top of the commit that was there before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
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

    def before(self, push: Push) -> Push | None:
        """The push of the same ref that this one was made on top of; None where none is stored."""
        before = link(push)
        if before is None:
            return None
        found = [other for other in self.since(before) if other.ref == push.ref and other.fact != push.fact]
        found = found or [other for other in self._older(before) if other.ref == push.ref and other.sha == before]
        earlier = [other for other in found if _age(other) < _age(push)]
        return max(earlier, key=_age) if earlier else min(found, key=_age, default=None)

    def holds(self, push: Push) -> bool:
        """Whether the push is one of those since what the target runs."""
        return any(push.fact == other.fact for other in self.since(push.sha))

    def missing(self, push: Push) -> bool:
        """Whether the push before this one was never stored: it says of one that nobody knows, and is not its ref's first."""
        if link(push) is None or self.before(push) is not None:
            return False
        return self._is_later(push) or push.ref in self._known_refs

    def _is_later(self, push: Push) -> bool:
        """Whether another push of its ref came before it, since what the target runs."""
        if push.ref not in self._firsts:
            first = order(other for other in self._pushes if other.ref == push.ref)[:1]
            self._firsts[push.ref] = first[0].fact if first else push.fact
        return self._firsts[push.ref] != push.fact

    @cached_property
    def _firsts(self) -> dict[str, str]:
        return {}

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


def _age(push: Push) -> tuple[datetime, datetime, str]:
    return (push.pushed_at, push.arrived, push.fact)
