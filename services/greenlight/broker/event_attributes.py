"""Readers of an event's attributes by name, as filters see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter

from greenlight.events import Event

_FIELDS: Mapping[str, Callable[[Event], str | None]] = {
    "specversion": lambda event: "1.0",
    "id": attrgetter("id"),
    "source": attrgetter("source"),
    "type": attrgetter("type"),
    "subject": attrgetter("subject"),
    "time": attrgetter("time"),
    "datacontenttype": attrgetter("datacontenttype"),
    "datamediatype": lambda event: event.datacontenttype and event.datacontenttype.partition(";")[0].strip(),
    "dataschema": attrgetter("dataschema"),
    "schemaurl": attrgetter("dataschema"),
}

NOT_IN_CESQL = ("datamediatype", "schemaurl")
"""Names that only Knative's own dialects give to something else."""


def attribute(name: str) -> Callable[[Event], str | None]:
    """Return a function that reads the text of an attribute, as in a header: Knative's filter, too, reads headers."""
    return _FIELDS.get(name) or _extension(name)


def cesql_attribute(name: str) -> Callable[[Event], str | None]:
    """Return the same for a name in a CESQL expression."""
    return _extension(name) if name in NOT_IN_CESQL else attribute(name)


def _extension(name: str) -> Callable[[Event], str | None]:
    def get(event: Event) -> str | None:
        value = event.extensions.get(name)
        if value is None or type(value) is str:
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value)

    return get
