"""The choice and the order of what is emitted again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from greenlight.events.build import as_fact
from greenlight.model import keys
from greenlight.model.rows import Due


def in_turn(due: Sequence[Due]) -> list[Due]:
    """Return entries with one of each partition key in turn, so that many of one repository delay no other's."""
    places: dict[str, int] = {}
    found = []
    for item in due:
        key = str(item.event.extensions.get("partitionkey") or "")
        places[key] = places.get(key, 0) + 1
        found.append((places[key], item))
    return [item for _, item in sorted(found, key=lambda pair: pair[0])]


def updated(due: Due) -> Due:
    """Give a fact's event the attribute of facts: a version without it may have stored the event."""
    return replace(due, event=as_fact(due.event)) if due.key == keys.fact_due(due.event.id) else due
