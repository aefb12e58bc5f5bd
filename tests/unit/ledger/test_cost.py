"""What an event costs the ledger does not grow with what lies there.

Counted in statements, their size and SQLite's steps, or in requests to DynamoDB and their size.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from greenlight.ledger import rows_json
from greenlight.ledger.port import Ledger, Transaction
from greenlight.ledger.sqlite import pushes as sqlite_pushes
from greenlight.ledger.sqlite.ledger import SCHEMA, SqliteLedger
from greenlight.model.rows import Push, Record, Running, Signal, Target
from greenlight.policy import lineage
from greenlight.service.pushes import pushes_since
from greenlight.store import Schema, Store
from support.dynamodb import MISSING, Table, way
from support.ledger import REPO, HandClock, a_decision, a_push, a_record, a_target, an_entry, at, sha

MOST = 1500
"""Pushes that are kept, in the tests that have more."""


@dataclass
class Work:
    """What SQLite was asked to do."""

    statements: int = 0
    characters: int = 0  # of the statements with their parameters
    steps: int = 0  # tens of instructions of its virtual machine


class Counting:
    """A ledger on SQLite whose every connection counts."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._work = Work()
        connect = sqlite3.connect

        def counting(*words: Any, **options: Any) -> sqlite3.Connection:
            connection = connect(*words, **options)
            connection.set_trace_callback(self._statement)
            connection.set_progress_handler(self._step, 10)
            return connection

        monkeypatch.setattr(sqlite3, "connect", counting)
        self.store = Store(folder / "ledger.db", [SCHEMA])
        self.ledger: Ledger = SqliteLedger(self.store, folder / "bodies", clock=HandClock().now)
        self._folder = folder

    def _statement(self, sql: str) -> None:
        self._work.statements += 1
        self._work.characters += len(sql)

    def _step(self) -> int:
        self._work.steps += 1
        return 0

    def work(self, what: Callable[[Ledger], object]) -> Work:
        """What that costs."""
        self._work = Work()
        what(self.ledger)
        return self._work

    def forget(self) -> None:
        """Have the ledger know nothing, as after a start."""
        self.ledger = SqliteLedger(self.store, self._folder / "bodies", clock=HandClock().now)


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    """An empty one."""
    found = Counting(tmp_path, monkeypatch)
    yield found
    found.store.close()


def a_signal(n: int) -> Signal:
    """What a check said."""
    return Signal("passed", (n,), at(n), f"f{n}", f"https://ci.example/{n}")


def with_signals(record: Record, first: int, last: int) -> Record:
    """The record with some more checks."""
    more = {f"github.check:ci/{n}": {"refs/heads/main": a_signal(n)} for n in range(first, last)}
    return replace(record, signals={**record.signals, **more}, updated=at(last))


def a_fact_on(ledger: Ledger, n: int, count: int) -> None:
    """One more fact on a commit, as the recorder writes it, and what the promoter then reads."""
    record = ledger.record(REPO, sha(n))
    assert record is not None
    ledger.transact(Transaction(records=[with_signals(record, count, count + 1)], entries=[an_entry(f"f{count}", n=n)]))
    assert ledger.record(REPO, sha(n)) is not None


def test_a_fact_on_a_commit_with_thousands_is_as_cheap_as_on_one_with_ten(counting: Counting) -> None:
    """In statements, characters and steps; its page of the listing is read by its keys."""
    counting.ledger.transact(
        Transaction(records=[with_signals(a_record(1), 0, 10), with_signals(a_record(2), 0, 3000)])
    )
    few = counting.work(lambda ledger: a_fact_on(ledger, 1, 10))
    many = counting.work(lambda ledger: a_fact_on(ledger, 2, 3000))
    assert many.statements <= few.statements + 1
    assert many.characters <= few.characters
    assert many.steps <= 2 * few.steps
    assert counting.work(lambda ledger: ledger.records(limit=10)).characters <= few.characters


def test_a_push_is_added_to_those_at_hand_and_no_other_is_read_again(counting: Counting) -> None:
    """A thousand that wait are read once, whatever comes after them."""
    counting.ledger.transact(Transaction(pushes=[a_push(f"p{n}", n, pushed=n) for n in range(1000)]))
    assert len(counting.ledger.pushes(REPO)) == 1000
    assert len(counting.ledger.pushes(REPO, limit=2000)) == 1000
    push = a_push("new", 1001, pushed=2000)
    counting.ledger.transact(Transaction(pushes=[push]))
    found: list[Push] = []
    work = counting.work(lambda ledger: found.extend(ledger.pushes(REPO)))
    assert work.statements == 0
    assert (len(found), found[-1]) == (1000, push)


