"""A row that cannot be read is set aside, named and counted; what is asked for by its key is refused, and all else is given."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from greenlight.events import Event
from greenlight.ledger.journal import verify
from greenlight.ledger.port import Ledger, Transaction, Unreadable
from greenlight.ledger.sqlite.ledger import SqliteLedger
from greenlight.model.policy import PoliciesInForce
from greenlight.model.rows import DecisionRow, NewEntry, Push, Record, Target
from support.ledger import REPO, START, HandClock, a_deployment, a_due, a_fact, an_event, at, sha

SPOILED = ["{", "", "null", "[]", '{"garbage": 0}', "0"]
BAD, GOOD = "bad", "good"
POLICY = "the policy's text"
DIGEST = f"sha256:{hashlib.sha256(POLICY.encode()).hexdigest()}"


def _filled(ledger: Ledger) -> None:
    """Two rows of each kind: one whose key says bad, one whose key says good."""
    for name in (BAD, GOOD):
        ledger.accept(a_fact(name), None, a_due(f"fact/{name}", 600))
        ledger.transact(
            Transaction(
                records=[Record(f"acme/{name}", sha(1), updated=at(1))],
                targets=[Target("shop", name, REPO)],
                decisions=[DecisionRow("shop", "live", f"acme/{name}", sha(1), "ready", (), START, "sha256:00")],
                deployments=[a_deployment(f"deployment-{name}")],
                in_force=[PoliciesInForce(f"acme/{name}", "sha256:00")],
                pushes=[Push(f"acme/{name}", "refs/heads/main", sha(1), None, at(1), at(1), f"push-{name}")],
                entries=[NewEntry(f"commit/{name}", "t", START, str(n), {"n": n}, REPO, sha(1)) for n in range(3)],
                emit=[an_event(f"event-{name}")],
            )
        )
    ledger.keep_policy(DIGEST, POLICY)


READ: dict[str, Callable[[Ledger, str], Any]] = {
    "facts": lambda ledger, name: ledger.fact(name),
    "records": lambda ledger, name: ledger.record(f"acme/{name}", sha(1)),
    "pushes": lambda ledger, name: ledger.pushes(f"acme/{name}")[0],
    "targets": lambda ledger, name: ledger.target("shop", name),
    "decisions": lambda ledger, name: ledger.decision("shop", "live", f"acme/{name}", sha(1)),
    "deployments": lambda ledger, name: ledger.deployment(f"deployment-{name}"),
    "policies_in_force": lambda ledger, name: ledger.policies_in_force(f"acme/{name}"),
}
LISTED: dict[str, Callable[[Ledger], list[Any]]] = {
    "records": lambda ledger: [row.repo for row in ledger.records().records],
    "targets": lambda ledger: [row.environment for row in ledger.targets()],
    "decisions": lambda ledger: [row.repo for row in ledger.decisions("shop", "live", ["ready"])],
    "deployments": lambda ledger: [row.id for row in ledger.deployments("shop", "staging")],
    "policies_in_force": lambda ledger: [row.repo for row in ledger.all_policies_in_force()],
}


@pytest.mark.parametrize("text", SPOILED)
@pytest.mark.parametrize("table", READ)
def test_a_row_that_cannot_be_read_is_refused_by_its_key_and_left_out_of_lists(
    ledger: Ledger, adapter: Any, table: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named in the log once, listed and counted, and still there: mended, it reads as before, and is listed no more."""
    _filled(ledger)
    before = READ[table](ledger, BAD)
    old = adapter.spoil(table, BAD, text)
    with caplog.at_level(logging.INFO, "greenlight.ledger"):
        ledger = adapter.open()
        for _ in range(2):
            with pytest.raises(Unreadable, match=f"of {table} in the ledger cannot be read"):
                READ[table](ledger, BAD)
        assert READ[table](ledger, GOOD) is not None
        if table in LISTED:
            assert [GOOD in name for name in LISTED[table](ledger)] == [True]
        (row,) = ledger.unreadable()
        assert (row.table, BAD in row.key) == (table, True)
        assert len([it for it in caplog.records if "is set aside" in it.getMessage()]) == 1
        assert REGISTRY.get_sample_value("greenlight_ledger_unreadable_rows", {"table": table}) == 1
        adapter.spoil(table, BAD, old)
        assert READ[table](ledger, BAD) == before
        assert ledger.unreadable() == []
        assert "can be read again" in caplog.text


def test_a_row_under_another_rows_key_is_not_read_as_what_it_is_not(ledger: Ledger, adapter: Any) -> None:
    """The green record of one commit, say, under the key of another."""
    _filled(ledger)
    adapter.spoil("records", BAD, adapter.spoil("records", GOOD, "{"))
    ledger = adapter.open()
    with pytest.raises(Unreadable):
        ledger.record(f"acme/{BAD}", sha(1))


