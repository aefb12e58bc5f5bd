"""The layout of a waterfall: the place of each span of a commit on one line of time.

The board and the command line draw it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from greenlight.events import moment


@dataclass(frozen=True, slots=True)
class Bar:
    """A span as it is drawn. `start` and `share` are parts of the whole line, from 0 to 1."""

    span: Mapping[str, Any]
    depth: int  # of its parents, how many there are
    start: float
    share: float
    length: str  # how long it took, for people; since the beginning, for what took no time


def bars(spans: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[Bar]:
    """Yield a bar for each span, in their order; the first span is the whole. A span without end lasts until `now`."""
    if not spans:
        return
    begin = moment(spans[0]["start"])
    whole = max((_end(spans[0], now) - begin).total_seconds(), 1e-6)
    depth: dict[str | None, int] = {None: -1}
    for span in spans:
        depth[span["span_id"]] = depth[span["parent_id"]] + 1
        start = (moment(span["start"]) - begin).total_seconds()
        length = (_end(span, now) - begin).total_seconds() - start
        took = duration(length) if length > 0 else f"at {duration(start)}"
        yield Bar(
            span, depth[span["span_id"]], start / whole, length / whole, took if span["end"] else f"{took} so far"
        )


def duration(seconds: float) -> str:
    """Return `0.4 ms`, `120 ms`, `3.2 s`, `4.0 min`, `2.1 h` or `3.0 d`."""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _end(span: Mapping[str, Any], now: datetime) -> datetime:
    return moment(span["end"]) if span["end"] else max(now, moment(span["start"]))
