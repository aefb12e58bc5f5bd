"""A place in a trace, as W3C Trace Context writes it: `traceparent`, a header of HTTP and an attribute of CloudEvents."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII | re.DOTALL)
_INVALID_VERSION = "ff"


class Context(NamedTuple):
    """One span of one trace; `sampled`: its maker may have recorded it."""

    trace: str  # 32 hex digits
    span: str  # 16 hex digits
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """Return the traceparent in the form of version 00."""
        return f"00-{self.trace}-{self.span}-{'01' if self.sampled else '00'}"


def parse(text: Any) -> Context | None:
    """Return the place that a traceparent names; None for anything else (Trace Context, sections 3.2.2 and 4.3).

    A later version than 00 may say more behind its flags, which is not read.
    """
    match = _TRACEPARENT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    if version == _INVALID_VERSION or (version == "00" and more is not None):
        return None
    if not trace.strip("0") or not span.strip("0"):
        return None
    return Context(trace, span, bool(int(flags, 16) & 1))
