"""What opens a gate, what closes it again, and what the reason says to whom it concerns."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from greenlight.events.ids import identity
from greenlight.ledger.rows_json import loads
from greenlight.model.policy import GateState
from greenlight.model.rows import Fact, Push, Record, Target
from greenlight.policy import signals
from greenlight.policy.gates.registry import read
from greenlight.policy.gates.signal import Reader
from greenlight.recorder.domain import fold
from support.policy import (
    BUILD,
    MAIN,
    SCAN,
    fact,
    heard,
    minute,
    policy,
    push,
    pushed,
    recorded,
    sha,
    situation,
    target,
    word,
)

SHOP = policy()
QUEUE = "refs/heads/gh-readonly-queue/main/pr-1-abc"
DAY = 24 * 60
NOW = minute(60)


def state(
    gate: str,
    *facts: Fact,
    now: datetime = NOW,
    lineage: tuple[Push, ...] = (),
    at: Target | None = None,
) -> GateState:
    return SHOP.gates[gate].state(situation(SHOP, recorded(*facts), at, lineage, now))


@pytest.mark.parametrize(
    ("gate", "key", "yes"),
    [
        ({"circleci": {"workflow": "a"}}, signals.circleci_workflow("a"), True),
        ({"circleci": {"workflow": "a"}}, signals.circleci_job("a"), False),
        ({"circleci": {"job": "a"}}, signals.circleci_job("a"), True),
        ({"github-check": {"name": "a/b", "app": "x"}}, signals.github_check("a/b", "x"), True),
        ({"github-check": {"name": "b", "app": "x"}}, signals.github_check("b", "y"), False),
        ({"github-check": {"name": "a/b"}}, signals.github_check("a/b", "x"), True),
        ({"github-check": {"name": "b"}}, signals.github_check("a/b", "x"), False),
        ({"github-status": {"context": "ci/x"}}, signals.github_status("ci/x"), True),
        ({"github-status": {"context": "x"}}, signals.github_status("ci/x"), False),
        ({"github-workflow": {"name": "ci"}}, signals.github_workflow("ci"), True),
        ({"github-workflow": {"name": "ci"}}, signals.github_status("ci"), False),
        ({"github-review": {}}, signals.github_review("Ann"), True),
        ({"webhook": "scan"}, signals.webhook("scan"), True),
        ({"webhook": "scan"}, signals.webhook("scan2"), False),
        ({"event": "com.x"}, signals.event("com.x", "lab"), True),
        ({"event": "com.x", "sender": "lab"}, signals.event("com.x", "lab"), True),
        ({"event": "com.x", "sender": "lab"}, signals.event("com.x", "other"), False),
        ({"event": "x"}, signals.event("com/x", "lab"), False),
    ],
)
def test_which_signals_speak_to_a_gate(gate: dict[str, Any], key: str, yes: bool) -> None:
    """By the whole name; without an app or sender, anybody's."""
    found = read("g", gate)
    assert isinstance(found, Reader)
    assert found.reads(key) is yes


@pytest.mark.parametrize(
    ("outcome", "expected", "reason"),
    [
        ("passed", "passed", "CircleCI workflow build-test passed"),
        ("failed", "failed", "CircleCI workflow build-test failed"),
        ("cancelled", "pending", "CircleCI workflow build-test: cancelled, and only a success passes"),
        ("Passed", "pending", "CircleCI workflow build-test: Passed, and only a success passes"),
        ("unauthorized", "pending", "CircleCI workflow build-test: unauthorized, and only a success passes"),
    ],
)
def test_only_success_passes_and_only_failure_fails(outcome: str, expected: str, reason: str) -> None:
    """Any other word leaves the gate pending with that word."""
    found = state("build", heard(BUILD, outcome, at=3, evidence="https://ci/1"))
    assert (found.state, found.reason, found.at, found.evidence) == (expected, reason, minute(3), "https://ci/1")
    assert len(found.facts) == 1


