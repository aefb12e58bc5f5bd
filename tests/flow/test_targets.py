"""What people ask of a target, and what goes out by itself: through the whole pipeline, with real commands."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from greenlight.events import rfc3339
from support.flow import NEW, REPO, Ahead, Shop, build_payload, push_payload, sha_of

LIVE = """
apiVersion: greenlight/v1
kind: Pipeline
applications:
  - name: shop
    repo: acme/shop
    branches: [main, "hotfix/*"]
    operators: [legal]
    gates:
      scan: {webhook: scan}
      legal: {approval: {groups: [legal]}}
    environments:
      - name: live
        require: []
        deploy: {command: {run: [sh, deploy.sh], timeout: 30s}}
"""
ENVIRONMENT = "/targets/shop/live"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Shop]:
    """A shop that ships every push to live."""
    shop = Shop(tmp_path, pipeline=LIVE).start()
    yield shop
    shop.stop()


def ship(shop: Shop, *words: str, environment: str = "live") -> None:
    """Push commits on top of each other, each when the one before has ended there."""
    for before, word in zip(("nothing", *words), words, strict=False):
        shop.push(word, before=before)
        shop.watch.end(environment, sha_of(word))
    shop.settle()


def ran(shop: Shop, environment: str = "live") -> list[str]:
    """The commits that the command was started for, in order, as words of one letter."""
    names = {sha_of(letter): letter for letter in "ABCDEHPQXYZ"}
    return [names[sha] for where, sha, _, _ in shop.deployed() if where == environment]


def fails(shop: Shop, word: str) -> None:
    (shop.folder / "config" / f"fail-{sha_of(word)}").touch()


def held(shop: Shop, environment: str = "live") -> Path:
    """A pipe that the command of the environment waits for."""
    fifo = shop.folder / "config" / f"hold-{environment}"
    os.mkfifo(fifo)
    return fifo


def let_go(fifo: Path) -> None:
    """Let the command that waits go on, and keep no later one."""
    with fifo.open("w") as gate:
        fifo.unlink()
        gate.write("go\n")


def under_way(shop: Shop, word: str) -> None:
    shop.watch.until(lambda event: event.type == "deployment.applied" and event.json()["sha"] == sha_of(word))


def ask(shop: Shop, kind: str, word: str | None = None, **more: Any) -> dict[str, Any]:
    return shop.act(
        f"{ENVIRONMENT}/deployments", {"kind": kind, "reason": "a test", "sha": word and sha_of(word), **more}
    )


def refused(shop: Shop, path: str, body: Mapping[str, Any], who: str = "lena") -> tuple[int, str]:
    answer = shop.api("POST", path, dict(body), who=who)
    return answer.status_code, answer.json["detail"]


def test_a_rollback_after_a_failure_goes_back_to_what_ran(live: Shop) -> None:
    """Not one commit further."""
    ship(live, "Z", "A")
    fails(live, "X")
    live.push("X", before="A")
    live.watch.end("live", sha_of("X"))
    live.settle()
    ask(live, "rollback")
    live.watch.end("live", sha_of("A"), n=1)
    assert ran(live) == ["Z", "A", "X", "A"]


def test_a_second_rollback_goes_further_back_until_nothing_is_left(live: Shop) -> None:
    """What was rolled back from is no way back, until it succeeds there again."""
    ship(live, "A", "B", "C")
    ask(live, "rollback")
    live.watch.end("live", sha_of("B"), n=1)
    live.settle()
    ask(live, "rollback")
    live.watch.end("live", sha_of("A"), n=1)
    live.settle()
    assert ran(live) == ["A", "B", "C", "B", "A"]
    status, why = refused(live, f"{ENVIRONMENT}/deployments", {"kind": "rollback", "reason": "further"})
    assert (status, "name a commit with `--to`" in why) == (422, True)
    ask(live, "deploy", "C")
    live.watch.end("live", sha_of("C"), n=1)
    live.settle()
    ask(live, "rollback")
    live.watch.end("live", sha_of("A"), n=2)


def test_a_rollback_leads_only_where_something_succeeded(live: Shop) -> None:
    """A commit that failed there, or was never there, takes a deploy."""
    ship(live, "A")
    fails(live, "X")
    live.push("X", before="A")
    live.watch.end("live", sha_of("X"))
    live.settle()
    status, why = refused(live, f"{ENVIRONMENT}/deployments", {"kind": "rollback", "sha": sha_of("X"), "reason": "x"})
    assert (status, "never succeeded in shop/live" in why) == (422, True)


def test_a_rollback_holds_what_was_pushed_before_it_and_the_next_push_goes_out(live: Shop) -> None:
    """Whoever wins the race between the deployment's end and the request."""
    ship(live, "A")
    fifo = held(live)
    live.push("X", before="A")
    under_way(live, "X")
    live.push("C", before="X")
    live.decided("C", "live", "ready")
    ask(live, "rollback", "A")
    let_go(fifo)
    live.watch.end("live", sha_of("A"), n=1)
    live.settle()
    assert ran(live) == ["A", "X", "A"]
    waits = live.environment("C", "live")
    assert waits["decision"] == "waiting"
    assert waits["reasons"] == [
        f"held by lena's rollback to {sha_of('A')[:7]}; an operator may deploy it, or push a newer commit"
    ]
    assert live.api("GET", ENVIRONMENT).json["held"]["person"] == "lena"
    live.push("D", before="C")
    live.watch.end("live", sha_of("D"))
    live.settle()
    assert live.api("GET", ENVIRONMENT).json["held"] is None


