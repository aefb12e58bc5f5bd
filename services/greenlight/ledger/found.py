"""Facts, and heads of branches, that were found only by asking a provider: a webhook should have brought them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from greenlight.events import ids, moment, rfc3339
from greenlight.ledger.port import Ledger, Transaction, Unreadable
from greenlight.model import keys
from greenlight.model.rows import NewEntry

FOUND = "fact.found"
COMPARED = "heads.compared"
WEEK = timedelta(days=7)


def note_found(ledger: Ledger, repo: str, fact: str, type: str, now: datetime) -> None:
    """Write down that a fact was found by asking."""
    entry = NewEntry(
        keys.found_stream(repo, _month(now)), FOUND, now, ids.derive(FOUND, fact), {"type": type}, repo, ""
    )
    ledger.transact(Transaction(entries=[entry]))


def found_lately(ledger: Ledger, repo: str, now: datetime) -> int:
    """Return how many facts were found by asking within the last week, a thousand at most for each month."""
    months = {_month(now), _month(now - WEEK)}
    entries = [entry for month in months for entry in ledger.journal(keys.found_stream(repo, month))]
    return sum(now - moment(entry.at) <= WEEK for entry in entries)


MOST = 100
"""Lost pushes of a repository that are kept."""


@dataclass(frozen=True, slots=True)
class LostPush:
    """A branch whose head at the provider no webhook reported."""

    repo: str
    ref: str
    sha: str  # forty zeros for a branch that was deleted

    @property
    def text(self) -> str:
        """Return what is wrong, for people."""
        branch = self.ref.removeprefix("refs/heads/")
        if not self.sha.strip("0"):
            what = f"{branch} is no longer at GitHub, and no webhook reported its deletion"
        else:
            what = f"GitHub's head of {branch} is {self.sha[:7]}, and no webhook reported it"
        return f"the webhook of {self.repo} is broken: {what}"


def note_lost(ledger: Ledger, repo: str, heads: Mapping[str, str], now: datetime) -> Sequence[LostPush]:
    """Write down which heads no webhook reported, by ref, if they are others than before; return those that are new.

    The first comparison is always written down.
    """
    lost = dict(sorted(heads.items())[:MOST])
    last = ledger.newest_entries(keys.heads_stream(repo), limit=1)
    before = dict(last[-1].payload["lost"]) if last else None
    if lost != before:
        id = ids.derive(COMPARED, repo, rfc3339(now))
        entry = NewEntry(keys.heads_stream(repo), COMPARED, now, id, {"lost": lost}, repo, "")
        ledger.transact(Transaction(entries=[entry]))
    return [LostPush(repo, ref, sha) for ref, sha in lost.items() if (before or {}).get(ref) != sha]


def first_compared(ledger: Ledger, repo: str) -> datetime | None:
    """Return when the heads of a repository were compared for the first time; None: never."""
    first = ledger.journal(keys.heads_stream(repo), limit=1)
    return moment(first[0].at) if first else None


def lost_pushes(ledger: Ledger, repo: str) -> Sequence[LostPush]:
    """Return the heads that no webhook reported at the last comparison, without branches that were pushed to since."""
    last = ledger.newest_entries(keys.heads_stream(repo), limit=1)
    if not last or not last[-1].payload["lost"]:
        return []
    compared, lost = moment(last[-1].at), last[-1].payload["lost"]
    try:
        since = {push.ref for push in ledger.pushes(repo, of=lambda ref: ref in lost) if push.arrived > compared}
    except Unreadable:
        since = set()
    return [LostPush(repo, ref, sha) for ref, sha in lost.items() if ref not in since]


def _month(at: datetime) -> str:
    return at.strftime("%Y-%m")
