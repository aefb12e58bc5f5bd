"""What waits to be published, and what is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenlight.ledger.port import Ledger, Reading, Transaction
from support.ledger import HandClock, a_due, an_event, at


def test_events_wait_in_the_outbox_until_they_are_known_to_be_published(
    ledger: Ledger, reopen: Callable[[], Ledger], clock: HandClock
) -> None:
    """Those emitted before a time, oldest first, limited, across a restart."""
    ledger.transact(Transaction(emit=[an_event("a"), an_event("b")]))
    clock.time = at(10)
    ledger.transact(Transaction(emit=[an_event("c")]))
    assert ledger.outbox(older_than=at(0)) == []
    assert ledger.outbox(older_than=at(10)) == [an_event("a"), an_event("b")]
    assert [event.id for event in ledger.outbox(older_than=at(11))] == ["a", "b", "c"]
    assert [event.id for event in ledger.outbox(older_than=at(11), limit=1)] == ["a"]
    ledger.published(["a", "c", "never seen"])
    ledger.published([])
    assert [event.id for event in reopen().outbox(older_than=at(11))] == ["b"]


def test_an_event_that_is_emitted_again_is_published_again(ledger: Ledger) -> None:
    """Once in the outbox while it waits; there again after it was published."""
    for _ in range(2):
        ledger.transact(Transaction(emit=[an_event("a")]))
    assert ledger.outbox(older_than=at(1)) == [an_event("a")]
    ledger.published(["a"])
    ledger.transact(Transaction(emit=[an_event("a")]))
    assert ledger.outbox(older_than=at(1)) == [an_event("a")]


def test_what_is_emitted_and_due_is_not_in_the_outbox_unless_it_is_emitted_again(ledger: Ledger, adapter: Any) -> None:
    """It comes again when it is due, and from the outbox once somebody emits it again, until that is published."""
    other, due = adapter.another(), a_due("k", 30, "both")
    for again in (other, ledger):
        with ledger.session(Reading()):
            ledger.transact(Transaction(emit=[an_event("both"), an_event("emitted")], due=[due]))
            assert [event.id for event in ledger.outbox(older_than=at(1))] == ["emitted"]
            ledger.published(["both", "emitted"])
        assert ledger.due(at(99)) == [due]
        again.transact(Transaction(emit=[an_event("both")], postponed=[a_due("k", 60, "both", 1)]))
        assert [event.id for event in ledger.outbox(older_than=at(1))] == ["both"]
        ledger.published(["both"])
        assert ledger.outbox(older_than=at(1)) == []


def test_what_is_due_comes_earliest_first_and_not_before_its_time(ledger: Ledger) -> None:
    """At or before, limited; next_due is the earliest of all."""
    rows = [a_due("c", 30), a_due("a", 10, attempts=3), a_due("b", 20)]
    ledger.transact(Transaction(due=rows))
    assert ledger.next_due() == at(10)
    assert ledger.due(at(9.999999)) == []
    assert ledger.due(at(20)) == [rows[1], rows[2]]
    assert [due.key for due in ledger.due(at(99))] == ["a", "b", "c"]
    assert [due.key for due in ledger.due(at(99), limit=2)] == ["a", "b"]


def test_a_key_is_due_once(ledger: Ledger) -> None:
    """Setting it replaces what it had: time, event and attempts, earlier or later."""
    for due in (a_due("k", 10, "e1"), a_due("k", 50, "e2", 4), a_due("k", 5, "e3", 1)):
        ledger.transact(Transaction(due=[due]))
        assert ledger.due(at(99)) == [due]
        assert ledger.next_due() == due.at


def test_done_ends_that_event_and_no_other(ledger: Ledger) -> None:
    """Another event under the key stays; a key that is not there is nothing to do."""
    ledger.transact(Transaction(due=[a_due("k", 10, "e2"), a_due("other", 20)]))
    ledger.transact(Transaction(done=[("k", "e1"), ("nowhere", "e1")]))
    assert [due.key for due in ledger.due(at(99))] == ["k", "other"]
    ledger.transact(Transaction(done=[("k", "e2")]))
    assert [due.key for due in ledger.due(at(99))] == ["other"]


def test_what_is_due_can_be_postponed_unless_it_was_done_or_replaced(ledger: Ledger) -> None:
    """Whoever read it may be late: what happened to the key since then stands."""
    ledger.transact(Transaction(due=[a_due("a", 10, "e1"), a_due("b", 10, "e1"), a_due("c", 10, "e1")]))
    ledger.transact(Transaction(done=[("b", "e1")], due=[a_due("c", 20, "e2")]))
    ledger.transact(Transaction(postponed=[a_due(key, 60, "e1", 1) for key in "abc"]))
    assert ledger.due(at(99)) == [a_due("c", 20, "e2"), a_due("a", 60, "e1", 1)]
    assert ledger.next_due() == at(20)


def test_one_transaction_can_finish_a_key_and_set_what_follows(ledger: Ledger) -> None:
    """What is set stays, whatever was done under the same key."""
    ledger.transact(Transaction(due=[a_due("k", 10, "e1")]))
    ledger.transact(Transaction(done=[("k", "e1")], due=[a_due("k", 20, "e2")]))
    assert ledger.due(at(99)) == [a_due("k", 20, "e2")]
    ledger.transact(Transaction(done=[("k", "e2")], due=[a_due("k", 30, "e2", 1)]))
    assert ledger.due(at(99)) == [a_due("k", 30, "e2", 1)]
