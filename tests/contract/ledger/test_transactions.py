"""A transaction is written as a whole, on the versions that were read, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any

import pytest

from greenlight.ledger.port import Conflict, Ledger, Transaction
from greenlight.model.policy import PoliciesInForce
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
from support.timing import PATIENCE

KINDS = {
    "records": (a_record(), lambda ledger: ledger.record(REPO, sha(1)), {"tree": "t"}),
    "targets": (a_target(), lambda ledger: ledger.target("shop", "staging"), {"paused": "lena: freeze"}),
    "deployments": (a_deployment(), lambda ledger: ledger.deployment("d1"), {"outcome": "failed"}),
    "decisions": (
        a_decision(),
        lambda ledger: ledger.decision("shop", "staging", REPO, sha(1)),
        {"decision": "ready"},
    ),
    "in_force": (
        PoliciesInForce(REPO, "sha256:1"),
        lambda ledger: ledger.policies_in_force(REPO),
        {"digest": "sha256:2"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_stored_only_on_the_version_that_was_read(ledger: Ledger, kind: str) -> None:
    """0 means absent; a stored row has the version after it; anything else is a Conflict and changes nothing."""
    row, read, change = KINDS[kind]

    def put(row: Any) -> None:
        ledger.transact(Transaction(**{kind: [row]}))

    with pytest.raises(Conflict):
        put(replace(row, version=1))
    assert read(ledger) is None
    put(row)
    assert read(ledger) == replace(row, version=1)
    for stale in (0, 2):
        with pytest.raises(Conflict):
            put(replace(row, version=stale, **change))
    assert read(ledger) == replace(row, version=1)
    put(replace(row, version=1, **change))
    assert read(ledger) == replace(row, version=2, **change)


@pytest.mark.parametrize("kind", ["records", "targets", "deployments", "in_force"])
def test_a_row_that_was_only_read_must_still_have_its_version(ledger: Ledger, kind: str) -> None:
    """unchanged binds a decision to what it was made from; it writes nothing itself, 0 again meaning absent."""
    row, read, change = KINDS[kind]
    ledger.transact(Transaction(unchanged=[row], emit=[an_event("absent")]))
    ledger.transact(Transaction(**{kind: [row]}))
    with pytest.raises(Conflict):
        ledger.transact(Transaction(unchanged=[row], emit=[an_event("too late")]))
    ledger.transact(Transaction(unchanged=[replace(row, version=1, **change)], emit=[an_event("right")]))
    assert read(ledger) == replace(row, version=1)
    assert {event.id for event in ledger.outbox(older_than=at(1))} == {"absent", "right"}


def everything(**instead: Any) -> Transaction:
    """A transaction with one of each."""
    return Transaction(
        **{
            "records": [a_record(pushes={"refs/heads/main": a_push()})],
            "targets": [a_target()],
            "deployments": [a_deployment()],
            "decisions": [a_decision()],
            "in_force": [PoliciesInForce(REPO, "sha256:1")],
            "pushes": [a_push()],
            "recorded": ["f1"],
            "entries": [an_entry()],
            "emit": [an_event("emitted")],
            "due": [a_due("new", 1)],
            "done": [("k1", "e1")],
            **instead,
        }
    )


def state(ledger: Ledger) -> tuple[Any, ...]:
    """All that `everything` touches."""
    fact = ledger.fact("f1")
    return (
        *(read(ledger) for _, read, _ in KINDS.values()),
        ledger.pushes(REPO),
        fact is not None and fact.recorded,
        [entry.id for entry in ledger.entries(REPO, sha(1))],
        [event.id for event in ledger.outbox(older_than=at(1))],
        [due.key for due in ledger.due(at(100))],
        ledger.records(ref="refs/heads/main").records,
    )


WRONG: dict[str, dict[str, Any]] = {
    "a record that is not there": {"records": [a_record(2, version=3)]},
    "a target that is not there": {"targets": [a_target("production", version=1)]},
    "a deployment that is not there": {"deployments": [a_deployment("d2", version=1)]},
    "a decision that is not there": {"decisions": [a_decision(2, version=1)]},
    "a fact that is recorded": {"recorded": ["f1", "f0"]},
    "a row that changed": {"unchanged": [a_target("production", version=4)]},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_one_conflict_undoes_the_whole_transaction(ledger: Ledger, reopen: Callable[[], Ledger], wrong: str) -> None:
    """Whichever part it comes from; without it, everything is there, after a restart too."""
    ledger.accept(a_fact("f0"), None, a_due())
    ledger.transact(Transaction(recorded=["f0"]))
    ledger.accept(a_fact(), None, a_due())
    before = state(ledger)
    with pytest.raises(Conflict):
        ledger.transact(everything(**WRONG[wrong]))
    assert state(ledger) == before
    ledger.transact(everything())
    assert state(reopen()) == (
        *(replace(row, version=1) for row in (a_record(pushes={"refs/heads/main": a_push()}), a_target())),
        *(replace(row, version=1) for row in (a_deployment(), a_decision())),
        PoliciesInForce(REPO, "sha256:1", version=1),
        [a_push()],
        True,
        ["f1"],
        ["emitted"],
        ["new"],
        [a_record(version=1, pushes={"refs/heads/main": a_push()})],
    )


def test_a_fact_is_recorded_once(ledger: Ledger) -> None:
    """The second handler of a repeated event learns that the first one was faster."""
    ledger.accept(a_fact(), None, a_due())
    ledger.transact(Transaction(recorded=["f1"]))
    with pytest.raises(Conflict):
        ledger.transact(Transaction(recorded=["f1"]))


def test_of_two_who_write_one_record_at_once_exactly_one_wins(ledger: Ledger) -> None:
    """Fifty races: the other one gets a Conflict, and the record is the winner's."""
    together = Barrier(2)

    def attempt(version: int, writer: str) -> str | None:
        together.wait(PATIENCE)
        try:
            ledger.transact(Transaction(records=[a_record(version=version, tree=writer)]))
        except Conflict:
            return None
        return writer

    with ThreadPoolExecutor(2) as pool:
        for version in range(50):
            outcomes = list(pool.map(attempt, (version, version), ("left", "right")))
            (winner,) = (outcome for outcome in outcomes if outcome is not None)
            assert ledger.record(REPO, sha(1)) == a_record(version=version + 1, tree=winner)