def test_what_was_asked_for_goes_first_when_a_pause_ends_and_holds(live: Shop) -> None:
    """Newer commits were pushed before the request: they wait for a person, or for the next push."""
    ship(live, "A")
    live.act(f"{ENVIRONMENT}/pause", {"reason": "sale"})
    live.push("H", before="A", ref="refs/heads/hotfix/1")
    for before, word in (("A", "B"), ("B", "C"), ("C", "D")):
        live.push(word, before=before)
    live.settle()
    ask(live, "deploy", "H")
    live.settle()
    seen = live.environment("H", "live")
    assert (seen["decision"], seen["requested"]["person"]) == ("waiting", "lena")
    assert live.api("GET", ENVIRONMENT).json["requested"]["sha"] == sha_of("H")
    live.act(f"{ENVIRONMENT}/resume", {})
    live.watch.end("live", sha_of("H"))
    live.settle()
    assert ran(live) == ["A", "H"]


def test_a_deploy_holds_nothing_where_all_that_is_newer_was_pushed_after_it(live: Shop) -> None:
    """What is shown as held would be looked for in vain."""
    ship(live, "A")
    live.act(f"{ENVIRONMENT}/pause", {"reason": "sale"})
    live.push("B", before="A")
    live.settle()
    ask(live, "deploy", "B")
    live.act(f"{ENVIRONMENT}/freeze", {"reason": "audit", "for": "1h", "except": ["legal"]})
    live.push("C", before="B")
    live.settle()
    live.act(f"{ENVIRONMENT}/resume", {})
    live.watch.end("live", sha_of("B"))
    live.settle()
    assert (ran(live), live.api("GET", ENVIRONMENT).json["held"]) == (["A", "B"], None)


def test_a_rollback_goes_through_a_pause_and_may_make_one(live: Shop) -> None:
    """Nothing else does."""
    ship(live, "A", "B")
    ask(live, "rollback", pause=True)
    live.watch.end("live", sha_of("A"), n=1)
    assert live.api("GET", ENVIRONMENT).json["paused"] == "lena: a test"
    live.push("C", before="B")
    live.settle()
    ask(live, "deploy", "C")
    live.settle()
    assert ran(live) == ["A", "B", "A"]


def test_a_failure_of_the_newest_lets_no_older_one_out(live: Shop) -> None:
    """It is left to people."""
    ship(live, "A")
    fifo = held(live)
    live.push("Y", before="A")
    under_way(live, "Y")
    fails(live, "Q")
    live.push("P", before="Y")
    live.push("Q", before="P")
    live.decided("Q", "live", "ready")
    let_go(fifo)
    live.watch.end("live", sha_of("Q"))
    live.settle()
    assert ran(live) == ["A", "Y", "Q"]
    assert live.environment("P", "live")["decision"] == "superseded"


def test_a_push_of_the_day_after_tomorrow_stops_nothing(live: Shop) -> None:
    """Its time counts as its arrival, and what is pushed on top of it is newer, whatever it claims."""
    ship(live, "A")
    live.push("B", before="A", at=3 * 86400)
    live.watch.end("live", sha_of("B"))
    for before, word in (("B", "C"), ("C", "D")):
        live.push(word, before=before)
        live.watch.end("live", sha_of(word))
    assert ran(live) == ["A", "B", "C", "D"]


def test_a_tag_with_a_message_is_deleted_and_made_again(tmp_path: Path) -> None:
    """What the tag itself was is no commit; the one that it pointed to waits until it is tagged again."""
    tags = LIVE.replace('branches: [main, "hotfix/*"]', 'tags: ["v*"]').replace("require: []", "require: [scan]")
    shop = Shop(tmp_path, pipeline=tags).start()
    shop.push("A", before=NEW, ref="refs/tags/v1", after=sha_of("the tag"))
    shop.push("A", before="the tag", ref="refs/tags/v1", after=NEW, deleted=True, commits=[], head_commit=None)
    shop.settle()  # the deletion is recorded before the gate opens
    shop.scan("A")
    shop.settle()
    assert [it["sha"] for it in shop.api("GET", "/commits").json["commits"]] == [sha_of("A")]
    assert (shop.environment("A", "live")["decision"], ran(shop)) == ("superseded", [])
    shop.push("A", before=NEW, ref="refs/tags/v1", after=sha_of("the tag"))
    shop.watch.end("live", sha_of("A"))
    shop.stop()


