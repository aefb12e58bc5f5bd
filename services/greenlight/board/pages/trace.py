"""The page of a commit's trace: every step on one line of time, what its time consisted of, and what is usual."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import request

from greenlight.board import reading
from greenlight.board.commits import known
from greenlight.board.details import Span
from greenlight.board.pages.shown import MINUTE, SOON
from greenlight.board.pages.words import length
from greenlight.board.timeline import WIDTH, Scale
from greenlight.board.trace import trace_of
from greenlight.board.usual import Usual
from greenlight.events import moment
from greenlight.service.deps import Deps

ROWS = 1000
"""Spans that the page shows; the command line shows all."""

CMD = 60
"""Characters of a command line that stand beside its name."""

DEEPEST = 8
"""Levels that are drawn deeper than the one above them."""

LEAST = 3.0
"""Units of the line that every bar has at least, of WIDTH."""

_LONG = ("cmd", "output")
"""Attributes that may have lines of their own."""

_STATES = ("succeeded", "failed", "error", "superseded", "canceled")


@dataclass(frozen=True, slots=True)
class Row:
    """One span."""

    id: str
    name: str
    cmd: str  # the beginning of its command line
    service: str
    depth: int
    kind: str  # the class of its bar: w for a wait, a state, or q
    x: float
    width: float
    took: str
    open: bool  # it still goes on
    critical: bool
    usually: str | None
    usual: float | None  # where it usually ends
    start: datetime
    texts: Sequence[tuple[str, str]]  # attributes with lines of their own
    about: Sequence[tuple[str, str]]


def values(owner: str, name: str, sha: str, usual: Usual, deps: Deps) -> Mapping[str, Any]:
    """Return what the template needs. Raises NotFound, Ambiguous."""
    record = reading.record_of(f"{owner}/{name}", sha, deps)
    found, now = trace_of(record, deps, usual), deps.clock.now()
    only = "critical" in request.args
    spans = [span for span in found["spans"] if not only or span["attributes"].get("critical")]
    scale = _scale(spans, now, folded=request.args.get("scale") != "true")
    whole = found["spans"][0] if found["spans"] else None
    goes_on = whole is not None and whole["end"] is None
    return {
        "record": record,
        "commit": known(record.repo, [record.sha], deps)[record.sha],
        "trace": found["trace_id"],
        "rows": [] if scale is None else list(_rows(spans[:ROWS], scale, now)),
        "more": max(len(spans) - ROWS, 0),
        "count": len(found["spans"]),
        "took": None if whole is None else _end(whole, now) - moment(whole["start"]),
        "tears": [] if scale is None else scale.tears,
        "marks": [] if scale is None else list(_marks(scale)),
        "now": scale.x(now) if scale is not None and goes_on else None,
        "lasts": SOON
        if goes_on and any(span["name"].startswith("deploy ") and not span["end"] for span in spans)
        else MINUTE,
    }


def _scale(spans: Sequence[Span], now: datetime, *, folded: bool) -> Scale | None:
    if not spans:
        return None
    times = sorted({time for span in spans for time in (moment(span["start"]), _end(span, now))})
    return Scale(times[0], times[-1], times, folded=folded)


def _marks(scale: Scale) -> Iterator[tuple[int, str]]:
    """Yield texts for the axis, with their places in percent: the time of the beginning, then how long after it."""
    for x, after in scale.marks():
        yield round(x / WIDTH * 100), f"+{_length(after)}" if after else scale.begin.strftime("%m-%d %H:%M:%S")


def _rows(spans: Sequence[Span], scale: Scale, now: datetime) -> Iterator[Row]:
    depth: dict[str | None, int] = {None: -1}
    for span in spans:
        about, start, end = span["attributes"], moment(span["start"]), _end(span, now)
        level = depth[span["span_id"]] = depth.get(span["parent_id"], 0) + 1
        x = min(scale.x(start), WIDTH - LEAST)
        usually = timedelta(milliseconds=about["usually_ms"]) if "usually_ms" in about else None
        yield Row(
            span["span_id"],
            span["name"],
            str(about.get("cmd", ""))[:CMD],
            span["service"],
            min(level, DEEPEST),
            _kind(span),
            round(x, 1),
            round(max(scale.x(end) - x, LEAST), 1),
            _length(end - start) if end > start else f"at +{_length(start - scale.begin)}",
            span["end"] is None,
            bool(about.get("critical")),
            None if usually is None else _length(usually),
            None if usually is None else round(scale.x(start + usually), 1),
            start,
            [(name, str(about[name])) for name in _LONG if name in about],
            [(name, _text(value)) for name, value in about.items() if name not in (*_LONG, "critical", "usually_ms")],
        )


def _length(took: timedelta) -> str:
    """Return a length as other pages show it, but with a tenth of a millisecond where that matters."""
    milliseconds = took / timedelta(milliseconds=1)
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else length(took)


def _kind(span: Span) -> str:
    if span["name"].startswith("wait for "):
        return "w"
    outcome = "error" if "error" in span["attributes"] else span["attributes"].get("outcome")
    if span["name"].startswith("deploy "):
        return outcome if outcome in _STATES else "running"
    return outcome if outcome in ("failed", "error") else "q"


def _text(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def _end(span: Span, now: datetime) -> datetime:
    return moment(span["end"]) if span["end"] else max(now, moment(span["start"]))