def test_a_gate_that_nothing_was_heard_of_is_pending() -> None:
    """And says what it waits for."""
    assert state("check") == GateState("pending", "nothing heard from check test of github-actions yet")


@pytest.mark.parametrize(
    ("gate", "ref", "expected"),
    [
        ("build", MAIN, "passed"),
        ("build", "main", "passed"),
        ("build", QUEUE, "passed"),
        ("build", "refs/heads/feature", "pending"),
        ("build", None, "pending"),
        ("anywhere", "refs/heads/feature", "passed"),
        ("anywhere", None, "pending"),
        ("scan", None, "passed"),
        ("scan", "refs/heads/feature", "pending"),
    ],
)
def test_whose_fact_counts(gate: str, ref: str | None, expected: str) -> None:
    """A CI fact must tell a shipped ref or its merge queue; a scanner need not tell one."""
    key = SCAN if gate == "scan" else BUILD
    assert state(gate, heard(key, "passed", ref=ref)).state == expected


def test_a_run_on_a_ref_that_is_not_shipped_is_named_in_the_reason() -> None:
    """Or nobody would know why the green build does not count."""
    reason = "CircleCI workflow build-test was heard for refs/heads/feature only, which shop does not ship"
    found = state("build", heard(BUILD, "passed", ref="refs/heads/feature"))
    assert found.reason == f"{reason}; `any-branch: true` on the gate would take it"
    assert state("scan", heard(SCAN, "passed", ref="refs/heads/feature")).reason.endswith("which shop does not ship")


@pytest.mark.parametrize(
    ("gate", "old", "new"),
    [
        ("build", BUILD, signals.circleci_workflow("build-test", "p")),
        ("check", "github.check:github-actions/test", signals.github_check("test", "github-actions", 7)),
    ],
)
def test_what_an_older_ledger_kept_counts_until_a_newer_word_of_that_name_comes(gate: str, old: str, new: str) -> None:
    """Its keys name no source. A word that is older than it replaces nothing."""
    kept = {"outcome": "failed", "order": [7, 1], "at": "2026-03-01T12:05:00+00:00", "fact": "old"}
    text = json.dumps({"repo": "acme/shop", "sha": sha(1), "signals": {old: {MAIN: kept}}})
    record = loads(Record, text, version=3)

    def then(*facts: Fact) -> str:
        found = record
        for one in facts:
            found = fold(found, one)
        return SHOP.gates[gate].state(situation(SHOP, found, None, (), NOW)).state

    assert then() == "failed"
    assert then(heard(new, "passed", at=6)) == "passed"
    assert then(heard(new, "passed", at=4)) == "failed"
    assert then(heard(new, "passed", at=6), heard(new, "failed", at=7)) == "failed"


def test_a_scanner_of_an_older_ledger_is_replaced_by_its_next_report() -> None:
    """It was ordered by its run alone; a failure that comes later closes the gate, whatever its run."""
    record = recorded(heard(SCAN, "passed", at=5, order=(1 << 53, 0)))
    assert SHOP.gates["scan"].state(situation(SHOP, record, None, (), NOW)).state == "passed"
    later = heard(SCAN, "failed", at=6, order=(5, 6), details={"run": 5})
    assert SHOP.gates["scan"].state(situation(SHOP, fold(record, later), None, (), NOW)).state == "failed"


def test_a_revocation_holds_until_every_source_has_run_again() -> None:
    """Who revoked may have meant any of them."""
    one, two = (signals.circleci_workflow("build-test", project) for project in ("one", "two"))
    before = (heard(one, "passed", at=1), heard(two, "passed", at=2), word("omar", "build", at=5, granted=False))
    found = state("build", *before, heard(one, "passed", at=6, order=(9,)))
    assert (found.state, "a later run in each of its 2 sources lifts it" in found.reason) == ("revoked", True)
    assert state("build", *before, *(heard(key, "passed", at=6, order=(9,)) for key in (one, two))).state == "passed"


