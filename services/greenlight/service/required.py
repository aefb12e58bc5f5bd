"""Required fields of an event of Greenlight's own types. Anybody may post one, so each is checked."""

from __future__ import annotations

from typing import Any

from greenlight.events import Event
from greenlight.lib.errors import Rejected


def required_fields(event: Event, *required: str, optional: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the texts of these names in the event's data, and those of `optional` that exist. Raises Rejected."""
    try:
        data: Any = event.json()
    except (ValueError, RecursionError):
        data = None
    fields = data if isinstance(data, dict) else {}
    found = {name: fields[name] for name in (*required, *optional) if isinstance(fields.get(name), str)}
    missing = [name for name in required if name not in found]
    if missing:
        raise Rejected(f"a {event.type} must have {', '.join(missing)} as text in its data, and this one does not")
    return found
