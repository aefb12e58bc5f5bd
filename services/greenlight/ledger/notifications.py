"""Notices of destinations beside facts: which of them fail, and how a test of one went. Kept in streams of the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from greenlight.events import Event, ids, rfc3339, types
from greenlight.events.schemas import dataschema
from greenlight.ledger.port import Ledger, Transaction, whole_stream
from greenlight.model import keys
from greenlight.model.rows import NewEntry

FAILED, RESTORED = "destination.failed", "destination.restored"
REQUESTED, TESTED, OVER = "test.requested", "destination.tested", "test.over"


def failing(ledger: Ledger) -> Mapping[str, dict[str, Any]]:
    """Return the destinations that fail, as `{"destination", "since", "reason"}` by name."""
    found: dict[str, dict[str, Any]] = {}
    for entry in whole_stream(ledger, keys.destinations_stream()):
        name = str(entry.payload["destination"])
        found.pop(name, None)
        if entry.type == FAILED:
            found[name] = {"destination": name, "since": entry.at, "reason": str(entry.payload["reason"])}
    return found


def note(ledger: Ledger, destination: str, problem: str | None, now: datetime) -> None:
    """Write down that a destination fails, or (None) that it works again; once until that changes."""
    if (destination in failing(ledger)) == (problem is not None):
        return
    payload = {"destination": destination, **({"reason": problem} if problem is not None else {})}
    _keep(ledger, keys.destinations_stream(), FAILED if problem is not None else RESTORED, payload, now)


def test_requested(id: str, person: str, destination: str | None, now: datetime) -> Transaction:
    """Return what is written when a person tries a destination, or (None) all: who it was, and the event."""
    asked = {"person": person, **({"destination": destination} if destination is not None else {})}
    entry = NewEntry(keys.notification_test_stream(id), REQUESTED, now, id, asked, "", "")
    event = Event.of(
        types.FEEDBACK_TEST,
        id=id,
        source="greenlight/board",
        time=now,
        dataschema=dataschema(types.FEEDBACK_TEST),
        data={"test": id, **asked},
        extensions={"partitionkey": "notifications"},
    )
    return Transaction(entries=[entry], emit=[event])


def test_under_way(ledger: Ledger, test: str) -> Mapping[str, Any] | None:
    """Return who asked for a test (`person`), and of which `destination`; None: no one did, or it is over."""
    entries = {it.type: it.payload for it in ledger.journal(keys.notification_test_stream(test))}
    return None if OVER in entries else entries.get(REQUESTED)


def tested(ledger: Ledger, test: str, destination: str, problem: str | None, now: datetime) -> None:
    """Write down the result of a test: why it failed, or None."""
    payload = {"destination": destination, **({"reason": problem} if problem is not None else {})}
    _keep(ledger, keys.notification_test_stream(test), TESTED, payload, now)


def test_over(ledger: Ledger, test: str, now: datetime) -> None:
    """Write down that a test has no further results."""
    _keep(ledger, keys.notification_test_stream(test), OVER, {}, now)


def results(ledger: Ledger, test: str) -> tuple[Sequence[dict[str, Any]], bool]:
    """Return the results of a test, as `{"destination", "outcome", "reason"}`, and whether it is over."""
    entries = ledger.journal(keys.notification_test_stream(test))
    found = [
        {
            "destination": str(entry.payload["destination"]),
            "outcome": "failed" if "reason" in entry.payload else "sent",
            "reason": entry.payload.get("reason"),
        }
        for entry in entries
        if entry.type == TESTED
    ]
    return found, any(entry.type == OVER for entry in entries)


def _keep(ledger: Ledger, stream: str, type: str, payload: Mapping[str, Any], now: datetime) -> None:
    id = ids.derive(type, stream, *map(str, payload.values()), rfc3339(now))
    ledger.transact(Transaction(entries=[NewEntry(stream, type, now, id, payload, "", "")]))
