"""Sequences that are easy to get wrong, one by one: no faults but those that a test names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from greenlight.board import actions, freezing
from greenlight.deployer import app as deployer
from greenlight.deployer.driver import Progress
from greenlight.entrypoints.compose import adopt
from greenlight.events import Event, types
from greenlight.ledger.port import Transaction, Unreadable
from greenlight.lib.errors import Rejected, Unavailable
from greenlight.model.rows import Lease, Push, Target
from greenlight.policy.decide import decide
from greenlight.promoter import app as promoter
from greenlight.promoter.deciding import Deciding
from greenlight.reconciler import app as reconciler
from greenlight.service.candidates import OPEN
from greenlight.service.situations import situation
from support.simulation import FROZEN, LAX, MAIN, PEOPLE, REPO, START, STRICT, World

LENA = PEOPLE[1]


class Story(World):
    """A world without dice, in words."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.heads: dict[str, str] = {}

    def push(self, n: int, *, ref: str = MAIN, forced: bool = False) -> str:
        self.clock.time += timedelta(seconds=1)
        sha, now = f"{n:040x}", self.clock.time
        fact, before = f"push-{len(self.pushes)}", self.heads.get(ref)
        self.heads[ref] = sha
        self.tell_push(Push(REPO, ref, sha, before, now, now, fact, forced=forced), sha)
        return sha

    def build(self, sha: str, outcome: str = "passed") -> None:
        self.runs += 1
        self.tell_build(sha, self.runs, outcome)

    def green(self, n: int, **how: str) -> str:
        sha = self.push(n, **how)  # type: ignore[arg-type]
        self.build(sha)
        return sha

    def ask(self, sha: str, kind: str = "deploy", environment: str = "staging") -> None:
        self.clock.time += timedelta(seconds=1)
        actions.request(actions.Asked("shop", environment, kind, sha, "because"), LENA, self.board())

    def pause(self, paused: bool, environment: str = "staging") -> None:
        actions.set_paused("shop", environment, paused, "because", LENA, self.board())

    def board(self) -> object:
        return replace(self.deps(), ledger=self.inner)

    def until_emitted(self, type: str) -> Event:
        """Deliver everything else until such an event is under way; it is taken off the bus."""
        for _ in range(1000):
            for event in self.bus:
                if event.type == type:
                    self.bus.remove(event)
                    return event
            self.deliver()
        raise AssertionError(f"no {type} comes")

    def until_it_errs(self, environment: str = "staging") -> None:
        """Deliver until the deployment waits for its next try."""
        self.bus.append(self.until_emitted(types.DEPLOYMENT_APPLIED))
        while self.inner.target("shop", environment).lease is not None:  # type: ignore[union-attr]
            self.rest(1)

    def staging(self) -> list[int]:
        """Return the commits that staging had to run, in order."""
        return [int(sha, 16) for target, sha, _ in self.driver.starts if target == "shop/staging"]

    def last(self, environment: str = "staging") -> object:
        return self.inner.deployments("shop", environment)[0]

    def say(self, sha: str, environment: str = "staging") -> str | None:
        record, target = self.inner.record(REPO, sha), self.inner.target("shop", environment)
        if record is None or target is None:
            return None
        policy = self.pipeline.applications["shop"]
        return decide(situation(policy, record, target, self.inner, self.clock.time)).state


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    story = Story(1, tmp_path)
    story.calm = True
    adopt(story.pipeline, story.inner, story.clock)
    yield story
    assert story.violations == []
    story.close()


def test_a_candidate_that_gave_way_to_one_that_is_withdrawn_comes_back(story: Story) -> None:
    """The newer one lost its gate before it was begun: the target is not left with nothing."""
    story.green(1)
    ready = story.until_emitted(types.PROMOTION_READY)
    two = story.green(2)
    newer = story.until_emitted(types.PROMOTION_READY)
    story.build(two, "failed")
    story.rest(1)
    story.bus += [ready, newer]
    story.rest(300)
    assert story.staging() == [1]
    story.settle()


