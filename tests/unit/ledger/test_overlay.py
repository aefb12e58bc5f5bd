"""An overlay is the ledger a moment later: what is read through it, and what is stored, is as if each write was made alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlight.ledger.overlay import NotOverlaid, Overlay
from greenlight.ledger.port import Conflict, Transaction
from greenlight.ledger.sqlite.ledger import SCHEMA, SqliteLedger
from greenlight.model.policy import PoliciesInForce
from greenlight.model.rows import Due
from greenlight.store import Store
from support.ledger import (
    REPO,
    HandClock,
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

STATES = ("ready", "waiting", "superseded")
NUMBERS = st.integers(1, 3)


@contextmanager
def ledgers() -> Iterator[tuple[Store, SqliteLedger]]:
    """A ledger in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        store = Store(Path(name) / "ledger.db", [SCHEMA], synchronous="NORMAL")
        yield store, SqliteLedger(store, Path(name) / "bodies", clock=HandClock().now)
        store.close()


@st.composite
def writes(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """What one write is about; versions are filled in from what is there."""
    if draw(st.integers(0, 4)) == 0:
        return "accept", {"fact": draw(NUMBERS), "due": draw(st.integers(0, 9))}
    some = {
        "record": draw(st.none() | NUMBERS),
        "target": draw(st.booleans()),
        "deployment": draw(st.none() | NUMBERS),
        "decision": draw(st.none() | st.tuples(NUMBERS, st.sampled_from(STATES), st.none() | st.integers(0, 3))),
        "in_force": draw(st.booleans()),
        "unchanged": draw(st.none() | NUMBERS),
        "recorded": draw(st.none() | NUMBERS),
        "push": draw(st.none() | st.tuples(NUMBERS, st.integers(0, 3), st.sampled_from(["refs/heads/main", "refs/tags/v"]))),
        "entries": draw(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=2)),
        "due": draw(st.none() | st.tuples(NUMBERS, NUMBERS)),
        "postponed": draw(st.none() | st.tuples(NUMBERS, NUMBERS)),
        "done": draw(st.none() | st.tuples(NUMBERS, NUMBERS)),
        "stale": draw(st.integers(0, 9)) == 0,
    }  # fmt: skip
    return "transact", some


def transaction(some: dict[str, Any], ledger: Any, note: str) -> Transaction:
    """The transaction, on top of what `ledger` has; with `stale` on a version that is gone."""
    older = 1 if some["stale"] else 0

    def on(row: Any, known: Any) -> Any:
        return replace(row, version=max(0, known.version - older) if known is not None else 0)

    records, decisions, deployments = [], [], []
    if some["record"] is not None:
        n = some["record"]
        records = [on(a_record(n, updated=n, tree=note), ledger.record(REPO, sha(n)))]
    if some["decision"] is not None:
        n, state, pushed = some["decision"]
        push = None if pushed is None else a_push(f"p{n}", n, pushed=pushed)
        decisions = [on(a_decision(n, state, push=push), ledger.decision("shop", "staging", REPO, sha(n)))]
    if some["deployment"] is not None:
        id = f"d{some['deployment']}"
        deployments = [on(a_deployment(id, reason=note), ledger.deployment(id))]
    read = None if some["unchanged"] is None else ledger.record(REPO, sha(some["unchanged"]))
    unrecorded = some["recorded"] is not None and (fact := ledger.fact(f"f{some['recorded']}")) and not fact.recorded
    pushes = []
    if some["push"] is not None:
        n, pushed, ref = some["push"]
        pushes = [a_push(f"push{n}{pushed}{ref[5:]}", n, pushed=pushed, ref=ref)]

    def due(value: tuple[int, int] | None, seconds: float) -> list[Due]:
        return [] if value is None else [a_due(f"k{value[0]}", seconds, f"e{value[1]}")]

    return Transaction(
        records=records,
        targets=[on(a_target(paused=note), ledger.target("shop", "staging"))] if some["target"] else [],
        deployments=deployments,
        decisions=decisions,
        in_force=[on(PoliciesInForce(REPO, note), ledger.policies_in_force(REPO))] if some["in_force"] else [],
        unchanged=[] if read is None else [read],
        recorded=[f"f{some['recorded']}"] if unrecorded else [],
        pushes=pushes,
        entries=[an_entry(f"e{id}", stream=f"commit/{stream}") for stream, id in some["entries"]],
        emit=[an_event(note)],
        due=due(some["due"], 60),
        postponed=due(some["postponed"], 90),
        done=[] if some["done"] is None else [(f"k{some['done'][0]}", f"e{some['done'][1]}")],
    )


