"""What one ping does about a backlog."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from werkzeug.test import Client

from greenlight.events import Event, types
from greenlight.events.http import to_binary
from greenlight.events.recorded import look_again
from greenlight.ledger.port import Transaction
from greenlight.ledger.rows import Due
from greenlight.reconciler.app import BATCH
from support_flow import REPO, Shop, sha_of


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
    headers, body = to_binary(Event.of(types.PING, id="1", source="/tests", time=now, data={}))
    assert Client(shop.greenlight.apps["reconciler"]).post("/", data=body, headers=headers).status_code == 202
    assert ledger.due(datetime.now(UTC)) == []
    assert len(ledger.due(datetime.now(UTC) + timedelta(hours=1), limit=1000)) == len(due)
    shop.stop()
