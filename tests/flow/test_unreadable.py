"""A bad disk, or a hand, spoils rows of one application: it starts, says which, and everything else goes on."""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client import REGISTRY
from werkzeug.test import Client

from greenlight.cli.main import main
from greenlight.lib import signing
from greenlight.service.server import serve
from support.flow import PIPELINE, REPO, Shop, push_payload, sha_of

OTHER = """
  - name: stall
    repo: acme/stall
    branches: [main]
    gates: {}
    environments:
      - {name: live, require: [], deploy: {command: {run: [sh, deploy.sh], timeout: 30s}}}
"""
GARBAGE = '{"garbage": 0}'
TABLES = {
    "facts": "json", "records": "json", "pushes": "json", "targets": "json", "decisions": "json", "deployments": "json",
    "entries": "payload", "due": "json", "policies": "text", "policies_in_force": "json",
    "broker_events": "attributes", "broker_cursors": "spec",
}  # fmt: skip


def stall(shop: Shop, word: str, before: str = "nothing") -> None:
    """A push to the other application's repository."""
    payload = push_payload(word, before=before)
    payload["repository"] |= {"full_name": "acme/stall", "html_url": "https://github.com/acme/stall"}
    body = json.dumps(payload).encode()
    signature = signing.github(shop.secret("github"), body)
    shop._webhook("/webhooks/github", body, {"X-GitHub-Event": "push", "X-Hub-Signature-256": signature})


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A folder in which a commit of each application runs, and another of the shop was being decided when the process died."""
    shop = Shop(tmp_path, pipeline=PIPELINE + OTHER).start()
    shop.push("one")
    shop.build("one")
    stall(shop, "s1")
    shop.watch.end("staging", sha_of("one"))
    shop.watch.end("live", sha_of("s1"))
    shop.settle()
    shop.greenlight.broker.drain(10)
    with shop.without_chain():
        shop.push("two")
    shop.stop()
    return tmp_path


def spoil(folder: Path, table: str, text: str) -> int:
    """Put `text` into each row of the table that is about the shop; how many those are."""
    with closing(sqlite3.connect(folder / "data" / "greenlight.db")) as connection, connection:
        column = TABLES[table]
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        about = " || ".join(f"coalesce(CAST({name} AS TEXT), '')" for name in columns)
        where = f"({about} LIKE '%acme/shop%' OR {about} LIKE '%shop/staging%' OR '{table}' = 'broker_cursors')"
        where += f" AND NOT {about} LIKE '%acme/stall%'"
        return connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (text,)).rowcount


@pytest.mark.parametrize(
    ("table", "text"), [*((table, "{") for table in TABLES), ("targets", GARBAGE), ("broker_events", GARBAGE)]
)
def test_what_cannot_be_read_stops_only_what_builds_on_it(
    left: Path, table: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It starts, is ready, ships the other application, and the board shows that one and what cannot be read."""
    assert spoil(left, table, text) > 0, "nothing was spoiled"
    shop = Shop(left, pipeline=PIPELINE + OTHER)
    with caplog.at_level(logging.WARNING):
        shop.start()
        client = Client(shop.greenlight.apps["board"])
        stall(shop, "s2", before="s1")
        shop.watch.end("live", sha_of("s2"))
        statuses = {
            path: client.get(path).status_code for path in ("/", "/readyz", "/api/v1/commits", "/api/v1/targets")
        }
        assert set(statuses.values()) == {200}, statuses
        seen = client.get("/api/v1/commits").json["commits"]
        assert {commit["sha"] for commit in seen if commit["repo"] == "acme/stall"} == {sha_of("s1"), sha_of("s2")}
        assert client.get(f"/commits/acme/stall/{sha_of('s2')}").status_code == 200
        assert client.get("/targets/shop/staging").status_code in (200, 503)
        assert client.get(f"/api/v1/commits/{REPO}/{sha_of('one')}").status_code in (200, 503)
        assert client.get(f"/api/v1/commits/{REPO}/{sha_of('one')}/trace").status_code in (200, 503)
        assert client.get(f"/commits/{REPO}/{sha_of('one')}").status_code in (200, 503)
    shop.stop()
    if table not in ("due", "decisions"):  # its time has not come yet; it is read when its commit is decided again
        assert "cannot be read" in caplog.text