def test_the_age_of_a_gate_is_that_of_its_oldest_source() -> None:
    """Each has to be young enough; the reason names those that are not."""
    gate = read("g", {"circleci": {"workflow": "build-test"}, "max-age": "10m"})
    one, two = (signals.circleci_workflow("build-test", project) for project in ("one", "two"))
    record = recorded(heard(one, "passed", at=1), heard(two, "passed", at=5))
    fresh = gate.state(situation(SHOP, record, None, (), minute(10)))
    assert (fresh.state, fresh.until, fresh.at) == ("passed", minute(11), minute(5))
    old = gate.state(situation(SHOP, record, None, (), minute(12)))
    assert (old.state, old.at) == ("expired", minute(1))


def test_a_fork_never_opens_a_gate() -> None:
    """Not even one for any branch."""
    assert state("anywhere", replace(heard(BUILD, "passed"), foreign=True)).state == "pending"


def test_among_counting_refs_the_greatest_stands() -> None:
    """A later failure on a feature branch is no failure of what is shipped; one in the merge queue is."""
    passed = heard(BUILD, "passed", order=(1,))
    assert state("build", passed, heard(BUILD, "failed", order=(2,), ref="refs/heads/feature")).state == "passed"
    assert state("anywhere", passed, heard(BUILD, "failed", order=(2,), ref="refs/heads/feature")).state == "failed"
    assert state("build", passed, heard(BUILD, "failed", order=(2,), ref=QUEUE)).state == "failed"


def test_a_signal_grows_old() -> None:
    """Passed until max-age is over, expired from that instant, and again passed after another run."""
    run = heard(SCAN, "passed", at=0)
    fresh = state("scan", run, now=minute(7 * DAY - 1))
    assert (fresh.state, fresh.until) == ("passed", minute(7 * DAY))
    old = state("scan", run, now=minute(7 * DAY))
    assert old.state == "expired"
    assert old.reason == "webhook scan passed more than 7d ago, on 2026-03-01 12:00 UTC; run it again"
    again = heard(SCAN, "passed", at=7 * DAY)
    assert state("scan", run, again, now=minute(7 * DAY)).state == "passed"
    assert state("scan", heard(SCAN, "failed"), now=minute(8 * DAY)).state == "failed"


@pytest.mark.parametrize(
    ("details", "expected", "reason"),
    [
        ({"severity": "none", "more": 1}, "passed", "event com.example.scan passed"),
        ({"severity": "high"}, "failed", "event com.example.scan: severity is 'high'"),
        ({"severity": None}, "failed", "event com.example.scan: severity is None"),
        ({}, "failed", "event com.example.scan: severity is missing"),
    ],
)
def test_where_compares_fields_of_the_newest_event(details: dict[str, Any], expected: str, reason: str) -> None:
    """All equal passes, anything else fails, whatever came before."""
    key = signals.event("com.example.scan", "lab")
    other = {"severity": "none" if expected == "failed" else "high"}
    before = fact(id="0", signal=key, order=(0,), outcome="said", details={"data": other})
    found = state("custom", before, fact(id="1", signal=key, order=(1,), outcome="said", details={"data": details}))
    assert (found.state, found.reason) == (expected, reason)


@pytest.mark.parametrize(
    ("value", "wanted", "expected"), [(True, 1, "failed"), (1, True, "failed"), (1.0, 1, "passed")]
)
def test_where_compares_as_json_does(value: object, wanted: object, expected: str) -> None:
    """True is not 1, and 1.0 is."""
    gate = read("g", {"event": "t", "where": {"x": wanted}})
    record = recorded(fact(signal=signals.event("t", "lab"), details={"data": {"x": value}}))
    assert gate.state(situation(SHOP, record, None, (), minute(0))).state == expected


def test_an_event_gate_without_where_is_passed_by_the_event_unless_it_tells_a_failure() -> None:
    """That it happened is what was asked for."""
    key = signals.event("com.example.seen", "lab")
    assert state("seen", fact(signal=key)).state == "passed"
    assert state("seen", fact(signal=key, outcome="said")).state == "passed"
    assert state("build", heard(BUILD, "said")).state == "pending"
    assert state("seen", fact(signal=key, outcome="failed")).state == "failed"
    assert state("seen", fact(signal=signals.event("com.example.seen", "other"))).state == "pending"


