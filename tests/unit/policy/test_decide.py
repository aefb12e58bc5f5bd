"""The decision: when a commit may be deployed, and what is told where it may not."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from greenlight.model.policy import Decision, Policy
from greenlight.model.rows import Attempt, Fact, Promotion, Push, Record, Request, Target
from greenlight.policy.decide import decide
from greenlight.recorder.domain import fold
from support.policy import (  # fmt: skip
    BUILD,
    MAIN,
    SCAN,
    attempt,
    fact,
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

DAY = 24 * 60
NOW = minute(60)
SHOP = policy(["build", "scan", "legal"])
HERE = push(sha(1), at=1)
NEWER = push(sha(2), at=2, before=sha(1))
GREEN = (pushed(HERE), heard(BUILD, "passed", at=2), heard(SCAN, "passed", at=3, ref=None), word("lena", at=4))


def decided(
    record: Record,
    *pushes: Push,
    at: Target | None = None,
    now: datetime = NOW,
    asked: Request | None = None,
    of: Policy = SHOP,
) -> Decision:
    """What is decided of a commit; `asked` is what somebody asked the target for, and what it serves next."""
    row = at or target()
    row = replace(row, requests=(asked,) if asked else ())
    return decide(situation(of, record, row, pushes or (HERE,), now))


def green(attempts: dict[str, Attempt] | None = None, *more: Fact) -> Record:
    return recorded(*GREEN, *more, attempts=attempts)


def test_a_commit_is_ready_when_every_required_gate_has_passed() -> None:
    """With its push, its artifacts, and when the first of its gates will have passed long enough."""
    found = decided(green(None, heard(BUILD, "passed", at=5, artifacts={"shop": "sha256:a"})))
    assert (found.state, found.reasons, found.push) == ("ready", (), HERE)
    assert found.artifacts == {"shop": "sha256:a"}
    assert {name: gate.state for name, gate in found.gates.items()} == dict.fromkeys(
        ["build", "scan", "legal"], "passed"
    )
    assert found.next_at == minute(3 + 7 * DAY)


def test_a_gate_that_is_not_required_says_nothing() -> None:
    """Nor does anybody's word on another gate, application or commit."""
    assert decided(green(None, heard("github.check:github-actions/test", "failed"))).state == "ready"
    assert decided(green(None, word("omar", "board", at=9, granted=False))).state == "ready"


NO = "revoked by omar on 2026-03-01 12:09 UTC: no; a new approval lifts it"
STAFF = "lena's approval does not count: lena was not in legal"


@pytest.mark.parametrize(
    ("more", "state", "reason"),
    [
        (heard(BUILD, "failed", at=9), "blocked", "build: CircleCI workflow build-test failed"),
        (heard(SCAN, "skipped", at=9), "waiting", "scan: webhook scan: skipped, and only a success passes"),
        (word("omar", at=9, granted=False), "blocked", f"legal: {NO}"),
        (
            word("lena", at=9, groups=["staff"]),
            "waiting",
            f"legal: needs 1 more approval from legal (not the author); {STAFF}",
        ),
    ],
)
def test_a_gate_that_failed_or_was_revoked_blocks_and_any_other_makes_it_wait(
    more: Fact, state: str, reason: str
) -> None:
    """The reason begins with the gate's name."""
    found = decided(green(None, more))
    assert (found.state, found.reasons) == (state, (reason,))


def test_all_that_is_missing_is_told_at_once() -> None:
    """What blocks comes first."""
    found = decided(recorded(pushed(HERE), heard(BUILD, "failed")))
    assert found.state == "blocked"
    assert [reason.split(":")[0] for reason in found.reasons] == ["build", "scan", "legal"]


def test_time_alone_can_change_a_decision_and_it_tells_when() -> None:
    """At next_at, not before, another decision is due; while nothing passed, time changes nothing."""
    first = decided(green())
    assert first.next_at is not None
    assert decided(green(), now=minute(3 + 7 * DAY - 1)).state == "ready"
    later = decided(green(), now=first.next_at)
    assert later.state == "waiting"
    assert later.reasons[0].startswith("scan: webhook scan passed more than 7d ago")
    assert later.next_at == minute(4 + 14 * DAY)
    assert decided(recorded(pushed(HERE))).next_at is None


