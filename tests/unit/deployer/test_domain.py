"""What a deployment's progress changes: rows, journal, and what is due; who holds a target, and when it is free again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from greenlight.deployer import domain
from greenlight.deployer.driver import Progress
from greenlight.events import Event, types
from greenlight.model import keys
from greenlight.model.rows import Cancellation, Deployment, Lease, Promotion, Record, Target
from greenlight.policy.decide import decide
from support.policy import (  # fmt: skip
    REPO,
    attempt,
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

SHOP = policy()
ONE, TWO = push(sha(1), at=1), push(sha(2), at=2, before=sha(1))
NOW = minute(60)
US, THEM = "deployer-a", "deployer-b"
CAUSE = Event(id="cause", source="test", type=types.DEPLOYMENT_APPLIED)


def begun(at: Target) -> tuple[Deployment, Target, Record]:
    """A deployment of the second commit, with its target and record as they are written."""
    promotion = Promotion("p", sha(2), 0, "automatic", SHOP.digest, minute(50), TWO)
    case = situation(SHOP, recorded(pushed(TWO), commit=sha(2)), at, [ONE, TWO], NOW)
    deployment, transaction = domain.begin(case, promotion, decide(case), US)
    (row,), (record,) = transaction.targets, transaction.records
    return deployment, row, record


def held(**rest: object) -> tuple[Deployment, Target]:
    deployment, row, _ = begun(target(runs=ONE, fence=4))
    return deployment, replace(row, **rest)


def test_beginning_takes_the_target_under_a_higher_fence() -> None:
    """The promotion's id is the deployment's, and the record says what is under way: one transaction."""
    deployment, row, record = begun(target(runs=ONE, fence=4, wanted=None))
    assert (deployment.id, deployment.fence, deployment.previous, deployment.tries) == ("p", 5, sha(1), 1)
    assert (row.deployment, row.fence, row.lease) == ("p", 5, Lease(US, NOW + domain.LEASE))
    assert (row.newest, row.last, row.running) == (TWO, sha(2), target(runs=ONE).running)
    assert record.attempts["shop/production"].outcome == "running"


def test_beginning_serves_a_request_that_is_younger_than_the_promotion() -> None:
    """And what a request was due for is due no more."""
    asked = request("deploy", sha(2), at=55)
    promotion = Promotion("p", sha(2), 0, "automatic", SHOP.digest, minute(50), TWO)
    at = target(runs=ONE, requests=(asked,))
    case = situation(SHOP, recorded(pushed(TWO), commit=sha(2)), at, [ONE, TWO], NOW)
    deployment, transaction = domain.begin(case, promotion, decide(case), US)
    assert (deployment.cause, deployment.request) == ("deploy", asked.fact)
    assert transaction.targets[0].requests == ()
    assert [key for key, _ in transaction.done] == [keys.request_due("shop", "production", asked.fact)]


def test_nobody_takes_a_target_while_another_holder_has_its_lease() -> None:
    """Once it has run out, whoever takes it has a higher fence, and it counts as a try; to go on holding does not."""
    deployment, row = held()
    assert domain.hold(deployment, row, THEM, NOW) is None
    late = NOW + domain.LEASE
    taken = domain.hold(deployment, row, THEM, late)
    assert taken is not None
    assert (taken.targets[0].fence, taken.deployments[0].fence, taken.deployments[0].tries) == (6, 6, 2)
    kept = domain.hold(deployment, row, US, late)
    assert kept is not None
    assert (kept.targets[0].fence, kept.deployments[0].tries) == (5, 1)


def test_what_a_driver_says_counts_only_for_the_try_that_asked_it() -> None:
    """Not after somebody else took the target, nor after a later try of one's own."""
    deployment, row = held()
    assert domain.holds(deployment, deployment, row, US)
    assert not domain.holds(deployment, deployment, row, THEM)
    assert not domain.holds(deployment, replace(deployment, fence=6), row, US)
    assert not domain.holds(deployment, deployment, replace(row, lease=None), US)