STOPPED = (types.TARGET_RESUMED, types.TARGET_UNFROZEN)


@pytest.mark.parametrize("lost", [types.COMMIT_RECORDED, *STOPPED, types.PROMOTION_READY])
def test_an_event_that_gets_lost_delays_a_deployment_and_no_more(story: Story, lost: str) -> None:
    """Whatever an action emits is due until its consequences are written."""
    story.push(9, ref="refs/heads/feature")
    story.rest(1)
    if lost == types.TARGET_RESUMED:
        story.pause(True)
    if lost == types.TARGET_UNFROZEN:
        asks = freezing.AskedFreeze("shop", "staging", "because", lasts=timedelta(days=1))
        freezing.freeze(asks, LENA, story.board())
    one = story.green(1)
    if lost in STOPPED:
        story.rest(60)
        assert story.say(one) == "waiting"
    if lost == types.TARGET_RESUMED:
        story.pause(False)
    if lost == types.TARGET_UNFROZEN:
        freezing.unfreeze("shop", "staging", None, None, LENA, story.board())
    story.until_emitted(lost)
    story.rest(300)
    assert story.staging() == [1]
    story.settle()


def test_a_withdrawal_that_gets_lost_delays_no_more(story: Story) -> None:
    """The policy was edited between promotion and intent, and the event that says so never arrives."""
    story.green(1)
    ready = story.until_emitted(types.PROMOTION_READY)
    story.pipeline = LAX
    adopt(LAX, story.inner, story.clock)
    asked = [due for due in story.inner.due(story.clock.time + timedelta(days=1)) if due.key.startswith("policy/")]
    assert asked
    story.inner.transact(Transaction(done=[(due.key, due.event.id) for due in asked]))  # only the withdrawal is left
    story.bus = [ready]
    story.deliver()
    again = story.until_emitted(types.COMMIT_RECORDED)
    assert again.json()["due"].startswith("withdrawn/")
    story.rest(300)
    assert story.staging() == [1]
    story.settle()


def test_a_target_that_becomes_free_while_a_commit_is_decided_is_not_left_free(story: Story) -> None:
    """Who read the target as busy and writes late decides again."""
    story.green(1)
    story.until_emitted(types.DEPLOYMENT_APPLIED)
    two = story.push(2)
    story.build(two)
    story.build(two)
    held = [story.until_emitted(types.COMMIT_RECORDED) for _ in range(3)]
    once = iter([True])

    def meanwhile() -> None:
        if next(once, False):
            story.rest(200)  # the deployment ends, and its end is dealt with

    story.meanwhile = meanwhile  # type: ignore[method-assign]
    promoter.on_commit_recorded(held[0], story.deps())
    story.rest(300)
    assert story.staging() == [1, 2]
    story.settle()


def test_an_error_is_tried_no_sooner_and_no_more_often_than_the_policy_says(story: Story) -> None:
    """However often promotion.ready comes meanwhile: three tries, with pauses that grow."""
    story.driver.outcomes = ["error"] * 9
    one = story.green(1)
    ready = story.until_emitted(types.PROMOTION_READY)
    story.bus += [ready] * 20
    story.rest(1.5)
    story.bus += [ready] * 20
    story.rest(600)
    assert story.staging() == [1, 1, 1]
    ended = story.last()
    assert (ended.outcome, ended.tries) == ("error", 3)  # type: ignore[attr-defined]
    assert story.say(one) == "blocked"
    story.settle()


def test_a_rollback_whose_command_errs_is_tried_again_though_a_newer_commit_is_ready(story: Story) -> None:
    """What runs is always ready, and newer than what a person goes back to."""
    one = story.green(1)
    story.rest(120)
    story.green(2)
    story.rest(120)
    story.driver.outcomes = ["error"]
    story.ask(one, "rollback")
    story.rest(600)
    assert story.staging() == [1, 2, 1, 1]
    assert story.last().outcome == "succeeded"  # type: ignore[attr-defined]
    story.settle()


