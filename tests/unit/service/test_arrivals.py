"""What a process keeps of webhooks: bounded whatever is sent, written by itself, and told together with other processes'."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from greenlight.ledger.arrivals import BYTES, MOST, bounded
from greenlight.lib.clock import SystemClock
from greenlight.lib.errors import Unavailable
from greenlight.model.arrivals import Arrival, ProcessArrivals
from greenlight.service import arrivals
from greenlight.service.arrivals import KEPT, LASTS, KeptArrivals, known_arrivals
from support.timing import PATIENCE

LOG = logging.getLogger("greenlight.tests")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Rows:
    """Rows of processes in memory, which can be made to refuse or to hang."""

    def __init__(self, *there: ProcessArrivals) -> None:
        self.there = list(there)
        self.refusals = 0
        self.hang: threading.Event | None = None
        self.came, self.taken = threading.Event(), threading.Event()

    def keep(self, row: ProcessArrivals, lasts: timedelta) -> None:
        self.came.set()
        if self.hang is not None:
            assert self.hang.wait(PATIENCE)
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("no room")
        bounded(row)
        self.there.append(row)
        self.taken.set()

    def newest(self) -> Sequence[ProcessArrivals]:
        return self.there


def kept(rows: Rows) -> KeptArrivals:
    return KeptArrivals(rows, "pod/1", SystemClock(), LOG)


def accepted(n: float = 0, sender: str = "github") -> Arrival:
    return Arrival(NOON + timedelta(seconds=n), sender, "accepted", 202, repo="acme/shop", sha="a" * 40)


def refused(n: float = 0, why: str = "no", label: str = "github") -> Arrival:
    return Arrival(NOON + timedelta(seconds=n), label, "unauthenticated", 401, why)


def a_row(process: str, *kept: Arrival, since: datetime = NOON, at: datetime = NOON) -> ProcessArrivals:
    return ProcessArrivals(process, since, at, {"accepted": len(kept)}, kept)


def test_a_row_is_bounded_and_a_flood_hides_no_sender() -> None:
    """The last of each sender stays, and half of what is shown is of senders that signed."""
    mine = kept(Rows())
    for n in range(3):
        mine.add(accepted(n, sender=f"gate-{n}"))
    mine.add(refused(4, label="circleci"))
    for n in range(1000):
        mine.add(refused(5 + n, "\u20ac<script>\U0001f600" * 25))
    row = mine.row()
    assert len(bounded(row).encode()) <= BYTES
    assert row.counts == {"accepted": 3, "unauthenticated": 1001}
    assert {it.sender for it in row.arrivals} == {"gate-0", "gate-1", "gate-2", "circleci", "github"}
    known = known_arrivals(Rows(row), None, NOON)
    assert known.arrivals.last_refused("circleci") == refused(4, label="circleci")
    assert known.arrivals.last_of("gate-1") == accepted(1, sender="gate-1")
    assert known.arrivals.last_of("github") is None
    shown = known.arrivals.newest(20)
    assert [it.verdict for it in shown] == ["unauthenticated"] * 17 + ["accepted"] * 3
    for n in range(100):
        mine.add(accepted(n))
    assert sorted(it.verdict for it in mine.newest(20)) == ["accepted"] * 10 + ["unauthenticated"] * 10


def test_many_webhooks_are_one_write_and_the_last_ones_are_written_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the pause is, and nothing more where nothing more came."""
    monkeypatch.setattr(arrivals, "DELAY", 3600.0)
    rows = Rows()
    mine = kept(rows)
    mine.start()
    for n in range(5000):
        mine.add(refused(n))
    mine.stop(PATIENCE)
    assert [sum(row.counts.values()) for row in rows.there] == [5000]
    idle = kept(rows)
    idle.start()
    idle.stop(PATIENCE)
    assert len(rows.there) == 1


def test_a_ledger_that_hangs_or_refuses_holds_up_no_webhook(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What could not be written is written later; the log says it once."""
    monkeypatch.setattr(arrivals, "DELAY", 0.0)
    rows = Rows()
    rows.hang, rows.refusals = threading.Event(), 2
    mine = kept(rows)
    mine.start()
    mine.add(accepted(0))
    assert rows.came.wait(PATIENCE)
    for n in range(1, KEPT + 10):
        mine.add(accepted(n))
    assert rows.there == []
    rows.hang.set()
    assert rows.taken.wait(PATIENCE)
    mine.stop(PATIENCE)
    assert rows.there[-1].counts == {"accepted": KEPT + 10}
    assert [record.getMessage() for record in caplog.records].count(
        "the last webhooks cannot be written down for the board; it is tried again: no room"
    ) == 1


def test_the_webhooks_of_all_processes_are_told_together() -> None:
    """Newest first, with this process's own as they are now; and since when nothing is missing."""
    early, late = a_row("a", accepted(1), accepted(3)), a_row("b", accepted(2, sender="circleci"))
    known = known_arrivals(Rows(early, late), None, NOON)
    assert known.arrivals.newest(9) == [accepted(3), accepted(2, sender="circleci"), accepted(1)]
    assert known.since == NOON
    assert known_arrivals(Rows(early), None, NOON + 2 * LASTS).since == NOON + LASTS
    assert known_arrivals(Rows(), None, NOON).since == NOON - LASTS
    many = [a_row(str(n), since=NOON, at=NOON + timedelta(minutes=MOST - n)) for n in range(MOST)]
    assert known_arrivals(Rows(*many), None, NOON).since == NOON + timedelta(minutes=1)
    mine = kept(Rows())
    mine.add(accepted(4))
    stale = a_row("pod/1")
    known = known_arrivals(Rows(stale, late), mine, mine.since)
    assert known.arrivals.newest(9) == [accepted(4), accepted(2, sender="circleci")]
    assert [row.process for row in known.processes] == ["pod/1", "b"]
