"""An application of a repository with others: what goes out is what brings a change of its paths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.flow import NEW, PIPELINE, Shop, push_payload, sha_of

ONE = PIPELINE.replace("branches: [main]", 'branches: [main]\n    paths: ["shop/**"]')


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop that runs `one` in staging."""
    shop = Shop(tmp_path, pipeline=ONE).start()
    shop.push("one", **files("one", "shop/a.py"), at=1)
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    yield shop
    shop.stop()


def files(word: str, *paths: str) -> dict[str, Any]:
    """The fields of a push whose commit changes these files."""
    commit = push_payload(word)["head_commit"] | {"modified": list(paths)}
    return {"commits": [commit], "head_commit": commit}


def shipped(shop: Shop) -> list[str]:
    """What staging was deployed, in order."""
    return [sha for environment, sha, _, _ in shop.deployed() if environment == "staging"]


def test_what_follows_the_code_brings_it_along(shop: Shop) -> None:
    """The build of the code was red: the page that was written next has it all the same. What follows that brings nothing."""
    shop.push("code", before="one", at=2, **files("code", "shop/a.py"))
    shop.push("docs", before="code", at=3, **files("docs", "docs/a.md"))
    shop.build("code", "failed")
    shop.build("docs")
    shop.watch.end("staging", sha_of("docs"))
    shop.push("more", before="docs", at=4, **files("more", "docs/b.md"))
    shop.build("more")
    shop.settle()
    (reason,) = shop.environment("more", "staging")["reasons"]
    assert reason == "not touched: no push since what runs here changed anything in shop/**"
    assert shipped(shop) == [sha_of("one"), sha_of("docs")]


@pytest.mark.parametrize("made_new", ["forced", "created"])
def test_what_a_forced_push_or_a_new_branch_leaves_out_is_not_listed(shop: Shop, made_new: str) -> None:
    """So it may have touched anything."""
    if made_new == "created":
        shop.push("one", before="one", at=2, after=NEW, deleted=True, commits=[], head_commit=None)
    before, forced = (NEW, False) if made_new == "created" else ("one", True)
    shop.push("docs", before=before, forced=forced, at=3, **files("docs", "docs/a.md"))
    shop.build("docs")
    shop.watch.end("staging", sha_of("docs"))


def test_after_a_lost_push_anything_may_have_changed(shop: Shop) -> None:
    """It goes out, whatever it lists itself."""
    shop.push("docs", before="lost", at=3, **files("docs", "docs/a.md"))
    shop.build("docs")
    shop.watch.end("staging", sha_of("docs"))


@pytest.mark.parametrize(("path", "goes_out"), [("shop/b.py", True), ("docs/b.md", False)])
def test_a_push_that_comes_late_is_looked_at(shop: Shop, path: str, goes_out: bool) -> None:
    """Its files count for the commit that followed it, which was not built by then."""
    shop.push("docs", before="late", at=3, **files("docs", "docs/a.md"))
    shop.push("late", before="one", at=2, **files("late", path))
    shop.settle()
    reasons = shop.environment("docs", "staging")["reasons"]
    assert ("not touched" in reasons[0]) is not goes_out
    shop.build("docs")
    shop.settle()
    if goes_out:
        shop.watch.end("staging", sha_of("docs"))
    assert shipped(shop) == [sha_of("one"), *([sha_of("docs")] if goes_out else [])]


def test_what_others_push_undoes_no_rollback(shop: Shop) -> None:
    """It would bring back what was rolled back from. The next change of the application goes out, and what follows it."""
    pushes = [
        ("bad", "shop/b.py"),
        ("docs", "docs/a.md"),
        ("more", "docs/b.md"),
        ("fix", "shop/b.py"),
        ("page", "docs/c"),
    ]
    before = "one"
    for at, (word, path) in enumerate(pushes, 2):
        shop.push(word, before=before, at=at, **files(word, path))
        if word != "fix":
            shop.build(word)
        if word in ("bad", "page"):
            shop.watch.end("staging", sha_of(word))
        shop.settle()
        if word == "bad":
            shop.act("/targets/shop/staging/deployments", {"kind": "rollback", "reason": "slow"})
            shop.watch.end("staging", sha_of("one"), n=1)
        if word == "more":
            (reason,) = shop.environment("more", "staging")["reasons"]
            assert reason.startswith("held by lena's rollback to ")
            assert reason.endswith("or push a newer commit that changes a file of shop")
        before = word
    assert shipped(shop) == [sha_of(word) for word in ("one", "bad", "one", "page")]
