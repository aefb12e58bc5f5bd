"""Deployments that fail, err or are replaced: what follows by itself, and what a person is told of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from support.flow import REPO, Shop, sha_of

PIPELINE = """
apiVersion: greenlight/v1
kind: Pipeline
applications:
  - name: shop
    repo: acme/shop
    branches: [main]
    operators: [legal]
    gates: {}
    environments:
      - name: live
        require: []
        rollback: automatic
        deploy: {command: {run: [sh, deploy.sh], timeout: 30s}}
"""
ENVIRONMENT = "/targets/shop/live"
DEPLOY = """
echo "live $GREENLIGHT_SHA" >> deployed.log
if [ -e "error-$GREENLIGHT_SHA" ]; then kill -9 $$; fi
if [ -p hold ]; then read line < hold; fi
if [ -e "fail-$GREENLIGHT_SHA" ]; then exit 3; fi
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop that runs A."""
    shop = Shop(tmp_path, pipeline=PIPELINE)
    (tmp_path / "config" / "deploy.sh").write_text(DEPLOY)
    shop.start()
    shop.push("A")
    shop.watch.end("live", sha_of("A"))
    shop.settle()
    yield shop
    shop.stop()


def mark(shop: Shop, word: str, how: str) -> Path:
    """Have the deployment of a commit end otherwise, as long as there is that file."""
    path = shop.folder / "config" / f"{how}-{sha_of(word)}"
    path.touch()
    return path


def ran(shop: Shop) -> str:
    names = {sha_of(letter): letter for letter in "ABC"}
    return "".join(names[sha] for _, sha in shop.deployed())  # type: ignore[misc]


def ask(shop: Shop, kind: str, word: str) -> None:
    shop.act(f"{ENVIRONMENT}/deployments", {"kind": kind, "sha": sha_of(word), "reason": "a test"})


def told(shop: Shop, word: str) -> dict[str, Any]:
    """Return what the API and `greenlight why` tell of a commit."""
    seen = shop.environment(word, "live")
    return {name: seen[name] for name in ("decision", "reasons", "needs_person")}


def begun(shop: Shop, word: str) -> Path:
    """Push a commit whose deployment waits until a test lets it fail."""
    os.mkfifo(fifo := shop.folder / "config" / "hold")
    mark(shop, word, "fail")
    shop.push(word, before="A")
    shop.until(lambda: word in ran(shop))
    return fifo


def let_fail(fifo: Path) -> None:
    with fifo.open("w") as gate:
        fifo.unlink()
        gate.write("go\n")


def test_what_runs_and_could_not_be_deployed_again_needs_a_person(shop: Shop) -> None:
    """It is still what runs, as far as is known; nobody may take it for well."""
    fails = mark(shop, "A", "fail")
    ask(shop, "deploy", "A")
    end = shop.watch.end("live", sha_of("A"), n=1)
    shop.settle()
    why = f"deployment {end['deployment']} failed: exit status 3; retry it or push a newer commit"
    assert told(shop, "A") == {"decision": "ready", "reasons": [why], "needs_person": True}
    fails.unlink()
    ask(shop, "retry", "A")
    shop.watch.end("live", sha_of("A"), n=2)
    shop.settle()
    assert told(shop, "A") == {"decision": "ready", "reasons": [], "needs_person": False}


def test_what_an_older_commit_replaced_that_a_person_retried_says_how_it_comes_back(shop: Shop) -> None:
    """It is not called ready: nothing deploys it again by itself."""
    fails = mark(shop, "B", "fail")
    shop.push("B", before="A")
    shop.watch.end("live", sha_of("A"), n=1)
    shop.push("C", before="B")
    shop.watch.end("live", sha_of("C"))
    fails.unlink()
    ask(shop, "retry", "B")
    shop.watch.end("live", sha_of("B"), n=1)
    shop.settle()
    why = "was deployed here and another commit in its place since; an operator may deploy it, or push a newer commit"
    assert told(shop, "C") == {"decision": "waiting", "reasons": [why], "needs_person": True}
    ask(shop, "deploy", "C")
    shop.watch.end("live", sha_of("C"), n=1)
    assert ran(shop) == "ABACBC"
    ask(shop, "deploy", "B")
    shop.watch.end("live", sha_of("B"), n=2)
    shop.settle()
    held = f"held by lena's deploy of {sha_of('B')[:7]}; an operator may deploy it, or push a newer commit"
    assert told(shop, "C") == {"decision": "waiting", "reasons": [held], "needs_person": True}


def test_after_a_pause_a_newer_commit_goes_out_instead_of_the_way_back(shop: Shop) -> None:
    """The policy asked to go back while the environment was paused. The journal tells what became of that."""
    fifo = begun(shop, "B")
    shop.act(f"{ENVIRONMENT}/pause", {"reason": "sale"})
    let_fail(fifo)
    shop.until(lambda: bool(shop.api("GET", ENVIRONMENT).json["requested"]))
    shop.push("C", before="B")
    shop.settle()
    assert ran(shop) == "AB"
    shop.act(f"{ENVIRONMENT}/resume", {})
    shop.watch.end("live", sha_of("C"))
    shop.settle()
    assert ran(shop) == "ABC"
    entries = shop.api("GET", f"{ENVIRONMENT}/journal").json["entries"]
    (gone,) = [it["payload"] for it in entries if it["type"] == "request.overtaken"]
    assert (gone["kind"], gone["sha"], gone["person"]) == ("rollback", sha_of("A"), "policy")


def test_the_policys_way_back_that_errs_gives_way_to_a_newer_commit_that_is_ready(shop: Shop) -> None:
    """Nobody asked for it, and the newer commit may be the correction."""
    mark(shop, "A", "error")
    mark(shop, "B", "fail")
    shop.push("B", before="A")
    shop.until(lambda: told(shop, "A")["reasons"] != [])
    shop.push("C", before="B")
    assert shop.watch.end("live", sha_of("A"), n=1)["outcome"] == "superseded"
    shop.watch.end("live", sha_of("C"))
    shop.settle()
    assert shop.api("GET", ENVIRONMENT).json["requests"] == []


def test_what_a_person_asked_for_outlasts_the_policys_way_back(shop: Shop) -> None:
    """A person's rollback waits in a freeze, and the policy's goes through: afterwards the former still holds."""
    fifo = begun(shop, "B")
    shop.act(f"{ENVIRONMENT}/freeze", {"reason": "audit", "for": "1h"})
    shop.push("C", before="B")
    shop.decided("C", "live", "waiting")
    ask(shop, "rollback", "A")
    let_fail(fifo)
    shop.watch.end("live", sha_of("A"), n=1)
    shop.settle()
    assert shop.api("GET", ENVIRONMENT).json["requested"]["person"] == "lena"
    shop.act(f"{ENVIRONMENT}/unfreeze", {})
    shop.watch.end("live", sha_of("A"), n=2)
    shop.settle()
    assert told(shop, "C")["reasons"] == [
        f"held by lena's rollback to {sha_of('A')[:7]}; an operator may deploy it, or push a newer commit"
    ]
    assert ran(shop) == "ABAA"


def test_what_waits_for_its_next_try_is_not_told_to_be_going_on(shop: Shop) -> None:
    """And how it is ended is told."""
    mark(shop, "B", "error")
    shop.push("B", before="A")
    shop.until(lambda: told(shop, "B")["reasons"] != [])
    (why,) = told(shop, "B")["reasons"]
    assert why.startswith(
        "tried again by itself after an error; `greenlight cancel shop live --deployment --reason TEXT`"
    )
    page = Client(shop.greenlight.apps["board"]).get(f"/commits/{REPO}/{sha_of('B')}").get_data(as_text=True)
    assert "It is tried again in live after an error" in page
