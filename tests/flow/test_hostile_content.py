"""What a stranger writes into a branch, a commit, a check or a report reaches nobody as more than text."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from greenlight.lib import signing
from greenlight.lib.errors import ConfigurationError
from support import flow
from support.flow import REPO, Shop, build_payload, push_payload, sha_of
from support.policy import parse

NASTY = "x{{7*7}}${GREENLIGHT_SHA}$(touch owned)`id`;--upload-pack=evil,../../etc<script>alert(1)</script>"
TAG = "v1;$(touch${IFS}owned)`id`'é{{7-7}}"
ARGUMENTS = ["a,b={x}", "{}", "[999999999]", "a.b\\c", "--set-file=x,y", "https://x,y/", "é {{ .Values }}"]
SEEN = "import json, os, sys; json.dump([sys.argv[1:], dict(os.environ)], open('seen.json', 'w'))"


@pytest.fixture
def nasty(tmp_path: Path) -> Iterator[Shop]:
    """A shop that ships every branch, and has shipped one of that name, whose facts all say it."""
    run = json.dumps([sys.executable, "-c", SEEN, *ARGUMENTS], ensure_ascii=False)
    text = flow.PIPELINE.replace("[main]", '["**"]').replace("[sh, deploy.sh]", run)
    shop = Shop(tmp_path, pipeline=text).start()
    push = push_payload("one") | {"ref": f"refs/heads/{NASTY}"}
    push["head_commit"] |= {"message": NASTY, "modified": [NASTY], "author": {"name": NASTY, "email": NASTY}}
    github(shop, "push", push | {"pusher": {"name": NASTY}})
    check = {"id": 1, "name": NASTY, "head_sha": sha_of("one"), "status": "completed", "conclusion": "success"}
    check |= {
        "completed_at": "2026-01-01T12:00:00Z",
        "html_url": f"javascript:{NASTY}",
        "check_suite": {"head_branch": NASTY},
    }
    github(shop, "check_run", {"action": "completed", "check_run": check, "repository": push["repository"]})
    build = build_payload("one")
    build["workflow"]["url"] = NASTY
    build["pipeline"]["vcs"]["branch"] = NASTY
    body = json.dumps(build).encode()
    shop._webhook("/webhooks/circleci", body, {"circleci-signature": signing.circleci(shop.secret("circleci"), body)})
    shop.watch.end("staging", sha_of("one"))
    shop.settle()
    yield shop
    shop.stop()


def github(shop: Shop, event: str, payload: dict[str, Any]) -> None:
    body = json.dumps(payload).encode()
    signature = signing.github(shop.secret("github"), body)
    shop._webhook("/webhooks/github", body, {"X-GitHub-Event": event, "X-Hub-Signature-256": signature})


def test_row_40_what_the_pipeline_file_says_arrives_as_it_was_written(nasty: Shop) -> None:
    """Commas, braces, brackets, dots, backslashes: there is no grammar on the way."""
    arguments, _ = json.loads((nasty.folder / "config" / "seen.json").read_text())
    assert arguments == ARGUMENTS


def test_row_41_every_file_that_we_make_has_a_name_of_ours(nasty: Shop) -> None:
    """Nothing of an event, or of the pipeline file, is in one."""
    names = [path.relative_to(nasty.folder).as_posix() for path in nasty.folder.rglob("*")]
    assert not [name for name in names if any(sign in name for sign in "{<$;,`")], names
    assert not list(nasty.folder.rglob("owned"))


def test_the_ref_of_a_tag_reaches_a_command_as_it_is(tmp_path: Path) -> None:
    """Where git allows the name; of one that it does not, as the branch above, the command hears nothing."""
    text = flow.PIPELINE.replace("[main]", '[main]\n    tags: ["**"]')
    text = text.replace("[sh, deploy.sh]", json.dumps([sys.executable, "-c", SEEN]))
    shop = Shop(tmp_path, pipeline=text).start()
    github(shop, "push", push_payload("one") | {"ref": f"refs/tags/{TAG}", "created": True})
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    shop.settle()
    _, environment = json.loads((shop.folder / "config" / "seen.json").read_text())
    shop.stop()
    assert environment["GREENLIGHT_REF"] == f"refs/tags/{TAG}"
    assert [name for name, value in environment.items() if TAG in value] == ["GREENLIGHT_REF"]
    assert not list(tmp_path.rglob("owned"))


@pytest.mark.parametrize("cwd", ["..", "../other", "/etc", "a/../../b", "oci://x/../../y"])
def test_row_42_a_path_that_leads_out_of_the_pipeline_files_folder_is_refused(tmp_path: Path, cwd: str) -> None:
    """When the file is read, before anything starts."""
    text = flow.PIPELINE.replace("timeout: 30s", f"timeout: 30s, cwd: {json.dumps(cwd)}")
    with pytest.raises(ConfigurationError, match="cwd"):
        parse({"pipeline.yaml": text}, tmp_path)


@pytest.mark.parametrize("name", ["../shop", "/shop", "shop/../x", "..", "shop\u2024\u2024", "-shop", "a b", ""])
def test_row_42_a_name_is_a_name(tmp_path: Path, name: str) -> None:
    """Of an application or an environment: never the beginning of a path or an option."""
    for old in ("name: shop", "name: staging"):
        text = flow.PIPELINE.replace(old, f"name: {json.dumps(name)}").replace("[staging]", json.dumps([name]))
        with pytest.raises(ConfigurationError):
            parse({"pipeline.yaml": text}, tmp_path)


def test_row_46_text_of_an_event_is_no_template(nasty: Shop) -> None:
    """Not for the command, whose environment has nothing of it; not on the pages, which show it as it is."""
    _, environment = json.loads((nasty.folder / "config" / "seen.json").read_text())
    assert environment["GREENLIGHT_SHA"] == sha_of("one")
    assert "GREENLIGHT_REF" not in environment, "git allows no .. in a name"
    assert not [value for value in environment.values() if "{{" in value or "script" in value]
    client = Client(nasty.greenlight.apps["board"])
    for path in ("/", f"/commits/{REPO}/{sha_of('one')}"):
        page = client.get(path).get_data(as_text=True)
        assert "<script>alert" not in page
        assert 'href="javascript:' not in page
        assert "x49" not in page
        assert "x{{7*7}}${GREENLIGHT_SHA}" in page
