"""The table broker_cursors: a row for each Trigger, until it is removed and nothing is pending for it."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from greenlight.broker.log import event_table
from greenlight.store import Tx

_SEQ = "iif(typeof(seq) = 'integer', seq, CAST(since AS INTEGER))"
"""A Trigger's cursor. Where it cannot be read, where the Trigger began: to deliver twice is better than never."""

_log = logging.getLogger("greenlight.broker")


@dataclass(frozen=True, slots=True)
class CursorRow:
    """A Trigger's position: settled up to `seq`; it wants events after `since`, and up to `gone` if it was removed."""

    trigger: str
    seq: int
    since: int
    broker: str
    spec: Mapping[str, Any]
    gone: int | None


def register(tx: Tx, trigger: str, broker: str, spec: Mapping[str, Any]) -> int:
    """Write a Trigger's Broker and spec, and return its cursor. A new Trigger starts at the end of the log."""
    end = event_table.last(tx.execute)
    tx.execute(
        "INSERT INTO broker_cursors (trigger, seq, since, broker, spec) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET broker = excluded.broker, spec = excluded.spec, gone = NULL",
        (trigger, end, end, broker, json.dumps(spec, default=str)),
    )
    sql = f"SELECT {_SEQ}, typeof(seq) FROM broker_cursors WHERE trigger = ?"  # noqa: S608
    seq, kind = tx.execute(sql, (trigger,)).fetchone()
    if kind != "integer":
        _log.warning("the position of the Trigger %s cannot be read; it starts again at its first event", trigger)
    return int(seq)


def mark_removed(tx: Tx, trigger: str) -> None:
    """Note that a Trigger was removed: events that come from now on are not for it."""
    end = event_table.last(tx.execute)
    tx.execute("UPDATE broker_cursors SET gone = coalesce(gone, ?) WHERE trigger = ?", (end, trigger))


def delete(tx: Tx, trigger: str) -> None:
    """Delete the row of a removed Trigger for which nothing is pending."""
    tx.execute("DELETE FROM broker_cursors WHERE trigger = ?", (trigger,))


def advance(tx: Tx, trigger: str, seq: int) -> None:
    """Set a cursor. It never goes back."""
    tx.execute(
        "UPDATE broker_cursors SET seq = ? WHERE trigger = ? AND (seq < ? OR typeof(seq) != 'integer')",
        (seq, trigger, seq),
    )


def rows(connection: sqlite3.Connection) -> list[CursorRow]:
    """Return the rows of every Trigger, of removed ones too."""
    found = connection.execute(
        f"SELECT trigger, {_SEQ}, CAST(since AS INTEGER), broker, spec, CAST(gone AS INTEGER) FROM broker_cursors"  # noqa: S608
        " ORDER BY trigger"
    )
    return [
        CursorRow(trigger, seq, since, broker, _spec(trigger, spec), gone)
        for trigger, seq, since, broker, spec, gone in found
    ]


def _spec(trigger: str, text: str) -> Mapping[str, Any]:
    """Return the spec that was written last.

    Where it cannot be read, one without a filter, so that no event is missed.
    """
    try:
        spec = json.loads(text)
    except (ValueError, TypeError) as problem:
        spec = problem
    if isinstance(spec, dict):
        return spec
    _log.warning("the filter of the Trigger %s cannot be read; it gets every event: %.200r", trigger, spec)
    return {}
