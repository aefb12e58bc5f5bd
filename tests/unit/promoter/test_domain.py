"""What considering a commit changes: its journal, the target, and what is due again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenlight.events import types
from greenlight.model import keys
from greenlight.model.policy import Situation
from greenlight.model.rows import DecisionRow, Deployment, Promotion, Push, Record, Target
from greenlight.promoter.domain import Outcome, automatic_rollback, consider, requests_expired, rollback_requested
from support.policy import (  # fmt: skip
    BUILD,
    REPO,
    SCAN,
    attempt,
    heard,
    minute,
    policy,
    push,
    pushed,
    recorded,
    request,
    sha,
    situation,
    target,
)

SHOP = policy(["build", "scan"])
ONE, TWO = push(sha(1), at=1), push(sha(2), at=2, before=sha(1))
NOW = minute(60)


def green(of: Push) -> Record:
    return recorded(pushed(of), heard(BUILD, "passed", at=3), heard(SCAN, "passed", at=4, ref=None), commit=of.sha)


def free(**rest: object) -> Target:
    """A target whose candidates were all decided under the policy."""
    return target(policy=SHOP.digest, **rest)


def case(of: Push = ONE, at: Target | None = None) -> Situation:
    return situation(SHOP, green(of), at or free(), [ONE, TWO], NOW)


def stored(outcome: Outcome) -> DecisionRow:
    assert outcome.row is not None
    return replace(outcome.row, version=outcome.row.version + 1)


def wanted(of: Push, policy: str = SHOP.digest, request: str | None = None) -> Promotion:
    return Promotion("p", of.sha, 0, "automatic", policy, minute(50), of, request)


def test_a_ready_commit_is_promoted_to_a_free_target() -> None:
    """One transaction's worth: the target wants it, both journals say so, and the event is due until it had its effect."""
    found = consider(case(), None)
    assert found.target is not None
    assert found.target.wanted is not None
    (event,) = found.events
    assert (event.type, event.json()["promotion"]) == (types.PROMOTION_READY, found.target.wanted.id)
    assert [entry.stream for entry in found.entries] == [
        keys.commit_stream(REPO, sha(1)),
        keys.target_stream("shop", "production"),
    ]
    assert keys.deployment_due(found.target.wanted.id) in [due.key for due in found.due]


def test_a_decision_is_written_once_and_again_only_when_it_says_something_else() -> None:
    """A repeated event finds the row that it wrote; a changed record writes the next one, with an id of its own."""
    first = consider(case(), None, promote=False)
    assert first.row is not None
    assert first.row.decision == "ready"
    again = consider(case(), stored(first), promote=False)
    assert (again.row, again.entries) == (None, ())
    red = recorded(pushed(ONE), heard(BUILD, "failed", at=9))
    changed = consider(case().of(red), stored(first), promote=False)
    assert changed.row is not None
    assert (changed.row.decision, changed.row.version) == ("blocked", 1)
    assert {entry.id for entry in changed.entries}.isdisjoint(entry.id for entry in first.entries)


def test_a_decision_that_time_alone_changes_is_due_then() -> None:
    """A scan counts for seven days: the same key each time, so that a later decision replaces when it is due."""
    (due,) = consider(case(), None, promote=False).due
    assert due.key == keys.decision_due("shop", "production", REPO, sha(1))
    assert due.at == minute(4 + 7 * 24 * 60)


@pytest.mark.parametrize(
    ("at", "why"),
    [
        (target(policy="sha256:before"), "its candidates are not all decided under this policy"),
        (free(deployment="d9"), "a deployment is under way"),
        (free(runs=ONE), "it runs there"),
        (free(wanted=wanted(TWO)), "a newer commit goes first"),
    ],
)
def test_nothing_is_promoted_where_it_may_not_begin(at: Target, why: str) -> None:
    """The decision is written all the same."""
    found = consider(case(ONE, at), None)
    assert (found.target, found.events) == (None, ()), why
    assert found.row is not None


def test_a_commit_that_soaks_is_due_when_that_is_over() -> None:
    """Once, however often it is decided meanwhile; a later success there moves it."""
    of = policy(after="{staging: 2h}")
    at, staged = target(policy=of.digest), {"staging": attempt("succeeded", succeeded=5)}
    soaks = situation(of, recorded(pushed(ONE), attempts=staged), at, (ONE,), NOW)
    first, second = consider(soaks, None), consider(replace(soaks, now=minute(61)), None)
    (due,) = first.due
    assert (due.key, due.at) == (keys.decision_due("shop", "production", REPO, ONE.sha), minute(125))
    assert second.due == first.due
    later = soaks.of(recorded(pushed(ONE), attempts={"staging": attempt("succeeded", succeeded=50)}))
    (moved,) = consider(later, None).due
    assert (moved.key, moved.at) == (due.key, minute(170))
    assert moved.event.id != due.event.id
    over = consider(replace(soaks, now=due.at), first.row)
    assert [event.type for event in over.events] == [types.PROMOTION_READY]


