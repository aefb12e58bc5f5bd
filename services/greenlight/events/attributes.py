"""Which attribute values every CloudEvents SDK reads alike."""

from __future__ import annotations

import re

from greenlight.events.event import AttributeValue

# SDKs disagree about percent-encoding, and a Trigger sees what the wire has, so attributes stay where all agree:
# printable ASCII without space, double quote and percent.
_SAFE = re.compile(r"[!#$&-~]{1,256}")


def safe(value: AttributeValue) -> bool:
    """Whether every SDK and every Trigger filter sees the same `value`. What is not safe is left out, never escaped."""
    return not isinstance(value, str) or _SAFE.fullmatch(value) is not None
