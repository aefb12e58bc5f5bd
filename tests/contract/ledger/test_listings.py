"""Listings: what they hold, in which order, and that paging neither loses nor repeats."""

from __future__ import annotations

import pytest

from greenlight.ledger.port import Ledger, Transaction
from greenlight.model.rows import Record
from support.ledger import REPO, a_decision, a_deployment, a_push, a_record, at, sha


def shas(ledger: Ledger, **query: object) -> list[str]:
    """The commits that a listing names, as their numbers."""
    return [f"{int(record.sha, 16)}" for record in ledger.records(**query).records]  # type: ignore[arg-type]


def test_a_prefix_finds_at_most_two_commits_of_its_repository(ledger: Ledger) -> None:
    """None, the one, or enough to tell that it is ambiguous."""
    known = ["abcdef0" + "0" * 33, "abcdef1" + "0" * 33, "abcdeff" + "f" * 33, "b" * 40]
    for commit in known:
        ledger.transact(Transaction(records=[Record(REPO, commit), Record("acme/other", commit)]))
    assert ledger.find(REPO, "abcdef0") == [known[0]]
    assert ledger.find(REPO, "abcdeff") == [known[2]]
    assert ledger.find(REPO, known[3]) == [known[3]]
    found = ledger.find(REPO, "abcdef")
    assert len(found) == 2
    assert set(found) < set(known[:3])
    assert ledger.find(REPO, "abcdef2") == []
    assert ledger.find("acme/none", "a") == []


def test_records_come_newest_first_and_are_found_by_what_they_hold(ledger: Ledger) -> None:
    """Repository, ref, and any target's decision, alone and together."""
    main, other = "refs/heads/main", "refs/heads/other"
    ledger.transact(
        Transaction(
            records=[
                a_record(1, updated=5, pushes={main: a_push("f1", 1)}),
                a_record(2, updated=9, pushes={main: a_push("f2", 2), other: a_push("f3", 2, ref=other)}),
                a_record(3, updated=7, repo="acme/other"),
                a_record(4, updated=None),
            ],
            decisions=[
                a_decision(1, "ready"),
                a_decision(1, "waiting", environment="production"),
                a_decision(2, "waiting"),
                a_decision(4, "ready", application="site"),
            ],
        )
    )
    assert shas(ledger) == ["2", "3", "1", "4"]
    assert shas(ledger, repo=REPO) == ["2", "1", "4"]
    assert shas(ledger, ref=main) == ["2", "1"]
    assert shas(ledger, ref=other) == ["2"]
    assert shas(ledger, decision="ready") == ["1", "4"]
    assert shas(ledger, application="shop") == ["2", "1"]
    assert shas(ledger, application="shop", environment="production", decision="waiting") == ["1"]
    assert shas(ledger, application="shop", environment="production", decision="ready") == []
    assert shas(ledger, repo=REPO, ref=main, decision="waiting", limit=1) == ["2"]


def test_a_record_moves_with_its_newest_fact_and_its_refs(ledger: Ledger) -> None:
    """The listing shows what is stored now."""
    ledger.transact(Transaction(records=[a_record(1, updated=1, pushes={"a": a_push()}), a_record(2, updated=2)]))
    ledger.transact(Transaction(records=[a_record(1, version=1, updated=3, pushes={"b": a_push()})]))
    assert shas(ledger) == ["1", "2"]
    assert (shas(ledger, ref="a"), shas(ledger, ref="b")) == ([], ["1"])


