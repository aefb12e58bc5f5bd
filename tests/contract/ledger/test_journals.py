"""Journals: each stream one unbroken chain, each id once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from greenlight.events import rfc3339
from greenlight.ledger.journal import ZEROS, verify
from greenlight.ledger.port import Conflict, Ledger, Transaction
from support.ledger import REPO, a_record, an_entry, at, sha

STREAM = f"commit/{REPO}/{sha(1)}"


def test_entries_are_numbered_linked_and_kept(ledger: Ledger, reopen: Callable[[], Ledger]) -> None:
    """From 1, zeros first; several in one transaction; each as it was given; the chain goes on after a restart."""
    ledger.transact(
        Transaction(entries=[an_entry("a", when=1, gate="tests", n=1), an_entry("b", when=2, reasons=["no ✓"])])
    )
    ledger = reopen()
    ledger.transact(Transaction(entries=[an_entry("c", when=3)]))
    entries = ledger.journal(STREAM)
    assert [(entry.seq, entry.id, entry.at) for entry in entries] == [
        (1, "a", rfc3339(at(1))),
        (2, "b", rfc3339(at(2))),
        (3, "c", rfc3339(at(3))),
    ]
    assert [entry.payload for entry in entries] == [{"gate": "tests"}, {"reasons": ["no ✓"]}, {}]
    assert entries[0].prev == ZEROS
    verdict = verify(entries)
    assert (verdict.holds, verdict.entries, verdict.head) == (True, 3, entries[2].hash)


def test_a_stream_holds_each_id_once(ledger: Ledger) -> None:
    """A repetition is passed over, within one transaction too; another stream has ids of its own."""
    ledger.transact(Transaction(entries=[an_entry("a"), an_entry("a", when=9), an_entry("a", "target/shop/staging")]))
    ledger.transact(Transaction(entries=[an_entry("a", when=9), an_entry("b")]))
    assert [(entry.seq, entry.id, entry.at) for entry in ledger.journal(STREAM)] == [
        (1, "a", rfc3339(at(0))),
        (2, "b", rfc3339(at(0))),
    ]
    assert [entry.seq for entry in ledger.journal("target/shop/staging")] == [1]


def test_a_journal_is_read_in_pieces(ledger: Ledger) -> None:
    """after and limit; every piece verifies from the hash before it."""
    ledger.transact(Transaction(entries=[an_entry(str(n)) for n in range(7)]))
    head = ZEROS
    pieces = [ledger.journal(STREAM, after=after, limit=3) for after in (0, 3, 6, 7)]
    assert [[entry.seq for entry in piece] for piece in pieces] == [[1, 2, 3], [4, 5, 6], [7], []]
    for piece in pieces:
        verdict = verify(piece, prev=head)
        assert verdict.holds
        head = verdict.head


def test_a_conflict_leaves_no_gap_in_the_chain(ledger: Ledger) -> None:
    """What is undone was never numbered."""
    for entry, version in (("a", 0), ("b", 7), ("c", 1)):
        try:
            ledger.transact(Transaction(entries=[an_entry(entry)], records=[a_record(version=version)]))
        except Conflict:
            assert entry == "b"
    entries = ledger.journal(STREAM)
    assert [entry.id for entry in entries] == ["a", "c"]
    assert verify(entries).holds


def test_chains_stay_unbroken_when_many_append_at_once(ledger: Ledger) -> None:
    """Eight threads, two streams, every entry there, each stream one chain."""

    def append(n: int) -> None:
        while True:
            try:
                ledger.transact(Transaction(entries=[an_entry(f"{n}", f"target/shop/{n % 2}", number=n)]))
                return
            except Conflict:  # an adapter may say that another writer was faster
                continue

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(100)))
    for stream in (0, 1):
        entries = ledger.journal(f"target/shop/{stream}")
        assert verify(entries).holds
        assert sorted(entry.payload["number"] for entry in entries) == list(range(stream, 100, 2))


def test_the_last_entries_of_a_stream_are_read_without_the_rest(ledger: Ledger) -> None:
    """In order; all of a short stream, none of one that is not there, and none of another stream."""
    for n in range(7):
        ledger.transact(Transaction(entries=[an_entry(f"e{n}"), an_entry(f"o{n}", "target/shop/live")]))
    stream = an_entry().stream
    whole = ledger.journal(stream)
    assert ledger.newest_entries(stream, limit=3) == whole[-3:]
    assert ledger.newest_entries(stream, limit=100) == whole
    assert ledger.newest_entries("target/shop/nowhere", limit=3) == []


def test_a_commit_has_its_entries_of_every_stream_by_time(ledger: Ledger) -> None:
    """Its own and its targets', and nobody else's."""
    target = "target/shop/staging"
    ledger.transact(
        Transaction(
            entries=[
                an_entry("late", when=9),
                an_entry("middle", target, when=5),
                an_entry("other commit", target, when=6, n=2),
            ]
        )
    )
    ledger.transact(Transaction(entries=[an_entry("early", when=1)]))
    found = ledger.entries(REPO, sha(1))
    assert [(entry.id, entry.stream) for entry in found] == [("early", STREAM), ("middle", target), ("late", STREAM)]


def test_payloads_that_no_double_can_hold_are_kept_as_text(ledger: Ledger) -> None:
    """So that every reader in every language computes the same hash."""
    ledger.transact(
        Transaction(entries=[an_entry("a", big=2**53, small=2**53 - 1, real=1e300, half="\ud800", part=0.5)])
    )
    (entry,) = ledger.journal(STREAM)
    assert entry.payload == {
        "big": "9007199254740992",
        "small": 2**53 - 1,
        "real": "1e+300",
        "half": "\\ud800",
        "part": 0.5,
    }
    assert verify([entry]).holds


def test_the_newest_entries_about_a_commit_come_from_all_its_streams(ledger: Ledger) -> None:
    """As many as are asked for, by time; all of them where there are fewer."""
    own, target = f"commit/{REPO}/{sha(1)}", "target/shop/staging"
    for n in range(12):
        ledger.transact(Transaction(entries=[an_entry(f"e{n:02}", target if n % 3 == 0 else own, when=n)]))
    for limit in (1, 5, 12, 20):
        found = ledger.entries(REPO, sha(1), limit=limit)
        assert [entry.id for entry in found] == [f"e{n:02}" for n in range(12)][-limit:]
    assert len(ledger.entries(REPO, sha(1))) == 12