def test_the_newest_decision_of_a_state_is_found_without_looking_at_the_others(counting: Counting) -> None:
    """With ten thousand that wait, as many superseded, and a few that are ready among the oldest."""

    def decide(first: int, last: int, state: str) -> None:
        rows = [a_decision(n, state, push=a_push(f"p{n}", n, pushed=n)) for n in range(first, last)]
        counting.ledger.transact(Transaction(decisions=rows))

    decide(0, 3, "ready")
    decide(3, 6, "waiting")
    few = counting.work(lambda ledger: ledger.decisions("shop", "staging", ("ready", "waiting"), limit=2))
    decide(6, 10_000, "waiting")
    decide(10_000, 20_000, "superseded")
    found: list[str] = []

    def newest(ledger: Ledger) -> None:
        found.extend(row.sha for row in ledger.decisions("shop", "staging", ("ready", "waiting"), limit=2))

    many = counting.work(newest)
    assert found == [sha(9999), sha(9998)]
    assert many.steps <= 2 * few.steps
    assert counting.work(lambda ledger: ledger.decisions("shop", "staging", ("ready",), limit=2)).steps <= 2 * few.steps
    assert [row.sha for row in counting.ledger.decisions("shop", "staging", ("ready",))] == [sha(2), sha(1), sha(0)]


def test_the_first_page_of_the_listing_costs_the_same_with_any_number_of_commits(counting: Counting) -> None:
    """Of all repositories, and of one."""

    def page(ledger: Ledger) -> None:
        assert len(ledger.records(limit=50).records) == 50
        assert len(ledger.records(repo=REPO, limit=50).records) == 50

    counting.ledger.transact(Transaction(records=[a_record(n, updated=n) for n in range(100)]))
    counting.forget()
    few = counting.work(page)
    counting.ledger.transact(Transaction(records=[a_record(n, updated=n) for n in range(100, 10_000)]))
    counting.forget()
    many = counting.work(page)
    assert (many.statements, many.steps) <= (few.statements, 2 * few.steps)