def test_what_is_frozen_is_due_when_the_window_ends() -> None:
    """Nothing is emitted before, and then it is."""
    of = policy(freeze="{from: 2026-03-01, to: 2026-03-01 14:00, zone: UTC, reason: sale}")
    shut = situation(of, recorded(pushed(ONE)), target(policy=of.digest), (ONE,), NOW)
    first = consider(shut, None)
    (due,) = first.due
    assert (due.key, due.at) == (keys.decision_due("shop", "production", REPO, ONE.sha), minute(120))
    assert (first.events, first.target) == ((), None)
    over = consider(replace(shut, now=due.at), first.row)
    assert [event.type for event in over.events] == [types.PROMOTION_READY]


def test_where_promotion_is_manual_only_a_request_makes_a_promotion() -> None:
    """What is ready is written as ready, and nothing is emitted."""
    by_hand = policy(["build", "scan"], ships="branches: [main]\n    operators: [ops]", promote="manual")
    at = target(policy=by_hand.digest)
    found = consider(situation(by_hand, green(ONE), at, (ONE,), NOW), None)
    assert (found.target, found.events) == (None, ())
    assert found.row is not None
    assert found.row.decision == "ready"
    asked = replace(at, requests=(request("deploy", at=30),))
    (event,) = consider(situation(by_hand, green(ONE), asked, (ONE,), NOW), None).events
    assert event.json()["cause"] == "deploy"


@pytest.mark.parametrize(
    ("promotion", "of", "replaced"),
    [
        (wanted(ONE), TWO, True),
        (wanted(TWO), TWO, False),
        (wanted(TWO, policy="sha256:before"), ONE, True),
        (wanted(ONE, request="r"), TWO, False),
    ],
)
def test_a_promotion_that_nobody_has_begun_is_replaced_by_a_newer_commit(
    promotion: Promotion, of: Push, replaced: bool
) -> None:
    """Or when its policy was edited; one that serves a request is not."""
    found = consider(case(of, free(wanted=promotion)), None)
    assert (found.target is not None) is replaced


def test_promotions_of_one_commit_are_counted_so_that_each_has_an_id_of_its_own() -> None:
    """Whatever their end: `n` goes on from the newest attempt."""
    asked = free(requests=(request("retry", at=30),))
    failed = replace(green(ONE), attempts={"shop/production": attempt("failed", of=ONE)})
    first, second = consider(case(), None).target, consider(case(ONE, asked).of(failed), None).target
    assert first is not None
    assert second is not None
    assert first.wanted is not None
    assert second.wanted is not None
    assert (first.wanted.n, second.wanted.n, second.wanted.cause) == (0, 1, "retry")
    assert first.wanted.id != second.wanted.id


AUTOMATIC = replace(SHOP, environments={n: replace(e, rollback="automatic") for n, e in SHOP.environments.items()})


def deployment(outcome: str = "failed", cause: str = "automatic", of: Push = TWO) -> Deployment:
    return Deployment(
        "d1", "shop", "production", REPO, of.sha, 0, cause, SHOP.digest, 1, outcome, minute(20), reason="exit 1"
    )


@pytest.mark.parametrize(
    ("ended", "at", "goes_to"),
    [
        (deployment(), target(runs=ONE), sha(1)),
        (deployment("error"), target(runs=ONE), None),
        (deployment("canceled"), target(runs=ONE), None),
        (deployment(cause="rollback"), target(runs=ONE), None),
        (deployment(), target(runs=ONE, wanted=wanted(TWO)), None),
        (deployment(), target(), None),
        (deployment(of=ONE), target(runs=ONE), None),
    ],
)
def test_a_target_goes_back_by_itself_only_after_a_failure_and_only_to_what_ran(
    ended: Deployment, at: Target, goes_to: str | None
) -> None:
    """Not after an error, what a person ended, a rollback that failed, or where something else is wanted already."""
    assert automatic_rollback(AUTOMATIC, ended, at) == goes_to
    assert automatic_rollback(SHOP, ended, at) is None


def test_the_policy_asks_for_one_rollback_for_each_failed_deployment() -> None:
    """The same id however often the end is delivered."""
    at = target(runs=ONE)
    (fact, due, row), (again, _, _) = (rollback_requested(deployment(), at, green(ONE), NOW) for _ in range(2))
    assert fact.id == again.id == row.requests[-1].fact
    assert due.key == keys.fact_due(fact.id)
    assert "exit 1" in (row.requests[-1].reason or "")


def test_requests_that_waited_too_long_end_together() -> None:
    """With an entry each, and nothing due any more; where none did, nothing is written."""
    early, late = request("deploy", sha(1), at=10, lasts=20), request("deploy", sha(2), at=20, lasts=20)
    fresh = request("rollback", sha(1), at=59)
    gone = requests_expired(target(requests=(early, late, fresh)), NOW)
    assert gone is not None
    assert [row.requests for row in gone.targets] == [(fresh,)]
    assert [entry.type for entry in gone.entries] == ["request.expired"] * 2
    assert [key for key, _ in gone.done] == [
        keys.request_due("shop", "production", each.fact) for each in (early, late)
    ]
    assert requests_expired(target(requests=(fresh,)), NOW) is None
