"""Spans of time as the pipeline file writes them: 10m, 7d, 1h30m."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def duration(text: str) -> timedelta:
    """Return the span that a text of the schema's `duration` names. ValueError for any other text."""
    parts = re.findall(r"([0-9]+)([dhms])", text)
    if not parts or "".join(amount + unit for amount, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration such as 10m, 7d or 1h30m")
    return timedelta(seconds=sum(int(amount) * _UNITS[unit] for amount, unit in parts))


def span(length: timedelta) -> str:
    """Return the text that names a span of whole seconds."""
    rest, text = int(length.total_seconds()), ""
    for unit, seconds in _UNITS.items():
        amount, rest = divmod(rest, seconds)
        text += f"{amount}{unit}" if amount else ""
    return text or "0s"
