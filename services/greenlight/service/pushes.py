"""The pushes that a decision on a target needs, read from the ledger and kept while nothing changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import is_
from typing import Any
from weakref import WeakKeyDictionary

from greenlight.ledger.bounded_cache import BoundedCache
from greenlight.ledger.port import Ledger, Unreadable
from greenlight.model.merges import Merge
from greenlight.model.rows import Push, Record, Target
from greenlight.policy import silence
from greenlight.policy.history import History, merges
from greenlight.policy.lineage import Lineage, Place

LINEAGES = 64
"""What is kept of the pushes for each ledger: for as many running commits, and repositories where nothing runs."""

CLOCKS_DIFFER = timedelta(days=1)
"""How much earlier than what it follows a push may claim to have been made, and is still found."""


def pushes_since(ledger: Ledger, target: Target) -> History:
    """Return every push to the repository since what the target runs, whatever the ref, that one included.

    What `decide` compares candidates and authors by: a push that is left out could hide an author, so there is no limit.
    """
    runs = target.running.push if target.running else None
    lineage = _lineage_since(ledger, target)
    read: dict[str, Record | None] = {}

    def record_of(sha: str) -> Record | None:
        if sha not in read:
            read[sha] = ledger.record(target.repo, sha)
        return read[sha]

    def older(sha: str) -> Collection[Push]:
        record = record_of(sha)
        return () if record is None else record.pushes.values()

    def older_refs() -> Collection[str]:
        facts = {push.fact for push in lineage}
        return {push.ref for push in ledger.pushes(target.repo, limit=None) if push.fact not in facts}

    def merged(sha: str) -> Collection[Merge]:
        record = record_of(sha)
        return () if record is None else merges(record)

    found = History(lineage, merges=merged) if runs is None else History(lineage, older, older_refs, merged)
    lineage.share_with(found)
    return found


def read_for_all(ledger: Ledger, targets: Sequence[Target]) -> None:
    """Read the pushes for several targets, since what runs longest in any of them: it includes the others'."""
    since = [_read_since(target) for target in targets]
    earliest = None if None in since else min(filter(None, since))
    ledger.pushes(targets[0].repo, since=earliest, limit=None)


@dataclass(frozen=True, slots=True)
class _Known:
    """A history that is made once from the pushes that were read; later pushes are added to it."""

    pushes: Sequence[Push]
    every: Lineage  # with what the target remembers
    here: Place | None  # the place of what runs
    since: Lineage


def _lineage_since(ledger: Ledger, target: Target) -> Lineage:
    runs, placed = target.running.push if target.running else None, _placed(target)
    pushes = ledger.pushes(target.repo, since=_read_since(target), limit=None)
    kept = _KNOWN.setdefault(ledger, BoundedCache(LINEAGES))
    key = (target.repo, runs is None, *(push.fact for push in placed), *(push.placed for push in placed))
    last = kept.get(key)
    known = (_grown(last, pushes) if last is not None else None) or _new(pushes, runs, placed)
    if known is not last:
        kept.put(key, known)
    return known.since


def _read_since(target: Target) -> datetime | None:
    """Return the time from which the pushes of a target are read; None: from the first one."""
    runs = target.running.push if target.running else None
    return None if runs is None else runs.heard - CLOCKS_DIFFER


def _new(pushes: Sequence[Push], runs: Push | None, placed: Sequence[Push]) -> _Known:
    if runs is None:
        found = Lineage.of(pushes)
        return _Known(pushes, found, None, found)
    every = Lineage.of([*pushes, *placed])
    here = every.place(runs)
    since = Lineage.of(every.anchored(push) for push in every if _is_since(push, here, every))
    return _Known(pushes, every, here, since)


def _grown(known: _Known, pushes: Sequence[Push]) -> _Known | None:
    """Return the history with the pushes since it was made, at their cost alone; None if older pushes came, or went."""
    if known.pushes is pushes:
        return known
    count = len(known.pushes)
    if count > len(pushes) or not all(map(is_, known.pushes, pushes)):
        return None
    if count == len(pushes):
        return replace(known, pushes=pushes)  # the same pushes in another list, which is the one to compare with next
    every, since = known.every, known.since
    for push in pushes[count:]:
        if every.is_built_on(push.sha):
            return None
        every = every.grown(push)
        if known.here is None:
            since = every
        elif _is_since(push, known.here, every):
            since = since.grown(push)
    return _Known(pushes, every, known.here, since)


def _is_since(push: Push, here: Place, every: Lineage) -> bool:
    return push.heard > here[0] or every.place(push) >= here


_KNOWN: WeakKeyDictionary[Ledger, BoundedCache[tuple[Any, ...], _Known]] = WeakKeyDictionary()


def _placed(target: Target) -> Sequence[Push]:
    """Return the pushes that the target remembers, with the place that they had when earlier pushes were still read."""
    return [push for push in (target.running and target.running.push, target.newest) if push]


def silent_since(ledger: Ledger, repo: str, now: datetime) -> datetime | None:
    """Return when the last push of a repository was heard, if that is remarkably long ago and can be read."""
    try:
        newest = ledger.pushes(repo, limit=1)
        if not newest or now - newest[-1].arrived <= silence.LEAST:
            return None
        return silence.silent_since(ledger.pushes(repo, limit=silence.LOOKED_AT), now)
    except Unreadable:
        return None
