"""What processes keep of the webhooks that they have answered: a row each, for a while, and never a large one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from greenlight.ledger.arrivals import BYTES, MOST
from greenlight.ledger.port import Ledger
from greenlight.model.arrivals import Arrival, ProcessArrivals
from support.ledger import REPO, HandClock, at, sha

DAY = timedelta(days=1)


def a_row(process: str = "pod-1/ab", seconds: float = 1, why: str = "") -> ProcessArrivals:
    """Make what a process has written down at that second."""
    arrivals = (
        Arrival(at(seconds), "github", "accepted", 202, repo=REPO, sha=sha(1)),
        Arrival(at(0.5), "gates", "unauthenticated", 401, why or "the signature is wrong: <b>\x00\u202e\U0001f600"),
    )
    return ProcessArrivals(process, at(0), at(seconds), {"accepted": 3, "unauthenticated": 1}, arrivals)


def test_each_process_has_one_row_which_every_other_reads(
    ledger: Ledger, adapter: object, reopen: Callable[[], Ledger]
) -> None:
    """The one that was written last first; a later one takes the place of an earlier one of the same process."""
    assert ledger.arrivals.newest() == []
    ledger.arrivals.keep(a_row(), DAY)
    ledger.arrivals.keep(a_row("pod#2/ab", 2), DAY)
    assert adapter.another().arrivals.newest() == [a_row("pod#2/ab", 2), a_row()]  # type: ignore[attr-defined]
    ledger.arrivals.keep(a_row(seconds=3), DAY)
    assert reopen().arrivals.newest() == [a_row(seconds=3), a_row("pod#2/ab", 2)]


def test_the_row_of_a_process_that_stopped_goes(ledger: Ledger, clock: HandClock) -> None:
    """Once its time is over, whether somebody writes or not."""
    ledger.arrivals.keep(a_row("stopped"), DAY)
    clock.time += DAY - timedelta(minutes=1)
    ledger.arrivals.keep(a_row("works", DAY.total_seconds()), DAY)
    assert [row.process for row in ledger.arrivals.newest()] == ["works", "stopped"]
    clock.time += timedelta(minutes=2)
    assert [row.process for row in ledger.arrivals.newest()] == ["works"]
    ledger.arrivals.keep(a_row("works", DAY.total_seconds() + 1), DAY)
    assert [row.process for row in ledger.arrivals.newest()] == ["works"]


def test_only_the_rows_that_were_written_last_are_read(ledger: Ledger) -> None:
    """However many processes were started and stopped."""
    for n in range(MOST + 3):
        ledger.arrivals.keep(a_row(f"pod-{n}", n), DAY)
    assert [row.process for row in ledger.arrivals.newest()] == [f"pod-{n}" for n in range(MOST + 2, 2, -1)]


def test_a_row_that_is_too_large_is_refused_and_changes_nothing(ledger: Ledger) -> None:
    """One that is as large as a row may be comes back equal, though it cannot be packed."""
    ledger.arrivals.keep(a_row(), DAY)
    with pytest.raises(ValueError, match="at most"):
        ledger.arrivals.keep(a_row(why="x" * BYTES), DAY)
    assert ledger.arrivals.newest() == [a_row()]
    noise = "".join(chr(0x100 + (n * n * 7919) % 0x600) for n in range(15_000))
    large = a_row(seconds=9, why=noise)
    ledger.arrivals.keep(large, DAY)
    assert ledger.arrivals.newest() == [large]


def test_a_row_that_cannot_be_read_hides_no_other(ledger: Ledger, adapter: object) -> None:
    """It is reported as every other row."""
    ledger.arrivals.keep(a_row("spoiled"), DAY)
    ledger.arrivals.keep(replace(a_row("well", 2)), DAY)
    adapter.spoil("arrivals", "spoiled", "[]")  # type: ignore[attr-defined]
    assert [row.process for row in ledger.arrivals.newest()] == ["well"]
    assert [row.table for row in ledger.unreadable()] == ["arrivals"]