def test_pushes_beyond_those_that_are_kept_are_read_from_the_file(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest are at hand; older ones, and those of a ref that few were made to, are found all the same."""
    monkeypatch.setattr(sqlite_pushes, "MOST", MOST)
    pushes = [
        a_push(f"p{n:05}", n, pushed=n, ref="refs/heads/rare" if n < 3 else "refs/heads/main")
        for n in range(MOST + 600)
    ]
    counting.ledger.transact(Transaction(pushes=pushes))
    for _ in range(2):
        assert counting.ledger.pushes(REPO) == pushes[-1000:]
        assert counting.ledger.pushes(REPO, of=lambda ref: ref.endswith("rare")) == pushes[:3]
        assert counting.ledger.pushes(REPO, since=at(10), limit=None) == pushes[10:]
        assert counting.ledger.pushes(REPO, limit=None) == pushes
    assert counting.work(lambda ledger: ledger.pushes(REPO, since=at(1000))).statements == 0


def test_ever_more_pushes_are_not_all_kept(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those at hand are shortened from time to time, and what is told stays right."""
    monkeypatch.setattr(sqlite_pushes, "MOST", MOST)
    pushes = [a_push(f"p{n:05}", n, pushed=n // 2, ref=f"refs/heads/{n % 3}") for n in range(5 * MOST // 2)]
    for start in range(0, len(pushes), 250):
        counting.ledger.transact(Transaction(pushes=pushes[start : start + 250]))
        known = pushes[: start + 250]
        assert counting.ledger.pushes(REPO) == known[-1000:]
        assert (
            counting.ledger.pushes(REPO, of=lambda ref: ref.endswith("1"))
            == [p for p in known if p.ref[-1] == "1"][-1000:]
        )
        assert counting.ledger.pushes(REPO, since=at(5), limit=50) == known[10:][-50:]


def test_a_large_record_that_an_older_version_wrote_in_one_piece_is_read_and_goes_on(tmp_path: Path) -> None:
    """The file of the first schema, with a record of hundreds of parts."""
    record = replace(with_signals(a_record(1), 0, 300), version=7)
    old = Store(tmp_path / "ledger.db", [Schema("ledger", SCHEMA.migrations[:1])])
    old.write(
        lambda tx: tx.execute(
            "INSERT INTO records (repo, sha, version, updated, json) VALUES (?, ?, 7, 5, ?)",
            (REPO, sha(1), rows_json.dumps(record)),
        )
    )
    old.close()
    store = Store(tmp_path / "ledger.db", [SCHEMA])
    try:
        ledger = SqliteLedger(store, tmp_path / "bodies", clock=HandClock().now)
        assert ledger.record(REPO, sha(1)) == record
        a_fact_on(ledger, 1, 300)
        a_fact_on(ledger, 1, 301)
        expected = replace(with_signals(record, 300, 302), version=9)
        assert ledger.record(REPO, sha(1)) == expected
        assert SqliteLedger(store, tmp_path / "bodies", clock=HandClock().now).record(REPO, sha(1)) == expected
    finally:
        store.close()


needs_dynamodb = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@contextmanager
def on_dynamodb() -> Iterator[tuple[Table, Any]]:
    """A table, and the way to it."""
    table = Table()
    with way() as road:
        yield table, road
    table.delete()


@needs_dynamodb
def test_a_fact_on_dynamodb_is_as_cheap_on_a_commit_with_thousands() -> None:
    """In requests and in what is sent; no item comes near 400 KB, and another process reads what it has not read yet."""
    with on_dynamodb() as (table, road):
        clock = HandClock().now
        ledger, other = (table.ledger(clock=clock, through=road.address) for _ in range(2))
        ledger.transact(Transaction(records=[with_signals(a_record(1), 0, 10), with_signals(a_record(2), 0, 3000)]))

        def cost(what: Callable[[], object]) -> tuple[int, int]:
            before = len(road.asked)
            what()
            asked = road.asked[before:]
            return len(asked), sum(len(json.dumps(document)) for _, document in asked)

        for reader in (ledger, other):
            assert reader.record(REPO, sha(2)) == replace(with_signals(a_record(2), 0, 3000), version=1)
        few = cost(lambda: a_fact_on(ledger, 1, 10))
        many = [cost(lambda n=n: a_fact_on(ledger, 2, n)) for n in range(3000, 3100)]  # type: ignore[misc]
        assert max(requests for requests, _ in many) == few[0]
        assert max(size for _, size in many) <= 2 * few[1]
        assert cost(lambda: other.record(REPO, sha(2)))[0] == 2
        assert other.record(REPO, sha(2)) == replace(with_signals(a_record(2), 0, 3100), version=101)
        sizes = [len(json.dumps(document)) for name, document in road.asked if name == "PutItem"]
        assert max(sizes, default=0) < 400 * 1024


@needs_dynamodb
def test_the_newest_decision_of_a_state_on_dynamodb_is_asked_for_by_itself() -> None:
    """However many wait: as many requests, each for as many items as were asked for."""
    with on_dynamodb() as (table, road):
        ledger = table.ledger(clock=HandClock().now, through=road.address)
        for start in range(0, 160, 40):
            rows = [
                a_decision(n, "waiting" if n > 1 else "ready", push=a_push(f"p{n}", n, pushed=n))
                for n in range(start, start + 40)
            ]
            ledger.transact(Transaction(decisions=rows))
        before = len(road.asked)
        assert [row.sha for row in ledger.decisions("shop", "staging", ("ready",), limit=1)] == [sha(1)]
        assert [row.sha for row in ledger.decisions("shop", "staging", ("ready", "waiting"), limit=1)] == [sha(159)]
        asked = road.asked[before:]
        assert all(document.get("Limit", 1) == 1 for _, document in asked)
        assert len(asked) <= 8


@needs_dynamodb
def test_decisions_and_records_that_an_older_version_wrote_are_found_and_go_on() -> None:
    """A decision that is named with those of all open states; a record with hundreds of parts in one item."""
    with on_dynamodb() as (table, road):
        ledger = table.ledger(clock=HandClock().now, through=road.address)
        record = with_signals(a_record(1), 0, 300)
        decision = a_decision(1, "waiting", push=a_push())
        ledger.transact(Transaction(records=[record], decisions=[decision]))
        _as_version_0_1_wrote(ledger, replace(record, version=1))
        ledger = table.ledger(clock=HandClock().now, through=road.address)
        found = ledger.record(REPO, sha(1))
        assert found == replace(record, version=1)
        assert [row.sha for row in ledger.decisions("shop", "staging", ("waiting", "ready"))] == [sha(1)]
        assert ledger.decisions("shop", "staging", ("ready",)) == []
        a_fact_on(ledger, 1, 300)
        ledger.transact(Transaction(decisions=[replace(decision, decision="ready", version=1)]))
        again = table.ledger(clock=HandClock().now, through=road.address)
        assert again.record(REPO, sha(1)) == replace(with_signals(record, 300, 301), version=2)
        assert [row.decision for row in again.decisions("shop", "staging", ("waiting", "ready"))] == ["ready"]
        assert again.decisions("shop", "staging", ("waiting",)) == []


def _as_version_0_1_wrote(ledger: Any, record: Record) -> None:
    """Bring the one record and the one decision of the table into the form that they had."""
    from greenlight.ledger.dynamodb import items as items

    dynamo, rows = ledger._dynamo, ledger._rows
    key = items.record_key(record.repo, record.sha)
    whole = {name: value for name, value in dynamo.get(key).items() if name not in ("b", "m", "n", "rest")}
    dynamo.put({**whole, **rows.pack(record, at(0))})
    decision = dynamo.get(items.decision_key("shop", "staging", REPO, sha(1)))
    (pointer,) = dynamo.query("pk = :p", {"p": decision["c"]["S"]})
    dynamo.delete([(pointer["pk"]["S"], pointer["sk"]["S"])])
    dynamo.put({**pointer, "pk": {"S": items.old_candidates_pk("shop", "staging", open=True)}})
    dynamo.put({name: value for name, value in decision.items() if name != "c"})


def running(push: Push) -> Target:
    """A target that runs what that push brought."""
    return a_target(running=Running(push.sha, "d1", at(0), push))


def test_what_is_pushed_is_added_to_the_lineage_at_hand(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place of a new push is found without looking at the others again, before anything runs and after."""
    looks: list[Push] = []
    own = lineage._own_place
    monkeypatch.setattr(lineage, "_own_place", lambda push: (looks.append(push), own(push))[1])
    first = a_push("p00000", 0)

    def look(count: int) -> int:
        """What one more push costs after so many."""
        push = replace(a_push(f"p{count:05}", count, pushed=count), before=sha(count - 1))
        counting.ledger.transact(Transaction(pushes=[push]))
        looks.clear()
        for target in (a_target(), running(first)):
            assert pushes_since(counting.ledger, target).place(push)[0] == push.heard
        return len(looks)

    counting.ledger.transact(Transaction(pushes=[first]))
    look(1)
    few = look(2)
    more = [replace(a_push(f"p{n:05}", n, pushed=n), before=sha(n - 1)) for n in range(3, 1000)]
    counting.ledger.transact(Transaction(pushes=more))
    look(1000)
    assert look(1001) <= few


@pytest.mark.parametrize("seed", range(5))
def test_the_lineage_at_hand_is_the_one_that_a_new_process_makes(counting: Counting, seed: int) -> None:
    """Whatever comes late, out of order, again, or by another ref, and whatever runs."""
    dice = random.Random(seed)
    pushes: list[Push] = []
    for n in range(40):
        before = dice.choice([sha(dice.randrange(20)), None])
        push = replace(
            a_push(f"p{n}", dice.randrange(20), pushed=dice.randrange(60), arrived=dice.randrange(60)),
            before=before,
            ref=dice.choice(["refs/heads/main", "refs/heads/x"]),
            forced=dice.random() < 0.1,
        )
        counting.ledger.transact(Transaction(pushes=[push]))
        pushes.append(push)
        other = SqliteLedger(counting.store, Path("unused"), clock=HandClock().now)
        for target in (a_target(), running(pushes[0]), running(pushes[n // 2])):
            mine, theirs = pushes_since(counting.ledger, target), pushes_since(other, target)
            assert sorted(mine, key=mine.place) == sorted(theirs, key=theirs.place)
