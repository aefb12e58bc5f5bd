"""Windows of local time, against clocks that are read one after another for a year."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlight.lib.windows import WEEK, WEEKDAYS, Window, instant, moment, zone

STEP = timedelta(minutes=15)
BEGIN = datetime(2025, 12, 28, tzinfo=UTC)
STEPS = 372 * 96

# New York and Berlin change by an hour, Lord Howe by half an hour, Chatham is at :45, Gaza and Santiago change at
# midnight, Casablanca twice about Ramadan; Kolkata never.
ZONES = (
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Asia/Gaza",
    "America/Santiago",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "UTC",
)


@cache
def clock(name: str) -> list[datetime]:
    """What a clock of the zone shows, every quarter of an hour."""
    there = ZoneInfo(name)
    return [(BEGIN + n * STEP).astimezone(there).replace(tzinfo=None, fold=0) for n in range(STEPS)]


@cache
def shown(name: str) -> dict[datetime, list[datetime]]:
    """When the clock shows a local time: once, twice, or not in here."""
    found: dict[datetime, list[datetime]] = defaultdict(list)
    for n, wall in enumerate(clock(name)):
        found[wall].append(BEGIN + n * STEP)
    return found


def by_clock(name: str, wall: datetime, last: bool) -> datetime:
    """The first or last instant at which the clock shows the time, or at which it jumps over it."""
    if wall in shown(name):
        return shown(name)[wall][-1 if last else 0]
    walls = clock(name)
    n = next(n for n in range(1, STEPS) if walls[n - 1] < wall < walls[n])
    return BEGIN + n * STEP


@pytest.mark.parametrize("name", ZONES)
def test_every_local_time_of_a_year_is_an_instant(name: str) -> None:
    """One that comes twice is its first and its last, and one that is skipped is the jump."""
    walls = clock(name)
    there, changes = ZoneInfo(name), 0
    wall = datetime(2026, 1, 1)
    while wall < datetime(2027, 1, 1):
        instants = shown(name).get(wall, [])
        if len(instants) != 1:
            changes += 1
        for last in (False, True):
            expected = (instants[-1 if last else 0]) if instants else by_clock(name, wall, last)
            assert instant(wall, there, last=last) == expected
        wall += STEP
    assert (changes > 0) is (name not in ("Asia/Kolkata", "UTC"))
    assert len(walls) == STEPS


@given(
    st.sampled_from(ZONES),
    st.integers(0, 7 * 96 - 1),
    st.integers(0, 7 * 96 - 1),
    st.integers(4 * 96, STEPS - 12 * 96),
)
def test_a_window_of_every_week_is_open_between_its_two_times(name: str, opens: int, closes: int, n: int) -> None:
    """Never shorter than written: it opens at the first of two equal times, and closes at the last."""
    if opens == closes:
        return
    window = Window(opens * STEP, closes * STEP, ZoneInfo(name))
    now = BEGIN + n * STEP
    walls = clock(name)
    monday = datetime(2025, 12, 22)
    ends = []
    while monday <= walls[n] + WEEK and monday < datetime(2026, 12, 26):
        start = monday + opens * STEP
        end = start + (closes - opens) * STEP % WEEK
        if start >= walls[0] + timedelta(days=2) and end < walls[-1] - timedelta(days=2):
            begin, over = by_clock(name, start, False), by_clock(name, end, True)
            ends += [over] if begin <= now < over else []
        monday += WEEK
    if datetime(2026, 1, 12) < walls[n] < datetime(2026, 12, 10):
        assert window.ends(now) == max(ends, default=None)


def test_a_window_between_two_dates_is_open_from_the_first_on_and_before_the_second() -> None:
    """A date alone is its midnight."""
    window = Window(moment("2026-12-24"), moment("2026-12-27 08:30"), zone("Europe/Berlin"))
    opens, closes = datetime(2026, 12, 23, 23, tzinfo=UTC), datetime(2026, 12, 27, 7, 30, tzinfo=UTC)
    instants = (opens - timedelta(seconds=1), opens, closes - timedelta(seconds=1), closes)
    assert [window.ends(now) for now in instants] == [None, closes, closes, None]
    assert str(window) == "from 2026-12-24 00:00 to 2026-12-27 08:30 (Europe/Berlin)"


def test_a_window_of_every_week_may_go_over_its_end() -> None:
    """From Friday to Monday."""
    window = Window(moment("fri 18:00"), moment("mon 08:00"), zone("UTC"))
    friday, monday = datetime(2026, 11, 27, 18, tzinfo=UTC), datetime(2026, 11, 30, 8, tzinfo=UTC)
    second = timedelta(seconds=1)
    instants = (friday - second, friday, monday - second, monday)
    assert [window.ends(now) for now in instants] == [None, monday, monday, None]
    assert str(window) == "every week from fri 18:00 to mon 08:00 (UTC)"
    assert [moment(f"{day} 00:00") for day in WEEKDAYS] == [timedelta(days=n) for n in range(7)]


def test_a_zone_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was meant, or with what to install."""
    for name, why in (
        ("Europe/Berlim", "did you mean 'Europe/Berlin'"),
        ("Europe", "is not a time zone"),
        ("../etc/passwd", "is not a time zone"),
        ("///", "write an IANA name such as Europe/Berlin"),
    ):
        with pytest.raises(ValueError, match=why):
            zone(name)
    monkeypatch.setattr("zoneinfo.available_timezones", set)
    with pytest.raises(ValueError, match="install the system's package tzdata"):
        zone("Europe/Berlim")
