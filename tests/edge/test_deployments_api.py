"""The API's routes about deployments: what a running command prints, a target's history, and what would go out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.flow import PIPELINE, REPO, Shop, sha_of

SCRIPT = """
echo "step one of $GREENLIGHT_ENVIRONMENT"
echo "token hunter22hunter22"
if [ -p "hold-$GREENLIGHT_ENVIRONMENT" ]; then read line < "hold-$GREENLIGHT_ENVIRONMENT"; fi
printf "step two"
if [ -e "fail-$GREENLIGHT_SHA" ]; then exit 3; fi
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    secret = "env: {API_TOKEN: hunter22hunter22}, "
    shop = Shop(tmp_path, pipeline=PIPELINE.replace("timeout: 30s", f"{secret}timeout: 60s"))
    (tmp_path / "config" / "deploy.sh").write_text(SCRIPT)
    shop.start()
    yield shop
    shop.stop()


def get(shop: Shop, path: str, status: int = 200) -> Any:
    answer = shop.api("GET", path)
    assert answer.status_code == status, answer.get_data(as_text=True)
    return json.loads(answer.get_data())


def deployment_of(shop: Shop, word: str) -> str:
    shop.until(lambda: shop.environment(word, "staging")["deployment"] is not None)
    return str(shop.environment(word, "staging")["deployment"]["id"])


def test_the_output_of_a_running_command_can_be_followed(shop: Shop) -> None:
    """Line by line, without secrets; each part once, and the end with what has no line end."""
    hold = shop.folder / "config" / "hold-staging"
    os.mkfifo(hold)
    shop.push("one")
    shop.build("one")
    id = deployment_of(shop, "one")
    shop.until(lambda: get(shop, f"/deployments/{id}/log")["text"].count("\n") == 2)
    first = get(shop, f"/deployments/{id}/log")
    assert first["text"] == "step one of staging\ntoken [secret]\n"
    assert (first["outcome"], first["ended"], first["skipped"]) == ("running", None, 0)
    assert get(shop, f"/deployments/{id}/log?after={first['next']}")["text"] == ""
    hold.write_text("go\n")
    shop.watch.end("staging", sha_of("one"))
    rest = get(shop, f"/deployments/{id}/log?after={first['next']}")
    assert (rest["text"], rest["outcome"]) == ("step two", "succeeded")
    assert rest["ended"] is not None
    assert get(shop, f"/deployments/{id}/log")["text"] == "step one of staging\ntoken [secret]\nstep two"
    assert get(shop, f"/deployments/{id}/log?after={rest['next']}")["text"] == ""
    other_try = rest["next"].replace("1.", "7.", 1)
    assert get(shop, f"/deployments/{id}/log?after={other_try}")["text"].startswith("step one"), "another try's"
    get(shop, f"/deployments/{id}/log?after=x", 422)
    get(shop, "/deployments/none/log", 404)
    shop.settle()


def test_a_targets_history_tells_who_asked_and_a_diff_what_goes_out(shop: Shop) -> None:
    """Newest first; between what runs and the newest commit, a commit that is named, or one to go back to."""
    assert get(shop, "/targets/shop/staging/diff")["commits"] == []
    shop.push("one")
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    shop.settle()
    for word, before in (("two", "one"), ("three", "two")):
        shop.push(word, before=before)
    shop.settle()
    assert [it["behind"] for it in get(shop, "/targets?behind=true")["targets"]] == [2, None]
    diff = get(shop, "/targets/shop/staging/diff")
    assert (diff["from"], diff["to"], diff["complete"], diff["back"]) == (sha_of("one"), sha_of("three"), True, False)
    assert [(it["title"], it["author"]) for it in diff["commits"]] == [
        ("three", "acme-developer"),
        ("two", "acme-developer"),
    ]
    assert diff["compare"] == f"https://github.com/{REPO.lower()}/compare/{sha_of('one')}...{sha_of('three')}"
    shop.build("three")
    shop.watch.end("staging", sha_of("three"))
    shop.settle()
    assert get(shop, "/targets/shop/staging")["behind"] == 0
    back = get(shop, f"/targets/shop/staging/diff?sha={sha_of('one')[:9]}")
    assert (back["back"], len(back["commits"]), back["complete"]) == (True, 2, True)
    shop.act("/targets/shop/staging/deployments", {"kind": "rollback", "reason": "slow"})
    shop.watch.end("staging", sha_of("one"), n=1)
    shop.settle()
    newest, *_, oldest = get(shop, "/targets/shop/staging/deployments")["deployments"]
    assert (newest["cause"], newest["requested"]["person"], newest["requested"]["reason"]) == (
        "rollback",
        "lena",
        "slow",
    )
    assert (oldest["sha"], oldest["cause"], oldest["requested"], oldest["ref"]) == (
        sha_of("one"),
        "automatic",
        None,
        "refs/heads/main",
    )
    assert get(shop, f"/deployments/{newest['id']}") == newest
    get(shop, "/targets/shop/staging/diff?sha=0000000", 404)
