"""What the SQLite adapter promises beyond the port."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenlight.ledger.changes import Emitted
from greenlight.ledger.journal import verify
from greenlight.ledger.port import Conflict, Transaction
from greenlight.ledger.rows_json import dumps, loads
from greenlight.ledger.sqlite.ledger import SCHEMA, SqliteLedger
from greenlight.lib.errors import Unavailable
from greenlight.model.rows import Record
from greenlight.store import Schema, Store, Tx
from support.ledger import REPO, HandClock, a_due, a_fact, a_record, an_entry, an_event, at, sha

LOG = Schema("log", ("CREATE TABLE log (id TEXT)",))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with the ledger's tables and a log beside them."""
    store = Store(tmp_path / "store.db", [SCHEMA, LOG])
    yield store
    store.close()


def to_log(emitted: Emitted) -> Callable[[Tx], object]:
    """Where the embedded broker takes events."""
    return lambda tx: tx.execute("INSERT INTO log VALUES (?)", (emitted.event.id,))


def logged(store: Store) -> list[str]:
    """The ids in the log."""
    with store.read() as connection:
        return [id for (id,) in connection.execute("SELECT id FROM log ORDER BY rowid")]


def test_with_emit_a_fact_and_its_event_are_one_commit_and_the_outbox_stays_empty(store: Store, tmp_path: Path) -> None:
    """Emitted inside the transaction: undone with it, and not at all for a repetition."""
    ledger = SqliteLedger(store, tmp_path / "bodies", emit=to_log, clock=HandClock().now)
    assert ledger.accept(a_fact(), None, a_due())
    assert not ledger.accept(a_fact(), None, a_due())
    ledger.transact(Transaction(emit=[an_event("a"), an_event("b")]))
    with pytest.raises(Conflict):
        ledger.transact(Transaction(records=[a_record(version=5)], emit=[an_event("c")]))
    assert logged(store) == ["f1", "a", "b"]
    assert ledger.outbox(older_than=at(10)) == []


def test_an_emit_that_fails_undoes_the_fact(store: Store, tmp_path: Path) -> None:
    """No fact without its event."""

    def fails(emitted: Emitted) -> Callable[[Tx], None]:
        def step(tx: Tx) -> None:
            raise LookupError("no log")

        return step

    ledger = SqliteLedger(store, tmp_path / "bodies", emit=fails, clock=HandClock().now)
    with pytest.raises(LookupError):
        ledger.accept(a_fact(), None, a_due())
    assert ledger.fact("f1") is None


