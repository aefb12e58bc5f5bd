"""What an event of ours tells. Anybody may post one of that type, so nothing is taken for granted."""

from __future__ import annotations

from typing import Any

from greenlight.events import Event
from greenlight.lib.errors import Rejected


def told(event: Event, *required: str, may: tuple[str, ...] = ()) -> dict[str, str]:
    """The texts of these names in the event's data, those of `may` where they are there. Raises Rejected."""
    try:
        data: Any = event.json()
    except (ValueError, RecursionError):
        data = None
    said = data if isinstance(data, dict) else {}
    found = {name: said[name] for name in (*required, *may) if isinstance(said.get(name), str)}
    missing = [name for name in required if name not in found]
    if missing:
        raise Rejected(f"a {event.type} tells {', '.join(missing)} as text, and this one does not")
    return found
