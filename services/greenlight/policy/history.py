"""The pushes to a repository as links: each put a commit at the head of a ref, on top of the commit that was there before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from greenlight.model.merges import Merge
from greenlight.model.rows import Push, Record
from greenlight.policy.lineage import Lineage, last_before
from greenlight.policy.refs import TAG

BACK = 100
"""Pushes that are followed back from one, to see whether a commit is part of it."""


class History(Lineage):
    """The pushes since what a target runs, whatever the ref. Older ones are read commit by commit, where they are needed."""

    _older: Callable[[str], Collection[Push]]
    _older_refs: Callable[[], Collection[str]]
    _merges: Callable[[str], Collection[Merge]]

    def __new__(
        cls,
        pushes: Iterable[Push] = (),
        older: Callable[[str], Collection[Push]] = lambda sha: (),
        older_refs: Callable[[], Collection[str]] = lambda: (),
        merges: Callable[[str], Collection[Merge]] = lambda sha: (),
    ) -> History:
        """Keep `pushes`; `older` reads the pushes that put a commit at a head, `older_refs` the refs of all older pushes.

        `merges` reads the pull requests that became a commit, as the function of that name has them.
        """
        found = super().__new__(cls, pushes)
        found._older, found._older_refs, found._merges = older, older_refs, merges
        return found

    @classmethod
    def of(cls, pushes: Iterable[Push]) -> History:
        """Return pushes as a history: one read from a ledger stays as it is; a plain list is complete."""
        return pushes if isinstance(pushes, History) else cls({push.fact: push for push in pushes}.values())

    def since(self, sha: str) -> Sequence[Push]:
        """Return the pushes since what the target runs that put this commit at a head."""
        return self.of_commit(sha)

    def at(self, sha: str) -> Sequence[Push]:
        """Return the pushes that put this commit at a head; older ones if there is none since what the target runs."""
        return self.since(sha) or [push for push in self._older(sha) if push.sha == sha]

    def ever(self, sha: str) -> Collection[Push]:
        """Return every push that put this commit at a head; of those older than what runs, the newest of each ref."""
        older = [push for push in self._older(sha) if push.sha == sha]
        return {push.fact: push for push in (*older, *self.since(sha))}.values()

    def makers(self, push: Push) -> Collection[str]:
        """Return who made or pushed the commits, except who only merged a pull request on GitHub's pages."""
        merged = self._only_merged(push)
        return [one for one in push.people if one not in merged]

    def pushers(self, push: Push) -> Collection[str]:
        """Return who pushed it, with the same exception; everybody, where the pusher is not known."""
        merged = self._only_merged(push)
        return [one for one in push.pushers or push.people if one not in merged]

    def back(self, push: Push) -> Iterator[Push]:
        """Yield a push and those that it is built on, newest first, at most BACK of them."""
        here: Push | None = push
        for _ in range(BACK):
            if here is None:
                return
            yield here
            here = self.before(here)

    def knows(self, record: Record) -> None:
        """Take from this record what would be read otherwise."""
        self._read[record.sha] = merges(record)

    def heads(self, sha: str) -> Collection[str]:
        """Return the last commits of the pull requests that became a commit."""
        return [merge.head for merge in self._merged(sha) if merge.head is not None and merge.head != sha]

    def openers(self, sha: str) -> Collection[str]:
        """Return who opened the pull requests that became a commit."""
        return [merge.author for merge in self._merged(sha) if merge.author is not None]

    def _only_merged(self, push: Push) -> Collection[str]:
        """Return who only merged it.

        A push that does not bring the last commit of the pull request was made by GitHub, which rebased it: GitHub sees a
        merge in what people push themselves only if they push that commit.
        """
        merges = self._merged(push.sha) if push.mergers or push.rebasers else ()
        if any(merge.by in push.mergers for merge in merges):
            return push.mergers
        own = (None, push.sha, *push.commits)
        rebased = not push.cut and any(merge.by in push.rebasers and merge.head not in own for merge in merges)
        return push.rebasers if rebased else ()

    def _merged(self, sha: str) -> Collection[Merge]:
        if sha not in self._read:
            self._read[sha] = self._merges(sha)
        return self._read[sha]

    def before(self, push: Push) -> Push | None:
        """Return the push of the same ref that this one was made on top of; None where none is stored."""
        before = link(push)
        if before is None:
            return None
        known = self.parent(push)
        if known is not None:
            return known
        return last_before(
            push, [older for older in self._older(before) if (older.ref, older.sha) == (push.ref, before)]
        )

    def holds(self, push: Push) -> bool:
        """Return whether the push is one of those since what the target runs."""
        return any(push.fact == other.fact for other in self.since(push.sha))

    def missing(self, push: Push) -> bool:
        """Return whether the push before this one was never stored.

        It names an unknown commit, and is not its ref's first.
        """
        if link(push) is None or self.before(push) is not None:
            return False
        return self._is_later(push) or push.ref in self._known_refs

    def _is_later(self, push: Push) -> bool:
        """Return whether another push of its ref came before it, since what the target runs."""
        if push.ref not in self._firsts:
            first = min((other for other in self if other.ref == push.ref), key=self.place, default=push)
            self._firsts[push.ref] = first.fact
        return self._firsts[push.ref] != push.fact

    @cached_property
    def _read(self) -> dict[str, Collection[Merge]]:
        return {}

    @cached_property
    def _firsts(self) -> dict[str, str]:
        return {}

    @cached_property
    def _known_refs(self) -> Collection[str]:
        return self._older_refs()


def merges(record: Record) -> Collection[Merge]:
    """Return the pull requests that became a commit, without the merger where the merger is an author, too."""
    return [replace(merge, by=None) if merge.by in record.people else merge for merge in record.merged.values()]


def link(push: Push) -> str | None:
    """Return the commit that the push built on: its list has every commit since then.

    None: a created or forced ref, a tag.
    """
    return None if push.forced or push.ref.startswith(TAG) else push.before