def test_an_automatic_deployment_that_errs_gives_way_to_a_newer_commit_that_is_ready(story: Story) -> None:
    """It ends as superseded, and the newer one is next."""
    story.driver.outcomes = ["error"]
    story.green(1)
    story.until_it_errs()
    story.green(2)
    story.rest(600)
    assert story.staging() == [1, 2]
    story.settle()


@pytest.mark.parametrize("what", ["a rollback", "a newer commit"])
def test_what_goes_first_waits_for_no_next_try(story: Story, what: str) -> None:
    """The pauses between tries grow to minutes, and nothing is being done in them."""
    one = story.green(1)
    story.rest(120)
    story.driver.outcomes = ["error"]
    story.green(2)
    story.until_it_errs()
    if what == "a rollback":
        story.ask(one, "rollback")
    else:
        story.green(3)
    at = story.clock.time
    while len(story.staging()) < 3:
        story.deliver()
    assert story.staging() == [1, 2, 1 if what == "a rollback" else 3]
    assert story.clock.time - at < timedelta(seconds=1)
    story.settle()


def test_a_late_word_of_an_earlier_try_ends_nothing(story: Story) -> None:
    """Two watchers saw the same error; the later one speaks when the next try is under way."""
    story.driver.outcomes = ["error", "succeeded"]
    story.green(1)
    applied = story.until_emitted(types.DEPLOYMENT_APPLIED)
    first = story.last()
    story.bus.append(applied)
    while story.last().tries == 1:  # type: ignore[attr-defined]
        story.rest(5)
    late = deployer._write_progress(first, Progress("error", "seen long ago"), applied, story.deps())  # type: ignore[arg-type]
    assert late == [] or late[0].type == types.DEPLOYMENT_SUCCEEDED
    story.rest(300)
    assert story.last().outcome == "succeeded"  # type: ignore[attr-defined]
    assert story.staging() == [1, 1]
    story.settle()


def test_who_lost_the_target_to_another_holder_writes_nothing_more(story: Story) -> None:
    """A process that slept through its lease neither takes it back nor ends what another one does now."""
    story.green(1)
    applied = story.until_emitted(types.DEPLOYMENT_APPLIED)
    target = story.inner.target("shop", "staging")
    assert target is not None
    other = Lease("another process", story.clock.time + timedelta(hours=1))
    story.inner.transact(Transaction(targets=[replace(target, lease=other, fence=target.fence + 1)]))
    story.bus.append(applied)
    story.rest(60)
    after = story.inner.target("shop", "staging")
    assert after is not None
    assert after.lease == other
    assert story.last().outcome == "running"  # type: ignore[attr-defined]


def test_an_error_waits_while_its_target_is_paused_and_goes_on_afterwards(story: Story) -> None:
    """A pause holds what would start, also a next try."""
    story.driver.outcomes = ["error"]
    story.green(1)
    story.until_it_errs()
    story.pause(True)
    story.rest(1200)
    assert story.staging() == [1]
    story.pause(False)
    story.rest(90)
    assert story.staging() == [1, 1]
    story.settle()


def _freeze(story: Story) -> None:
    story.pipeline = FROZEN
    adopt(FROZEN, story.inner, story.clock)
    story.rest(120)


def test_what_was_announced_before_a_freeze_window_opens_begins_when_it_ends(story: Story) -> None:
    """The deployer decides anew before it begins, and time alone brings the commit back."""
    _freeze(story)
    story.green(1)
    ready = story.until_emitted(types.PROMOTION_READY)
    story.clock.time = START + timedelta(minutes=11)
    story.bus.append(ready)
    story.rest(1000)
    assert story.staging() == []
    assert story.say(f"{1:040x}") == "waiting"
    story.clock.time = START + timedelta(minutes=30)
    story.rest(120)
    assert story.staging() == [1]
    story.settle()


def _stop(story: Story, how: str) -> None:
    if how == "pause":
        story.pause(True)
    else:
        asks = freezing.AskedFreeze("shop", "staging", "because", lasts=timedelta(seconds=25))
        freezing.freeze(asks, LENA, story.board())


