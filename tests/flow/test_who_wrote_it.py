"""Four eyes: whoever made or pushed any of what a deployment brings has no say in it, from webhook to deployment."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.flow import NEW, PIPELINE, REPO, Shop, people_yaml, push_payload, sha_of
from support.timing import PATIENCE

LEGAL = {"application": "shop", "gate": "legal"}

TWO = PIPELINE.replace("branches: [main]", 'branches: [main]\n    tags: ["v*"]').replace(
    "require: [build]", "require: [legal]"
)
TWO = TWO.replace("require: [build, scan, legal]", "require: [legal]").replace("after: [staging]\n        ", "")
"""Both environments need the approval and nothing else, and neither waits for the other."""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop that ships to either environment what legal approves."""
    shop = Shop(tmp_path, pipeline=TWO).start()
    yield shop
    shop.stop()


def message(word: str, text: str) -> dict[str, Any]:
    """The fields of a push whose commit says this."""
    commit = push_payload(word)["head_commit"] | {"message": text}
    return {"commits": [commit], "head_commit": commit}


def approve(shop: Shop, word: str, who: str) -> tuple[int, dict[str, Any]]:
    """The answer to an approval."""
    shop.settle()
    answer = shop.api("POST", f"/commits/{REPO}/{sha_of(word)}/approvals", LEGAL, who=who)
    shop.settle()
    return answer.status_code, json.loads(answer.get_data())


def legal(shop: Shop, word: str, environment: str = "staging") -> str:
    """What an environment says of the gate."""
    return next((why for why in shop.environment(word, environment)["reasons"] if why.startswith("legal: ")), "")


def people_change(shop: Shop, change: Callable[[str], str]) -> None:
    """The file of people is edited, and has been read."""
    path = shop.folder / "config" / "people.yaml"
    path.write_text(change(path.read_text()))


def test_a_co_author_cannot_approve(shop: Shop) -> None:
    """Named by a trailer with an address, or with one that hides it."""
    people_change(shop, lambda text: text.replace("omar-gh", "omar-gh, emails: [omar@acme.example]"))
    shop.push("one", **message("one", "Add refunds (#12)\n\nCo-authored-by: Omar <OMAR@acme.example>\r\n"))
    shop.push("two", before="one", **message("two", "x\n\n  co-authored-by: L <7+Lena-GH@users.noreply.github.com>"))
    assert approve(shop, "one", "omar")[0] == 403
    status, problem = approve(shop, "two", "lena")
    assert (status, problem["detail"]) == (403, "lena is among the authors; legal needs somebody else's approval")
    assert approve(shop, "two", "omar")[0] == 403
    assert approve(shop, "one", "lena")[0] == 202
    shop.watch.end("staging", sha_of("one"))
    assert approve(shop, "two", "omar")[0] == 202
    shop.watch.end("staging", sha_of("two"))


def test_a_tag_brings_what_was_pushed_to_a_branch_that_is_not_shipped(tmp_path: Path) -> None:
    """Its commits have authors all the same."""
    shop = Shop(tmp_path, pipeline=TWO.replace("branches: [main]", "branches: [stable]")).start()
    shop.push("one", by="lena-gh")
    shop.push("two", before="one", by="omar-gh")
    shop.push("two", by="acme-developer", ref="refs/tags/v1", before=NEW, commits=[])
    assert approve(shop, "two", "lena")[0] == 403
    assert approve(shop, "two", "omar")[0] == 403
    shop.stop()


def test_a_missing_push_keeps_the_gate_pending_until_it_comes(shop: Shop) -> None:
    """Nobody can tell who wrote what it brought. Once it is delivered again, the commit goes out by itself."""
    shop.push("one")
    assert approve(shop, "one", "omar")[0] == 202
    shop.watch.end("staging", sha_of("one"))
    shop.push("three", before="two", at=3)
    assert approve(shop, "three", "lena")[0] == 202
    assert "lena's approval does not count: nobody can tell whether lena is among the authors" in legal(shop, "three")
    assert f"the push of main to {sha_of('two')[:7]} is missing" in legal(shop, "three")
    shop.push("two", before="one", at=2, by="omar-gh")
    shop.watch.end("staging", sha_of("three"))