def test_a_commit_that_no_shipped_ref_ever_held_is_no_candidate() -> None:
    """However green, and whoever asks."""
    record = recorded(*GREEN[1:], pushed(push(ref="refs/heads/feature")))
    for asked in (None, request()):
        found = decided(record, asked=asked)
        assert (found.state, found.reasons, found.push) == ("waiting", ("not seen on a shipped ref (main)",), None)


def test_a_push_that_touches_nothing_of_the_application_makes_no_candidate_unless_asked() -> None:
    """A person may still ship it."""
    of = policy(ships='branches: [main]\n    paths: ["shop/**"]')
    runs, docs = push(sha(7), at=-1), push(paths=("docs/a",), before=sha(7))
    record, at = recorded(pushed(docs)), target(runs)
    found = decided(record, runs, docs, of=of, at=at)
    assert found.reasons == ("not touched: no push since what runs here changed anything in shop/**",)
    assert decided(record, runs, docs, of=of, at=at, asked=request()).state == "ready"


def test_an_older_candidate_never_replaces_a_newer_one_unless_a_person_asks() -> None:
    """Nor after the newer one was rolled back to something else still."""
    at = target(NEWER)
    found = decided(green(), HERE, NEWER, at=at)
    assert (found.state, found.next_at) == ("superseded", None)
    assert found.reasons == ("the newer commit 0000000 was tried here; an operator may deploy this one",)
    rolled = target(push(sha(9), at=0), newest=NEWER)
    assert decided(green(), HERE, NEWER, at=rolled).state == "superseded"
    for kind in ("deploy", "retry", "rollback"):
        assert decided(green(), HERE, NEWER, at=at, asked=request(kind)).state == "ready"
    assert decided(green(), HERE, at=target(push(sha(9), at=0))).state == "ready"


def test_pushing_an_old_commit_again_makes_it_the_newest() -> None:
    """Whatever happened to it before."""
    again = push(sha(1), at=3, before=sha(2), forced=True)
    assert decided(green(None, pushed(again)), HERE, NEWER, again, at=target(NEWER)).state == "ready"


def test_a_ref_that_is_created_on_a_known_commit_does_not_move_it() -> None:
    """A tag on an old commit is no new push of it, whichever is heard first; but a branch that is restored is a candidate."""
    of = policy(["build", "scan", "legal"], ships='branches: [main]\n    tags: ["v*"]')
    tag = push(sha(1), at=3, ref="refs/tags/v1")
    for facts in ((pushed(HERE), pushed(tag)), (pushed(tag), pushed(HERE))):
        found = decided(green(None, *facts), HERE, NEWER, tag, at=target(NEWER), of=of)
        assert (found.state, found.push) == ("superseded", HERE)
    gone, restored = push("0" * 40, at=4, deleted=True), push(sha(1), at=5)
    assert decided(green(), HERE, gone).state == "superseded"
    assert decided(green(None, pushed(restored)), HERE, gone, restored).state == "ready"


def test_a_forced_push_or_a_deletion_supersedes_what_the_ref_held_and_nobody_deployed() -> None:
    """What runs goes on to run, and what is asked for is asked for."""
    for reset in (replace(NEWER, forced=True), push("0" * 40, at=2, deleted=True)):
        found = decided(green(), HERE, reset)
        assert found.state == "superseded"
        assert found.reasons == (
            "refs/heads/main was deleted or forced to another commit afterwards; an operator may deploy this one",
        )
        assert decided(green(), HERE, reset, at=target(HERE)).state == "ready"
        assert decided(green(), HERE, reset, asked=request()).state == "ready"


def test_what_runs_stays_ready_whatever_is_said_of_it_later() -> None:
    """A revocation is too late then, and shown at the gate; asking for it again asks for another deployment."""
    record = green({"production": attempt("succeeded", of=HERE, succeeded=6)}, word("omar", at=9, granted=False))
    found = decided(record, at=target(HERE, paused="omar: holidays"))
    assert (found.state, found.reasons, found.next_at) == ("ready", (), None)
    assert found.gates["legal"].state == "revoked"
    assert decided(record, at=target(HERE), asked=request()).state == "blocked"


