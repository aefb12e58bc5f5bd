"""The time of a commit as bars, one for each wait and deployment; time in which nothing happened is folded. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from greenlight.events import moment

WIDTH = 1000
"""Units of the whole line."""

FOLD = 90
"""Units of a stretch that is folded."""

QUIET = 0.12
"""The part of the whole from which on a stretch without an event is folded."""

APART = 160
"""Units between the texts of two times."""

LEAST = timedelta(seconds=2)
"""No stretch shorter than this is folded."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One line: a wait, or a deployment."""

    name: str
    kind: str  # wait or deploy
    state: str  # of a deployment: its outcome
    x: float
    width: float
    took: timedelta
    open: bool  # it still goes on


@dataclass(frozen=True, slots=True)
class FoldedTime:
    """A stretch that is folded."""

    x: float
    width: float
    took: timedelta


@dataclass(frozen=True, slots=True)
class Timeline:
    """The whole picture."""

    bars: Sequence[Bar]
    tears: Sequence[FoldedTime]
    marks: Sequence[tuple[float, timedelta]]  # places, with the time since the first push
    now: float | None  # where now is, if something still goes on
    took: timedelta


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    kind: str
    state: str
    start: datetime
    end: datetime | None


def timeline(
    spans: Sequence[Mapping[str, Any]], application: str, environments: Sequence[str], now: datetime, *, folded: bool
) -> Timeline | None:
    """Return the picture for one application of the commit; None while nothing waited or was deployed."""
    parts = [*_waits(spans, application), *_deployments(spans, application, environments)]
    if not parts:
        return None
    begin = min(part.start for part in parts)
    end = max(part.end or now for part in parts)
    scale = Scale(begin, end, sorted({time for part in parts for time in (part.start, part.end or now)}), folded=folded)
    parts.sort(key=lambda part: (part.end or now, part.start))
    bars = [_bar(part, scale, now) for part in parts]
    goes_on = any(part.end is None for part in parts)
    return Timeline(bars, scale.tears, scale.marks(), scale.x(now) if goes_on else None, end - begin)


def _waits(spans: Sequence[Mapping[str, Any]], application: str) -> Sequence[_Part]:
    """Return a part for each gate: from the first wait for it in any environment to the end of the last one."""
    found: dict[str, _Part] = {}
    for span in spans:
        about = span["attributes"]
        if not span["name"].startswith("wait for ") or about.get("application") != application:
            continue
        name, start = about["gate"], moment(span["start"])
        end = moment(span["end"]) if span["end"] else None
        known = found.get(name)
        if known is not None:
            start = min(start, known.start)
            end = None if end is None or known.end is None else max(end, known.end)
        found[name] = _Part(name, "wait", "pending", start, end)
    return list(found.values())


def _deployments(spans: Sequence[Mapping[str, Any]], application: str, environments: Sequence[str]) -> Sequence[_Part]:
    names = {f"deploy {application}/{name}": name for name in environments}
    return [
        _Part(
            f"deploy to {names[span['name']]}",
            "deploy",
            span["attributes"].get("outcome", "running"),
            moment(span["start"]),
            moment(span["end"]) if span["end"] else None,
        )
        for span in spans
        if span["name"] in names
    ]


def _bar(part: _Part, scale: Scale, now: datetime) -> Bar:
    end = max(part.end or now, part.start)
    x = min(scale.x(part.start), WIDTH - 3.0)
    width = max(scale.x(end) - x, 3.0)
    return Bar(part.name, part.kind, part.state, round(x, 1), round(width, 1), end - part.start, part.end is None)


class Scale:
    """Place times on the line; stretches without an event are narrow where the line is folded."""

    def __init__(self, begin: datetime, end: datetime, times: Sequence[datetime], *, folded: bool) -> None:
        self.begin = begin
        whole = max((end - begin).total_seconds(), 0.001)
        least = max(whole * QUIET, LEAST.total_seconds())
        lengths = [(b - a).total_seconds() for a, b in pairwise(times)]
        quiet = [folded and length >= least for length in lengths]
        if all(quiet):  # nothing is left to be seen in full
            quiet = [False] * len(quiet)
        room = WIDTH - FOLD * sum(quiet)
        shown = max(sum(length for length, is_quiet in zip(lengths, quiet, strict=True) if not is_quiet), 0.001)
        self._points: list[tuple[datetime, float]] = [(times[0], 0.0)]
        self.tears: list[FoldedTime] = []
        x = 0.0
        for start, length, fold in zip(times, lengths, quiet, strict=False):
            width = FOLD if fold else room * length / shown
            if fold:
                self.tears.append(FoldedTime(round(x, 1), FOLD, timedelta(seconds=length)))
            x += width
            self._points.append((start + timedelta(seconds=length), x))

    def x(self, time: datetime) -> float:
        """Return the place of a time, in units."""
        for (a, left), (b, right) in pairwise(self._points):
            if time <= b:
                part = (time - a) / (b - a) if b > a else 0.0
                return left + (right - left) * max(part, 0.0)
        return self._points[-1][1]

    def marks(self) -> Sequence[tuple[float, timedelta]]:
        """Return a few times since the begin with their places, so that no two texts touch, nor the one of a fold."""
        found = [(0.0, timedelta())]
        folds = [tear.x for tear in self.tears]
        for time, x in self._points[1:]:
            if x - found[-1][0] >= APART and x <= WIDTH - APART / 2 and all(abs(x - fold) >= APART for fold in folds):
                found.append((round(x, 1), time - self.begin))
        return found
