"""How handlers use the port: read, decide, write; again if somebody else was faster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from greenlight.ledger.port import Conflict, Ledger, Unavailable, Unreadable
from greenlight.ledger.rows import Merge, Push, Target
from greenlight.policy import silence
from greenlight.policy.history import History, merges
from greenlight.policy.lineage import Lineage

CLOCKS_DIFFER = timedelta(days=1)
"""How much earlier than what it follows a push may claim to have been made, and is still found."""

T = TypeVar("T")


def until_settled(attempt: Callable[[], T], *, tries: int = 20) -> T:
    """The result of `attempt`, which reads, computes and transacts; run again on Conflict.

    Every Conflict means that another writer got through, so somebody always makes progress. Raises Unavailable when it was
    never us: the event is delivered again later.
    """
    for _ in range(tries):
        try:
            return attempt()
        except Conflict:
            continue
    raise Unavailable(f"{tries} other writers were faster on the same rows; the delivery will be tried again")


def pushes_since(ledger: Ledger, target: Target) -> History:
    """Every push to the repository, whatever the ref, since what the target runs, that one included.

    What `decide` compares candidates and authors by: a push that is left out could hide an author, so there is no limit.
    """
    runs = target.running.push if target.running else None

    def merged(sha: str) -> Collection[Merge]:
        record = ledger.record(target.repo, sha)
        return () if record is None else merges(record)

    if runs is None:
        return History(ledger.pushes(target.repo, limit=None), merges=merged)
    found = Lineage.of([*ledger.pushes(target.repo, since=runs.heard - CLOCKS_DIFFER, limit=None), *_placed(target)])
    here = found.place(runs)
    since = [push for push in found if push.heard > here[0] or found.place(push) >= here]

    def older(sha: str) -> Collection[Push]:
        record = ledger.record(target.repo, sha)
        return () if record is None else record.pushes.values()

    def older_refs() -> Collection[str]:
        known = {push.fact for push in since}
        return {push.ref for push in ledger.pushes(target.repo, limit=None) if push.fact not in known}

    return History(since, older, older_refs, merged)


def _placed(target: Target) -> Sequence[Push]:
    """The pushes that the target remembers, with the place that they had when the pushes before them were still looked at."""
    return [push for push in (target.running and target.running.push, target.newest) if push]


def silent_since(ledger: Ledger, repo: str, now: datetime) -> datetime | None:
    """When the last push of a repository was heard, if that is remarkably long ago, and its pushes can be read."""
    try:
        newest = ledger.pushes(repo, limit=1)
        if not newest or now - newest[-1].arrived <= silence.LEAST:
            return None
        return silence.silent_since(ledger.pushes(repo, limit=silence.LOOKED_AT), now)
    except Unreadable:
        return None