@pytest.mark.parametrize(
    ("outcome", "how"), [("failed", "failed"), ("error", "ended in error"), ("canceled", "canceled")]
)
def test_after_a_deployment_that_did_not_succeed_it_takes_a_person_or_a_push(outcome: str, how: str) -> None:
    """A push that it knew is no new push."""
    record = green({"production": attempt(outcome, at=20, of=HERE, reason="exit 1", request="request/deploy/25")})
    found = decided(record)
    assert found.state == "blocked"
    assert found.reasons == (f"deployment d1 {how}: exit 1; retry it or push a newer commit",)
    assert decided(record, asked=request("retry", at=30)).state == "ready"
    again = push(sha(1), at=30, before=sha(2), forced=True)
    assert decided(replace(record, pushes={MAIN: again}), HERE, again).state == "ready"


def test_a_deployment_that_was_superseded_or_still_runs_blocks_nothing() -> None:
    """Nothing was tried, or nothing is known yet."""
    for outcome in ("superseded", "running"):
        assert decided(green({"production": attempt(outcome, of=HERE)})).state == "ready"


def test_what_a_person_asked_for_is_not_superseded_while_it_is_deployed() -> None:
    """Though it is older than what runs."""
    record = green({"production": attempt("running", at=20, of=HERE, request="request/deploy/10")})
    assert decided(record, HERE, NEWER, at=target(NEWER, deployment="d1")).state == "ready"


def test_a_commit_that_was_rolled_back_does_not_come_back_by_itself() -> None:
    """Only if asked for or pushed again."""
    before = push(sha(9), at=0)
    at = target(before, newest=HERE)
    record = green({"production": attempt("succeeded", of=HERE, succeeded=6, rolled_back="lena")})
    found = decided(record, before, HERE, at=at)
    assert (found.state, found.reasons) == (
        "blocked",
        ("rolled back by lena; deploy it again or push a newer commit",),
    )
    assert decided(record, before, HERE, at=at, asked=request("deploy")).state == "ready"
    again = push(sha(1), at=30, before=sha(2), forced=True)
    assert decided(replace(record, pushes={MAIN: again}), before, HERE, again, at=at).state == "ready"
    of, release = policy(ships='branches: [main, "release/*"]'), push(sha(1), at=0, ref="refs/heads/release/1")
    both, forced = replace(record, pushes={MAIN: HERE, release.ref: release}), replace(NEWER, forced=True)
    assert decided(both, before, release, HERE, forced, at=at, of=of).reasons == found.reasons


def test_a_rollback_reaches_a_commit_whose_gates_have_grown_old_since_it_ran() -> None:
    """Time is measured when it last succeeded here; failures and revocations are not forgotten."""
    ran = {"production": attempt("succeeded", of=HERE, succeeded=10)}
    late, at = minute(29 * DAY + 1), target(NEWER)
    assert decided(green(ran), HERE, NEWER, at=at, now=late, asked=request("deploy", at=29 * DAY)).state == "waiting"
    back = decided(green(ran), HERE, NEWER, at=at, now=late, asked=request("rollback", at=29 * DAY))
    assert (back.state, back.next_at) == ("ready", None)
    for against in (heard(BUILD, "failed", at=28 * DAY), word("omar", at=28 * DAY, granted=False)):
        refused = decided(green(ran, against), HERE, NEWER, at=at, now=late, asked=request("rollback", at=29 * DAY))
        assert refused.state == "blocked"
    never = decided(green(), HERE, NEWER, at=at, now=late, asked=request("rollback", at=29 * DAY))
    assert never.state == "waiting"


PAUSED = "paused by omar: holidays; an operator may resume shop/production"


