"""Facts that were found only by asking a provider, although a webhook should have brought them."""

from __future__ import annotations

from datetime import datetime, timedelta

from greenlight.events import ids, moment
from greenlight.ledger.port import Ledger, Transaction
from greenlight.model import keys
from greenlight.model.rows import NewEntry

FOUND = "fact.found"
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


def _month(at: datetime) -> str:
    return at.strftime("%Y-%m")