def test_paging_loses_and_repeats_nothing_while_records_are_added(ledger: Ledger) -> None:
    """Twenty-three records, some of one moment, in pages of four; newer ones arrive in between."""
    ledger.transact(Transaction(records=[a_record(n, updated=n // 3) for n in range(23)]))
    seen: list[int] = []
    cursor, added = None, 100
    while True:
        page = ledger.records(repo=REPO, cursor=cursor, limit=4)
        seen += [int(record.sha, 16) for record in page.records]
        if page.next is None:
            break
        cursor = page.next
        ledger.transact(Transaction(records=[a_record(added, updated=added)]))
        added += 1
    assert sorted(seen) == list(range(23))
    assert [n // 3 for n in seen] == sorted((n // 3 for n in range(23)), reverse=True)


def test_the_last_page_says_so_even_when_it_is_full(ledger: Ledger) -> None:
    """No cursor that leads to nothing."""
    ledger.transact(Transaction(records=[a_record(n) for n in range(4)]))
    page = ledger.records(limit=2)
    assert page.next is not None
    page = ledger.records(limit=2, cursor=page.next)
    assert (len(page.records), page.next) == (2, None)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "W10=",
        "eyJhIjogMX0=",
        "WyJhIiwgImIiLCAiYyJd",
        "ü",
        "WzFlOTksICIiLCAiIl0=",
        "WzkyMjMzNzIwMzY4NTQ3NzU4MDgsICJhIiwgImIiXQ==",
    ],
)
def test_a_cursor_of_nobody_is_refused(ledger: Ledger, cursor: str) -> None:
    """ValueError, whose message says what to do."""
    with pytest.raises(ValueError, match="cursor"):
        ledger.records(cursor=cursor)


def test_pushes_are_the_newest_of_their_repository_oldest_first(ledger: Ledger) -> None:
    """By (pushed_at, arrived), from `since` on, the newest `limit` of them."""
    first, second, third = (
        a_push("c", 1, pushed=1),
        a_push("b", 2, pushed=5, arrived=6, ref="refs/heads/topic"),
        a_push("a", 3, pushed=5, arrived=7),
    )
    ledger.transact(Transaction(pushes=[third, first, second]))
    assert ledger.pushes(REPO) == [first, second, third]
    assert ledger.pushes(REPO, since=at(5)) == [second, third]
    assert ledger.pushes(REPO, since=at(5.000001)) == []
    assert ledger.pushes(REPO, limit=2) == [second, third]
    assert [*ledger.pushes(REPO, limit=None)] == [first, second, third]
    assert ledger.pushes(REPO, limit=2, of=lambda ref: ref == first.ref) == [first, third]
    assert ledger.pushes("acme/other") == []


def test_decisions_of_a_target_come_by_the_newest_push(ledger: Ledger) -> None:
    """Only those states; what was never pushed comes last."""
    rows = [
        a_decision(1, "ready", push=a_push("a", 1, pushed=1)),
        a_decision(2, "waiting", push=a_push("b", 2, pushed=3, arrived=4)),
        a_decision(3, "ready", push=a_push("c", 3, pushed=3, arrived=5)),
        a_decision(4, "waiting"),
        a_decision(5, "superseded", push=a_push("d", 5, pushed=9)),
        a_decision(6, "ready", environment="production", push=a_push("e", 6, pushed=9)),
    ]
    ledger.transact(Transaction(decisions=rows))

    def found(*states: str, limit: int = 200) -> list[int]:
        return [int(row.sha, 16) for row in ledger.decisions("shop", "staging", states, limit=limit)]

    assert found("ready", "waiting") == [3, 2, 1, 4]
    assert found("ready", "waiting", limit=2) == [3, 2]
    assert found("superseded") == [5]
    assert found() == []
    placed = {row.sha: row.push.placed for row in rows if row.push is not None}
    for since, wanted in {1: [3, 2, 1], 2: [3, 2], 3: [3]}.items():
        later = ledger.decisions("shop", "staging", ("ready", "waiting"), since=placed[sha(since)])
        assert [int(row.sha, 16) for row in later] == wanted
    assert len(ledger.decisions("shop", "staging", ("ready", "waiting"), since=placed[sha(1)], limit=2)) == 2
    assert ledger.decisions("shop", "staging", ("ready", "waiting"), since=(at(99), at(0))) == []


def test_deployments_of_a_target_come_newest_first(ledger: Ledger) -> None:
    """Limited, and each target for itself; an end does not change the order."""
    ledger.transact(Transaction(deployments=[a_deployment(f"d{n}", n) for n in range(5)]))
    ledger.transact(Transaction(deployments=[a_deployment("p", 9, "production")]))
    ledger.transact(Transaction(deployments=[a_deployment("d1", 1, version=1, outcome="failed")]))
    assert [row.id for row in ledger.deployments("shop", "staging")] == ["d4", "d3", "d2", "d1", "d0"]
    first = ledger.deployments("shop", "staging", limit=2)
    assert [row.id for row in first] == ["d4", "d3"]
    assert [row.id for row in ledger.deployments("shop", "staging", limit=2, before=first[-1])] == ["d2", "d1"]


def test_deployments_that_began_at_once_are_each_on_one_page(ledger: Ledger) -> None:
    """By their ids, in the same order on every page."""
    ledger.transact(Transaction(deployments=[a_deployment(f"d{n}", 1) for n in range(5)]))
    found = [*ledger.deployments("shop", "staging", limit=2)]
    while page := ledger.deployments("shop", "staging", limit=2, before=found[-1]):
        found += page
    assert [row.id for row in found] == ["d4", "d3", "d2", "d1", "d0"]


def test_a_listing_of_nothing_is_an_empty_last_page(ledger: Ledger) -> None:
    """No records, no cursor."""
    page = ledger.records(repo=REPO)
    assert (list(page.records), page.next) == ([], None)
    assert ledger.record(REPO, sha(1)) is None
