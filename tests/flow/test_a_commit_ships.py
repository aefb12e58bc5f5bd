"""From signed webhooks to a command that was started, through the whole pipeline."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from greenlight.ledger.port import Transaction
from support.broker import Recorder, http_server
from support.flow import PIPELINE, REPO, Shop, sha_of

SECOND = timedelta(seconds=1)


def test_a_commit_ships_to_every_environment_the_moment_its_gates_are_green(shop: Shop) -> None:
    """Staging follows the build; production waits for staging, scan and approval; the command gets the commit."""
    shop.push("one")
    shop.build("one")
    assert shop.watch.end("staging", sha_of("one"))["outcome"] == "succeeded"
    shop.settle()
    waiting = shop.environment("one", "production")
    assert waiting["decision"] == "waiting"
    assert any("scan" in reason for reason in waiting["reasons"])
    shop.scan("one")
    shop.approve("one")
    assert shop.watch.end("production", sha_of("one"))["outcome"] == "succeeded"
    assert [(environment, sha) for environment, sha, _, _ in shop.deployed()] == [
        ("staging", sha_of("one")),
        ("production", sha_of("one")),
    ]


def test_each_end_is_counted_once_by_its_outcome(shop: Shop) -> None:
    """What an alarm asks for; a failed one is no error."""

    def counted(outcome: str) -> float:
        labels = {"application": "shop", "environment": "staging", "outcome": outcome}
        return REGISTRY.get_sample_value("greenlight_deployments_total", labels) or 0.0

    before = {outcome: counted(outcome) for outcome in ("succeeded", "failed", "error")}
    (shop.folder / "config" / f"fail-{sha_of('one')}").touch()
    for number, word in enumerate(("one", "two"), 1):
        shop.push(word)
        shop.build(word, number=number)
        shop.watch.end("staging", sha_of(word))
    shop.settle()
    after = {outcome: counted(outcome) - before[outcome] for outcome in before}
    assert after == {"succeeded": 1.0, "failed": 1.0, "error": 0.0}


@pytest.mark.parametrize("order", list(itertools.permutations(["push", "build", "scan"]))[1::2])
def test_the_order_of_the_facts_changes_nothing(tmp_path: Path, order: tuple[str, ...]) -> None:
    """Whatever comes first, the commit is deployed once."""
    shop = Shop(tmp_path).start()
    for word in order:
        getattr(shop, word)("one")
    shop.watch.end("staging", sha_of("one"))
    shop.approve("one")
    assert shop.watch.end("production", sha_of("one"))["outcome"] == "succeeded"
    assert len(shop.deployed()) == 2
    shop.stop()


def test_a_repeated_webhook_is_the_same_fact(shop: Shop) -> None:
    """The same id each time, and one deployment."""
    assert len({shop.push("one", at=1) for _ in range(3)}) == 1
    assert len({shop.build("one") for _ in range(3)}) == 1
    shop.watch.end("staging", sha_of("one"))
    shop.settle()
    assert len(shop.deployed()) == 1


def test_a_failed_deployment_blocks_until_a_person_retries(shop: Shop) -> None:
    """Failed is the world's no: nothing tries again by itself, a retry is the next attempt under an id of its own."""
    marker = shop.folder / "config" / f"fail-{sha_of('one')}"
    marker.touch()
    shop.push("one")
    shop.build("one")
    end = shop.watch.end("staging", sha_of("one"))
    assert (end["outcome"], end["reason"]) == ("failed", "exit status 3")
    shop.settle()
    blocked = shop.environment("one", "staging")
    assert blocked["decision"] == "blocked"
    marker.unlink()
    shop.act("/targets/shop/staging/deployments", {"sha": sha_of("one"), "kind": "retry", "reason": "mended"}, "dev")
    assert shop.watch.end("staging", sha_of("one"), n=1)["outcome"] == "succeeded"
    ids = [id for _, _, id, _ in shop.deployed()]
    assert len(set(ids)) == 2


def test_a_newer_commit_replaces_a_failed_one(shop: Shop) -> None:
    """A newer candidate needs nobody's leave."""
    (shop.folder / "config" / f"fail-{sha_of('one')}").touch()
    shop.push("one")
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    shop.push("two", before="one")
    shop.build("two")
    assert shop.watch.end("staging", sha_of("two"))["outcome"] == "succeeded"


