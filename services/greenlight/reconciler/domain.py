"""In which order what is due is emitted again. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from greenlight.model.rows import Due


def in_turn(due: Sequence[Due]) -> list[Due]:
    """The same, those of one partition key in their order, the keys in turn: many of one repository delay no other's."""
    places: dict[str, int] = {}
    found = []
    for item in due:
        key = str(item.event.extensions.get("partitionkey") or "")
        places[key] = places.get(key, 0) + 1
        found.append((places[key], item))
    return [item for _, item in sorted(found, key=lambda pair: pair[0])]