def test_a_revoked_signal_holds_until_a_later_run() -> None:
    """A late delivery of an earlier run does not lift it."""
    run, no = heard(BUILD, "passed", at=1), word("omar", "build", at=5, granted=False)
    found = state("build", run, no)
    assert (found.state, found.by) == ("revoked", ("omar",))
    assert found.reason == "revoked by omar on 2026-03-01 12:05 UTC: no; a later run lifts it"
    assert state("build", run, no, heard(BUILD, "passed", at=5, order=(9,))).state == "revoked"
    assert state("build", run, no, heard(BUILD, "passed", at=6)).state == "passed"
    assert state("build", run, no, heard(BUILD, "failed", at=6)).state == "failed"
    assert state("build", no).state == "revoked"


def test_row_50_an_approval_opens_its_gate_for_its_commit() -> None:
    """By whom, since when and how long is told."""
    found = state("legal", pushed(push()), word("lena", at=3))
    assert (found.state, found.by, found.at) == ("passed", ("lena",), minute(3))
    assert (found.reason, found.until) == ("given by lena", minute(3 + 14 * DAY))
    assert state("legal").reason == "needs 1 more approval from legal (not the author)"
    other = SHOP.gates["legal"].state(situation(SHOP, recorded(commit=sha(2)), None, (), minute(4)))
    assert other.state == "pending"


def test_row_50_an_author_cannot_approve() -> None:
    """Neither of the commit, nor of any push since what runs, up to the commit; later pushes do not matter."""
    own = state("legal", pushed(push(by="ann")), word("ann"))
    assert own.state == "pending"
    assert own.reason == (
        "needs 1 more approval from legal (not the author); ann's approval does not count: ann is among the authors"
    )
    runs, between, mine, later = (
        push(sha(n), at=n, by=who, before=sha(n - 1)) for n, who in ((7, "eve"), (8, "bob"), (9, "ann"), (10, "kim"))
    )
    feature = push(sha(11), at=8, by="fay", ref="refs/heads/feature", before=sha(7))
    history = (runs, between, mine, later, feature)

    def says(person: str, at: Target | None) -> str:
        record = recorded(pushed(mine), word(person, at=20), commit=mine.sha)
        record = replace(record, people=("p-of-a-pull-request",))
        return SHOP.gates["legal"].state(situation(SHOP, record, at, history, minute(30))).state

    there = target(runs)
    assert [says(who, there) for who in ("eve", "bob", "ann", "kim", "fay")] == [
        "passed", "pending", "pending", "passed", "passed",
    ]  # fmt: skip
    assert says("eve", None) == "pending"


def test_row_50_an_author_of_the_pull_request_cannot_approve_either() -> None:
    """Whoever a fact counts among the authors."""
    authored = replace(heard(BUILD, "passed"), people=(identity("github", "LENA "),))
    assert state("legal", pushed(push()), authored, word("lena")).state == "pending"


def test_row_50_nobody_is_taken_for_no_author_only_because_nothing_is_known_of_them() -> None:
    """An empty identity is refused."""
    nobody = word("lena")
    nobody = replace(nobody, details={**nobody.details, "identities": []})
    found = state("legal", pushed(push()), nobody)
    assert found.state == "pending"
    assert "people.yaml had no github login or e-mail of lena" in found.reason
    board = (replace(nobody, details={**nobody.details, "gate": "board"}), word("omar", "board", groups=["board"]))
    assert state("board", *board).state == "passed"


def test_row_50_one_person_has_one_vote_under_whatever_id() -> None:
    """As an entry that was renamed, or by a login without one: whoever has a login or an address in common is one."""
    both = [identity("github", "lena"), identity("email", "lena@acme.example")]
    first = word("lena", "board", groups=["board"])
    again = word("oidc-1", "board", at=1, groups=["board"])
    again = replace(again, details={**again.details, "identities": both})
    found = state("board", first, again)
    assert (found.state, found.by) == ("pending", ("oidc-1",))
    assert "lena's approval does not count: oidc-1, who approved later, has the same GitHub login" in found.reason
    assert state("board", first, again, word("omar", "board", at=2, groups=["board"])).by == ("oidc-1", "omar")