def test_a_target_that_is_paused_waits_even_for_who_asks_unless_a_person_rolls_back() -> None:
    """Until somebody resumes it. What the policy asks for waits, too."""
    at = target(push(sha(9), at=0), paused="omar: holidays")
    for asked in (None, request(), request("retry"), request("rollback", by="policy")):
        found = decided(green(), at=at, asked=asked)
        assert (found.state, found.reasons) == ("waiting", (PAUSED,))
    assert decided(green(), at=at, asked=request("rollback")).state == "ready"


def test_what_holds_for_the_whole_target_is_not_what_holds_of_the_commit() -> None:
    """The commit's own half is what its journal keeps: no pause, hold or newer commit writes to it."""
    for at in (target(NEWER), target(paused="omar: holidays"), target(held=request("rollback", sha(9)))):
        found = decided(green(), HERE, NEWER, at=at)
        assert found.state != "ready"
        assert (found.own.state, found.own.reasons) == ("ready", ())


def test_a_request_is_served_before_any_candidate_that_was_not_pushed_after_it() -> None:
    """A later push goes out, and so does everything once the request has expired; while it is paused, no time passes."""
    first = request("deploy", sha(9), at=10)
    at = target(requests=(first,))
    held = decide(situation(SHOP, green(), at, (HERE,), NOW))
    assert held.reasons == ("lena's deploy of 0000000 goes first; an operator may cancel it",)
    after = replace(HERE, arrived=minute(11), before=sha(0))
    assert decide(situation(SHOP, recorded(*GREEN[1:], pushed(after)), at, (after,), NOW)).state == "ready"
    gone = minute(10 + 240)
    assert decide(situation(SHOP, green(), at, (HERE,), gone)).state == "ready"
    stopped = replace(at, paused="omar: sale", paused_at=minute(60))
    assert decide(situation(SHOP, green(), stopped, (HERE,), gone)).reasons == (
        "paused by omar: sale; an operator may resume shop/production",
        held.reasons[0],
    )


def test_a_hold_keeps_back_what_was_not_pushed_after_it() -> None:
    """Nor is a push after it that comes late, or again: its commit is part of what was pushed before."""
    at = target(held=request("rollback", sha(9), at=10))
    reason = "held by lena's rollback to 0000000; an operator may deploy it, or push a newer commit"
    assert decided(green(), at=at).reasons == (reason,)
    late = replace(HERE, arrived=minute(20))
    on_top = push(sha(2), at=2, before=sha(1))
    assert decided(green(), late, on_top, at=at).reasons == (reason,)
    assert decided(recorded(*GREEN[1:], pushed(late)), late, on_top, at=at).reasons == (reason,)
    new = replace(HERE, arrived=minute(20), before=sha(5))
    assert decided(recorded(*GREEN[1:], pushed(new)), new, at=at).state == "ready"
    forced = replace(on_top, forced=True)  # what was forced away is no ancestor
    assert decided(recorded(*GREEN[1:], pushed(new)), new, replace(forced, ref="refs/heads/x"), at=at).state == "ready"


BY_HAND = policy(["build", "scan", "legal"], ships="branches: [main]\n    operators: [ops, sre]", promote="manual")


def test_where_promotion_is_manual_what_is_ready_waits_for_a_person() -> None:
    """The reason names who and the command; what is not ready says only what it lacks."""
    found = decided(green(), of=BY_HAND)
    command = "greenlight deploy acme/shop 0000000 shop production --reason TEXT"
    reason = f"ready, and waits for a person: ops, sre may deploy it with `{command}`"
    assert (found.state, found.reasons, found.own.state) == ("waiting", (reason,), "ready")
    lacking = decided(green(None, heard(SCAN, "skipped", at=9)), of=BY_HAND)
    assert lacking.reasons == ("scan: webhook scan: skipped, and only a success passes",)
    assert decided(green(), HERE, NEWER, at=target(NEWER), of=BY_HAND).state == "superseded"
    assert decided(green(), at=target(HERE), of=BY_HAND).state == "ready"
    nobody = decided(green(), of=policy(["build"], promote="manual"))
    assert nobody.reasons == (
        "ready, and waits for a person, but nobody operates shop: name groups as its `operators:`",
    )


