"""An event as the log stores it: its row, and the extension attributes that a broker sets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson

from greenlight.events import Event, rfc3339
from greenlight.lib.clock import Clock

ARRIVAL = "knativearrivaltime"
TTL = "knativebrokerttl"
ERRORS = ("knativeerrordest", "knativeerrorcode", "knativeerrordata")
"""Extension attributes that a broker sets, with Knative's names."""

MAX_TTL = 255
"""Hops that an event may take (Knative's default)."""

COLUMNS = "attributes, data, headers, ttl"
"""The columns of broker_events and broker_dead_letters that hold an event."""

EventRow = tuple[str, bytes | None, str | None, int]
"""The values of COLUMNS."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row from which no event can be read: its values of COLUMNS as they are, and what is wrong with them."""

    row: EventRow
    why: str


PLACEHOLDER = Event(id="?", source="?", type="unreadable")
"""The event of a StoredEvent that cannot be read."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event in the log. With `unreadable`, the event is PLACEHOLDER, and is not delivered."""

    event: Event
    ttl: int = MAX_TTL
    headers: Mapping[str, str] | None = None
    unreadable: Unreadable | None = None

    @property
    def size(self) -> int:
        """Return the bytes of its data."""
        return len(self.event.data or b"")


class PreparedEvent(NamedTuple):
    """An event that is about to be appended: `at` is when it came in, in seconds since 1970."""

    stored: StoredEvent
    at: float
    row: EventRow


def prepare(stored: StoredEvent, clock: Clock) -> PreparedEvent:
    """Set the time of arrival, remove the hop count, and make the row. Done before a transaction, where all others wait."""
    now = clock.now()
    extensions = {**stored.event.extensions, ARRIVAL: rfc3339(now)}
    extensions.pop(TTL, None)
    changed = StoredEvent(replace(stored.event, extensions=extensions), stored.ttl, stored.headers)
    return PreparedEvent(changed, now.timestamp(), to_row(changed))


def without(event: Event, names: Iterable[str]) -> Event:
    """Return `event` without these extensions; the same object if it has none of them."""
    if not any(name in event.extensions for name in names):
        return event
    return replace(event, extensions={name: value for name, value in event.extensions.items() if name not in names})


def with_added(event: Event, extensions: Mapping[str, str | int]) -> Event:
    """Return `event` with these extensions set."""
    return replace(event, extensions={**event.extensions, **extensions})


def to_row(stored: StoredEvent) -> EventRow:
    """Return the values of COLUMNS; of an unreadable event, those that it was read from."""
    if stored.unreadable is not None:
        return stored.unreadable.row
    event = stored.event
    known = {
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": event.time,
        "datacontenttype": event.datacontenttype,
        "dataschema": event.dataschema,
    }
    attributes: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
    attributes["extensions"] = dict(event.extensions)
    headers = json.dumps(dict(stored.headers)) if stored.headers else None
    return orjson.dumps(attributes).decode(), event.data, headers, stored.ttl


def from_row(row: Sequence[Any]) -> StoredEvent:
    """Read an event from the values of COLUMNS. Where that fails, the StoredEvent is `unreadable`."""
    attributes, data, headers, ttl = row
    try:
        event = Event(**orjson.loads(attributes), data=data)
        passed_on = json.loads(headers) if headers else None
        if not (_is_event(event) and isinstance(passed_on, dict | None) and type(ttl) is int):
            raise TypeError("a value has another type than it should")
    except (ValueError, TypeError) as problem:
        unreadable = Unreadable((_writable(attributes), data, _writable(headers), ttl), _brief(problem))
        return StoredEvent(PLACEHOLDER, ttl, None, unreadable)
    return StoredEvent(event, ttl, passed_on)


def _is_event(event: Event) -> bool:
    """Return whether the values of an event from the log are of the types that they had."""
    needed = (event.id, event.source, event.type)
    others = (event.subject, event.time, event.datacontenttype, event.dataschema)
    return (
        all(type(value) is str for value in needed)
        and all(value is None or type(value) is str for value in others)
        and isinstance(event.extensions, dict)
        and isinstance(event.data, bytes | None)
    )


def _writable(value: Any) -> Any:
    """Return a value as SQLite can write it again: text that is not UTF-8 as bytes."""
    try:
        value.encode() if isinstance(value, str) else None
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape")
    return value


def _brief(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"[:200]