def test_a_request_can_be_withdrawn(live: Shop) -> None:
    """Then the target goes on by itself."""
    ship(live, "A", "B")
    live.act(f"{ENVIRONMENT}/pause", {"reason": "sale"})
    ask(live, "deploy", "A")
    live.push("C", before="B")
    live.settle()
    assert refused(live, f"{ENVIRONMENT}/cancel", {"what": "request", "reason": "no"}, "dev")[0] == 403
    gone = live.act(f"{ENVIRONMENT}/cancel", {"what": "request", "reason": "not needed"})
    assert gone["sha"] == sha_of("A")
    assert refused(live, f"{ENVIRONMENT}/cancel", {"what": "request", "reason": "no"})[0] == 422
    live.act(f"{ENVIRONMENT}/resume", {})
    live.watch.end("live", sha_of("C"))
    live.settle()
    assert ran(live) == ["A", "B", "C"]
    entries = live.api("GET", f"{ENVIRONMENT}/journal").json["entries"]
    assert [it["payload"]["reason"] for it in entries if it["type"] == "request.canceled"] == ["not needed"]


def test_a_request_that_waited_too_long_has_expired(live: Shop) -> None:
    """After `for`, here a second; it is said in the journal, and nothing of it is left."""
    pipeline = live.folder / "config" / "pipeline.yaml"
    pipeline.write_text(LIVE.replace("require: []", "require: [scan]"))
    live.greenlight.pipeline.look()
    live.push("A")
    live.settle()
    assert ask(live, "deploy", "A", **{"for": "1s"})["until"]
    journal = f"{ENVIRONMENT}/journal"
    live.until(lambda: any(it["type"] == "request.expired" for it in live.api("GET", journal).json["entries"]))
    assert live.api("GET", ENVIRONMENT).json["requests"] == []
    live.scan("A")
    live.watch.end("live", sha_of("A"))
    assert live.environment("A", "live")["deployment"]["cause"] == "automatic"


def test_what_is_under_way_can_be_ended_by_a_person(tmp_path: Path) -> None:
    """Its end is canceled: neither failed nor an error, and no automatic rollback follows."""
    shop = Shop(tmp_path, pipeline=LIVE.replace("require: []", "require: []\n        rollback: automatic")).start()
    ship(shop, "A")
    held(shop)
    shop.push("B", before="A")
    under_way(shop, "B")
    assert refused(shop, f"{ENVIRONMENT}/cancel", {"what": "deployment", "reason": "no"}, "dev")[0] == 403
    shop.act(f"{ENVIRONMENT}/cancel", {"what": "deployment", "reason": "the wrong one"})
    end = shop.watch.end("live", sha_of("B"))
    assert (end["outcome"], end["reason"]) == ("canceled", "canceled by lena: the wrong one")
    shop.settle()
    assert ran(shop) == ["A", "B"]
    seen = shop.environment("B", "live")
    assert (seen["decision"], seen["deployment"]["outcome"]) == ("blocked", "canceled")
    assert refused(shop, f"{ENVIRONMENT}/cancel", {"what": "deployment", "reason": "no"})[0] == 422
    shop.stop()


def test_an_operator_passes_a_gate_for_one_commit(tmp_path: Path) -> None:
    """It is deployed, and the gate is shown as overridden; who wrote the commit may not where authors are left out."""
    gates = LIVE.replace("require: []", "require: [scan, legal]").replace(
        "groups: [legal]", "groups: [legal], not: author"
    )
    shop = Shop(tmp_path, pipeline=gates).start()
    shop.push("A", by="lena-gh")
    shop.scan("A", "failed")
    shop.approve("A", "omar")
    shop.settle()
    path = f"/commits/{REPO}/{sha_of('A')}/overrides"
    body = {"application": "shop", "environment": "live", "gate": "scan", "reason": "a false alarm"}
    status, why = refused(shop, path, body, "lena")
    assert (status, "lena is among the authors" in why) == (403, True)
    assert refused(shop, path, body, "dev")[0] == 403
    assert refused(shop, path, {**body, "gate": "nothing"}, "omar")[0] == 404
    shop.act(path, body, "omar")
    shop.watch.end("live", sha_of("A"))
    gate = shop.environment("A", "live")["gates"]["scan"]
    assert (gate["state"], gate["by"]) == ("overridden", ["omar"])
    assert shop.commit("A")["applications"]["shop"]["gates"]["scan"]["state"] == "overridden"
    shop.stop()


