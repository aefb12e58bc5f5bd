"""The Event type: one CloudEvent 1.0, as it was on the wire."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from greenlight.events.attributes import AttributeValue, is_time, safe

_LEAP_SECOND = re.compile(r":60(?=[.Z+-])")

NO_EXTENSIONS: Mapping[str, AttributeValue] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Event:
    """A CloudEvent 1.0. Absent attributes are None, never invented; `data` is the exact bytes that were sent.

    `time` is kept as the text that came (RFC 3339), because a nanosecond cut off is another event to its signer.
    """

    id: str
    source: str
    type: str
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    extensions: Mapping[str, AttributeValue] = field(default_factory=lambda: NO_EXTENSIONS)
    data: bytes | None = None

    def json(self) -> Any:
        """Return the data as a JSON value; None where there is none. Raises ValueError for what is not JSON."""
        return None if self.data is None else json.loads(self.data)

    @classmethod
    def of(
        cls,
        type: str,
        *,
        id: str,
        source: str,
        time: datetime,
        data: Mapping[str, Any],
        subject: str | None = None,
        dataschema: str | None = None,
        extensions: Mapping[str, AttributeValue | None] | None = None,
    ) -> Event:
        """Make an event of Greenlight with JSON data.

        Extensions that are None, or unsafe as an attribute, are left out.
        """
        kept = {name: value for name, value in (extensions or {}).items() if value is not None and safe(value)}
        return cls(
            id=id,
            source=source,
            type=type,
            subject=subject if subject is not None and safe(subject) else None,
            time=rfc3339(time),
            datacontenttype="application/json",
            dataschema=dataschema,
            extensions=MappingProxyType(kept),
            data=_ENCODER.encode(data).encode(),
        )


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def rfc3339(moment: datetime) -> str:
    """Return `moment` as RFC 3339 in UTC with microseconds, ending in Z. Raises ValueError for a naive datetime."""
    if moment.tzinfo is None:
        raise ValueError("a time needs a time zone")
    return (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat(timespec="microseconds").removesuffix(
        "+00:00"
    ) + "Z"


def time_of(text: str) -> datetime | None:
    """Return the datetime (UTC) that an RFC 3339 time of anybody names; None for any other text.

    A leap second is right there, and unknown to datetime: the second before it is close enough to order by.
    """
    try:
        return moment(_LEAP_SECOND.sub(":59", text.upper())) if is_time(text) else None
    except (ValueError, OverflowError):
        return None  # outside the years that can be counted with


def moment(text: str) -> datetime:
    """Return the datetime (UTC) that a text of `rfc3339` names."""
    return datetime.fromisoformat(text).astimezone(UTC)