@pytest.mark.parametrize(
    ("tries", "pause"), [(1, timedelta(seconds=2)), (5, timedelta(seconds=32)), (30, timedelta(minutes=5))]
)
def test_an_error_is_tried_again_after_a_pause_that_grows(tries: int, pause: timedelta) -> None:
    """As the same deployment. The target is let go, so that any deployer may try."""
    deployment, row = held()
    later = domain.try_later(replace(deployment, tries=tries), row, "no route", CAUSE, NOW)
    assert later.deployments[0].again == NOW + pause
    assert (later.targets[0].lease, later.targets[0].deployment) == (None, deployment.id)
    (due,) = later.due
    assert (due.key, due.at) == (keys.deployment_due("p"), NOW + pause)
    assert due.event.json()["deployment"] == "p"


def test_two_tries_have_events_of_their_own() -> None:
    """Else the second one would be taken for a repetition of the first."""
    deployment, _ = held()
    first, second = (domain.next_try(replace(deployment, tries=tries), NOW, NOW) for tries in (1, 2))
    assert first.event.id != second.event.id


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "error", "superseded", "canceled"])
def test_every_end_frees_the_target(outcome: str) -> None:
    """Only a success changes what runs, and what a later rollback may go to."""
    at = target(runs=ONE, fence=4, history=(sha(1),))
    deployment, row, record = begun(at)
    event, transaction = domain.end(deployment, row, record, Progress(outcome, "why"), NOW)
    (free,), (ended,) = transaction.targets, transaction.records
    assert (free.deployment, free.lease, free.cancel, free.fence) == (None, None, None, 5)
    assert free.running is not None
    assert free.running.sha == (sha(2) if outcome == "succeeded" else sha(1))
    assert free.history == ((sha(2), sha(1)) if outcome == "succeeded" else (sha(1),))
    own = ended.attempts["shop/production"]
    assert (own.outcome, own.succeeded_at) == (outcome, NOW if outcome == "succeeded" else None)
    assert event.type == f"deployment.{outcome}"
    assert [(due.key, due.event) for due in transaction.due] == [(keys.deployment_due("p"), event)]
    assert [entry.type for entry in transaction.entries] == [event.type]


def test_a_target_remembers_twenty_commits_each_once() -> None:
    deployment, row, record = begun(target(runs=ONE, history=(sha(5), sha(2), *(sha(n) for n in range(10, 28)))))
    _, transaction = domain.end(deployment, row, record, Progress("succeeded"), NOW)
    (free,) = transaction.targets
    assert free.history[:3] == (sha(2), sha(5), sha(10))
    assert len(free.history) == len(set(free.history)) == 20


@pytest.mark.parametrize(
    ("said", "comes_to"),
    [("running", "canceled"), ("failed", "canceled"), ("error", "canceled"), ("succeeded", "succeeded")],
)
def test_a_person_ends_a_deployment_unless_it_has_succeeded_by_then(said: str, comes_to: str) -> None:
    deployment, row = held(cancel=Cancellation("p", "lena", NOW, "wrong one"))
    found = domain.canceled(deployment, row, Progress(said, output="…"))
    assert (found.outcome, found.output) == (comes_to, "…")
    other = replace(row, cancel=Cancellation("another", "lena", NOW, "wrong one"))
    assert domain.canceled(deployment, other, Progress(said)).outcome == said


def test_a_rollback_marks_the_commits_that_it_leaves_by_who_asked() -> None:
    """A commit that was never deployed there has nothing to mark."""
    asked = request("rollback", sha(1), at=50, by="omar")
    at = target(runs=TWO, requests=(asked,))
    rollback, _, _ = begun(target(runs=TWO))
    left = recorded(pushed(TWO), commit=sha(2), attempts={"production": attempt("succeeded", of=TWO, succeeded=9)})
    marked = domain.rolled_back(SHOP, left, replace(rollback, request=asked.fact), at)
    assert marked is not None
    assert marked.attempts["shop/production"].rolled_back == "omar"
    assert domain.rolled_back(SHOP, recorded(commit=sha(3)), rollback, at) is None


def test_events_about_a_deployment_belong_to_its_commit_and_its_target() -> None:
    """A subscriber finds both, and those of one target come in order."""
    deployment, row = held()
    event, transaction = domain.applied(deployment, row, US, NOW)
    about = event.extensions
    assert (about["repo"], about["commit"], about["partitionkey"]) == (REPO, sha(2), "shop/production")
    assert "outcome" not in event.json()
    assert [entry.stream for entry in transaction.entries] == [keys.target_stream("shop", "production")]