@pytest.mark.parametrize(
    "change", ['"sha": 5', '"pushes": []', '"updated": "yesterday"', '"people": [1]', '"repo": null']
)
def test_a_value_of_another_type_makes_a_row_unreadable(ledger: Ledger, adapter: Any, change: str) -> None:
    """Though it is JSON and has every field."""
    _filled(ledger)
    old = adapter.spoil("records", BAD, "{")
    name = change.split(":")[0]
    adapter.spoil("records", BAD, old.replace(f"{name}:", '"other":').replace("{", f"{{{change},", 1))
    with pytest.raises(Unreadable):
        adapter.open().record(f"acme/{BAD}", sha(1))


def test_pushes_that_begin_after_one_that_cannot_be_read_are_given(ledger: Ledger, adapter: Any) -> None:
    """It hides an author or a newer commit only from whoever asks for its time."""
    _filled(ledger)
    later = Push(f"acme/{BAD}", "refs/heads/main", sha(2), None, at(9), at(9), "push-later")
    ledger.transact(Transaction(pushes=[later]))
    adapter.spoil("pushes", "push-bad", "{")
    ledger = adapter.open()
    with pytest.raises(Unreadable):
        ledger.pushes(f"acme/{BAD}", since=at(0))
    assert ledger.pushes(f"acme/{BAD}", since=at(5)) == [later]


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_an_entry_that_cannot_be_read_says_so_in_its_place(ledger: Ledger, adapter: Any, text: str) -> None:
    """The others are given, the chain breaks there, and the journal goes on."""
    _filled(ledger)
    adapter.spoil("entries", "commit/bad/2" if "Sqlite" in type(adapter).__name__ else "commit/bad/e0000000002", text)
    ledger = adapter.open()
    entries = ledger.journal("commit/bad")
    assert [entry.seq for entry in entries] == [1, 2, 3]
    assert "cannot be read" in entries[1].payload["unreadable"]
    assert (verify(entries).holds, verify(entries).bad) == (False, 2)
    assert len(ledger.entries(REPO, sha(1))) == 6
    more = NewEntry("commit/bad", "t", START, "more", {}, REPO, sha(1))
    ledger.transact(Transaction(entries=[more]))
    assert [entry.seq for entry in ledger.journal("commit/bad", after=2)] == [3, 4]
    assert [row.table for row in ledger.unreadable()] == ["entries"]


def test_an_entry_without_its_hash_says_so_and_the_journal_waits_for_it(
    ledger: Ledger, adapter: Any, tmp_path: Path
) -> None:
    """Nothing can be chained to it, once the process that knows its hash is gone."""
    if not isinstance(ledger, SqliteLedger):
        pytest.skip("there a hash is a part of the row")
    _filled(ledger)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        connection.execute("UPDATE entries SET hash = 'none' WHERE stream = 'commit/bad' AND seq = 3")
    ledger = adapter.open()
    assert "cannot be read" in ledger.journal("commit/bad")[2].payload["unreadable"]
    with pytest.raises(Unreadable, match="entry 3 of commit/bad"):
        ledger.transact(Transaction(entries=[NewEntry("commit/bad", "t", START, "more", {}, REPO, sha(1))]))
    ledger.transact(Transaction(entries=[NewEntry("commit/good", "t", START, "more", {}, REPO, sha(1))]))


@pytest.mark.parametrize("table", ["outbox", "due"])
def test_what_cannot_be_read_is_in_the_way_of_nothing_that_is_due(
    ledger: Ledger, adapter: Any, clock: HandClock, table: str
) -> None:
    """However many there are before it; once one is mended, it comes, too."""
    names = [f"{n}-bad" for n in range(3)] + ["good"]
    for n, name in enumerate(names):
        ledger.transact(
            Transaction(
                emit=[an_event(name)] if table == "outbox" else [], due=[a_due(name, n, name)] if table == "due" else []
            )
        )
    old, *_ = [adapter.spoil(table, name, "{") for name in names[:3]]
    ledger, clock.time = adapter.open(), at(60)

    def given() -> list[str]:
        found = [
            event.id if isinstance(event, Event) else event.key
            for event in (
                ledger.outbox(older_than=clock.time, limit=2) if table == "outbox" else ledger.due(clock.time, limit=2)
            )
        ]
        return [name for name in found if name in names]

    assert "good" in given() + given()
    assert len([row for row in ledger.unreadable() if row.table == table]) == 3
    if table == "due":
        ledger.transact(Transaction(done=[("good", "good")]))
        following = ledger.next_due()
        assert following is not None
        assert following > clock.time
    adapter.spoil(table, "0-bad", old)
    clock.time += timedelta(hours=1)
    assert "0-bad" in given() + given()


def test_a_policys_text_that_is_another_is_none_and_is_kept_again(ledger: Ledger, adapter: Any) -> None:
    """It is known by its digest."""
    _filled(ledger)
    adapter.spoil("policies", DIGEST[7:], "another policy's text")
    ledger = adapter.open()
    assert ledger.policy(DIGEST) is None
    assert [row.table for row in ledger.unreadable()] == ["policies"]
    ledger.keep_policy(DIGEST, POLICY)
    assert ledger.policy(DIGEST) == POLICY
    assert ledger.unreadable() == []