def test_what_only_a_person_ends_needs_one() -> None:
    """A gate, a request in front and a freeze window end without; what is deployed or ready needs nobody."""
    stopped = (
        decided(green(), of=BY_HAND),
        decided(green(), at=target(paused="omar: holidays")),
        decided(green(), at=target(paused="omar: holidays"), asked=request()),
        decided(green(), at=target(held=request("rollback", sha(9)))),
        decided(green(), HERE, NEWER, at=target(NEWER)),
        decided(green(None, heard(BUILD, "failed", at=9))),
    )
    assert [it.needs_person for it in stopped] == [True] * len(stopped)
    going_on = (
        decided(green()),
        decided(green(), at=target(HERE), of=BY_HAND),
        decided(green(), of=BY_HAND, asked=request()),
        decided(green(None, heard(SCAN, "skipped", at=9))),
        decided(green(), asked=request("deploy", sha(9))),
    )
    assert [it.needs_person for it in going_on] == [False] * len(going_on)


def test_where_promotion_is_manual_a_request_is_served_and_a_hold_keeps_nothing_back() -> None:
    """The policy's own rollback is a request; a pause and a person's request in front are told beside it."""
    for asked in (request("deploy"), request("retry"), request("rollback"), request("rollback", by="policy")):
        assert decided(green(), of=BY_HAND, asked=asked).state == "ready"
    (waits,) = decided(green(), of=BY_HAND).reasons
    assert decided(green(), at=target(held=request("rollback", sha(9))), of=BY_HAND).reasons == (waits,)
    assert decided(green(), at=target(paused="omar: holidays"), of=BY_HAND).reasons == (PAUSED, waits)
    failing = green(None, heard(BUILD, "failed", at=9))
    assert decided(failing, of=BY_HAND, asked=request()).state == "blocked"


def test_what_is_ready_says_what_it_is_behind() -> None:
    """Nothing is ready and stays where it is without a word."""
    assert decided(green(), at=target(deployment="d9")).reasons == ("goes after deployment d9, which is under way",)
    wanted = Promotion("p", sha(2), 0, "automatic", "sha256:0", NOW)
    assert decided(green(), at=target(wanted=wanted)).reasons == ("0000000 goes first",)


def override(at: float = 20, identities: tuple[str, ...] = ("github:omar",)) -> Fact:
    about = {
        "identities": identities,
        "application": "shop",
        "environment": "production",
        "gate": "scan",
        "person": "omar",
        "reason": "it is down",
    }
    return fact(type="gate.overridden", id=f"o{at}", at=at, details=about)


def test_an_override_passes_a_gate_until_something_newer_speaks_against_it() -> None:
    """For this commit and environment alone; a success makes it needless."""
    record = recorded(pushed(HERE), GREEN[1], GREEN[3], heard(SCAN, "failed", at=9, ref=None))
    assert decided(record).state == "blocked"
    passed = decided(fold(record, override()))
    assert passed.state == "ready"
    assert passed.gates["scan"].state == "overridden"
    assert passed.gates["scan"].reason == "overridden by omar: it is down (it was failed: webhook scan failed)"
    assert decided(fold(record, override()), of=policy(["custom"])).state == "waiting"
    for against in (heard(SCAN, "failed", at=21, ref=None), word("omar", "scan", at=21, granted=False)):
        assert decided(fold(fold(record, override()), against)).state == "blocked"
    green_again = fold(fold(record, override()), heard(SCAN, "passed", at=22, ref=None))
    assert decided(green_again).gates["scan"].state == "passed"


@pytest.mark.parametrize(
    "against",
    [
        heard(SCAN, "failed", at=21, ref=None),
        replace(heard(SCAN, "failed", at=19, ref=None), accepted=minute(21)),
        word("omar", "scan", at=21, granted=False),
    ],
)
def test_an_override_that_ended_stays_ended_while_the_gate_runs_again(against: Fact) -> None:
    """What spoke against it came after it, whenever it happened at the provider; in any order of arrival."""
    facts = [override(), against, heard(SCAN, "in_progress", at=23, ref=None)]
    for order in itertools.permutations(facts):
        record = recorded(pushed(HERE), GREEN[1], GREEN[3], heard(SCAN, "failed", at=9, ref=None))
        for each in order:
            record = fold(record, each)
        found = decided(record)
        assert (found.state, found.gates["scan"].state) == ("waiting", "pending")
        assert "; omar's override ended: the gate failed or was revoked" in found.gates["scan"].reason
        assert decided(fold(record, override(at=25))).gates["scan"].state == "overridden"