def test_a_rollback_that_a_gate_does_not_let_through_is_refused(tmp_path: Path) -> None:
    """It names the gate and the override, and nothing waits."""
    shop = Shop(tmp_path, pipeline=LIVE.replace("require: []", "require: [scan]")).start()
    for before, word in (("nothing", "A"), ("A", "B")):
        shop.push(word, before=before)
        shop.scan(word)
        shop.watch.end("live", sha_of(word))
    shop.scan("A", "failed", run=2)
    shop.settle()
    status, why = refused(shop, f"{ENVIRONMENT}/deployments", {"kind": "rollback", "reason": "slow"})
    assert status == 422
    assert f"greenlight override acme/shop {sha_of('A')[:7]} shop live scan --reason" in why
    assert shop.api("GET", ENVIRONMENT).json["requests"] == []
    shop.stop()


def test_a_rollback_leads_back_though_an_edit_has_closed_the_way(tmp_path: Path) -> None:
    """The ref that the commit came from is shipped no more, and a stage was added: asked for by the policy or a person."""
    gates = LIVE.replace("scan: {", "build: {circleci: {workflow: build-test}}\n      scan: {")
    before = gates.replace("require: []", "require: [build, scan]\n        rollback: automatic")
    shop = Shop(tmp_path, pipeline=before).start()
    shop.push("A")
    shop.build("A")
    shop.scan("A")
    shop.watch.end("live", sha_of("A"))
    stage = "      - {name: staging, require: [build], deploy: {command: {run: [sh, deploy.sh]}}}\n"
    edited = before.replace("[main, ", "[").replace("      - name: live\n", f"{stage}      - name: live\n")
    edit(shop, edited.replace("require: [build, scan]", "after: [staging]\n        require: [build, scan]"))

    def arrives(word: str, on: str) -> None:
        shop.push(word, before=on, ref="refs/heads/hotfix/1")
        payload = build_payload(word)
        payload["pipeline"]["vcs"]["branch"] = "hotfix/1"
        shop.circleci(payload)
        shop.watch.end("staging", sha_of(word))

    arrives("B", "A")
    fails(shop, "B")
    shop.scan("B")
    assert shop.watch.end("live", sha_of("B"))["outcome"] == "failed"
    assert shop.watch.end("live", sha_of("A"), n=1)["cause"] == "rollback"
    arrives("C", "B")
    shop.scan("C")
    shop.watch.end("live", sha_of("C"))
    ask(shop, "rollback")
    shop.watch.end("live", sha_of("A"), n=2)
    arrives("X", "C")
    shop.act("/targets/shop/staging/deployments", {"kind": "rollback", "reason": "slow"})
    shop.watch.end("staging", sha_of("C"), n=1)
    shop.act("/targets/shop/staging/deployments", {"kind": "rollback", "reason": "slow", "sha": sha_of("B")})
    shop.watch.end("staging", sha_of("B"), n=1)
    ask(shop, "rollback", "C")
    shop.watch.end("live", sha_of("C"), n=1)
    shop.settle()
    assert (ran(shop), ran(shop, "staging")) == (["A", "B", "A", "C", "A", "C"], ["B", "C", "X", "C", "B"])
    shop.stop()


def test_a_rollback_that_could_not_begin_is_refused(live: Shop) -> None:
    """It would wait, and keep others back. Here a build has run again and reported another artifact."""
    ship(live, "A", "B")
    for letter in "ab":
        payload = {
            "repo": REPO,
            "sha": sha_of("A"),
            "outcome": "passed",
            "artifacts": {"image": f"sha256:{letter * 64}"},
        }
        live.report(payload)
    live.settle()
    status, detail = refused(live, f"{ENVIRONMENT}/deployments", {"kind": "rollback", "reason": "a test"})
    assert (status, "artifact image has 2 digests" in detail) == (422, True)
    live.push("C", before="B")
    live.watch.end("live", sha_of("C"))
    ask(live, "rollback")
    live.watch.end("live", sha_of("B"), n=1)
    live.settle()
    assert ran(live) == ["A", "B", "C", "B"]


