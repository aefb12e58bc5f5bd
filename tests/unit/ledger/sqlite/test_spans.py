"""The table of kept spans is bounded by days and by bytes, and one write drops only so much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from greenlight.ledger.sqlite.ledger import SCHEMA
from greenlight.ledger.sqlite.spans import DROPPED, SqliteSpans
from greenlight.store import Store
from support.ledger import HandClock

DAY = timedelta(days=1)
TRACE = "a" * 32


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "ledger.db", [SCHEMA])) as opened:
        yield opened


def rows(store: Store) -> int:
    with store.read() as connection:
        return int(connection.execute("SELECT count(*) FROM spans").fetchone()[0])


def test_what_has_lasted_longer_goes_some_with_each_write(store: Store) -> None:
    """Many that became too old at once do not make one write long."""
    clock = HandClock()
    spans = SqliteSpans(store, clock.now)
    many = 3 * DROPPED
    spans.keep([(TRACE, b"old")] * many, DAY)
    clock.time += DAY / 2
    spans.keep([(TRACE, b"new")], DAY)
    assert rows(store) == many + 1
    left = []
    clock.time += DAY
    for _ in range(4):
        spans.keep([(TRACE, b"newer")], DAY)
        left.append(rows(store))
    assert left == [many + 2 - (DROPPED + 1), many + 3 - 2 * (DROPPED + 1), 4, 5]
    assert spans.of([TRACE]) == [b"new"] + [b"newer"] * 4


def test_of_more_bytes_than_may_be_kept_the_oldest_go(store: Store) -> None:
    """Also after a restart, which counts what is there."""
    clock = HandClock()
    spans = SqliteSpans(store, clock.now, most=100)
    for n in range(30):
        spans.keep([(TRACE, b"%010d" % n)], DAY)
    assert spans.of([TRACE]) == [b"%010d" % n for n in range(20, 30)]
    again = SqliteSpans(store, clock.now, most=50)
    again.keep([(TRACE, b"x" * 20)], DAY)
    assert again.of([TRACE]) == [b"%010d" % n for n in range(27, 30)] + [b"x" * 20]


def test_a_write_that_fails_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the table nor what is known of its size."""
    spans = SqliteSpans(store, HandClock().now, most=100)
    spans.keep([(TRACE, b"1" * 60)], DAY)
    with pytest.raises(ValueError, match="non-hex"):
        spans.keep([("no trace", b"2" * 60)], DAY)
    spans.keep([(TRACE, b"3" * 40)], DAY)
    assert spans.of([TRACE]) == [b"1" * 60, b"3" * 40]
