"""Names of repositories, and other notices beside facts: kept in streams of the journal, once each.

A provider's own id of a repository stays when it is renamed or transferred. It is bound to the name at first sight.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from greenlight.events import ids, rfc3339
from greenlight.ledger.port import Ledger, Transaction, whole_stream
from greenlight.model import keys
from greenlight.model.rows import Entry, NewEntry

BOUND, RENAMED, SILENT = "repository.bound", "repository.renamed", "repository.silent"
CLOCK_AHEAD = "clock.ahead"


@dataclass(frozen=True, slots=True)
class Name:
    """A repository's name (lower case), as far as it is known."""

    repo: str
    id: str | None = None  # the provider's, such as github.com/1296269; None: not seen yet
    now: str | None = None  # what it is called now, where that is something else


def name_of(ledger: Ledger, repo: str) -> Name:
    """Return what the ledger knows of a repository's name."""
    found = Name(repo)
    for entry in whole_stream(ledger, keys.repository_stream(repo)):
        if entry.type == BOUND and "id" in entry.payload:
            found = Name(repo, str(entry.payload["id"]))
        elif entry.type == RENAMED and "to" in entry.payload:
            found = Name(repo, found.id, str(entry.payload["to"]))
    return found


def bind(ledger: Ledger, known: Name, id: str, now: datetime) -> Name:
    """Write down that the repository with that id of the provider has the name."""
    _keep(ledger, known.repo, BOUND, {"repo": known.repo, "id": id}, now)
    return Name(known.repo, id)


def rename(ledger: Ledger, known: Name, to: str, now: datetime) -> Name:
    """Write down that the repository has another name now."""
    _keep(ledger, known.repo, RENAMED, {"repo": known.repo, "to": to}, now)
    return Name(known.repo, known.id, to)


def fell_silent(ledger: Ledger, repo: str, since: datetime, now: datetime) -> bool:
    """Write down that the repository has sent nothing since then; False if that is written already."""
    id = ids.derive(SILENT, repo, rfc3339(since))
    if any(entry.id == id for entry in whole_stream(ledger, keys.repository_stream(repo))):
        return False
    entry = NewEntry(keys.repository_stream(repo), SILENT, now, id, {"repo": repo, "since": rfc3339(since)}, repo, "")
    ledger.transact(Transaction(entries=[entry]))
    return True


def clock_ahead(ledger: Ledger, sender: str, by: timedelta, now: datetime) -> None:
    """Write down that a sender's clock is ahead of Greenlight's; one entry for each sender and day."""
    payload = {"sender": sender, "seconds": round(by.total_seconds())}
    id = ids.derive(CLOCK_AHEAD, sender, now.date().isoformat())
    entry = NewEntry(keys.clocks_stream(now.date()), CLOCK_AHEAD, now, id, payload, "", "")
    ledger.transact(Transaction(entries=[entry]))


def clocks_ahead(ledger: Ledger, now: datetime) -> list[dict[str, Any]]:
    """Return the senders whose clocks were ahead today or yesterday, as `{"sender", "seconds"}`."""
    days = (now.date() - timedelta(days=1), now.date())
    entries: list[Entry] = [entry for day in days for entry in ledger.journal(keys.clocks_stream(day))]
    newest = {
        str(entry.payload["sender"]): entry.payload
        for entry in entries
        if {"sender", "seconds"} <= entry.payload.keys()
    }
    return [dict(newest[sender]) for sender in sorted(newest)]


def _keep(ledger: Ledger, repo: str, type: str, payload: dict[str, Any], now: datetime) -> None:
    id = ids.derive(type, *payload.values(), rfc3339(now))
    ledger.transact(Transaction(entries=[NewEntry(keys.repository_stream(repo), type, now, id, payload, repo, "")]))