def test_what_failed_or_was_rolled_back_upstream_goes_no_further(tmp_path: Path) -> None:
    """`after` asks how the last deployment there ended, and whether it stayed."""
    text = LIVE.replace(
        "      - name: live\n        require: []", "      - name: test\n        require: []"
    ).rstrip() + (
        "\n      - name: live\n        after: [test]\n        require: [legal]\n"
        "        deploy: {command: {run: [sh, deploy.sh], timeout: 30s}}\n"
    )
    shop = Shop(tmp_path, pipeline=text).start()
    ship(shop, "A", "D", environment="test")
    shop.act("/targets/shop/test/deployments", {"kind": "rollback", "reason": "slow"})
    shop.watch.end("test", sha_of("A"), n=1)
    shop.settle()
    assert (
        shop.environment("D", "live")["reasons"][0] == "lena rolled back from it in test; it has to succeed there again"
    )
    fails(shop, "D")
    shop.act("/targets/shop/test/deployments", {"kind": "deploy", "sha": sha_of("D"), "reason": "again"})
    shop.watch.end("test", sha_of("D"), n=1)
    shop.approve("D")
    shop.settle()
    assert ran(shop, "live") == []
    shop.stop()


def edit(shop: Shop, text: str) -> None:
    (shop.folder / "config" / "pipeline.yaml").write_text(text)
    shop.greenlight.pipeline.look()
    shop.settle()


def test_an_application_that_is_new_finds_what_is_there(live: Shop) -> None:
    """The head of its refs, and no older commit."""
    ship(live, "A", "B")
    edit(live, LIVE + LIVE.split("applications:\n")[1].replace("name: shop", "name: extra"))
    live.watch.until(lambda event: event.type == "deployment.succeeded" and event.json()["application"] == "extra")
    live.settle()
    assert ran(live) == ["A", "B", "B"]


def test_an_application_keeps_its_pause_and_its_history_under_another_name(live: Shop) -> None:
    """And does not deploy again what runs."""
    ship(live, "A", "B")
    live.act(f"{ENVIRONMENT}/pause", {"reason": "sale"})
    edit(live, LIVE.replace("name: shop", "name: store\n    formerly: shop"))
    live.push("C", before="B")
    live.settle()
    found = live.api("GET", "/targets/store/live").json
    assert (found["paused"], found["running"]["sha"]) == ("lena: sale", sha_of("B"))
    assert found["history"] == [sha_of("B"), sha_of("A")]
    assert len(found["deployments"]) == 2
    live.act("/targets/store/live/resume", {})
    live.watch.end("live", sha_of("C"))
    live.settle()
    assert ran(live) == ["A", "B", "C"]


def test_what_failed_under_a_former_name_is_not_tried_again_once_that_is_forgotten(live: Shop) -> None:
    """An operator may deploy it, and the next push goes out."""
    fails(live, "B")
    ship(live, "A", "B")
    renamed = LIVE.replace("name: shop", "name: store\n    formerly: shop")
    edit(live, renamed)
    edit(live, renamed.replace("    formerly: shop\n", ""))
    assert ran(live) == ["A", "B"]
    seen = live.commit("B")["applications"]["store"]["environments"]["live"]
    assert (seen["decision"], seen["reasons"][0].partition(",")[0]) == (
        "blocked",
        "deployed before under the application's former name",
    )
    live.act("/targets/store/live/deployments", {"kind": "deploy", "reason": "a test", "sha": sha_of("B")})
    live.settle()
    live.push("C", before="B")
    live.watch.end("live", sha_of("C"))
    live.settle()
    assert ran(live) == ["A", "B", "B", "C"]


def test_an_application_goes_on_with_a_repository_of_another_name(live: Shop) -> None:
    """Also while a deployment from the former one is under way; what waits from there goes out no more."""
    ship(live, "A")
    fifo = held(live)
    live.push("B", before="A")
    under_way(live, "B")
    live.push("P", before="B")
    (live.folder / "config" / "pipeline.yaml").write_text(LIVE.replace("repo: acme/shop", "repo: acme/store"))
    live.greenlight.pipeline.look()
    let_go(fifo)
    live.watch.end("live", sha_of("B"))
    live.settle()
    named = {"full_name": "acme/store", "html_url": "https://github.com/acme/store"}
    for before, word in (("P", "C"), ("C", "X")):
        live.push(word, before=before, repository=push_payload(word, at=live.pushes + 1)["repository"] | named)
        live.watch.end("live", sha_of(word))
    live.settle()
    assert ran(live) == ["A", "B", "C", "X"]
    found = live.api("GET", ENVIRONMENT).json
    assert (found["running"]["sha"], found["history"][-2:]) == (sha_of("X"), [sha_of("B"), sha_of("A")])
    ask(live, "rollback")
    live.watch.end("live", sha_of("C"), n=1)


def test_an_environment_that_comes_back_finds_what_was_pushed_meanwhile(live: Shop) -> None:
    """Though its text is the one that was known before."""
    ship(live, "A")
    edit(live, LIVE.replace("name: live", "name: other").replace("require: []", "require: [legal]"))
    live.push("B", before="A")
    live.settle()
    edit(live, LIVE)
    live.watch.end("live", sha_of("B"))
    live.settle()
    assert ran(live) == ["A", "B"]


