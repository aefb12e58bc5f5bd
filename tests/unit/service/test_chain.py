"""What is written together with what follows from it: in one transaction, in turn, and alone where a handler fails."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from greenlight.events import Event
from greenlight.ledger.bounded_cache import BoundedCache
from greenlight.ledger.changes import Emitted
from greenlight.ledger.port import Conflict, Ledger, Transaction, Unreadable
from greenlight.ledger.sqlite.ledger import SCHEMA, SqliteLedger
from greenlight.lib.errors import Unavailable
from greenlight.service import chain as chains
from greenlight.service.chain import Chain, NotFollowed, TooLong
from greenlight.service.retry import until_settled
from greenlight.store import Schema, Store, Tx
from support.ledger import REPO, HandClock, a_due, a_fact, a_record, a_target, an_entry, an_event, at, sha
from support.timing import PATIENCE

LOG = Schema("log", ("CREATE TABLE log (id TEXT, handled TEXT)",))


class House:
    """A ledger with a chain over it, whose handlers a test gives."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "store.db", [SCHEMA, LOG], synchronous="NORMAL")
        self.base = SqliteLedger(self.store, folder / "bodies", emit=self._to_log, clock=HandClock().now)
        self.handler: Callable[[Event], Collection[str]] = lambda event: ()
        log = logging.getLogger("greenlight.tests")
        self.ledger = cast(Ledger, Chain(self.base, lambda event: self.handler(event), log))

    def _to_log(self, emitted: Emitted) -> Callable[[Tx], object]:
        def step(tx: Tx) -> None:
            tx.execute("INSERT INTO log VALUES (?, ?)", (emitted.event.id, " ".join(emitted.handled)))

        return step

    def log(self) -> list[tuple[str, str]]:
        with self.store.read() as connection:
            return connection.execute("SELECT id, handled FROM log ORDER BY rowid").fetchall()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.store.close()


def records(house: House, then: str | None = None) -> Callable[[Event], Collection[str]]:
    """A handler that counts each event in the record, and emits one more, `then`, after the first."""

    def handle(event: Event) -> Collection[str]:
        def attempt() -> None:
            row = house.ledger.record(REPO, sha(1)) or a_record(1, tree="")
            more = [an_event(then)] if then is not None and event.id != then else []
            counted = replace(row, tree=f"{row.tree}{event.id} ")
            house.ledger.transact(Transaction(records=[counted], entries=[an_entry(event.id)], emit=more))

        until_settled(attempt)
        return ["ns/record"]

    return handle


def test_what_follows_is_there_when_the_writer_returns(house: House) -> None:
    """Rows, entries and events, those that follow from events that follow included, in the order in which they came."""
    house.handler = records(house, then="next")
    assert house.ledger.accept(a_fact("f1"), b"body", a_due("fact/f1", event="f1"))
    assert house.base.record(REPO, sha(1)) == a_record(1, tree="f1 next ", version=2)
    assert [entry.id for entry in house.base.journal(f"commit/{REPO}/{sha(1)}")] == ["f1", "next"]
    assert house.log() == [("f1", "ns/record"), ("next", "ns/record")]
    assert not house.ledger.accept(a_fact("f1"), b"body", a_due("fact/f1", event="f1"))
    assert len(house.log()) == 2


@pytest.mark.parametrize("problem", [NotFollowed("ns/record"), TooLong("too long")], ids=["failed", "too long"])
def test_where_a_handler_fails_the_write_alone_is_stored(house: House, problem: Exception) -> None:
    """Nothing of what the handlers before it wrote; and its event is delivered by the Broker."""
    follow = records(house, then="next")

    def handle(event: Event) -> Collection[str]:
        handled = follow(event)
        if event.id == "next":
            raise NotFollowed("ns/record") from problem
        return handled

    house.handler = handle
    assert house.ledger.accept(a_fact("f1"), None, a_due("fact/f1", event="f1"))
    assert house.base.fact("f1") == a_fact("f1")
    assert house.base.record(REPO, sha(1)) is None
    assert house.log() == [("f1", "")]
    assert [due.key for due in house.base.due(at(99))] == ["fact/f1"]


