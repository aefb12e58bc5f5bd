"""What one ping does about a backlog."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from greenlight.events import Event, types
from greenlight.events.recorded import look_again
from greenlight.ledger.port import Transaction
from greenlight.model.rows import Due
from greenlight.reconciler.app import BATCH
from greenlight.reconciler.domain import in_turn
from support.flow import REPO, Shop, sha_of


def test_one_repositorys_backlog_does_not_keep_anothers_event_waiting() -> None:
    """Keys take turns, each in its order."""
    now = datetime.now(UTC)
    due = [
        Due(f"{repo}/{n}", now, look_again(repo, sha_of(str(n)), f"{repo}/{n}", now))
        for repo, count in (("a/a", 5), ("b/b", 2), ("c/c", 1))
        for n in range(count)
    ]
    assert [item.key for item in in_turn(due)] == [
        *("a/a/0", "b/b/0", "c/c/0", "a/a/1", "b/b/1", "a/a/2", "a/a/3", "a/a/4")
    ]


def test_bodies_that_cannot_be_dropped_keep_nothing_else_from_being_done(tmp_path: Path) -> None:
    """A ping says that a dependency is down, and has emitted what was due."""
    shop, now = Shop(tmp_path), datetime.now(UTC)
    ledger = shop.greenlight.ledger
    (tmp_path / "data" / "bodies").rename(tmp_path / "elsewhere")
    reconciler = shop.greenlight.services["reconciler"]
    due = Due("tests/1", now - timedelta(minutes=1), look_again(REPO, sha_of("1"), "tests/1", now))
    ledger.transact(Transaction(due=[due]))
    answers = []
    for id in ("1", "2"):
        answers.append(reconciler.handle(Event.of(types.PING, id=id, source="/tests", time=now, data={})).status)
    assert ledger.due(datetime.now(UTC)) == []
    assert answers == [202, 503]
    shop.stop()


def test_a_ping_takes_on_more_than_one_batch_of_what_is_due(tmp_path: Path) -> None:
    """After a broker that was killed with much in memory, a cluster's one ping a minute is not the limit."""
    shop, now = Shop(tmp_path), datetime.now(UTC)
    ledger = shop.greenlight.ledger
    due = [
        Due(
            f"tests/{number}", now - timedelta(minutes=1), look_again(REPO, sha_of(str(number)), f"tests/{number}", now)
        )
        for number in range(2 * BATCH + 1)
    ]
    ledger.transact(Transaction(due=due))
    ping = Event.of(types.PING, id="1", source="/tests", time=now, data={})
    assert shop.greenlight.services["reconciler"].handle(ping).status == 202
    assert ledger.due(datetime.now(UTC)) == []
    assert len(ledger.due(datetime.now(UTC) + timedelta(hours=1), limit=1000)) == len(due)
    shop.stop()
