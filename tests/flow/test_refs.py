"""What becomes of refs: a branch is renamed on GitHub, a tag is set on a commit that was pushed long ago."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.flow import NEW, PIPELINE, Shop, build_payload, push_payload, sha_of

REFS = PIPELINE.replace("branches: [main]", 'branches: [main, trunk]\n    tags: ["v*"]')


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop that runs `one` in staging."""
    shop = Shop(tmp_path, pipeline=REFS).start()
    shop.push("one", before=NEW)
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    yield shop
    shop.stop()


def build(shop: Shop, word: str, **vcs: str) -> None:
    """CircleCI builds a commit for that branch or tag."""
    payload = build_payload(word)
    payload["pipeline"]["vcs"] |= {"branch": "", **vcs}
    shop.circleci(payload)


def shipped(shop: Shop) -> list[str]:
    """What staging was deployed, in order."""
    return [sha for environment, sha, _, _ in shop.deployed() if environment == "staging"]


CREATED: dict[str, Any] = {"before": NEW, "ref": "refs/heads/trunk", "commits": []}
DELETED: dict[str, Any] = {"before": "two", "after": NEW, "deleted": True, "commits": [], "head_commit": None}


@pytest.mark.parametrize("webhooks", [(CREATED, DELETED), (DELETED, CREATED)])
def test_a_commit_waits_on_after_its_branch_was_renamed(shop: Shop, webhooks: tuple[dict[str, Any], ...]) -> None:
    """GitHub creates the one and deletes the other, in any order; what is pushed next goes out as well."""
    shop.push("two", before="one")
    for webhook in webhooks:
        shop.push("two", **webhook)
    build(shop, "two", branch="trunk")
    shop.watch.end("staging", sha_of("two"))
    shop.push("three", before="two", ref="refs/heads/trunk")
    build(shop, "three", branch="trunk")
    shop.watch.end("staging", sha_of("three"))


def test_a_branch_that_is_created_before_its_like_is_deleted_moves_no_commit(shop: Shop) -> None:
    """What was pushed meanwhile is newer all the same."""
    shop.push("two", before="one")
    shop.push("three", before=NEW, ref="refs/tags/v1", commits=[])
    build(shop, "three", tag="v1")
    shop.watch.end("staging", sha_of("three"))
    for webhook in (CREATED, DELETED):
        shop.push("two", **webhook)
    build(shop, "two", branch="trunk")
    shop.settle()
    assert shipped(shop) == [sha_of("one"), sha_of("three")]


def along(word: str, *listed: str) -> dict[str, Any]:
    """The fields of a push that lists these commits below its head."""
    head = push_payload(word)["head_commit"]
    return {"commits": [*(head | {"id": sha_of(one)} for one in listed), head]}


def tagged(shop: Shop, word: str) -> None:
    """A tag is created on a commit, and built."""
    shop.push(word, before=NEW, ref="refs/tags/v1", commits=[])
    build(shop, word, tag="v1")
    shop.settle()


def test_a_tag_on_a_commit_that_was_pushed_along_undoes_no_rollback(shop: Shop) -> None:
    """It is part of what had been pushed before: a push listed it below its head."""
    shop.push("bad", before="one")
    shop.build("bad")
    shop.watch.end("staging", sha_of("bad"))
    shop.push("three", before="bad", **along("three", "two"))
    shop.act("/targets/shop/staging/deployments", {"kind": "rollback", "reason": "slow"})
    shop.watch.end("staging", sha_of("one"), n=1)
    tagged(shop, "two")
    (reason,) = shop.environment("two", "staging")["reasons"]
    assert reason.startswith("held by lena's rollback to ")
    assert shipped(shop) == [sha_of("one"), sha_of("bad"), sha_of("one")]


@pytest.mark.parametrize("later", [False, True])
def test_a_tag_on_a_commit_that_what_runs_was_built_on_brings_nothing_older(shop: Shop, later: bool) -> None:
    """Somebody tags it for the record. A person may still deploy it."""
    shop.push("three", before="one", **along("three", "two"))
    shop.build("three")
    shop.watch.end("staging", sha_of("three"))
    if later:
        shop.push("four", before="three")
        shop.build("four")
        shop.watch.end("staging", sha_of("four"))
    tagged(shop, "two")
    runs = "four" if later else "three"
    found = shop.environment("two", "staging")
    assert (found["decision"], found["reasons"]) == (
        "superseded",
        [f"the newer commit {sha_of(runs)[:7]} was tried here; an operator may deploy this one"],
    )
    assert shipped(shop)[-1] == sha_of(runs)
    shop.act("/targets/shop/staging/deployments", {"kind": "deploy", "sha": sha_of("two"), "reason": "compare"})
    shop.watch.end("staging", sha_of("two"))