def test_an_older_candidate_never_replaces_a_newer_one(shop: Shop) -> None:
    """The build of the older commit comes late: it is superseded, and not deployed."""
    shop.push("one")
    shop.push("two", before="one")
    shop.build("two")
    shop.watch.end("staging", sha_of("two"))
    shop.build("one")
    shop.settle()
    assert shop.environment("one", "staging")["decision"] == "superseded"
    assert [sha for _, sha, _, _ in shop.deployed()] == [sha_of("two")]


def test_a_target_that_is_busy_takes_the_newest_candidate_next(shop: Shop) -> None:
    """One change to a target at a time; of those that became ready meanwhile only the newest is deployed."""
    fifo = shop.folder / "config" / "hold-staging"
    os.mkfifo(fifo)
    shop.push("one")
    shop.build("one")
    shop.watch.until(lambda event: event.type == "deployment.applied")
    for older, word in (("one", "two"), ("two", "three")):
        shop.push(word, before=older)
        shop.build(word)
        shop.decided(word, "staging", "ready")
    with fifo.open("w") as gate:
        fifo.unlink()
        gate.write("go\n")
    assert shop.watch.end("staging", sha_of("three"))["outcome"] == "succeeded"
    shop.settle()
    assert [sha for environment, sha, _, _ in shop.deployed() if environment == "staging"] == [
        sha_of("one"),
        sha_of("three"),
    ]
    fences = [int(fence) for environment, _, _, fence in shop.deployed() if environment == "staging"]
    assert fences == sorted(set(fences))


def test_whose_work_goes_out_cannot_approve_it(shop: Shop) -> None:
    """Four eyes on all that a deployment brings: lena's own commit below another's, however much is pushed elsewhere."""
    shop.push("one", by="lena-gh")
    shop.push("two", before="one")
    shop.settle()
    last = shop.greenlight.ledger.pushes(REPO)[-1]
    flood = [
        replace(last, ref="refs/heads/topic", fact=f"f{n}", pushed_at=last.pushed_at + n * SECOND)
        for n in range(1, 1100)
    ]
    shop.greenlight.ledger.transact(Transaction(pushes=flood))
    for word in ("one", "two"):
        about = {"application": "shop", "gate": "legal"}
        answer = shop.api("POST", f"/commits/{REPO}/{sha_of(word)}/approvals", about, who="lena")
        assert answer.status_code == 403
        assert "author" in answer.json["detail"]
    assert shop.approve("two", who="omar")


def test_a_revocation_before_the_deployment_prevents_it(shop: Shop) -> None:
    """What a person took back does not count, until somebody gives it again."""
    shop.push("one")
    shop.settle()
    shop.approve("one")
    shop.act(
        f"/commits/{REPO}/{sha_of('one')}/revocations",
        {"application": "shop", "gate": "legal", "comment": "a licence is missing"},
    )
    shop.build("one")
    shop.scan("one")
    shop.watch.end("staging", sha_of("one"))
    shop.settle()
    assert shop.environment("one", "production")["decision"] == "blocked"
    shop.approve("one", "omar")
    assert shop.watch.end("production", sha_of("one"))["outcome"] == "succeeded"


def test_a_pause_holds_the_target_and_a_resume_ships_what_is_ready(shop: Shop) -> None:
    """Nothing is lost while a target is paused."""
    shop.act("/targets/shop/staging/pause", {"reason": "holiday"})
    shop.push("one")
    shop.build("one")
    shop.settle()
    assert shop.environment("one", "staging")["decision"] == "waiting"
    assert shop.deployed() == []
    shop.act("/targets/shop/staging/resume", {})
    assert shop.watch.end("staging", sha_of("one"))["outcome"] == "succeeded"


def test_a_rollback_is_a_deployment_of_its_own_and_stays(shop: Shop) -> None:
    """After it the newer commit does not come back by itself; the next push does."""
    for before, word in (("nothing", "one"), ("one", "two")):
        shop.push(word, before=before)
        shop.build(word)
        shop.watch.end("staging", sha_of(word))
    shop.settle()
    shop.act("/targets/shop/staging/deployments", {"kind": "rollback", "reason": "two is slow"})
    end = shop.watch.end("staging", sha_of("one"), n=1)
    assert (end["outcome"], end["cause"]) == ("succeeded", "rollback")
    shop.settle()
    assert shop.environment("two", "staging")["decision"] == "blocked"
    shop.push("three", before="two")
    shop.build("three")
    assert shop.watch.end("staging", sha_of("three"))["outcome"] == "succeeded"
    assert [sha for _, sha, _, _ in shop.deployed()] == [sha_of(word) for word in ("one", "two", "one", "three")]