@pytest.mark.parametrize(
    ("identities", "why"),
    [
        (("github:author",), "omar is among the authors"),
        ((), "people.yaml had no github login or e-mail of omar, so nobody can tell whether they are an author; "
             "once it has one, override again"),
    ],
)  # fmt: skip
def test_an_override_by_who_turns_out_to_be_an_author_does_not_count(identities: tuple[str, ...], why: str) -> None:
    """It may be given before the push is known. It counts where no gate leaves authors out."""
    record = fold(recorded(GREEN[1], GREEN[3]), override(identities=identities))
    made = replace(HERE, people=("github:author",))
    found = decided(fold(record, pushed(made)), made)
    assert found.state == "waiting"
    assert found.gates["scan"].state == "pending"
    assert found.gates["scan"].reason.endswith(f"; omar's override does not count: {why}")
    assert found.recount
    assert decided(fold(record, pushed(made)), made, of=policy(["build", "scan"])).state == "ready"


def test_an_application_keeps_what_it_had_under_its_former_name() -> None:
    """Its deployments, and the overrides of its gates."""
    of = replace(SHOP, name="store", formerly="shop")
    record = fold(green({"production": attempt("failed", of=HERE)}), override())
    assert decide(situation(of, record, None, (HERE,), NOW)).state == "blocked"


def test_an_environment_waits_for_the_ones_it_comes_after() -> None:
    """For the last deployment there that began, and what was rolled back from there has to succeed again."""
    of = policy(after="staging")
    assert decided(green(), of=of).reasons == ("waits until it has succeeded in staging",)
    assert decided(green({"staging": attempt("failed")}), of=of).state == "waiting"
    assert decided(green({"staging": attempt("succeeded", succeeded=3)}), of=of).state == "ready"
    for later, how in (("failed", "failed"), ("running", "is under way"), ("error", "ended as error")):
        assert decided(green({"staging": attempt(later, succeeded=3)}), of=of).reasons == (
            f"its last deployment in staging {how}; it has to succeed there again",
        )
    left = green({"staging": attempt("succeeded", succeeded=3, rolled_back="omar")})
    assert decided(left, of=of).reasons == ("omar rolled back from it in staging; it has to succeed there again",)
    assert decided(green(), of=of, asked=request()).state == "waiting"


SOAKING = policy(["build"], after="{staging: 2h}")


def test_a_commit_soaks_for_a_time_after_it_succeeded_in_an_earlier_environment() -> None:
    """Counted from the end of its last deployment there, and decided again when the time is over."""
    record = green({"staging": attempt("succeeded", succeeded=3)})
    waits = decided(record, of=SOAKING, now=minute(122.9))
    reason = "soaks in staging until 2026-03-01 14:03:00 UTC, 2h after it succeeded there"
    assert (waits.state, waits.reasons, waits.next_at) == ("waiting", (reason,), minute(123))
    over = decided(record, of=SOAKING, now=minute(123))
    assert (over.state, over.next_at) == ("ready", None)
    again = decided(green({"staging": attempt("succeeded", succeeded=100)}), of=SOAKING, now=minute(123))
    assert (again.state, again.next_at) == ("waiting", minute(220))
    assert decided(record, of=SOAKING, asked=request("deploy")).reasons == (reason,)
    assert decided(record, HERE, NEWER, at=target(NEWER), of=SOAKING).next_at is None


def test_what_ends_the_success_in_an_earlier_environment_ends_the_soak() -> None:
    """A failed or a running deployment there, or a rollback: time alone then changes nothing."""
    for ended in (
        attempt("failed", succeeded=3),
        attempt("running", succeeded=3),
        attempt("succeeded", succeeded=3, rolled_back="omar"),
    ):
        found = decided(green({"staging": ended}), of=SOAKING)
        assert (found.state, found.next_at) == ("waiting", None)
        assert found.reasons[0].endswith("it has to succeed there again")