def test_a_target_that_cannot_be_read_is_deployed_to_no_more_and_is_named(left: Path) -> None:
    """On the board, in the API, by a metric and by `doctor`; its sibling goes on; mended, so does it."""
    file = left / "data" / "greenlight.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        ((good,),) = connection.execute("SELECT json FROM targets WHERE environment = 'staging'").fetchall()
        connection.execute("UPDATE targets SET json = '{' WHERE environment = 'staging'")
    shop = Shop(left, pipeline=PIPELINE + OTHER).start()
    shop.build("two")
    shop.settle()
    client = Client(shop.greenlight.apps["board"])
    assert sha_of("two") not in {line[1] for line in shop.deployed() if line[0] == "staging"}
    shown = shop.commit("two")["applications"]["shop"]["environments"]
    assert (shown["staging"]["decision"], "cannot be read" in shown["staging"]["reasons"][0]) == ("blocked", True)
    assert shown["production"]["decision"] == "waiting"
    targets = {(it["application"], it["environment"]): it for it in client.get("/api/v1/targets").json["targets"]}
    assert "cannot be read" in targets["shop", "staging"]["unreadable"]
    assert "unreadable" not in targets["stall", "live"]
    assert client.get("/api/v1/targets/shop/staging").status_code == 503
    (row,) = client.get("/api/v1/unreadable").json["rows"]
    assert (row["table"], row["key"]) == ("targets", "shop/staging")
    assert "targets <code>shop/staging</code>" in client.get("/").text
    assert REGISTRY.get_sample_value("greenlight_ledger_unreadable_rows", {"table": "targets"}) == 1
    assert "the row shop/staging of targets cannot be read" in doctor(shop)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE targets SET json = ? WHERE environment = 'staging'", (good,))
    shop.push("three", before="two")
    shop.build("three", number=3)
    shop.watch.end("staging", sha_of("three"))
    assert client.get("/api/v1/unreadable").json == {"rows": []}
    shop.stop()


def test_the_other_environments_of_an_application_go_on(tmp_path: Path) -> None:
    """Production cannot be read: staging ships what comes, and the commit comes to production once that is mended."""
    shop = Shop(tmp_path, pipeline=PIPELINE + OTHER).start()
    shop.push("one")
    shop.build("one")
    shop.scan("one")
    shop.approve("one")
    shop.watch.end("production", sha_of("one"))
    shop.settle()
    shop.stop()
    file = tmp_path / "data" / "greenlight.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        ((good,),) = connection.execute("SELECT json FROM targets WHERE environment = 'production'").fetchall()
        connection.execute("UPDATE targets SET json = '{' WHERE environment = 'production'")
    shop = Shop(tmp_path, pipeline=PIPELINE + OTHER).start()
    shop.push("two", before="one")
    shop.build("two", number=2)
    shop.watch.end("staging", sha_of("two"))
    shop.scan("two", run=2)
    shop.settle()
    shown = shop.commit("two")["applications"]["shop"]["environments"]
    assert (shown["staging"]["deployment"]["outcome"], shown["production"]["decision"]) == ("succeeded", "blocked")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE targets SET json = ? WHERE environment = 'production'", (good,))
    shop.approve("two")
    shop.watch.end("production", sha_of("two"))
    shop.stop()


def doctor(shop: Shop) -> str:
    """What `greenlight doctor` says of it."""
    server = serve(shop.greenlight.apps["board"], "127.0.0.1:0", name="board")
    server.start()
    env: dict[str, Any] = {"GREENLIGHT_URL": "http://{}:{}".format(*server.address)}
    try:
        words = ["doctor", "--config", str(shop.folder / "config"), "--data", str(shop.folder / "data")]
        return CliRunner().invoke(main, words, env=env).output
    finally:
        server.stop(5)
