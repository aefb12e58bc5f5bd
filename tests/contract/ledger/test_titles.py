"""What the table of titles promises: it is there beside everything else, and people can be erased from it."""

from __future__ import annotations

from collections.abc import Callable

from greenlight.ledger.journal import verify
from greenlight.ledger.port import Ledger, Transaction
from greenlight.model.rows import Title
from support.ledger import REPO, a_due, a_fact, an_entry, sha

LENA = Title(sha(1), "Round up", "Lena Böhm", login="p-lena", email="p-lena@acme")
OMAR = Title(sha(2), "Refund \U0001f4b6 #12", "", email="p-omar@acme")
NOBODY = Title(sha(3), "", "")
ALL = {one.sha: one for one in (LENA, OMAR, NOBODY)}


def test_titles_are_kept_with_their_fact_and_are_no_part_of_it(ledger: Ledger, reopen: Callable[[], Ledger]) -> None:
    """By repository and commit; a fact reads the same with and without, from memory and from the disk."""
    assert ledger.titles(REPO, [LENA.sha]) == {}
    ledger.accept(a_fact(titles=(LENA, OMAR, NOBODY)), None, a_due())
    for _ in range(2):
        assert ledger.titles(REPO, [*ALL, sha(9)]) == ALL
        assert ledger.titles("acme/other", [LENA.sha]) == {}
        assert ledger.fact("f1") == a_fact()
        ledger = reopen()


def test_a_later_fact_replaces_a_title_and_a_repetition_changes_none(ledger: Ledger) -> None:
    """A title is what the newest accepted fact says."""
    ledger.accept(a_fact(titles=(LENA,)), None, a_due())
    other = Title(LENA.sha, "Another", "Lena", login="p-lena")
    assert ledger.accept(a_fact(titles=(other,)), None, a_due()) is False
    assert ledger.titles(REPO, [LENA.sha]) == {LENA.sha: LENA}
    ledger.accept(a_fact("f2", titles=(OMAR, other)), None, a_due())
    assert ledger.titles(REPO, [LENA.sha]) == {LENA.sha: other}


def test_who_is_erased_is_found_by_any_of_their_identities(ledger: Ledger) -> None:
    """By login or address; everybody else stays, and so do the journal, its chain and the fact."""
    ledger.accept(a_fact(titles=(LENA, OMAR, NOBODY)), None, a_due())
    ledger.transact(Transaction(entries=[an_entry()]))
    assert ledger.erase_titles([]) == 0
    assert ledger.erase_titles(["p-unknown"]) == 0
    assert ledger.erase_titles({"p-lena", "p-lena@acme", "p-unknown"}) == 1
    assert ledger.titles(REPO, ALL) == {OMAR.sha: OMAR, NOBODY.sha: NOBODY}
    assert ledger.erase_titles(["p-omar@acme"]) == 1
    assert ledger.titles(REPO, [OMAR.sha]) == {}
    assert ledger.fact("f1") == a_fact()
    (entry,) = ledger.journal(an_entry().stream)
    assert verify([entry]).holds


def test_a_push_of_hundreds_of_commits_has_all_its_titles(ledger: Ledger) -> None:
    """More than one transaction may hold."""
    many = tuple(Title(sha(n), f"Commit {n}", "Lena", login="p-lena") for n in range(1, 251))
    assert ledger.accept(a_fact(titles=(*many, many[0])), None, a_due())
    assert ledger.titles(REPO, [one.sha for one in many]) == {one.sha: one for one in many}
    assert ledger.erase_titles(["p-lena"]) == 250
    assert ledger.titles(REPO, [sha(250)]) == {}


def test_the_number_of_changes_is_another_one_after_each_change(ledger: Ledger) -> None:
    """And stays while nothing changes; None where nobody can tell without reading."""
    before = ledger.changes()
    assert ledger.changes() == before
    ledger.accept(a_fact(titles=(LENA,)), None, a_due())
    assert before is None or ledger.changes() != before