def test_a_chain_that_asks_for_too_much_is_given_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that others do not wait for what takes long."""
    monkeypatch.setattr(chains, "LONG", 0.02)
    seen: list[type[BaseException]] = []

    def handle(event: Event) -> Collection[str]:
        try:
            while True:
                house.ledger.target("shop", "staging")
        except Unavailable as problem:
            seen.append(type(problem))
            raise NotFollowed("ns/record") from problem

    house.handler = handle
    house.ledger.transact(Transaction(emit=[an_event("e", extensions={"repo": REPO})]))
    assert (seen, house.log()) == ([TooLong], [("e", "")])
    house.ledger.transact(Transaction(emit=[an_event("next", extensions={"repo": REPO})]))
    assert len(seen) == 1, "the chains of a repository rest after one that took too long"
    house.ledger.transact(Transaction(emit=[an_event("other", extensions={"repo": "acme/site"})]))
    assert len(seen) == 2


def test_a_conflict_is_its_writers_alone(house: House) -> None:
    """What others write with it is stored."""
    house.ledger.transact(Transaction(records=[a_record(1)]))
    with pytest.raises(Conflict):
        house.ledger.transact(Transaction(records=[a_record(1)], emit=[an_event("lost")]))
    with pytest.raises(Conflict):
        house.ledger.transact(Transaction(targets=[a_target(version=5)], emit=[an_event("lost too")]))
    house.ledger.transact(Transaction(records=[a_record(1, version=1)], emit=[an_event("kept")]))
    assert house.log() == [("kept", "")]


def test_what_is_changed_beside_the_chain_is_read_again(house: House) -> None:
    """A pipeline file that is edited while a chain runs: its handlers begin anew, on what is there then."""
    house.base.transact(Transaction(records=[a_record(1, tree="")]))
    follow, meddled = records(house), []

    def handle(event: Event) -> Collection[str]:
        handled = follow(event)
        if not meddled:
            meddled.append(event.id)
            row = house.base.record(REPO, sha(1))
            assert row is not None
            house.base.transact(Transaction(records=[replace(row, tree="meddled ")]))
        return handled

    house.handler = handle
    house.ledger.transact(Transaction(emit=[an_event("e")]))
    assert house.base.record(REPO, sha(1)) == a_record(1, tree="meddled e ", version=3)
    assert house.log() == [("e", "ns/record")]


def test_many_writers_share_transactions_and_each_gets_its_own_answer(house: House) -> None:
    """Nothing is lost, done twice or left waiting, whoever runs the chains of the others."""
    house.handler = records(house)
    answers: list[tuple[int, bool]] = []

    def work(thread: int) -> None:
        for n in range(20):
            id = f"{thread}-{n}" if n % 5 else f"shared-{n}"
            answers.append((n, house.ledger.accept(a_fact(id), None, a_due(f"fact/{id}", event=id))))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert sum(accepted for n, accepted in answers if n % 5 == 0) == 4  # of each fact that all of them sent, once
    assert all(accepted for n, accepted in answers if n % 5)
    row = house.base.record(REPO, sha(1))
    assert row is not None
    assert row.version == 16 * 16 + 4
    assert sorted(str(row.tree).split()) == sorted(id for id, _ in house.log())


def test_what_is_wrong_with_one_write_stops_no_other(house: House, tmp_path: Path) -> None:
    """Not even its own fact, where what follows from it cannot be written: another's journal without a hash to go on from."""
    house.handler = records(house)
    stream = f"commit/{REPO}/{sha(1)}"
    house.base.transact(
        Transaction(entries=[an_entry("first", stream=stream), an_entry("first", stream="commit/other")])
    )
    house.base._heads = BoundedCache(10)
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection, connection:
        connection.execute("UPDATE entries SET hash = 'none' WHERE stream = ?", (stream,))
    gate, answers = threading.Event(), []

    def slow(event: Event) -> Collection[str]:
        gate.wait(PATIENCE)
        return ()

    house.handler = lambda event: slow(event) if event.id == "f0" else records(house)(event)
    first = threading.Thread(target=lambda: house.ledger.accept(a_fact("f0"), None, a_due("fact/f0", event="f0")))
    first.start()
    entry = an_entry("more", stream="commit/other")
    threads = [
        threading.Thread(
            target=lambda: answers.append(house.ledger.accept(a_fact("f1"), None, a_due("fact/f1", event="f1")))
        ),
        threading.Thread(target=lambda: answers.append(house.ledger.transact(Transaction(entries=[entry])))),
    ]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in [first, *threads]:
        thread.join(PATIENCE)
    assert sorted(answers, key=str) == [None, True]
    assert house.base.fact("f1") == a_fact("f1")
    assert [it.id for it in house.base.journal("commit/other")] == ["first", "more"]
    with pytest.raises(Unreadable):
        house.ledger.transact(Transaction(entries=[an_entry("more", stream=stream)]))


def test_what_follows_never_refuses_a_fact(house: House) -> None:
    """Not where its rows are changed beside the chain each time, and not where a handler has a defect."""
    follow = records(house)

    def handle(event: Event) -> Collection[str]:
        handled = follow(event)
        row = house.base.record(REPO, sha(1)) or a_record(1)
        house.base.transact(Transaction(records=[row]))
        return handled

    house.handler = handle
    assert house.ledger.accept(a_fact("f1"), None, a_due("fact/f1", event="f1"))

    def broken(event: Event) -> Collection[str]:
        raise KeyError("a defect")

    house.handler = broken
    assert house.ledger.accept(a_fact("f2"), None, a_due("fact/f2", event="f2"))
    assert house.log() == [("f1", ""), ("f2", "")]


def test_an_error_of_the_store_is_told_to_all_who_wait(house: House) -> None:
    """And the next writer gets through."""

    def fails(tx: Tx) -> None:
        raise OSError("no log")

    steps: list[Any] = [lambda emitted: fails, house.base._emit]
    house.base._emit = steps[0]
    with pytest.raises(OSError, match="no log"):
        house.ledger.transact(Transaction(emit=[an_event("e")]))
    house.base._emit = steps[1]
    house.ledger.transact(Transaction(emit=[an_event("e")]))
    assert house.log() == [("e", "")]


def test_an_interrupted_chain_leaves_nothing_and_blocks_nobody(house: House) -> None:
    """Even where what ends it is no exception that anybody handles."""

    class Ended(BaseException):
        pass

    def handle(event: Event) -> Collection[str]:
        house.ledger.transact(Transaction(records=[a_record(1)]))
        raise Ended

    house.handler = handle
    with pytest.raises(Ended):
        house.ledger.accept(a_fact("f1"), None, a_due("fact/f1", event="f1"))
    assert (house.base.fact("f1"), house.ledger.record(REPO, sha(1))) == (None, None)
    house.handler = lambda event: ()
    assert house.ledger.accept(a_fact("f1"), None, a_due("fact/f1", event="f1"))
