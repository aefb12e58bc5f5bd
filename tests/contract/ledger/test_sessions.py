"""A handler's session: what it reads and writes, what it need not read again, and how it hears of what others wrote."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from greenlight.ledger.port import Conflict, Ledger, Reading, Transaction
from support.ledger import (
    REPO,
    a_decision,
    a_deployment,
    a_due,
    a_fact,
    a_push,
    a_record,
    a_target,
    an_entry,
    an_event,
    at,
    sha,
)

EVERYTHING = Reading(
    facts=["f1", "nobody's"],
    records=[(REPO, sha(n)) for n in range(3)],
    targets=[("shop", "staging"), ("shop", "nowhere")],
    decisions=[("shop", "staging", REPO, sha(n)) for n in range(3)],
    deployments=["d1"],
    streams=[f"commit/{REPO}/{sha(1)}"],
    due=["k1"],
)


def rows(ledger: Ledger) -> dict[str, Any]:
    """What a handler may read."""
    return {
        "fact": ledger.fact("f1"),
        "records": [ledger.record(REPO, sha(n)) for n in range(3)],
        "target": ledger.target("shop", "staging"),
        "decisions": [ledger.decision("shop", "staging", REPO, sha(n)) for n in range(3)],
        "waiting": ledger.decisions("shop", "staging", ("waiting",)),
        "deployment": ledger.deployment("d1"),
        "pushes": [list(ledger.pushes(REPO, since=since, limit=None)) for since in (at(3), None, at(2), at(4))],
    }


def a_start(ledger: Ledger) -> None:
    """Some rows of each kind."""
    ledger.accept(a_fact(), None, a_due())
    ledger.transact(
        Transaction(
            records=[a_record(1), a_record(2)],
            targets=[a_target()],
            decisions=[a_decision(1, "waiting", push=a_push("p1", pushed=1))],
            deployments=[a_deployment("d1")],
            pushes=[a_push(f"p{n}", n, pushed=n) for n in range(1, 6)],
            entries=[an_entry("e1")],
        )
    )


@pytest.mark.parametrize("reading", [Reading(), EVERYTHING])
def test_what_is_read_in_a_session_is_what_is_there(ledger: Ledger, reading: Reading) -> None:
    """Whether it was named before or not, once and again, and what is not there is None."""
    a_start(ledger)
    plain = rows(ledger)
    with ledger.session(reading):
        assert rows(ledger) == plain
        assert rows(ledger) == plain
        assert ledger.target("shop", "nowhere") is None
        assert ledger.fact("nobody's") is None


@pytest.mark.parametrize("reading", [Reading(), EVERYTHING])
def test_a_session_reads_what_it_wrote(ledger: Ledger, reading: Reading) -> None:
    """Rows at their new version, marks on facts, pushes, and the journal's next number."""
    a_start(ledger)
    with ledger.session(reading):
        record, target, decision = rows(ledger)["records"][1], rows(ledger)["target"], rows(ledger)["decisions"][1]
        for n in range(2):
            ledger.transact(
                Transaction(
                    records=[replace(record, tree=f"t{n}", version=record.version + n)],
                    targets=[replace(target, fence=n + 5, version=target.version + n)],
                    decisions=[replace(decision, decision=("ready", "waiting")[n], version=decision.version + n)],
                    pushes=[a_push(f"new {n}", 7, pushed=7 + n)],
                    entries=[an_entry(f"more {n}")],
                    recorded=["f1"] if n == 0 else [],
                    done=[("k1", "e1")],
                )
            )
        inside = rows(ledger)
    assert inside == rows(ledger)
    assert (inside["records"][1].tree, inside["target"].fence, inside["fact"].recorded) == ("t1", 6, True)
    assert [push.fact for push in inside["pushes"][0]][-2:] == ["new 0", "new 1"]
    assert [entry.id for entry in ledger.journal(f"commit/{REPO}/{sha(1)}")] == ["e1", "more 0", "more 1"]
    assert ledger.due(at(999)) == []