def test_each_earlier_environment_has_its_own_soak_time_or_none() -> None:
    """The first end comes first, be it of a soak or of a gate."""
    of = policy(["scan"], after="staging, {qa: 30m}, {pre: 10m}")
    succeeded = {name: attempt("succeeded", succeeded=0) for name in ("staging", "qa", "pre")}
    for now, names, next_at in (
        (5, ["qa", "pre"], minute(10)),
        (10, ["qa"], minute(30)),
        (30, [], minute(3 + 7 * DAY)),
    ):
        found = decided(green(succeeded), of=of, now=minute(now))
        assert [reason.split()[2] for reason in found.reasons] == names
        assert found.next_at == next_at


def test_a_rollback_to_what_succeeded_here_waits_for_no_soak() -> None:
    """A person's and the policy's; a deploy of the same commit does."""
    record = green({"staging": attempt("succeeded", succeeded=50), "production": attempt("succeeded", succeeded=20)})
    for asked in (request("rollback"), request("rollback", by="policy")):
        back = decided(record, HERE, NEWER, at=target(NEWER), of=SOAKING, asked=asked)
        assert (back.state, back.next_at) == ("ready", None)
    assert decided(record, HERE, NEWER, at=target(NEWER), of=SOAKING, asked=request()).state == "waiting"


FROZEN = policy(
    ["build"],
    freeze="{from: 2026-03-01, to: 2026-03-02 08:00, zone: UTC, reason: sale, except: [oncall]}, "
    "{from: mon 07:30, to: mon 09:00, zone: UTC, reason: standup}",
)


def test_nothing_goes_out_by_itself_while_a_freeze_window_is_open() -> None:
    """It is decided again when the last of the windows ends that follow each other."""
    shut = decided(green(), of=FROZEN)
    end = minute(21 * 60)
    reason = "frozen until 2026-03-02 09:00:00 UTC: sale (except requests of oncall)"
    assert (shut.state, shut.reasons, shut.own.state, shut.next_at) == ("waiting", (reason,), "ready", end)
    both = decided(green(), of=FROZEN, now=minute(19.75 * 60))
    assert both.reasons == (f"{reason}; standup",)
    over = decided(green(), of=FROZEN, now=end)
    assert (over.state, over.next_at) == ("ready", None)
    failing = decided(green(None, heard(BUILD, "failed", at=9)), of=FROZEN)
    assert (failing.state, len(failing.reasons), failing.next_at) == ("blocked", 2, None)
    assert decided(green(), at=target(HERE), of=FROZEN).state == "ready"
    running = target(deployment="d1")
    assert decided(green({"production": attempt("running")}), at=running, of=FROZEN).next_at is None


def test_a_freeze_window_lets_requests_of_the_people_through_whom_it_excepts() -> None:
    """By the groups that a person was in when asking; and the policy's own rollback, which restores what ran."""
    for kind in ("deploy", "retry", "rollback"):
        asked = request(kind)
        waits = decided(green(), of=FROZEN, asked=asked)
        why = (
            f"lena's {kind} {'to' if kind == 'rollback' else 'of'} 0000000 waits: frozen until 2026-03-02 09:00:00 UTC"
        )
        assert (waits.state, waits.next_at) == ("waiting", minute(21 * 60))
        assert waits.reasons[0].startswith(why)
        excepted = replace(asked, groups=("ops", "oncall"))
        assert decided(green(), of=FROZEN, asked=excepted).state == "ready"
        assert decided(green(), of=FROZEN, asked=excepted, now=minute(20 * 60)).next_at == minute(21 * 60)
    assert decided(green(), of=FROZEN, asked=request("rollback", by="policy")).state == "ready"


