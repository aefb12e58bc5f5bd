"""What accept, fact, claim and the bodies promise."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from greenlight.ledger.port import Ledger, Transaction
from support.ledger import HandClock, a_due, a_fact, an_event, at
from support.timing import PATIENCE


def digest(body: bytes) -> str:
    """The name of a body."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


def test_an_accepted_fact_is_there_with_its_event_body_and_due_time_after_a_restart(
    ledger: Ledger, reopen: Callable[[], Ledger]
) -> None:
    """One transaction, durable when accept returns."""
    body = b'{"ref": "refs/heads/main"}'
    fact, due = a_fact(body=digest(body)), a_due()
    assert ledger.accept(fact, body, due) is True
    ledger = reopen()
    assert ledger.fact("f1") == fact
    assert ledger.body(digest(body)) == body
    assert ledger.due(at(60)) == [due]
    assert ledger.outbox(older_than=at(1)) == [], "the event comes again when it is due"


def test_a_fact_with_a_known_id_changes_nothing(ledger: Ledger) -> None:
    """Not its words, not its body, not its due time, not the outbox."""
    ledger.accept(a_fact(), None, a_due())
    other = replace(a_fact(), outcome="failed")
    assert ledger.accept(other, b"other", a_due("k2", 5)) is False
    assert ledger.fact("f1") == a_fact()
    assert ledger.body(digest(b"other")) is None
    assert ledger.outbox(older_than=at(1)) == []
    assert ledger.due(at(100)) == [a_due()]


def test_of_many_who_accept_one_fact_at_once_exactly_one_did(ledger: Ledger) -> None:
    """True means: it was you."""
    together = Barrier(8)

    def accept(_: int) -> bool:
        together.wait(PATIENCE)
        return ledger.accept(a_fact(), None, a_due())

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(accept, range(8))) == [False] * 7 + [True]


def test_a_fact_says_whether_it_is_in_its_record(ledger: Ledger) -> None:
    """recorded is false from accept until a transaction says so."""
    ledger.accept(a_fact(), None, a_due())
    ledger.transact(Transaction(recorded=["f1"]))
    assert ledger.fact("f1") == replace(a_fact(), recorded=True)


def test_what_is_not_there_is_none(ledger: Ledger) -> None:
    """No error, no empty row."""
    assert ledger.fact("f1") is None
    assert ledger.record("acme/shop", "0" * 40) is None
    assert ledger.target("shop", "staging") is None
    assert ledger.decision("shop", "staging", "acme/shop", "0" * 40) is None
    assert ledger.deployment("d1") is None
    assert ledger.policy("sha256:00") is None
    assert ledger.body(digest(b"")) is None
    assert ledger.body("../../etc/passwd") is None
    assert ledger.next_due() is None
    assert ledger.targets() == []
    assert ledger.journal("commit/acme/shop/0") == []


def test_a_message_id_belongs_to_the_first_body_that_used_it(ledger: Ledger, reopen: Callable[[], Ledger]) -> None:
    """Per sender: a later use learns the first digest, its own if it is the same."""
    assert ledger.claim("scanner", "m1", "sha256:aa") == "sha256:aa"
    assert ledger.claim("scanner", "m1", "sha256:bb") == "sha256:aa"
    assert reopen().claim("scanner", "m1", "sha256:aa") == "sha256:aa"
    ledger = reopen()
    assert ledger.claim("other", "m1", "sha256:bb") == "sha256:bb"
    assert ledger.claim("scanner", "m2", "sha256:bb") == "sha256:bb"


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 3_000_000])
def test_a_body_comes_back_byte_for_byte(ledger: Ledger, reopen: Callable[[], Ledger], size: int) -> None:
    """Whatever its size, after a restart too."""
    body = os.urandom(size)
    ledger.accept(a_fact(body=digest(body)), body, a_due())
    assert reopen().body(digest(body)) == body


def test_bodies_stored_before_a_time_can_be_forgotten_and_facts_stay(ledger: Ledger, clock: HandClock) -> None:
    """Small and large ones; one that was stored again by another fact counts from then."""
    small, large, again, late = b"small", b"l" * 300_000, b"a" * 300_000, b"late"
    for number, (body, seconds) in enumerate([(small, 0), (large, 1), (again, 2), (again, 10), (late, 10)]):
        clock.time = at(seconds)
        ledger.accept(a_fact(f"f{number}", body=digest(body)), body, a_due())
    assert ledger.forget_bodies(at(10)) == 2
    assert [ledger.body(digest(body)) for body in (small, large, again, late)] == [None, None, again, late]
    assert ledger.fact("f0") is not None
    assert ledger.forget_bodies(at(10)) == 0
    assert ledger.accept(a_fact("f9", body=digest(large)), large, a_due())
    assert ledger.body(digest(large)) == large


def test_many_bodies_are_forgotten_and_all_are_counted(ledger: Ledger) -> None:
    """More than an adapter drops in one step."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ledger.accept(a_fact(f"f{n}"), b"%d" % n, a_due()), range(450)))
    assert ledger.forget_bodies(at(1)) == 450


def test_a_policy_is_kept_under_its_digest(ledger: Ledger, reopen: Callable[[], Ledger]) -> None:
    """As often as it is kept, it stays what it was."""
    ledger.keep_policy("sha256:aa", "text ✓")
    ledger.keep_policy("sha256:aa", "text ✓")
    ledger.keep_policy("sha256:bb", "other")
    assert reopen().policy("sha256:aa") == "text ✓"


def test_a_ledger_that_can_write_is_ready(ledger: Ledger) -> None:
    """ready says nothing and leaves nothing that can be seen."""
    ledger.ready()
    ledger.ready()
    assert ledger.outbox(older_than=at(1)) == []


def test_an_event_is_not_changed_by_being_kept(ledger: Ledger) -> None:
    """Bytes that are no text, extensions of every type, a time with nanoseconds."""
    event = replace(
        an_event("x", extensions={"n": 7, "flag": True, "word": "w"}),
        data=b"\xff\x00",
        time="2026-03-01T12:00:00.123456789Z",
    )
    ledger.transact(Transaction(emit=[event]))
    (kept,) = ledger.outbox(older_than=at(1))
    assert kept == event
    assert type(kept.extensions["flag"]) is bool
