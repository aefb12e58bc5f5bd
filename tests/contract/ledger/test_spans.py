"""What is promised of kept spans: they are there beside everything else, for a while."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from greenlight.ledger.port import Ledger
from greenlight.ledger.spans import MOST
from support.ledger import HandClock

WEEK = timedelta(days=7)
ONE, OTHER = "a" * 32, "b" * 32


def test_parts_are_found_by_their_trace_in_the_order_in_which_they_came(
    ledger: Ledger, clock: HandClock, reopen: Callable[[], Ledger]
) -> None:
    """Of one write and of several; the same bytes; nothing of a trace that nobody asked for."""
    assert ledger.spans.of([ONE, OTHER]) == []
    ledger.spans.keep([(ONE, b"1"), (OTHER, b"2"), (ONE, b"3\x00\xff")], WEEK)
    clock.time += timedelta(seconds=1)
    ledger.spans.keep([(OTHER, b"4")], WEEK)
    for _ in range(2):
        assert ledger.spans.of([ONE]) == [b"1", b"3\x00\xff"]
        assert ledger.spans.of([ONE, OTHER]) == [b"1", b"2", b"3\x00\xff", b"4"]
        assert ledger.spans.of([]) == []
        ledger = reopen()


def test_many_parts_are_kept_at_once_and_the_newest_of_a_trace_are_read(ledger: Ledger, clock: HandClock) -> None:
    """More than one request may hold."""
    ledger.spans.keep([(ONE, b"%d" % n) for n in range(MOST + 30)], WEEK)
    assert ledger.spans.of([ONE]) == [b"%d" % n for n in range(30, MOST + 30)]