def _go_on(story: Story, how: str) -> None:
    story.clock.time += timedelta(seconds=20)
    if how == "pause":
        story.pause(False)


@pytest.mark.parametrize("how", ["pause", "freeze"])
@pytest.mark.parametrize("delivered", ["just after it began", "just after it ended"])
def test_what_was_announced_before_a_pause_or_freeze_gives_way_to_what_became_ready_in_it(
    story: Story, how: str, delivered: str
) -> None:
    """Nothing goes out meanwhile; afterwards the newest does, and nothing before it."""
    story.green(1)
    ready = story.until_emitted(types.PROMOTION_READY)
    _stop(story, how)
    if delivered == "just after it began":
        story.bus.append(ready)
    story.green(2)
    story.rest(5)
    assert story.staging() == []
    _go_on(story, how)
    if delivered == "just after it ended":
        story.bus.insert(0, ready)
    story.rest(200)
    assert story.staging() == [2]
    story.settle()


@pytest.mark.parametrize("how", ["pause", "freeze"])
@pytest.mark.parametrize("delivered", ["just after it began", "just after it ended"])
def test_what_was_announced_before_a_pause_or_freeze_goes_out_after_it(story: Story, how: str, delivered: str) -> None:
    """It is not stuck, whenever its event arrives; and it goes out once."""
    story.green(1)
    ready = story.until_emitted(types.PROMOTION_READY)
    _stop(story, how)
    if delivered == "just after it began":
        story.bus.append(ready)
    story.rest(5)
    assert story.staging() == []
    _go_on(story, how)
    if delivered == "just after it ended":
        story.bus.append(ready)
    story.rest(200)
    assert story.staging() == [1]
    story.settle()