def test_row_50_the_groups_of_the_moment_count() -> None:
    """Somebody who had left legal when they approved did not approve."""
    found = state("legal", word("lena", groups=["staff"]))
    assert found.state == "pending"
    assert "lena's approval does not count: lena was not in legal" in found.reason


def test_row_50_an_approval_expires() -> None:
    """And a new one opens the gate again."""
    late = minute(14 * DAY)
    found = state("legal", word("lena"), now=late)
    assert found.state == "expired"
    assert found.reason == "needs 1 more approval from legal (not the author); lena's expired on 2026-03-15 12:00 UTC"
    assert state("legal", word("lena"), word("omar", at=1), now=late).by == ("omar",)


def test_row_50_one_person_is_one_approval_however_often_they_say_so() -> None:
    """Two are needed, and until the second of them expires they hold."""
    twice = (word("lena", "board", at=1), word("lena", "board", at=2))
    assert state("board", *twice).reason == "needs 1 more approval from legal or board"
    both = state("board", *twice, word("omar", "board", at=9, groups=["board"]))
    assert (both.state, both.by, both.at) == ("passed", ("lena", "omar"), minute(9))
    gate = replace(SHOP.gates["board"], expires=minute(100) - minute(0))
    three = recorded(*twice, word("omar", "board", at=9), word("kim", "board", at=20))
    found = gate.state(situation(SHOP, three, None, (), minute(50)))
    assert (found.at, found.until) == (minute(9), minute(109))


def test_a_revoked_approval_holds_until_a_new_one_that_counts() -> None:
    """Whoever may approve may revoke; what was said before the revocation is void, by whomever."""
    yes, no = word("lena", at=1), word("omar", at=5, granted=False)
    assert state("legal", yes, no).state == "revoked"
    assert state("legal", yes, no, word("lena", at=5)).state == "revoked"
    assert state("legal", yes, no, word("kim", at=6, groups=["staff"])).state == "revoked"
    assert state("legal", yes, no, word("lena", at=6)).state == "passed"
    two = (word("lena", "board", at=1), word("kim", "board", at=2), word("omar", "board", at=3, granted=False))
    assert state("board", *two).state == "revoked"
    assert state("board", *two, word("kim", "board", at=4)).reason == "needs 1 more approval from legal or board"


def _review(login: str, outcome: str, *, at: float = 0, into: str | None = MAIN) -> Fact:
    return heard(signals.github_review(login), outcome, at=at, ref=into)


def test_reviews_are_counted_by_person_and_one_request_for_changes_fails() -> None:
    """An author's own does not count, a dismissed one or one for another branch neither."""
    there = pushed(push(by="ann"))
    assert state("review", there, _review("Bob", "passed")).by == ("bob",)
    assert state("review", there, _review("bob", "passed", into=None)).state == "passed"
    assert state("review", there, _review("bob", "passed", into="refs/heads/other")).state == "pending"
    own = state("review", there, _review("ann", "passed"))
    assert own.state == "pending"
    assert own.reason == (
        "needs 1 more GitHub review (not the author); ann's review does not count: ann is among the authors"
    )
    assert state("review", there, _review("bob", "passed"), _review("bob", "dismissed", at=1)).state == "pending"
    against = state("review", there, _review("bob", "passed"), _review("kim", "failed"))
    assert (against.state, against.reason) == ("failed", "changes requested by kim")
    revoked = word("omar", "review", at=5, granted=False)
    assert state("review", there, _review("bob", "passed", at=4), revoked).state == "revoked"
    assert state("review", there, _review("bob", "passed", at=6), revoked).state == "passed"
    objection = _review("kim", "failed", at=4)
    assert state("review", there, _review("bob", "passed", at=6), objection, revoked).state == "failed"
