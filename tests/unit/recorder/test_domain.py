"""Facts fold into one record, whatever their order and however often they come."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from greenlight.model.rows import Fact, Record
from greenlight.policy import signals
from greenlight.recorder.domain import fold
from support.policy import (
    BUILD,
    MAIN,
    REPO,
    SCAN,
    approvals,
    attempt,
    fact,
    heard,
    minute,
    push,
    pushed,
    recorded,
    sha,
    word,
)

ORDERS = st.tuples(st.integers(0, 2) | st.sampled_from(["", "b"]), st.integers(0, 1)) | st.just(())
OUTCOMES = st.sampled_from(["passed", "failed", "cancelled", None])
DIGESTS = st.dictionaries(st.sampled_from(["shop", "till"]), st.sampled_from(["sha256:a", "sha256:b"]), max_size=2)
TIMES = st.integers(0, 3)


def _request(at: int, kind: str) -> Fact:
    details = {"application": "shop", "environment": "production", "kind": kind, "person": "lena", "reason": "because"}
    return fact(type="deployment.requested", at=at, details=details)


KINDS = st.one_of(
    st.builds(
        lambda at, order, outcome, refs, artifacts, foreign, signal: fact(
            at=at, order=order, outcome=outcome, refs=refs, artifacts=artifacts, foreign=foreign, signal=signal
        ),
        TIMES, ORDERS, OUTCOMES, st.sampled_from([(), (MAIN,), (MAIN, "refs/tags/v1")]), DIGESTS, st.booleans(),
        st.sampled_from([BUILD, SCAN]),
    ),
    st.builds(
        lambda at, run, outcome, ahead: fact(
            at=at, order=(run or 0, at), outcome=outcome, signal=SCAN,
            details={**({"run": run} if run is not None else {}), **({"ahead": "later"} if ahead else {})},
        ),
        TIMES, st.none() | st.integers(0, 2), st.sampled_from(["passed", "failed"]), st.booleans(),
    ),
    st.builds(
        lambda at, said: fact(
            at=at, order=(at,), signal=signals.event("com.example.scan", "lab"), details={"data": {"severity": said}}
        ),
        TIMES, st.sampled_from(["none", "high"]),
    ),
    st.builds(
        lambda suite, number: fact(details={"suite_of": {"suite": suite, "workflow": "10 (push)", "number": number}}),
        st.integers(1, 2), st.just(3),
    ),
    st.builds(
        lambda at, ref, people, tree, deleted: replace(
            pushed(push(at=at, ref=ref, deleted=deleted)), people=people, tree=tree
        ),
        TIMES, st.sampled_from([MAIN, "refs/heads/x"]), st.sampled_from([(), ("p1",), ("p2", "p0")]),
        st.sampled_from(["t", None]), st.booleans(),
    ),
    st.builds(
        lambda who, gate, at, granted: word(who, gate, at=at, granted=granted),
        st.sampled_from(["lena", "omar"]), st.sampled_from(["legal", "board"]), TIMES, st.booleans(),
    ),
    st.builds(_request, TIMES, st.sampled_from(["deploy", "retry", "rollback"])),
)  # fmt: skip


def _numbered(facts: list[Fact]) -> list[Fact]:
    """Each with an id of its own, and accepted some time after it happened."""
    return [
        replace(
            one,
            event=replace(one.event, id=f"{number:02}"),
            accepted=minute(10 + number % 3),
            push=one.push and replace(one.push, fact=f"{number:02}", arrived=minute(10 + number % 3)),
        )
        for number, one in enumerate(facts)
    ]


FACTS = st.lists(KINDS, max_size=8).map(_numbered)


@given(FACTS, st.randoms(use_true_random=False), st.integers(0, 8))
def test_gates_commute_and_repetitions_change_nothing(facts: list[Fact], random: Any, again: int) -> None:
    """Any permutation, with any of them repeated anywhere, gives an equal record."""
    schedule = [*facts, *facts[:again]]
    random.shuffle(schedule)
    assert recorded(*schedule) == recorded(*facts)


@given(FACTS)
def test_folding_a_fact_twice_is_folding_it_once(facts: list[Fact]) -> None:
    """At once, or after everything else."""
    whole = recorded(*facts)
    for one in facts:
        assert fold(whole, one) == whole


@given(st.permutations([1, 2, 3, 4, 5]))
def test_an_older_fact_never_overrides_a_newer_one(arrivals: list[int]) -> None:
    """Whenever it comes, the newest by its provider's order stands."""
    record = recorded(*(heard(BUILD, "failed" if run % 2 else "passed", order=(7, run)) for run in arrivals))
    assert record.signals[BUILD][MAIN].order == (7, 5)
    assert record.signals[BUILD][MAIN].outcome == "failed"