def test_a_person_freezes_as_a_window_does() -> None:
    """Until its end, which a window that follows moves; with who did it, and the way out. A pause may hold as well."""
    at = target(freezes=(freeze(30, 90, excepted="oncall"), freeze(200, 300, reason="audit")))
    why = "frozen until 2026-03-01 13:30:00 UTC: sale (by omar, except requests of oncall)"
    out = "; an operator may unfreeze shop/production"
    shut = decided(green(), at=at)
    assert (shut.state, shut.reasons, shut.own.state, shut.next_at) == ("waiting", (why + out,), "ready", minute(90))
    assert [decided(green(), at=at, now=minute(when)).state for when in (29, 90, 250)] == ["ready", "ready", "waiting"]
    assert decided(green(), at=at, asked=request()).reasons == (f"lena's deploy of 0000000 waits: {why}{out}",)
    for through in (replace(request(), groups=("oncall",)), request("rollback", by="policy")):
        assert decided(green(), at=at, asked=through).state == "ready"
    back = decided(green({"production": attempt("succeeded", succeeded=5)}), at=at, asked=request("rollback"))
    assert (back.state, back.next_at) == ("waiting", minute(90))
    stopped = decided(green(), at=replace(at, paused="omar: holidays"))
    assert stopped.reasons == (PAUSED, why + out)
    assert decided(green(), at=target(freezes=(freeze(30, 20 * 60),)), of=FROZEN).next_at == minute(21 * 60)


def test_two_digests_for_one_artifact_block() -> None:
    """Nobody can tell which of them the gates speak of."""
    two = (heard(BUILD, "passed", at=n, artifacts={"shop": f"sha256:{n}"}) for n in (5, 6))
    found = decided(green(None, *two))
    assert found.state == "blocked"
    assert found.reasons[0].startswith("artifact shop has 2 digests (sha256:5, sha256:6)")
    assert found.artifacts == {}


def test_values_that_name_the_tag_wait_for_a_push_of_one() -> None:
    """A rollback to a commit of a tag has it, too; a name that git can give to no tag is none."""
    of = policy(ships='branches: [main], tags: ["**"]'.replace(", tags", "\n    tags"), values='{tag: "${tag}"}')
    why = "the values need a tag, and the commit was pushed to refs/heads/main; push it to a tag first"
    assert decided(recorded(pushed(HERE)), of=of).reasons == (why,)
    tagged = replace(HERE, ref="refs/tags/v1;$(id)é")
    assert decided(recorded(pushed(tagged)), tagged, of=of).state == "ready"
    for name in ("", "a\nb", "a b", "a..b", "\ud800", "a\x00"):
        bad = replace(HERE, ref=f"refs/tags/{name}")
        assert decided(recorded(pushed(bad)), bad, of=of).state == "waiting", name


def test_values_that_name_an_artifact_wait_for_its_digest() -> None:
    """Wherever in the values it is named."""
    of = policy(values='{a: [{b: "x@${artifacts.shop}"}], c: "${sha}"}')
    assert decided(green(), of=of).reasons == ("no fact has named the digest of artifact shop yet",)
    assert decided(green(None, heard(BUILD, "passed", at=9, artifacts={"shop": "sha256:a"})), of=of).state == "ready"


def test_an_approval_by_an_author_of_any_push_since_what_runs_does_not_count() -> None:
    """What runs sets the range: another target, another answer."""
    mine = push(sha(2), at=2, by="lena")
    last = push(sha(3), at=3)
    record = recorded(pushed(last), word("lena", at=9), commit=sha(3))
    of = policy(["legal"])
    assert decided(record, HERE, mine, last, at=target(HERE), of=of).state == "waiting"
    assert decided(record, mine, last, at=target(mine), of=of).state == "ready"


def test_a_commit_of_which_only_strange_things_are_known_is_decided_all_the_same() -> None:
    """Facts without data, words without groups, targets without anything."""
    odd: dict[str, Any] = {"application": None, "gate": 5, "person": ""}
    record = recorded(
        fact(type="approval.granted", details=odd), fact(signal="", outcome=""), fact(signal="event:", id="g")
    )
    of = policy(["build", "check", "scan", "custom", "seen", "legal", "board", "review"])
    assert decided(record, of=of, at=target()).state == "waiting"