def test_an_edit_can_be_tried_before_it_is_in_force(live: Shop) -> None:
    """What would be deployed is said, and nothing is done; a wrong edit is refused with its problems."""
    edit(live, LIVE.replace("require: []", "require: [scan]"))
    for before, word in (("nothing", "A"), ("A", "B")):
        live.push(word, before=before)
    live.settle()

    def tried(text: str) -> Any:
        return live.api("POST", "/policy/preview", {"files": {"pipeline.yaml": text}}, who="lena")

    assert tried(LIVE).json["targets"] == [
        {"application": "shop", "environment": "live", "sha": sha_of("B"), "cause": "automatic"}
    ]
    assert tried(LIVE.replace("require: []", "require: [legal]")).json["targets"][0]["sha"] is None
    assert tried(LIVE.replace("require: []", "require: [scan]")).json["targets"] == []
    wrong = tried(LIVE.replace("require: []", "require: [nothing]"))
    assert (wrong.status_code, "nothing" in wrong.json["detail"]) == (422, True)
    assert live.api("POST", "/policy/preview", {"files": {"pipeline.yaml": LIVE}}).status_code == 401
    live.settle()
    assert ran(live) == []


def test_an_edit_ships_the_newest_of_what_waits(live: Shop) -> None:
    """Not the one that was decided first."""
    edit(live, LIVE.replace("require: []", "require: [scan]"))
    for before, word in (("nothing", "A"), ("A", "B"), ("B", "C")):
        live.push(word, before=before)
    live.settle()
    edit(live, LIVE)
    live.watch.end("live", sha_of("C"))
    live.settle()
    assert ran(live) == ["C"]


def test_where_promotion_is_manual_only_people_deploy(tmp_path: Path) -> None:
    """An edit lets the newest that waits go out by itself, and an edit back keeps the next push waiting."""
    by_hand = LIVE.replace("require: []", "require: [scan]\n        promote: manual")
    shop = Shop(tmp_path, pipeline=by_hand).start()
    for before, word in (("nothing", "A"), ("A", "B"), ("B", "C")):
        shop.push(word, before=before)
        shop.scan(word)
    shop.settle()
    assert ran(shop) == []
    seen = shop.environment("B", "live")
    command = f"greenlight deploy {REPO} {sha_of('B')[:7]} shop live --reason TEXT"
    assert (seen["decision"], seen["gates"]["scan"]["state"]) == ("waiting", "passed")
    assert seen["reasons"] == [f"ready, and waits for a person: legal may deploy it with `{command}`"]
    for word in ("A", "B"):
        ask(shop, "deploy", word)
        shop.watch.end("live", sha_of(word))
        shop.settle()
    ask(shop, "rollback")
    shop.watch.end("live", sha_of("A"), n=1)
    shop.settle()
    assert ran(shop) == ["A", "B", "A"]
    assert not [it for it in shop.watch.events if it.type == "promotion.ready" and it.json()["cause"] == "automatic"]
    edit(shop, by_hand.replace("manual", "automatic"))
    shop.push("X", before="C")
    shop.scan("X")
    shop.watch.end("live", sha_of("X"))
    edit(shop, by_hand)
    shop.push("Y", before="X")
    shop.scan("Y")
    shop.decided("Y", "live", "waiting")
    shop.settle()
    assert ran(shop) == ["A", "B", "A", "X"]
    assert "waits for a person" in shop.environment("Y", "live")["reasons"][0]
    edit(shop, by_hand.replace("manual", "automatic"))
    shop.watch.end("live", sha_of("Y"))
    shop.settle()
    assert ran(shop) == ["A", "B", "A", "X", "Y"]
    shop.stop()


SOAKING = LIVE.replace(
    "      - name: live\n",
    "      - {name: staging, require: [], deploy: {command: {run: [sh, deploy.sh]}}}\n"
    "      - name: live\n        after: [{staging: SOAK}]\n",
)


