"""Whatever happens: ready means that every required gate has passed, as a second, naive reading of the facts has it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from greenlight.events.ids import identity
from greenlight.model.rows import Fact, Push
from greenlight.policy import signals
from greenlight.policy.decide import decide
from support.policy import (  # fmt: skip
    MAIN,
    SCAN,
    attempt,
    freeze,
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
    word,
)

SHOP = policy(["build", "scan", "legal"])
COUNTING = {MAIN, "main", "refs/heads/gh-readonly-queue/main/pr-1"}
BUILDS = tuple(signals.circleci_workflow("build-test", project) for project in ("one", "two"))
TIMES = st.integers(0, 30)
AUTHOR, APPROVERS = "ann", ("lena", "omar")
HERE = push(sha(1), at=1, by=AUTHOR)

HEARD = st.builds(
    lambda key, outcome, at, order, ref, foreign: replace(
        heard(key, outcome, at=at, order=(order,), ref=ref), foreign=foreign
    ),
    st.sampled_from([*BUILDS, SCAN]), st.sampled_from(["passed", "passed", "failed", "cancelled"]), TIMES, TIMES,
    st.sampled_from([*sorted(COUNTING), "refs/heads/feature", None]), st.booleans(),
)  # fmt: skip
WORDS = st.builds(
    lambda who, at, granted, groups: word(who, at=at, granted=granted, groups=groups),
    st.sampled_from([AUTHOR, *APPROVERS]), TIMES, st.booleans(),
    st.sampled_from([("legal",), ("legal", "x"), ("staff",)]),
)  # fmt: skip
REVOKED = st.builds(
    lambda at, gate: word("omar", gate, at=at, granted=False), TIMES, st.sampled_from(["build", "scan"])
)
FACTS = st.lists(st.one_of(HEARD, WORDS, REVOKED), max_size=10, unique_by=lambda one: one.id)
NOW = st.integers(31, 20 * 24 * 60).map(minute)


def _revoked(facts: list[Fact], gate: str) -> list[Fact]:
    return [one for one in facts if one.type == "approval.revoked" and one.details["gate"] == gate]


def _signal_passed(facts: list[Fact], key: str, gate: str, now: Any) -> bool:
    refs = COUNTING | ({""} if key == SCAN else set())
    said = [one for one in facts if one.signal == key and not one.foreign and (one.refs or ("",))[0] in refs]
    if not said:
        return False
    top = max(one.order for one in said)
    worst = [one for one in said if one.order == top]
    if any(one.outcome != "passed" for one in worst):
        return False
    newest = max(worst, key=lambda one: one.id)
    revoked = any(one.at >= newest.at for one in _revoked(facts, gate))
    return not revoked and (key != SCAN or now - newest.at < timedelta(days=7))


def _legal_passed(facts: list[Fact], now: Any) -> bool:
    last_no = max((one.at for one in _revoked(facts, "legal")), default=None)
    for person in APPROVERS:
        said = [one for one in facts if one.type.startswith("approval.") and one.details["person"] == person]
        said = [one for one in said if one.details["gate"] == "legal"]
        if not said:
            continue
        newest = max(said, key=lambda one: (one.at, one.id))
        fresh = now - newest.at < timedelta(days=14) and (last_no is None or newest.at > last_no)
        if newest.type == "approval.granted" and "legal" in newest.details["groups"] and fresh:
            return True
    return False


def _all_passed(facts: list[Fact], now: Any) -> bool:
    return _build_passed(facts, now) and _signal_passed(facts, SCAN, "scan", now) and _legal_passed(facts, now)


def _build_passed(facts: list[Fact], now: Any) -> bool:
    """Every project of which anything was heard that counts."""
    heard_of = {one.signal for one in facts if one.signal in BUILDS and not one.foreign and COUNTING & set(one.refs)}
    return bool(heard_of) and all(_signal_passed(facts, str(key), "build", now) for key in heard_of)


GREEN = (heard(BUILDS[0], "passed", at=2), heard(SCAN, "passed", at=3), word("lena", at=4))


@given(FACTS, st.lists(st.sampled_from(GREEN), unique_by=lambda one: one.id), NOW)
def test_a_candidate_is_ready_exactly_if_every_required_gate_has_passed(
    facts: list[Fact], green: Any, now: Any
) -> None:
    """Where nothing else speaks against it."""
    every = [*{one.id: one for one in (*facts, *green)}.values()]
    found = decide(situation(SHOP, recorded(pushed(HERE), *every), None, [HERE], now))
    assert (found.state == "ready") is _all_passed(every, now), found


@given(st.integers(0, 200), st.integers(1, 200), st.integers(200, 600))
def test_a_soak_is_over_exactly_when_it_was_told_and_never_before(ended: int, length: int, now: int) -> None:
    """Whatever is decided before: at next_at the commit is ready, and nothing is due any more."""
    of = policy(after=f"{{staging: {length}m}}")
    record = recorded(pushed(HERE), attempts={"staging": attempt("succeeded", succeeded=ended)})
    found = decide(situation(of, record, None, [HERE], minute(now)))
    assert (found.state == "ready") is (now - ended >= length)
    assert found.next_at == (None if found.state == "ready" else minute(ended + length))
    then = decide(situation(of, record, None, [HERE], found.next_at or minute(now)))
    assert (then.state, then.next_at) == ("ready", None)


PUSHES = st.lists(
    st.builds(
        lambda number, at, ref, forced, deleted: push(
            "0" * 40 if deleted else sha(number), at=at, ref=ref, forced=forced, deleted=deleted,
            fact=f"{ref}/{number}/{at}/{forced}/{deleted}",
        ),
        st.integers(1, 3), st.integers(0, 5),
        st.sampled_from([MAIN, "refs/heads/feature"]), st.booleans(), st.booleans(),
    ),
    max_size=5,
)  # fmt: skip
ATTEMPTS = st.none() | st.builds(
    lambda outcome, at, succeeded, asked: attempt(outcome, at=at, of=HERE, succeeded=succeeded, request=asked),
    st.sampled_from(["running", "succeeded", "failed", "error", "superseded"]), TIMES, st.none() | TIMES,
    st.none() | st.just("request/deploy/10"),
)  # fmt: skip
REQUESTS = st.none() | st.builds(
    lambda kind, at: request(kind, at=at), st.sampled_from(["deploy", "retry", "rollback"]), TIMES
)
PAUSED = st.none() | st.just("omar")


@given(FACTS, PUSHES, ATTEMPTS, REQUESTS, PAUSED, st.data(), NOW)
def test_nothing_makes_a_commit_ready_whose_gates_have_not_passed(
    facts: list[Fact], pushes: list[Push], tried: Any, asked: Any, paused: Any, data: st.DataObject, now: Any
) -> None:
    """Neither pushes, deployments nor requests. It never raises, and says why unless ready; what runs stays ready."""
    some = st.none() | st.sampled_from([HERE, *pushes])
    at = target(data.draw(some), newest=data.draw(some), paused=paused, requests=(asked,) if asked else ())
    own = [pushed(one) for one in (HERE, *pushes) if one.sha == sha(1)]
    every = [*facts, *data.draw(st.sampled_from([(), GREEN]))]
    record = recorded(*own, *every, attempts={"production": tried} if tried else {})
    found = decide(situation(SHOP, record, at, [HERE, *pushes], now))
    shuffled = data.draw(st.permutations([HERE, *pushes]))
    assert decide(situation(SHOP, record, at, shuffled, now)) == found
    asked = found.request
    runs = at.running is not None and at.running.sha == sha(1)
    if found.state == "ready":
        moment = tried.succeeded_at if tried and tried.succeeded_at and asked and asked.kind == "rollback" else now
        assert not found.reasons
        assert runs or (_all_passed(every, moment) and (paused is None or (asked and asked.kind == "rollback")))
        assert runs or tried is None or tried.outcome not in ("failed", "error") or asked or len(own) > 1
    else:
        assert found.reasons
    if found.state == "superseded":
        assert not runs


def test_the_naive_reading_knows_the_author() -> None:
    """Or the property above would say nothing of authors."""
    assert identity("github", AUTHOR) in HERE.people
    assert not _legal_passed([word(AUTHOR)], minute(40))


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 120), st.booleans()), min_size=1, max_size=5),
    st.integers(0, 400),
)
def test_what_is_frozen_is_ready_exactly_when_it_was_told_and_never_before(
    freezes: list[tuple[int, int, bool]], now: int
) -> None:
    """However freezes of the file and of people overlap or follow each other, the time that is told is in none of them."""
    windows = [(at, length) for at, length, _ in freezes]
    written = [
        f"{{from: '{minute(at):%Y-%m-%d %H:%M}', to: '{minute(at + length):%Y-%m-%d %H:%M}', zone: UTC, reason: r}}"
        for at, length, by_a_person in freezes
        if not by_a_person
    ]
    row = target(freezes=tuple(freeze(at, at + length) for at, length, by_a_person in freezes if by_a_person))
    of = policy(freeze=", ".join(written))
    record = recorded(pushed(HERE))

    def at(when: int) -> bool:
        return any(begin <= when < begin + length for begin, length in windows)

    found = decide(situation(of, record, row, [HERE], minute(now)))
    assert (found.state == "ready") is not at(now)
    end = next(when for when in range(now, 1000) if not at(when))
    assert found.next_at == (minute(end) if at(now) else None)
    assert decide(situation(of, record, row, [HERE], minute(end))).state == "ready"