def test_what_cannot_be_read_keeps_no_older_commit_from_going_out_after_a_pause(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it can be read again, it goes out, too."""
    story.green(1)
    ready = story.until_emitted(types.PROMOTION_READY)
    story.pause(True)
    two = story.green(2)
    story.rest(5)
    story.pause(False)
    read = story.inner.record

    def spoilt(repo: str, sha: str) -> Any:
        if sha == two:
            raise Unreadable(f"the record of {sha[:7]} is spoilt")
        return read(repo, sha)

    monkeypatch.setattr(story.inner, "record", spoilt)
    story.bus = [ready]
    story.rest(60)
    assert story.staging() == [1]
    monkeypatch.undo()
    story.rest(900)
    assert story.staging() == [1, 2]
    story.settle()


def test_a_rollback_of_a_person_is_tried_again_during_a_pause(story: Story) -> None:
    """As it begins during one: an operator who goes back and pauses would wait for nobody else."""
    one = story.green(1)
    story.rest(60)
    story.green(2)
    story.rest(60)
    story.pause(True)
    story.driver.outcomes = ["error"]
    story.ask(one, "rollback")
    story.rest(60)
    assert story.staging() == [1, 2, 1, 1]
    assert story.last().outcome == "succeeded"  # type: ignore[attr-defined]
    story.pause(False)
    story.settle()


def test_an_error_waits_while_a_freeze_window_is_open(story: Story) -> None:
    """A window holds what would start by itself, also a next try."""
    _freeze(story)
    story.driver.outcomes = ["error"]
    story.green(1)
    story.until_it_errs()
    story.clock.time = START + timedelta(minutes=11)
    story.rest(1000)
    assert story.staging() == [1]
    story.rest(600)
    assert story.staging() == [1, 1]
    story.settle()


def test_what_is_under_way_ends_as_it_began_though_its_environment_is_edited_away(story: Story) -> None:
    """The command goes on and its success counts; nothing is thrown away half-way."""
    story.green(1)
    applied = story.until_emitted(types.DEPLOYMENT_APPLIED)
    shop = story.pipeline.applications["shop"]
    story.pipeline = replace(
        story.pipeline, applications={"other": replace(shop, name="other", repo="acme/other", digest="sha256:0")}
    )
    story.bus.append(applied)
    story.rest(120)
    assert story.last().outcome == "succeeded"  # type: ignore[attr-defined]


def test_a_next_try_after_an_edit_of_the_policy_is_decided_again(story: Story) -> None:
    """The policy that it was begun under is no longer in force: superseded, and promoted under the one that is."""
    story.driver.outcomes = ["error"]
    story.green(1)
    story.until_it_errs()
    story.pipeline = LAX
    adopt(LAX, story.inner, story.clock)
    story.rest(600)
    newest, first = story.inner.deployments("shop", "staging")
    assert (first.outcome, first.policy) == ("superseded", STRICT.applications["shop"].digest)
    assert (newest.outcome, newest.policy, newest.n) == ("succeeded", LAX.applications["shop"].digest, 1)
    story.settle()


def test_what_a_person_asked_for_is_served_anew_after_an_edit_between_its_tries(story: Story) -> None:
    """A rollback too: it is not lost because somebody edits the pipeline file just then."""
    one, _ = story.green(1), story.rest(120)
    story.green(2)
    story.rest(120)
    story.driver.outcomes = ["error"]
    story.ask(one, "rollback")
    story.until_it_errs()
    story.pipeline = LAX
    adopt(LAX, story.inner, story.clock)
    story.rest(120)
    last, first = story.inner.deployments("shop", "staging")[:2]
    assert (first.outcome, last.outcome, last.cause) == ("superseded", "succeeded", "rollback")
    assert (story.staging(), last.request) == ([1, 2, 1, 1], first.request)
    story.green(3)
    story.rest(120)
    assert story.staging() == [1, 2, 1, 1, 3]
    story.settle()


@pytest.mark.parametrize("meanwhile", ["a pause and an edit", "a request that is canceled", "a request that expires"])
def test_what_gave_way_before_its_next_try_goes_out_once_that_is_over(story: Story, meanwhile: str) -> None:
    """Though it is the newest that was tried: nothing came of it, and nobody refused it."""
    older = story.push(1)
    story.driver.outcomes = ["error"]
    story.green(2)
    story.until_it_errs()
    if "pause" in meanwhile:
        story.pause(True)
        story.pipeline = LAX
        adopt(LAX, story.inner, story.clock)
    else:
        story.ask(older)  # which waits for its build
    story.rest(120)
    assert (story.staging(), story.last().outcome) == ([2], "superseded")  # type: ignore[attr-defined]
    if "pause" in meanwhile:
        story.pause(False)
    elif "canceled" in meanwhile:
        actions.cancel_request("shop", "staging", "because", LENA, story.board())
    else:
        story.clock.time += timedelta(hours=4)
    story.rest(120)
    assert (story.staging(), story.last().outcome) == ([2, 2], "succeeded")  # type: ignore[attr-defined]
    story.settle()


def test_an_edit_that_is_taken_back_is_an_edit(story: Story) -> None:
    """What waits for a gate of the policy in between is decided again under the one that was known before."""
    one = story.green(1)
    story.rest(120)
    story.pipeline = LAX
    adopt(LAX, story.inner, story.clock)
    story.rest(120)
    assert story.say(one, "production") == "ready"
    two = story.push(2)
    story.rest(60)
    for pipeline in (STRICT, LAX):
        story.pipeline = pipeline
        adopt(pipeline, story.inner, story.clock)
        story.rest(60)
        row = story.inner.decision("shop", "production", REPO, two)
        assert row is not None
        assert row.policy == pipeline.applications["shop"].digest
    story.settle()


def test_who_has_read_other_files_than_those_in_force_decides_nothing(story: Story) -> None:
    """The event is refused and stays due, so that whoever has read them decides the commit."""
    story.push(1)
    recorded = story.until_emitted(types.COMMIT_RECORDED)
    adopt(LAX, story.inner, story.clock)
    before = story.inner.decisions("shop", "staging", OPEN)
    with pytest.raises(Unavailable, match="the pipeline files were edited"):
        promoter.on_commit_recorded(recorded, story.deps())
    assert story.inner.decisions("shop", "staging", OPEN) == before
    assert story.inner.target("shop", "staging") is None
    story.pipeline = LAX
    story.rest(60)
    (row,) = story.inner.decisions("shop", "staging", OPEN)
    assert row.policy == LAX.applications["shop"].digest
    story.settle()


@pytest.mark.parametrize("lost", ["edited", "edited and edited back"])
def test_what_is_decided_while_the_files_are_edited_is_not_written(story: Story, lost: str) -> None:
    """Though nothing else has changed: from the moment of the edit only what follows from it counts."""
    story.push(1)
    recorded = story.until_emitted(types.COMMIT_RECORDED)
    deciding = Deciding.about(REPO, story.deps())
    for pipeline in (LAX, STRICT) if "back" in lost else (LAX,):
        adopt(pipeline, story.inner, story.clock)
    with pytest.raises(Unavailable, match="the pipeline files were edited"):
        deciding.transact(Transaction(done=[("record", recorded.id)], targets=[Target("shop", "qa", REPO)]))
    assert story.inner.target("shop", "qa") is None


def test_a_driver_that_is_not_installed_is_an_error_and_not_a_loop(story: Story) -> None:
    """Tried as often as any error, then blocked: a person must mend it."""
    deps = story.deps
    story.deps = lambda: replace(deps(), drivers={})  # type: ignore[method-assign]
    one = story.green(1)
    story.rest(900)
    (only,) = story.inner.deployments("shop", "staging")
    assert (only.outcome, only.tries) == ("error", 3)
    assert "not installed" in str(only.reason)
    assert story.say(one) == "blocked"


def test_the_last_word_of_a_person_counts(story: Story) -> None:
    """What was asked for and never came to be is not done after something else that was asked for later."""
    one = story.green(1)
    story.rest(120)
    two = story.push(2)
    story.rest(1)
    story.ask(two)  # waits for its build
    story.rest(1)
    story.ask(one, "deploy")
    story.rest(120)
    story.build(two, "passed")
    story.rest(1)
    story.ask(one, "rollback")
    story.rest(300)
    assert story.staging()[-1] == 1
    story.settle()


def test_a_request_that_was_served_is_not_served_again_by_a_later_deployment_that_came_to_nothing(story: Story) -> None:
    """Of what a person asked for long ago nothing is left once it was done."""
    one = story.push(1)
    story.rest(1)
    story.ask(one)
    story.build(one)
    story.rest(120)
    story.green(2)
    story.rest(120)
    story.driver.outcomes = ["error"]
    story.push(1, forced=True)
    story.until_it_errs()
    story.green(3)
    story.rest(600)
    assert story.staging() == [1, 2, 1, 3]
    story.settle()


def test_what_is_asked_for_while_it_is_about_to_begin_is_served_by_that(story: Story) -> None:
    """One deployment, which a newer commit does not take the place of."""
    one = story.green(1)
    ready = story.until_emitted(types.PROMOTION_READY)
    story.ask(one)
    story.rest(1)
    story.bus.append(ready)
    story.rest(300)
    assert story.staging() == [1]
    assert story.last().request is not None  # type: ignore[attr-defined]
    story.settle()


def test_what_runs_is_the_newest_once_it_is_pushed_again(story: Story) -> None:
    """A commit that was pushed in between is older than it."""
    story.green(1)
    story.rest(120)
    two = story.push(2)
    story.push(1, forced=True)
    story.rest(1)
    story.build(two)
    story.rest(120)
    assert story.staging() == [1]
    assert story.say(two) == "superseded"
    story.settle()


def test_a_decision_on_a_new_push_of_the_commit_is_another_decision(story: Story) -> None:
    """Its row tells the candidate's place, so it must know the newest push."""
    one = story.push(1)
    story.rest(1)
    story.push(1, forced=True)
    story.rest(1)
    row = story.inner.decision("shop", "staging", REPO, one)
    assert row is not None
    assert row.push is not None
    assert row.push.fact == "push-1"
    decisions = [entry for entry in story.inner.journal(f"commit/{REPO}/{one}") if entry.type == "decision"]
    assert [entry.payload["push"] for entry in decisions if entry.payload["environment"] == "staging"] == [
        "push-0",
        "push-1",
    ]
    story.rest(120)
    assert len([entry for entry in story.inner.journal(f"commit/{REPO}/{one}") if entry.type == "decision"]) == 4


def test_a_delivery_that_comes_twice_does_not_make_the_intent_forgotten(story: Story) -> None:
    """The second one reads before the first has written, and finds the deployment begun: it stays due."""
    story.green(1)
    ready = story.until_emitted(types.PROMOTION_READY)
    deployer.on_promotion_ready(ready, story.deps())
    story.bus.clear()
    assert deployer._begin(ready.json(), ready, story.deps()) == (None, [])
    story.rest(300)
    assert story.last().outcome == "succeeded"  # type: ignore[attr-defined]
    story.settle()


def test_an_edit_is_noticed_though_nothing_happens(story: Story) -> None:
    """Every ping looks at the files."""
    looked: list[bool] = []
    pipeline = story.deps().pipeline
    deps = replace(story.deps(), pipeline=lambda: looked.append(True) or pipeline())
    reconciler.on_ping(Event("ping", "test", types.PING), deps)
    assert looked


@pytest.mark.parametrize("data", [b"[]", b'"x"', b"{}", b'{"repo": ["x"], "sha": 1}', b"\xff", b"[" * 100_000, None])
def test_row_28_an_event_of_ours_that_tells_nothing_can_never_succeed(story: Story, data: bytes | None) -> None:
    """It is refused as such, not tried again and again."""
    for module in (promoter, deployer):
        for type, handler in module.HANDLERS.items():
            with pytest.raises(Rejected, match="must have"):
                handler(Event("poison", "third-party", type, data=data), story.deps())  # type: ignore[operator, arg-type]


def test_a_gate_that_is_revoked_between_two_tries_prevents_the_next(story: Story) -> None:
    """The commit is decided again, and goes out by itself once the gate is green."""
    story.driver.outcomes = ["error"]
    one = story.green(1)
    story.until_it_errs()
    story.build(one, "failed")
    story.rest(600)
    assert story.staging() == [1]
    first = story.last()
    assert (first.outcome, story.say(one)) == ("superseded", "blocked")  # type: ignore[attr-defined]
    assert first.reason.startswith("not tried again: build: ")  # type: ignore[attr-defined]
    story.build(one)
    story.rest(120)
    assert (story.staging(), story.last().outcome) == ([1, 1], "succeeded")  # type: ignore[attr-defined]
    story.settle()


def test_what_a_person_asked_for_is_not_tried_again_once_its_gate_failed(story: Story) -> None:
    """Nor is a rollback, though the ages of its gates count as they were."""
    one, _ = story.green(1), story.rest(120)
    story.green(2)
    story.rest(120)
    story.driver.outcomes = ["error"]
    story.ask(one, "rollback")
    story.until_it_errs()
    story.build(one, "failed")
    story.rest(600)
    assert (story.staging(), story.last().outcome) == ([1, 2, 1], "superseded")  # type: ignore[attr-defined]
    story.settle()


def test_what_staging_was_rolled_back_from_is_not_tried_again_in_production(story: Story) -> None:
    """It has to succeed in staging again; then it goes out by itself."""
    story.pipeline = LAX
    adopt(LAX, story.inner, story.clock)
    story.green(1)
    story.rest(600)
    story.driver.outcomes = ["succeeded", "error"]
    two = story.green(2)
    story.bus.append(story.until_emitted(types.DEPLOYMENT_APPLIED))
    story.deliver()
    story.until_it_errs("production")
    story.ask(f"{1:040x}", "rollback")
    story.rest(600)
    row = story.last("production")
    assert (row.sha, row.outcome) == (two, "superseded")  # type: ignore[attr-defined]
    assert "rolled back from it in staging" in row.reason  # type: ignore[attr-defined]
    story.ask(two)
    story.rest(600)
    assert story.last("production").outcome == "succeeded"  # type: ignore[attr-defined]
    story.settle()