def test_a_full_disk_is_unavailable_and_reads_go_on(store: Store, tmp_path: Path) -> None:
    """In the port's words, for accept, transact and ready; all work again when there is room."""
    ledger = SqliteLedger(store, tmp_path / "bodies", clock=HandClock().now)
    ledger.accept(a_fact(), None, a_due())
    (pages,) = store.write(lambda tx: tx.execute("PRAGMA page_count").fetchone())
    store.write(lambda tx: tx.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    body = os.urandom(100_000)
    with pytest.raises(Unavailable, match="no space is left"):
        ledger.accept(a_fact("f2"), body, a_due())
    assert ledger.fact("f1") is not None
    assert ledger.fact("f2") is None
    store.write(lambda tx: tx.execute("PRAGMA max_page_count = 100000").fetchone())
    assert ledger.accept(a_fact("f2"), body, a_due())
    store.close()
    with pytest.raises(Unavailable, match="closed"):
        ledger.ready()
    with pytest.raises(Unavailable, match="closed"):
        ledger.fact("f1")


def test_a_folder_that_cannot_be_written_refuses_large_bodies_alone(store: Store, tmp_path: Path) -> None:
    """Unavailable, and nothing of the fact is written."""
    folder = tmp_path / "bodies"
    ledger = SqliteLedger(store, folder, clock=HandClock().now)
    folder.rmdir()
    with pytest.raises(Unavailable, match="a body of 300000 bytes cannot be kept"):
        ledger.accept(a_fact(), b"x" * 300_000, a_due())
    assert ledger.fact("f1") is None
    assert ledger.accept(a_fact(), b"small", a_due())


def test_a_folder_that_is_away_is_unavailable_and_keeps_no_other_body(store: Store, tmp_path: Path) -> None:
    """What the table holds is dropped, and read, all the same."""
    ledger = SqliteLedger(store, tmp_path / "bodies", clock=HandClock().now)
    ledger.accept(a_fact("1"), b"small", a_due("1"))
    (tmp_path / "bodies").rename(tmp_path / "elsewhere")
    assert ledger.body(f"sha256:{hashlib.sha256(b'small').hexdigest()}") == b"small"
    with pytest.raises(Unavailable, match="cannot be swept"):
        ledger.forget_bodies(at(10_000))
    assert ledger.body(f"sha256:{hashlib.sha256(b'small').hexdigest()}") is None


def test_what_a_crash_left_in_the_folder_is_swept_with_old_bodies(store: Store, tmp_path: Path) -> None:
    """Half-written files, and whole ones whose transaction never came; newer ones may be on their way."""
    clock = HandClock()
    ledger = SqliteLedger(store, tmp_path / "bodies", clock=clock.now)
    ledger.accept(a_fact(), b"x" * 300_000, a_due())
    for name, seconds in ((".partial-x", 0), ("0" * 64, 0), ("1" * 64, 50)):
        file = tmp_path / "bodies" / name
        file.write_bytes(b"left behind")
        os.utime(file, (at(seconds).timestamp(),) * 2)
    clock.time = at(20)
    body = b"y" * 300_000
    assert ledger.accept(a_fact("f2"), body, a_due())
    digest = hashlib.sha256(body).hexdigest()
    os.utime(tmp_path / "bodies" / digest, (at(0).timestamp(),) * 2)  # as a restored backup may leave it
    assert ledger.forget_bodies(at(10)) == 1
    left = sorted(entry.name for entry in (tmp_path / "bodies").iterdir())
    assert left == sorted([digest, "1" * 64])
    assert ledger.body(f"sha256:{digest}") == body


def test_the_stored_chain_is_plain_to_an_auditor_with_sqlite_alone(store: Store, tmp_path: Path) -> None:
    """And a row edited behind our back is found."""
    ledger = SqliteLedger(store, tmp_path / "bodies", clock=HandClock().now)
    ledger.transact(Transaction(entries=[an_entry(f"{n}", gate="tests") for n in range(3)]))
    store.close()
    foreign = sqlite3.connect(tmp_path / "store.db")
    with foreign:
        foreign.execute("""UPDATE entries SET payload = '{"gate":"other"}' WHERE seq = 2""")
    foreign.close()
    again = Store(tmp_path / "store.db", [SCHEMA, LOG])
    ledger = SqliteLedger(again, tmp_path / "bodies", clock=HandClock().now)
    assert verify(ledger.journal(f"commit/{REPO}/{sha(1)}")).bad == 2
    again.close()


def test_rows_of_other_versions_can_be_read() -> None:
    """A name that is not known is passed over, one that is not there has its default; defaults cost nothing."""
    text = dumps(Record(REPO, sha(1)))
    assert text == f'{{"repo":"{REPO}","sha":"{sha(1)}"}}'
    newer = text[:-1] + ',"colour":{"of":"the future"}}'
    assert loads(Record, newer, version=4) == Record(REPO, sha(1), version=4)


def test_a_time_without_a_zone_is_refused_before_anything_is_written(store: Store, tmp_path: Path) -> None:
    """It would mean something else on another machine."""
    ledger = SqliteLedger(store, tmp_path / "bodies", clock=HandClock().now)
    with pytest.raises((TypeError, ValueError)):
        ledger.transact(
            Transaction(entries=[an_entry()], records=[Record(REPO, sha(1), updated=at(0).replace(tzinfo=None))])
        )
    assert ledger.journal(f"commit/{REPO}/{sha(1)}") == []


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT json FROM due WHERE at <= 5 ORDER BY at, key LIMIT 9", "due_by_time"),
        ("SELECT min(at) FROM due", "due_by_time"),
        (
            "SELECT sha FROM records WHERE repo = 'r' AND sha >= 'a' AND sha < 'b' ORDER BY sha LIMIT 2",
            "sqlite_autoindex",
        ),
        ("SELECT json FROM outbox WHERE at < 5 ORDER BY at, rowid LIMIT 9", "outbox_by_time"),
        ("SELECT json FROM records ORDER BY updated DESC, repo DESC, sha DESC LIMIT 9", "records_by_time"),
        (
            "SELECT json FROM records WHERE repo = 'r' AND (updated, repo, sha) < (1, 'r', 's')"
            " ORDER BY updated DESC, repo DESC, sha DESC LIMIT 9",
            "records_by_repo",
        ),
        ("SELECT json FROM pushes WHERE repo = 'r' ORDER BY pushed_at DESC, arrived DESC, fact DESC", "PRIMARY KEY"),
    ],
)
def test_what_runs_often_is_answered_from_an_index_without_sorting(store: Store, query: str, index: str) -> None:
    """So that a hundred thousand records cost no more than ten."""
    with store.read() as connection:
        plan = " ".join(row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + query))
    assert index in plan
    assert "TEMP B-TREE" not in plan
