"""How handlers use the port: read, decide, write; again if somebody else was faster."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import TypeVar

from greenlight.ledger.port import Conflict, Ledger, Unavailable, Unreadable
from greenlight.ledger.rows import Push, Target
from greenlight.policy import silence
from greenlight.policy.history import History

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
    if runs is None:
        return History(ledger.pushes(target.repo, limit=None))
    since = runs.pushed_at

    def older(sha: str) -> Collection[Push]:
        record = ledger.record(target.repo, sha)
        return () if record is None else record.pushes.values()

    def older_refs() -> Collection[str]:
        return {push.ref for push in ledger.pushes(target.repo, limit=None) if push.pushed_at < since}

    return History(ledger.pushes(target.repo, since=since, limit=None), older, older_refs)


def silent_since(ledger: Ledger, repo: str, now: datetime) -> datetime | None:
    """When the last push of a repository was heard, if that is remarkably long ago, and its pushes can be read."""
    try:
        newest = ledger.pushes(repo, limit=1)
        if not newest or now - newest[-1].arrived <= silence.LEAST:
            return None
        return silence.silent_since(ledger.pushes(repo, limit=silence.LOOKED_AT), now)
    except Unreadable:
        return None