def test_counters_kept_by_many_readers_and_writers_lose_no_step(ledger: Ledger) -> None:
    """Read, add, write, again on Conflict: the fence counts exactly."""
    ledger.transact(Transaction(targets=[a_target()]))

    def count(_: int) -> None:
        done = 0
        while done < 25:
            row = ledger.target("shop", "staging")
            assert row is not None
            try:
                ledger.transact(Transaction(targets=[replace(row, fence=row.fence + 1)]))
            except Conflict:
                continue
            done += 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4)))
    row = ledger.target("shop", "staging")
    assert row is not None
    assert (row.fence, row.version) == (100, 101)


def test_a_push_is_known_by_its_fact_and_a_repetition_changes_nothing(ledger: Ledger) -> None:
    """The first telling stays."""
    ledger.transact(Transaction(pushes=[a_push()]))
    ledger.transact(Transaction(pushes=[a_push(pushed=9), a_push("f2", 2)]))
    assert ledger.pushes(REPO) == [a_push(), a_push("f2", 2)]


def test_several_rows_of_a_kind_fit_into_one_transaction(ledger: Ledger) -> None:
    """Each with its own version."""
    ledger.transact(Transaction(records=[a_record(1), a_record(2)], targets=[a_target("b"), a_target("a")]))
    ledger.transact(Transaction(records=[a_record(2, version=1, tree="t"), a_record(3)]))
    versions = [record.version for n in (1, 2, 3) if (record := ledger.record(REPO, sha(n)))]
    assert versions == [1, 2, 1]
    assert [target.environment for target in ledger.targets()] == ["a", "b"]
