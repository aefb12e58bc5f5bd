"""The newest pushes of each repository, kept at hand: a push is added when it is committed, and no other is read again."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache

from greenlight.ledger.changes import by_time
from greenlight.model.rows import Push

MOST = 10_000
"""Pushes of one repository that are kept when they are read; what comes later is added until there are twice as many."""

IN_ALL = 50_000
"""Pushes that are kept. Of more, the repository that was read from the file first goes first."""

SHOWN = 16
"""Beginnings of the pushes that are kept of a repository: targets that run different commits ask from different ones."""

Of = Callable[[str], bool]
"""Which refs."""


def after(push: Push) -> datetime:
    """Return the time after a push: every push from then on is younger."""
    return push.pushed_at + timedelta(microseconds=1)


@dataclass(slots=True)
class _Window:
    """Every push of a repository from a time on (None: every one there is), oldest first."""

    since: datetime | None
    pushes: list[Push] = field(default_factory=list)
    facts: set[str] = field(default_factory=set)
    shown: dict[int, Sequence[Push]] = field(default_factory=dict)  # from an index on, as it was given last

    def add(self, push: Push) -> None:
        if push.fact in self.facts or (self.since is not None and push.pushed_at < self.since):
            return
        self.facts.add(push.fact)
        insort(self.pushes, push, key=by_time)
        self.shown = {}
        if len(self.pushes) > 2 * MOST:
            self.shorten()

    def shorten(self) -> None:
        """Leave out the oldest, all of one moment together, so that the rest is complete from a time on."""
        self.since = after(self.pushes[-MOST - 1])
        self.pushes = self.pushes[self.first(self.since) :]
        self.shown = {}
        self.facts = {push.fact for push in self.pushes}

    def first(self, since: datetime) -> int:
        return bisect_left(self.pushes, since, key=lambda push: push.pushed_at)

    def newest(self, since: datetime | None, of: Of | None, limit: int | None) -> Sequence[Push] | None:
        """Return what `Ledger.pushes` promises, the same object until a push is added.

        None if older pushes are needed.
        """
        start = 0 if since is None else self.first(since)
        found: Sequence[Push]
        if of is None and limit is None:
            if start not in self.shown:
                self.shown = {**(self.shown if len(self.shown) < SHOWN else {}), start: tuple(self.pushes[start:])}
            found = self.shown[start]
        elif of is None:
            found = self.pushes[start if limit is None else max(start, len(self.pushes) - limit) :]
        else:
            wanted = cache(of)
            found = [push for push in self.pushes[start:] if wanted(push.ref)]
            found = found if limit is None else found[max(0, len(found) - limit) :]
        return found if self.reaches(since) or len(found) == limit else None

    def reaches(self, since: datetime | None) -> bool:
        """Return whether every push from `since` on is here."""
        return self.since is None or (since is not None and since >= self.since)


class Pushes:
    """Windows by repository; of repositories that are not here, nothing is known."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[str, _Window] = {}
        self._commits: dict[str, int] = {}  # of pushes, by repository

    def newest(self, repo: str, since: datetime | None, of: Of | None, limit: int | None) -> Sequence[Push] | None:
        """Return what `Ledger.pushes` promises; None: read them."""
        with self._lock:
            window = self._windows.get(repo)
            return None if window is None else window.newest(since, of, limit)

    def moment(self, repo: str) -> int:
        """Return a number to ask for before pushes are read and offered to `keep`."""
        return self._commits.get(repo, 0)

    def keep(self, repo: str, since: datetime | None, pushes: Sequence[Push], moment: int) -> None:
        """Keep all pushes from `since` on as they were read, unless one was committed meanwhile."""
        window = _Window(since)
        for push in pushes:
            window.add(push)
        with self._lock:
            known = self._windows.get(repo)
            if moment != self.moment(repo) or (known is not None and known.reaches(since)):
                return  # who reads the pushes again and again gets the same ones
            self._windows.pop(repo, None)
            self._windows[repo] = window
            while len(self._windows) > 1 and sum(len(each.pushes) for each in self._windows.values()) > IN_ALL:
                del self._windows[next(iter(self._windows))]

    def committed(self, pushes: Sequence[Push]) -> None:
        """Add pushes after their commit; each is added once."""
        with self._lock:
            for push in pushes:
                self._commits[push.repo] = self._commits.get(push.repo, 0) + 1
                window = self._windows.get(push.repo)
                if window is not None:
                    window.add(push)