def test_of_facts_with_the_same_order_the_failure_stands() -> None:
    """The provider cannot tell which is newer, so the worse one counts."""
    passed, failed = heard(BUILD, "passed", order=(1,), id="z"), heard(BUILD, "failed", order=(1,), id="a")
    other = heard(BUILD, "cancelled", order=(1,), id="zz")
    for facts in ([passed, failed, other], [failed, other, passed]):
        assert recorded(*facts).signals[BUILD][MAIN].fact == "a"


def test_orders_of_different_shapes_compare_without_a_crash() -> None:
    """Position by position, numbers before words, the longer after its beginning."""
    orders: list[tuple[int | str, ...]] = [(), (1,), (1, 2), (1, "2"), (2,), ("",), ("1",)]
    facts = [heard(BUILD, "passed", order=order) for order in orders]
    for index in range(len(orders)):
        assert recorded(*reversed(facts[: index + 1])).signals[BUILD][MAIN].order == orders[index]


def test_a_fact_is_filed_under_each_of_its_refs_or_under_none() -> None:
    """Which of them count is the policy's to say, later."""
    both = fact(signal=BUILD, outcome="passed", refs=(MAIN, "refs/tags/v1"))
    assert set(recorded(both).signals[BUILD]) == {MAIN, "refs/tags/v1"}
    assert set(recorded(heard(BUILD, "passed", ref=None)).signals[BUILD]) == {""}


def test_a_fork_opens_no_gate_and_names_no_artifact_but_its_author_is_one() -> None:
    """Its facts are in the journal all the same."""
    forked = replace(heard(BUILD, "passed", artifacts={"shop": "sha256:a"}), foreign=True, people=("p1",))
    record = recorded(forked)
    assert (record.signals, record.artifacts, record.people) == ({}, {}, ("p1",))


def test_a_deletion_puts_no_commit_anywhere() -> None:
    """The fact is about the commit that the ref held; it stays where other pushes put it."""
    there = push()
    gone = replace(push("0" * 40, at=5, deleted=True, before=sha(1)), fact="gone")
    record = recorded(pushed(there), fact(sha(1), "com.github.delete", id="gone", push=gone))
    assert record.pushes == {MAIN: there}


def test_artifacts_gather_every_digest_that_was_told() -> None:
    """Two for one name is for the decision to refuse."""
    record = recorded(
        heard(BUILD, "passed", at=2, artifacts={"shop": "sha256:b"}),
        heard(SCAN, "passed", at=1, artifacts={"shop": "sha256:a", "till": "sha256:c"}),
    )
    assert record.artifacts == {"shop": ("sha256:a", "sha256:b"), "till": ("sha256:c",)}


def test_the_newest_word_of_a_person_stands_and_a_revocation_is_kept_beside_it() -> None:
    """Who they were then is kept with it."""
    record = recorded(word("lena", at=3), word("lena", at=2, granted=False), word("omar", at=1))
    assert {person: it.granted for person, it in approvals(record).items()} == {"lena": True, "omar": True}
    assert approvals(record)["lena"].groups == ("legal",)
    revocation = record.revocations["shop/legal"]
    assert (revocation.person, revocation.at, revocation.reason) == ("lena", minute(2), "no")


def test_version_and_attempts_are_not_a_facts_to_change() -> None:
    """They belong to the ledger and the deployer."""
    before = Record(REPO, sha(1), version=7, attempts={"shop/production": attempt("failed")})
    after = fold(before, heard(BUILD, "passed"))
    assert (after.version, after.attempts) == (7, before.attempts)
    assert after.updated == minute(0)