def seen(ledger: Any) -> dict[str, Any]:
    """Everything that a handler may read."""
    rows: dict[str, Any] = {
        **{f"journal {n}": list(ledger.journal(f"commit/{n}")) for n in (1, 2, 3)},
        **{f"fact {n}": ledger.fact(f"f{n}") for n in (1, 2, 3)},
        **{f"record {n}": ledger.record(REPO, sha(n)) for n in (1, 2, 3)},
        **{f"decision {n}": ledger.decision("shop", "staging", REPO, sha(n)) for n in (1, 2, 3)},
        **{f"deployment {n}": ledger.deployment(f"d{n}") for n in (1, 2, 3)},
        "target": ledger.target("shop", "staging"),
        "in force": ledger.policies_in_force(REPO),
    }
    for limit in (1, 2, 200):
        for since in (None, (at(1), at(0))):
            rows[f"decisions {limit} {since}"] = list(
                ledger.decisions("shop", "staging", STATES[:2], since=since, limit=limit)
            )
    for limit in (1, 2, None):
        for since_time in (None, at(1)):
            for of in (None, lambda ref: ref.startswith("refs/heads/")):
                found = ledger.pushes(REPO, since=since_time, of=of, limit=limit)
                rows[f"pushes {limit} {since_time} {of is None}"] = list(found)
    return rows


def made(some: tuple[str, dict[str, Any]], ledger: Any, note: str) -> bool | str:
    """Make a write; what came of it."""
    kind, about = some
    if kind == "accept":
        id = f"f{about['fact']}"
        body: Any = None if about["due"] % 2 else (f"sha256:{about['fact']:064x}", b"x")
        if isinstance(ledger, SqliteLedger):
            overlay = ledger.overlay()
            accepted = overlay.accept(a_fact(id), body, a_due(f"fact/{id}", about["due"], id))
            ledger.store(overlay)
            return accepted
        return bool(ledger.accept(a_fact(id), body, a_due(f"fact/{id}", about["due"], id)))
    try:
        ledger.transact(transaction(about, ledger, note))
    except Conflict:
        return "conflict"
    return True


def dumped(store: Store) -> list[str]:
    with store.read() as connection:
        return sorted(connection.iterdump())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(writes(), st.booleans(), st.booleans()), max_size=14))
def test_writes_through_overlays_are_the_writes_one_by_one(
    story: list[tuple[tuple[str, dict[str, Any]], bool, bool]],
) -> None:
    """Whichever of them share a layer or a transaction, what is read after each is the same, and so is the file at the end."""
    with ledgers() as (one_store, one), ledgers() as (other_store, other):
        batch = other.overlay()
        layer = Overlay(batch)
        for number, (some, ends_layer, ends_batch) in enumerate(story):
            note = f"write {number}"
            seen(layer)  # a handler reads what it writes on
            assert made(some, one, note) == made(some, layer, note)
            assert seen(layer) == seen(one)
            if ends_layer or ends_batch:
                batch.absorb(layer)
                layer = Overlay(batch)
            if ends_batch:
                other.store(batch)
                batch = other.overlay()
                layer = Overlay(batch)
                assert seen(other) == seen(one)
        batch.absorb(layer)
        other.store(batch)
        assert dumped(other_store) == dumped(one_store)


def test_what_is_no_longer_due_in_a_chain_leaves_nothing_of_what_was_due_before() -> None:
    """A second event under the same key replaces the first, so that the end of the second is the end of both."""
    with ledgers() as (_, ledger):
        ledger.transact(Transaction(due=[a_due("k", 1, "first")]))
        overlay = ledger.overlay()
        overlay.transact(Transaction(due=[a_due("k", 2, "second")]))
        overlay.transact(Transaction(done=[("k", "second")]))
        ledger.store(overlay)
        assert ledger.due(at(99)) == []


def test_what_another_wrote_meanwhile_is_a_conflict_and_nothing_is_stored() -> None:
    """Rows that were written and rows that were only read."""
    with ledgers() as (_, ledger):
        ledger.transact(Transaction(records=[a_record(1)], targets=[a_target()]))
        for how in ("records", "unchanged"):
            known = ledger.record(REPO, sha(1))
            assert known is not None
            overlay = ledger.overlay()
            overlay.transact(
                replace(Transaction(targets=[a_target(version=1)], emit=[an_event("lost")]), **{how: [known]})
            )
            ledger.transact(Transaction(records=[known]))
            with pytest.raises(Conflict):
                ledger.store(overlay)
        assert ledger.target("shop", "staging") == a_target(version=1)
        assert ledger.outbox(older_than=at(99)) == []


def test_an_overlay_refuses_a_read_that_it_cannot_answer() -> None:
    """Lists of everything; and the end of a journal to which it has added."""
    with ledgers() as (_, ledger):
        overlay = ledger.overlay()
        assert overlay.journal("commit/a") == []
        overlay.transact(Transaction(entries=[an_entry("e", stream="commit/a")]))
        for read in (
            lambda: overlay.journal("commit/a", after=1),
            lambda: overlay.targets(),
            lambda: overlay.records(),
        ):
            with pytest.raises(NotOverlaid):
                read()
