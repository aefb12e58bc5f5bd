"""An application that gets another name in the pipeline file, once or several times: what is known of it goes with it."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.flow import REPO, Ahead, Shop, sha_of

TWO_STAGES = """
apiVersion: greenlight/v1
kind: Pipeline
applications:
  - name: shop
    repo: acme/shop
    branches: [main]
    operators: [legal]
    gates: {}
    environments:
      - {name: staging, require: [], deploy: {command: {run: [sh, deploy.sh], timeout: 30s}}}
      - {name: live, after: [staging], require: [], deploy: {command: {run: [sh, deploy.sh], timeout: 30s}}}
"""
STORE = TWO_STAGES.replace("name: shop", "name: store\n    formerly: shop")
NAMES = {
    "back": TWO_STAGES.replace("name: shop", "name: shop\n    formerly: store"),
    "taken back": TWO_STAGES,
    "once more": TWO_STAGES.replace("name: shop", "name: mart\n    formerly: store"),
    "once more, from the first": TWO_STAGES.replace("name: shop", "name: mart\n    formerly: shop"),
}


def edit(shop: Shop, text: str) -> None:
    (shop.folder / "config" / "pipeline.yaml").write_text(text)
    shop.greenlight.pipeline.look()


def ran(shop: Shop, environment: str = "live") -> list[str]:
    names = {sha_of(letter): letter for letter in "ABCXZ"}
    return [names[sha] for where, sha, _, _ in shop.deployed() if where == environment]


def ask(shop: Shop, application: str, kind: str, word: str, **more: Any) -> None:
    body = {"kind": kind, "reason": "a test", "sha": sha_of(word), **more}
    shop.act(f"/targets/{application}/live/deployments", body)


@pytest.fixture
def shop(tmp_path: Path) -> Any:
    """A shop that runs A, and Z before, and whose live environment is paused."""
    shop = Shop(tmp_path, pipeline=TWO_STAGES, clock=Ahead()).start()
    for before, word in (("nothing", "Z"), ("Z", "A")):
        shop.push(word, before=before)
        shop.watch.end("live", sha_of(word))
    shop.settle()
    shop.act("/targets/shop/live/pause", {"reason": "sale"})
    yield shop
    shop.stop()


@pytest.mark.parametrize("how", NAMES)
def test_a_second_rename_or_one_that_is_taken_back_loses_nothing(shop: Shop, how: str) -> None:
    """The pause holds, nothing is deployed again, as the preview says, and a rollback leads back."""
    shop.push("B", before="A")
    shop.watch.end("staging", sha_of("B"))
    edit(shop, STORE)
    shop.settle()
    tried = shop.api("POST", "/policy/preview", {"files": {"pipeline.yaml": NAMES[how]}}, who="lena").json
    assert [(it["environment"], it["sha"]) for it in tried["targets"]] == [("staging", None), ("live", None)]
    edit(shop, NAMES[how])
    shop.settle()
    name = "mart" if "once more" in how else "shop"
    target = shop.api("GET", f"/targets/{name}/live").json
    assert (target["paused"], target["running"]["sha"]) == ("lena: sale", sha_of("A"))
    assert (ran(shop), ran(shop, "staging")) == (["Z", "A"], ["Z", "A", "B"])
    waits = shop.commit("B")["applications"][name]["environments"]["live"]
    assert waits["reasons"][-1] == f"paused by lena: sale; an operator may resume {name}/live"
    ask(shop, name, "rollback", "Z")
    shop.until(lambda: ran(shop) == ["Z", "A", "Z"])
    shop.settle()
    shop.act(f"/targets/{name}/live/resume", {})
    shop.push("C", before="B")
    shop.until(lambda: ran(shop) == ["Z", "A", "Z", "C"])
    shop.settle()
    assert ran(shop, "staging") == ["Z", "A", "B", "C"]


def test_a_request_ends_when_its_time_is_over_though_its_application_was_renamed_twice(shop: Shop) -> None:
    """And what it kept waiting goes out, though no event comes."""
    (shop.folder / "config" / f"fail-{sha_of('X')}").touch()
    shop.act("/targets/shop/live/resume", {})
    shop.push("X", before="A")
    shop.watch.end("staging", sha_of("X"))
    shop.act("/targets/shop/staging/pause", {"reason": "sale"})
    shop.push("B", before="X")
    ask(shop, "shop", "deploy", "X", **{"for": "1h"})
    edit(shop, STORE)
    shop.settle()
    shop.act("/targets/store/staging/resume", {})
    shop.watch.end("staging", sha_of("B"))
    edit(shop, NAMES["once more"])
    shop.settle()
    assert ran(shop) == ["Z", "A"]
    assert isinstance(shop.clock, Ahead)
    shop.clock.ahead = timedelta(hours=1)
    shop.until(lambda: ran(shop) == ["Z", "A", "B"])
    entries = shop.api("GET", "/targets/mart/live/journal").json["entries"]
    assert [it["payload"]["sha"] for it in entries if it["type"] == "request.expired"] == [sha_of("X")]


def test_a_rename_is_taken_back_while_a_deployment_is_under_way(shop: Shop) -> None:
    """It ends under the name that it began under, is seen meanwhile, and the next goes out under the name of before."""
    edit(shop, STORE)
    shop.settle()
    shop.act("/targets/store/live/resume", {})
    fifo = shop.folder / "config" / "hold-live"
    os.mkfifo(fifo)
    shop.push("B", before="A")
    shop.until(lambda: ran(shop) == ["Z", "A", "B"])
    shop.push("C", before="B")
    shop.watch.end("staging", sha_of("C"))
    edit(shop, TWO_STAGES)
    shop.until(lambda: shop.api("GET", f"/commits/{REPO}/{sha_of('A')}").status_code == 200)
    seen = shop.api("GET", "/targets/shop/live").json
    assert (seen["running"]["sha"], bool(seen["deployment"])) == (sha_of("A"), True)
    listed = {it["environment"]: it["deployment"] for it in shop.api("GET", "/targets").json["targets"]}
    assert listed["live"] == seen["deployment"]
    body = {"kind": "deploy", "reason": "a test", "sha": sha_of("A")}
    answer = shop.api("POST", "/targets/shop/live/deployments", body, who="lena")
    assert (answer.status_code, answer.json["detail"].partition(",")[0]) == (422, "a deployment to store/live")
    with fifo.open("w") as gate:
        fifo.unlink()
        gate.write("go\n")
    shop.watch.end("live", sha_of("B"))
    shop.until(lambda: (shop.api("GET", "/targets/shop/live").json["running"] or {}).get("sha") == sha_of("B"))
    assert shop.api("GET", "/targets/shop/live").json["history"] == [sha_of(word) for word in "BAZ"]
    shop.until(lambda: ran(shop) == ["Z", "A", "B", "C"])


def test_an_application_that_takes_the_name_which_another_had_begins_anew(shop: Shop) -> None:
    """The pause went with the one that had it, and does not come back once that one is gone."""
    edit(shop, STORE)
    shop.settle()
    edit(shop, STORE.replace("    formerly: shop\n", "") + TWO_STAGES.split("applications:\n")[1])
    shop.settle()
    paused = {name: shop.api("GET", f"/targets/{name}/live").json["paused"] for name in ("shop", "store")}
    assert paused == {"shop": None, "store": "lena: sale"}
    edit(shop, TWO_STAGES)
    shop.push("B", before="A")
    shop.until(lambda: ran(shop) == ["Z", "A", "B"])
    assert shop.commit("B")["applications"]["shop"]["environments"]["live"]["deployment"]
