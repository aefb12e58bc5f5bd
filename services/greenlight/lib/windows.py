"""Windows of local time as the pipeline file writes them: between two dates, or once a week. Daylight saving counts."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEK = timedelta(days=7)

_WEEKLY = re.compile(rf"({'|'.join(WEEKDAYS)}) ([0-9]{{2}}):([0-9]{{2}})")
_SECOND = timedelta(seconds=1)

Moment = datetime | timedelta
"""A local date and time, or a time of every week as the distance from its Monday, 00:00."""


def moment(text: str) -> Moment:
    """Return the local time that a text names: `2026-12-24`, `2026-12-24 18:00`, `fri 18:00`. ValueError for any other."""
    weekly = _WEEKLY.fullmatch(text)
    if weekly is None:
        return datetime.fromisoformat(text)
    return timedelta(days=WEEKDAYS.index(weekly[1]), hours=int(weekly[2]), minutes=int(weekly[3]))


def zone(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name. ValueError says what to do where there is none."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # OSError: the name of a folder of zones
        pass
    known = zoneinfo.available_timezones()
    if not known:
        raise ValueError(
            "cannot be looked up: this machine has no time zone database; install the system's package tzdata, or "
            "Python's"
        )
    from difflib import get_close_matches

    near = get_close_matches(name, sorted(known), n=1)
    meant = f"did you mean {near[0]!r}?" if near else "write an IANA name such as Europe/Berlin"
    raise ValueError(f"{name!r} is not a time zone; {meant}")


@dataclass(frozen=True, slots=True)
class Window:
    """The time from `opens` on and before `closes`, both local in a zone and of the same kind."""

    opens: Moment
    closes: Moment
    zone: ZoneInfo

    def ends(self, now: datetime) -> datetime | None:
        """Return when the window ends that is open now; None: it is closed."""
        return max((end for start, end in self._spans(now) if start <= now < end), default=None)

    def _spans(self, now: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield the windows that may be open now."""
        opens, closes = self.opens, self.closes
        if isinstance(opens, datetime):
            assert isinstance(closes, datetime)
            yield instant(opens, self.zone), instant(closes, self.zone, last=True)
            return
        assert isinstance(closes, timedelta)
        length = (closes - opens) % WEEK
        today = now.astimezone(self.zone).replace(tzinfo=None, fold=0, hour=0, minute=0, second=0, microsecond=0)
        monday = today - timedelta(days=today.weekday())
        for first in (monday - WEEK, monday, monday + WEEK):  # the next one, too: clocks may be set back over midnight
            start = first + opens
            yield instant(start, self.zone), instant(start + length, self.zone, last=True)

    def __str__(self) -> str:
        every = "every week " if isinstance(self.opens, timedelta) else ""
        return f"{every}from {_written(self.opens)} to {_written(self.closes)} ({self.zone.key})"


def instant(wall: datetime, zone: ZoneInfo, *, last: bool = False) -> datetime:
    """Return when clocks of a zone show a local time: the first time, or with `last` the last time that they do.

    A local time that clocks skip is the instant at which they skip it.
    """
    early, late = sorted(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if early.astimezone(zone).replace(tzinfo=None, fold=0) == wall:
        return late if last else early
    before = early.astimezone(zone).utcoffset()
    while late - early > _SECOND:  # the clocks are set after `early`, and at the latest at `late`
        middle = early + (late - early) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).utcoffset() == before:
            early = middle
        else:
            late = middle
    return late


def _written(moment: Moment) -> str:
    if isinstance(moment, datetime):
        return f"{moment:%Y-%m-%d %H:%M}"
    hours, minutes = divmod(moment.seconds // 60, 60)
    return f"{WEEKDAYS[moment.days]} {hours:02}:{minutes:02}"