AUTOMATIC = PIPELINE.replace("      - name: staging\n", "      - name: staging\n        rollback: automatic\n")


def test_where_the_policy_says_so_a_failure_goes_back_to_what_ran_once_and_names_its_cause(tmp_path: Path) -> None:
    """A rollback that fails, too, is for a person; so is a commit that failed."""
    shop = Shop(tmp_path, pipeline=AUTOMATIC).start()
    shop.push("one")
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    for word in ("one", "two"):
        (shop.folder / "config" / f"fail-{sha_of(word)}").touch()
    shop.push("two", before="one")
    shop.build("two")
    failed = shop.watch.end("staging", sha_of("two"))
    back = shop.watch.end("staging", sha_of("one"), n=1)
    assert (back["cause"], back["outcome"]) == ("rollback", "failed")
    shop.settle()
    assert len(shop.deployed()) == 3
    (request,) = [event.json() for event in shop.watch.events if event.type == "deployment.requested"]
    assert (request["kind"], request["person"]) == ("rollback", "policy")
    assert failed["deployment"] in request["reason"]
    assert shop.environment("two", "staging")["decision"] == "blocked"
    shop.stop()


def test_a_failure_does_not_go_back_where_a_newer_commit_is_ready(tmp_path: Path) -> None:
    """It goes forward."""
    shop = Shop(tmp_path, pipeline=AUTOMATIC)
    fifo = shop.folder / "config" / "hold-staging"
    held = "read line < hold-staging"
    text = f"echo $GREENLIGHT_SHA >> deployed.log; [ $GREENLIGHT_SHA != {sha_of('two')} ] || {{ {held}; exit 3; }}"
    (shop.folder / "config" / "deploy.sh").write_text(text)
    os.mkfifo(fifo)
    shop.start()
    shop.push("one")
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    shop.push("two", before="one")
    shop.build("two")
    shop.watch.until(lambda event: event.type == "deployment.applied" and event.json()["sha"] == sha_of("two"))
    shop.push("three", before="two")
    shop.build("three")
    shop.decided("three", "staging", "ready")
    fifo.write_text("go\n")
    assert shop.watch.end("staging", sha_of("three"))["outcome"] == "succeeded"
    shop.settle()
    assert (shop.folder / "config" / "deployed.log").read_text().split() == [
        sha_of(it) for it in ("one", "two", "three")
    ]
    shop.stop()


def test_the_journal_of_a_commit_and_of_a_target_verify(shop: Shop) -> None:
    """Every fact and decision is there, chained from the first entry."""
    from greenlight.ledger.journal import verify

    shop.push("one")
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    shop.settle()
    ledger = shop.greenlight.ledger
    commit = ledger.journal(f"commit/{REPO}/{sha_of('one')}")
    target = ledger.journal("target/shop/staging")
    assert {"com.github.push", "com.circleci.buildsuccess", "decision"} <= {entry.type for entry in commit}
    assert [entry.type for entry in target][:2] == ["promotion.ready", "deployment.started"]
    assert verify(commit).holds
    assert verify(target).holds
    assert json.loads(shop.api("GET", f"/commits/{REPO}/{sha_of('one')}/journal").get_data())["entries"]


def test_triggers_of_ones_own_get_events_and_come_and_go(tmp_path: Path) -> None:
    """From the folder `triggers` of the configuration, without a restart; what they answer changes nothing."""
    stranger = Recorder(lambda n, request: (500, {}, b"I am a stranger"))
    own = """
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: own, namespace: greenlight}
spec: {broker: default, filter: {attributes: {type: deployment.succeeded}}, subscriber: {uri: "%s"}, delivery: {retry: 0}}
"""
    with http_server(stranger) as url:
        shop = Shop(tmp_path)
        folder = tmp_path / "config" / "triggers"
        folder.mkdir()
        shop.start()
        (folder / "own.yaml").write_text(own % url)
        for _ in range(3):  # two looks that agree, and one that finds them in force
            shop.greenlight.watch.look()
        shop.push("one")
        shop.build("one")
        assert stranger.wait(1)[0].headers["ce-type"] == "deployment.succeeded"
        shop.watch.end("staging", sha_of("one"))
        shop.settle()
        assert [letter.trigger for letter in shop.greenlight.broker.dead_letters()] == ["greenlight/own"]
        shop.stop()