def test_the_author_of_a_push_that_came_late_is_an_author(shop: Shop) -> None:
    """Whose approval had been taken, and counts for nothing."""
    shop.push("one")
    assert approve(shop, "one", "omar")[0] == 202
    shop.watch.end("staging", sha_of("one"))
    shop.push("three", before="two", at=3)
    assert approve(shop, "three", "lena")[0] == 202
    shop.push("two", before="one", at=2, by="lena-gh")
    shop.settle()
    assert "lena's approval does not count: lena is among the authors" in legal(shop, "three")
    assert approve(shop, "three", "omar")[0] == 202
    shop.watch.end("staging", sha_of("three"))


def test_a_list_that_github_cut_keeps_the_gate_pending(shop: Shop) -> None:
    """GitHub lists 2048 commits and no more."""
    shop.push("one")
    assert approve(shop, "one", "omar")[0] == 202
    shop.watch.end("staging", sha_of("one"))
    head = push_payload("two")["head_commit"]
    shop.push("two", before="one", commits=[*({**head, "id": f"{n:040x}"} for n in range(2047)), head])
    assert approve(shop, "two", "lena")[0] == 202
    assert f"GitHub did not list every commit of the push of main to {sha_of('two')[:7]}" in legal(shop, "two")
    assert [row[:2] for row in shop.deployed() if row[0] == "staging"] == [("staging", sha_of("one"))]


def test_a_vote_that_counts_in_one_environment_is_taken(shop: Shop) -> None:
    """Staging runs what lena wrote, production does not: there she is an author of what would be deployed."""
    shop.act("/targets/shop/production/pause", {"reason": "later"}, "omar")
    shop.push("one", by="lena-gh")
    assert approve(shop, "one", "omar")[0] == 202
    shop.watch.end("staging", sha_of("one"))
    shop.push("two", before="one")
    assert approve(shop, "two", "lena")[0] == 202
    shop.watch.end("staging", sha_of("two"))
    assert "lena's approval does not count: lena is among the authors" in legal(shop, "two", "production")


@pytest.mark.parametrize(
    ("lacking", "why"),
    [
        ("github: omar-gh, groups: [engineering]", "omar was not in legal"),
        ("groups: [legal, engineering]", "people.yaml had no github login or e-mail of omar"),
    ],
)
def test_a_vote_that_did_not_count_blocks_no_new_one(tmp_path: Path, lacking: str, why: str) -> None:
    """Given when the person was not in the group, or could not be told from an author: given again it is another fact."""
    asks = TWO.replace("groups: [legal], count: 1, not: author", "groups: [legal, engineering], count: 1")
    shop = Shop(tmp_path, pipeline=asks).start()
    whole = people_yaml()
    people_change(shop, lambda text: text.replace("github: omar-gh, groups: [legal]", lacking))
    shop.push("one")
    shop.act("/targets/shop/staging/pause", {"reason": "later"}, "lena")
    shop.act("/targets/shop/production/pause", {"reason": "later"}, "lena")
    first = approve(shop, "one", "omar")
    pipeline = shop.folder / "config" / "pipeline.yaml"
    pipeline.write_text(TWO)
    people_change(shop, lambda text: whole)
    assert first[0] == 202
    reason = f"omar's approval does not count: {why}"
    deadline = time.monotonic() + PATIENCE
    while reason not in legal(shop, "one"):
        assert time.monotonic() < deadline, legal(shop, "one")
        time.sleep(0.05)
    again = approve(shop, "one", "omar")
    assert again[0] == 202
    assert again[1]["id"] != first[1]["id"]
    assert legal(shop, "one") == ""
    assert approve(shop, "one", "omar")[1] == again[1]
    shop.stop()


def test_who_cannot_be_told_from_an_author_is_refused(shop: Shop) -> None:
    """With what to add."""
    people_change(shop, lambda text: text.replace("github: omar-gh, ", ""))
    shop.push("one")
    status, problem = approve(shop, "one", "omar")
    assert status == 403
    assert problem["detail"] == (
        "people.yaml has neither `github` nor `emails` of omar, so nobody can tell whether they are an author; "
        "add `github` or `emails`"
    )
