"""Filters of the templates: times, lengths and names as people read them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from markupsafe import Markup, escape


def ago(then: datetime, now: datetime) -> str:
    """Return how long ago it was, in the largest unit that fits: `now`, `5 min`, `3 h`, `9 d`."""
    seconds = max((now - then).total_seconds(), 0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "now"


def length(took: timedelta) -> str:
    """Return a length in the two units that matter: `20 ms`, `1.4 s`, `14 s`, `4 min 9 s`, `1 h 59 min`, `2 d 3 h`."""
    seconds = max(took.total_seconds(), 0)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, small, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{whole} s"


def time_tag(then: datetime | None, now: datetime, word: str = "") -> Markup:
    """Return a <time> element: how long ago, with the exact time when one points at it; `word` follows it."""
    if then is None:
        return Markup("")
    exact = then.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    shown = ago(then, now)
    if word:
        shown = "just now" if shown == "now" else f"{shown} {word}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(then.isoformat(), exact, shown)


def initials(name: str) -> str:
    """Return the first letters of the first and the last word of a name, in capitals."""
    words = [word for word in name.split() if word[:1].isalnum()]
    return "".join(word[0] for word in (words[:1] + words[1:][-1:])).upper() or "?"


def coded(text: str, parts: Sequence[str]) -> Markup:
    """Return a text in which the parts that are typed in somewhere as they are stand in <code>."""
    shown = escape(text)
    for part in parts:
        shown = Markup("<code>{}</code>").format(part).join(shown.split(escape(part)))
    return shown


def moment(then: datetime) -> str:
    """Return a time to the minute: `2026-11-28 10:03 UTC`."""
    return then.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def broken(text: str) -> Markup:
    """Return a name with places where a line may end: after `/`, `_` and `-`."""
    shown = escape(text)
    for mark in "/_-":
        shown = (escape(mark) + Markup("<wbr>")).join(shown.split(mark))
    return shown