def test_a_session_hears_of_others_by_a_conflict(ledger: Ledger, adapter: Any) -> None:
    """What it builds on has changed: nothing is written, and it then reads what the others wrote."""
    a_start(ledger)
    other = adapter.another()
    with ledger.session(EVERYTHING):
        mine = ledger.record(REPO, sha(1))
        assert mine is not None
        other.transact(Transaction(records=[replace(mine, tree="theirs")], pushes=[a_push("theirs", 8, pushed=9)]))
        with pytest.raises(Conflict):
            ledger.transact(Transaction(records=[replace(mine, tree="mine")]))
        theirs = ledger.record(REPO, sha(1))
        assert theirs is not None
        assert theirs.tree == "theirs"
        assert ledger.pushes(REPO, limit=None)[-1].fact == "theirs"
        ledger.transact(Transaction(records=[replace(theirs, tree="mine")]))
    found = ledger.record(REPO, sha(1))
    assert found is not None
    assert found.tree == "mine"


def test_a_session_adds_to_a_journal_that_others_add_to(ledger: Ledger, adapter: Any) -> None:
    """No Conflict, no gap: the end of a stream is nothing that a handler decides by. An id that is there stays once."""
    a_start(ledger)
    other, stream = adapter.another(), f"commit/{REPO}/{sha(1)}"
    with ledger.session(EVERYTHING):
        assert ledger.fact("f1") is not None
        other.transact(Transaction(entries=[an_entry("theirs")], due=[a_due("k1", 50, "e2")]))
        ledger.transact(Transaction(entries=[an_entry("mine"), an_entry("e1")], done=[("k1", "e1")]))
    assert [entry.id for entry in ledger.journal(stream)] == ["e1", "theirs", "mine"]
    assert [due.event.id for due in ledger.due(at(999))] == ["e2"]


def test_a_session_ends(ledger: Ledger, adapter: Any) -> None:
    """Whoever comes after it reads what is there, and a session in a session begins anew."""
    a_start(ledger)
    other = adapter.another()

    def write(tree: str) -> None:
        record = other.record(REPO, sha(1))
        other.transact(Transaction(records=[replace(record, tree=tree)]))

    def tree() -> str | None:
        record = ledger.record(REPO, sha(1))
        return record and record.tree

    with suppress(ZeroDivisionError), ledger.session(EVERYTHING):
        tree()
        write("one")
        with ledger.session(Reading()):
            assert tree() == "one"
        raise ZeroDivisionError
    write("two")
    assert tree() == "two"


@pytest.mark.parametrize("seed", range(4))
def test_sessions_lose_nothing_and_double_nothing(ledger: Ledger, adapter: Any, seed: int) -> None:
    """Two that count in the same rows, in turn, each with what it has at hand: every step counts once."""
    dice, both = random.Random(seed), [ledger, adapter.another()]
    ledger.transact(Transaction(targets=[a_target()], records=[a_record(1)]))
    counted = 0
    for n in range(30):
        mine, other = dice.sample(both, 2)
        with mine.session(EVERYTHING if dice.random() < 0.5 else Reading()):
            for _ in range(2):
                target, record = mine.target("shop", "staging"), mine.record(REPO, sha(1))
                assert target is not None
                assert record is not None
                if dice.random() < 0.3:
                    theirs = other.target("shop", "staging")
                    assert theirs is not None
                    other.transact(Transaction(targets=[replace(theirs, fence=theirs.fence + 1)]))
                    counted += 1
                try:
                    mine.transact(
                        Transaction(
                            targets=[replace(target, fence=target.fence + 1)],
                            unchanged=[record],
                            entries=[an_entry(f"s{n}")],
                        )
                    )
                    counted += 1
                except Conflict:
                    pass
    found = ledger.target("shop", "staging")
    assert found is not None
    assert found.fence == counted


def test_what_a_session_emits_comes_again_unless_it_is_done_with(ledger: Ledger) -> None:
    """From the outbox or, where it is due as well, from there, after whatever crash; from the outbox until published."""
    with ledger.session(Reading()):
        ledger.transact(Transaction(emit=[an_event("both"), an_event("emitted")], due=[a_due("k9", 30, "both")]))
    assert [event.id for event in ledger.outbox(older_than=at(1))] == ["emitted"]
    assert [one.event.id for one in ledger.due(at(99))] == ["both"]
    with ledger.session(Reading()):
        ledger.transact(Transaction(emit=[an_event("third")], due=[a_due("k8", 31, "third")]))
        ledger.published(["third"])
        ledger.published(["both", "emitted"])
    assert ledger.outbox(older_than=at(1)) == []
    assert [one.event.id for one in ledger.due(at(99))] == ["both", "third"]