def test_a_commit_soaks_before_it_goes_on(tmp_path: Path) -> None:
    """No event has to come when the time is over; a rollback meanwhile ends it, and an edit counts anew."""
    shop = Shop(tmp_path, pipeline=SOAKING.replace("SOAK", "1s")).start()
    shop.push("A", before="nothing")
    shop.watch.end("live", sha_of("A"))
    before = shop.watch.end("staging", sha_of("A"))
    record = shop.greenlight.ledger.record(REPO, sha_of("A"))
    assert record is not None
    assert before["outcome"] == "succeeded"
    staged, live = (record.attempts[f"shop/{name}"] for name in ("staging", "live"))
    assert staged.succeeded_at is not None
    assert live.started - staged.succeeded_at >= timedelta(seconds=1)
    edit(shop, SOAKING.replace("SOAK", "1h"))
    ship(shop, "B", environment="staging")
    seen = shop.environment("B", "live")
    assert seen["decision"] == "waiting"
    assert seen["reasons"][0].startswith("soaks in staging until ")
    shop.act("/targets/shop/staging/deployments", {"kind": "rollback", "reason": "slow"})
    shop.watch.end("staging", sha_of("A"), n=1)
    shop.settle()
    edit(shop, SOAKING.replace("SOAK", "1s"))
    why = "lena rolled back from it in staging; it has to succeed there again"
    assert shop.environment("B", "live")["reasons"] == [why]
    edit(shop, SOAKING.replace("SOAK", "1h"))
    shop.push("C", before="B")
    shop.watch.end("staging", sha_of("C"))
    shop.settle()
    assert ran(shop) == ["A"]
    edit(shop, SOAKING.replace("SOAK", "1s"))
    shop.watch.end("live", sha_of("C"))
    shop.settle()
    assert ran(shop) == ["A", "C"]
    shop.stop()


def test_a_freeze_window_keeps_back_what_nobody_may_ask_for(tmp_path: Path) -> None:
    """A request of a person whom it does not except waits for its end, and says so; an automatic rollback does not."""
    today = datetime.now(UTC)
    begin, end = (f"{today + timedelta(days=days):%Y-%m-%d}" for days in (-1, 2))
    window = f"{{from: {begin}, to: {end}, zone: UTC, reason: sale, except: [legal]}}"
    free = LIVE.replace("operators: [legal]", "operators: [legal, engineering]")
    free = free.replace("require: []", "require: []\n        rollback: automatic")
    shut = free.replace("require: []", f"require: []\n        freeze: [{window}]")
    shop = Shop(tmp_path, pipeline=free).start()
    ship(shop, "A")
    edit(shop, shut)
    shop.push("B", before="A")
    shop.settle()
    until = f"frozen until {end} 00:00:00 UTC: sale (except requests of legal)"
    seen = shop.environment("B", "live")
    assert (seen["decision"], seen["reasons"]) == ("waiting", [until])
    assert shop.api("GET", ENVIRONMENT, who="lena").json["frozen"] == until
    body = {"kind": "deploy", "reason": "a test", "sha": sha_of("B")}
    answer = shop.act(f"{ENVIRONMENT}/deployments", body, who="dev")
    assert answer["waits"] == until
    shop.settle()
    reason = f"dev's deploy of {sha_of('B')[:7]} waits: {until}"
    assert shop.environment("B", "live")["reasons"] == [reason]
    assert ran(shop) == ["A"]
    fails(shop, "B")
    assert "waits" not in ask(shop, "deploy", "B")
    shop.watch.end("live", sha_of("B"))
    shop.watch.end("live", sha_of("A"), n=1)
    shop.settle()
    assert ran(shop) == ["A", "B", "A"]
    shop.push("C", before="B")
    shop.settle()
    assert ran(shop) == ["A", "B", "A"]
    edit(shop, free)
    shop.watch.end("live", sha_of("C"))
    shop.settle()
    assert ran(shop) == ["A", "B", "A", "C"]
    shop.stop()


def test_a_persons_freeze_ends_by_itself_and_what_waited_goes_out(tmp_path: Path) -> None:
    """Nobody acts at its end. While it holds, an operator whom it excepts deploys all the same."""
    shop = Shop(tmp_path, pipeline=LIVE.replace("operators: [legal]", "operators: [legal, engineering]")).start()
    ship(shop, "A")
    held = shop.act(f"{ENVIRONMENT}/freeze", {"reason": "sale", "for": "1h", "except": ["legal"]})
    shop.push("B", before="A")
    shop.settle()
    seen = shop.environment("B", "live")
    assert (seen["decision"], len(seen["freezes"])) == ("waiting", 1)
    assert seen["reasons"][0].endswith(
        "UTC: sale (by lena, except requests of legal); an operator may unfreeze shop/live"
    )
    answer = shop.act(f"{ENVIRONMENT}/deployments", {"kind": "deploy", "reason": "x", "sha": sha_of("B")}, who="dev")
    assert answer["waits"].startswith("frozen until ")
    ask(shop, "deploy", "B")
    shop.watch.end("live", sha_of("B"))
    shop.settle()
    shop.push("C", before="B")
    shop.settle()
    assert ran(shop) == ["A", "B"]
    until = shop.act(f"{ENVIRONMENT}/freeze", {"reason": "audit", "for": "2s"}, who="dev")["until"]
    shop.act(f"{ENVIRONMENT}/unfreeze", {"freeze": held["id"]}, who="dev")
    shop.watch.end("live", sha_of("C"))
    shop.settle()
    record = shop.greenlight.ledger.record(REPO, sha_of("C"))
    assert record is not None
    assert record.attempts["shop/live"].started >= datetime.fromisoformat(until)
    assert ran(shop) == ["A", "B", "C"]
    entries = shop.greenlight.ledger.journal("target/shop/live")
    said = [(it.type, it.payload["person"], it.payload["reason"]) for it in entries if "frozen" in it.type]
    assert said == [
        ("target.frozen", "lena", "sale"),
        ("target.frozen", "dev", "audit"),
        ("target.unfrozen", "dev", None),
    ]
    shop.stop()


