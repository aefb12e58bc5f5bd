"""Reports that were sent, as they are known again after a restart."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from greenlight.feedback.sent import REPORTED, Sent, SentBefore
from greenlight.ledger.port import Transaction
from greenlight.ledger.sqlite.ledger import SCHEMA, SqliteLedger
from greenlight.model import keys
from greenlight.model.rows import NewEntry
from greenlight.store import Store
from support.ledger import REPO, sha

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_however_many_reports_a_commit_has_none_is_sent_again(tmp_path: Path) -> None:
    """Such as one of a repository with many applications: more than the ledger reads at once."""
    store = Store(tmp_path / "ledger.db", [SCHEMA])
    ledger, stream = SqliteLedger(store, tmp_path / "bodies", clock=lambda: NOW), keys.feedback_stream(REPO, sha(1))
    payloads = [{"key": f"status/{n % 100}", "digest": f"d{n}", "state": "pending"} for n in range(2050)]
    entries = [NewEntry(stream, REPORTED, NOW, f"e{n}", it, REPO, "") for n, it in enumerate(payloads)]
    ledger.transact(Transaction(entries=entries))
    before = SentBefore(ledger, REPO, sha(1))
    assert [before.of(f"status/{n}") for n in (0, 49, 50)] == [Sent(f"d{n}", "pending") for n in (2000, 2049, 1950)]
    last = before.keep("status/0", Sent("new", "success", 7), NOW)
    assert SentBefore(ledger, REPO, sha(1)).of("status/0") == last
    store.close()