def test_a_freeze_holds_from_when_it_was_asked_for_whatever_a_clock_says(tmp_path: Path) -> None:
    """A clock that steps back, or another process whose clock is behind, takes it for one that was asked for before."""
    clock = Ahead()
    shop = Shop(tmp_path, pipeline=LIVE, clock=clock).start()
    ship(shop, "A")
    shop.act(f"{ENVIRONMENT}/freeze", {"reason": "sale", "for": "1h"})
    clock.ahead = timedelta(minutes=-2)
    later = rfc3339(clock.now() + timedelta(minutes=1))
    shop.act(f"{ENVIRONMENT}/freeze", {"reason": "audit", "for": "1h", "from": later})
    shop.push("B", before="A")
    shop.settle()
    freezes = shop.api("GET", ENVIRONMENT).json["freezes"]
    assert {it["reason"]: it["begun"] for it in freezes} == {"sale": True, "audit": False}
    assert ran(shop) == ["A"]
    shop.act(f"{ENVIRONMENT}/unfreeze", {"freeze": next(it["id"] for it in freezes if it["begun"])})
    shop.watch.end("live", sha_of("B"))
    shop.settle()
    assert ran(shop) == ["A", "B"]
    shop.stop()


def test_a_freeze_goes_with_its_application_to_a_new_name(tmp_path: Path) -> None:
    """And is ended there."""
    shop = Shop(tmp_path, pipeline=LIVE).start()
    ship(shop, "A")
    shop.act(f"{ENVIRONMENT}/freeze", {"reason": "sale", "for": "1h"})
    edit(shop, LIVE.replace("name: shop", "name: store\n    formerly: shop"))
    shop.push("B", before="A")
    shop.settle()
    assert ran(shop) == ["A"]
    shop.act("/targets/store/live/unfreeze", {})
    shop.watch.end("live", sha_of("B"))
    shop.settle()
    assert ran(shop) == ["A", "B"]
    shop.stop()


def test_what_no_shipped_ref_had_as_its_head_is_not_asked_for(live: Shop) -> None:
    """The request would wait for a push that nobody is about to make, and keep every other commit back."""
    ship(live, "A")
    live.push("B", before="A", ref="refs/heads/topic")
    live.settle()
    answer = live.api(
        "POST", f"{ENVIRONMENT}/deployments", {"kind": "deploy", "sha": sha_of("B"), "reason": "x"}, who="lena"
    )
    assert (answer.status_code, "head of a ref that shop ships (main, hotfix/*)" in answer.json["detail"]) == (
        422,
        True,
    )
    live.push("B", before="A")
    live.watch.end("live", sha_of("B"))
    live.settle()
    assert ran(live) == ["A", "B"]


def test_a_rollback_leads_to_what_ran_before_the_repository_got_another_name(live: Shop) -> None:
    """By itself after a failure, and for a person; the commit has a page and its journal under the new name."""
    automatic = LIVE.replace("require: []", "require: []\n        rollback: automatic")
    edit(live, automatic)
    ship(live, "A", "B")
    renamed = automatic.replace("repo: acme/shop", "repo: acme/store")
    edit(live, renamed)
    named = {"full_name": "acme/store", "html_url": "https://github.com/acme/store"}
    fails(live, "C")
    live.push("C", before="B", repository=push_payload("C", at=live.pushes + 1)["repository"] | named)
    live.watch.end("live", sha_of("B"), n=1)
    live.settle()
    ask(live, "rollback", "A")
    live.watch.end("live", sha_of("A"), n=1)
    live.settle()
    assert ran(live) == ["A", "B", "C", "B", "A"]
    journal = live.api("GET", f"/commits/acme/store/{sha_of('A')}/journal").json["entries"]
    assert (journal[0]["type"], journal[0]["payload"]["formerly"]) == ("repository.changed", "acme/shop")
    for path in ("/targets/shop/live", f"/commits/acme/store/{sha_of('A')}"):
        assert live.api("GET", path).status_code == 200, path
