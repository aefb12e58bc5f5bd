"""The waterfall of a commit without a tracing backend: its steps, what a killed process loses, and nobody's name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from greenlight.events import ids
from greenlight.telemetry import keeping, metrics
from greenlight.telemetry.keeping import Keeping
from greenlight.telemetry.kept import unpacked
from support.flow import REPO, Shop, sha_of
from support.process import Up, signed
from support.timing import PATIENCE

DEPLOY = "echo it begins; sleep 0.05; echo token=hunter2hunter2; echo it is up"

STEPS = {
    "webhooks": ["receiving request", "validate signature", "create event", "write to the ledger", "send event"],
    "recorder": ["read event", "create message", "write to the ledger", "send event"],
    "promoter": ["read event", "check for promotion", "write to the ledger", "send event"],
    "deployer": ["prepare", "command", "send event"],
}
"""The talk's picture, without what the journals have anyway."""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    started = Shop(tmp_path).start()
    (tmp_path / "config" / "deploy.sh").write_text(DEPLOY)
    yield started
    started.stop()


def ship(shop: Shop, word: str, before: str = "nothing", number: int = 1) -> None:
    """Through staging into production."""
    shop.push(word, before=before)
    shop.build(word, number=number)
    shop.watch.end("staging", sha_of(word))
    shop.scan(word)
    shop.approve(word)
    shop.watch.end("production", sha_of(word))
    shop.settle()


def trace(shop: Shop, word: str = "one") -> list[dict[str, Any]]:
    """The spans once everything that has ended is written."""
    assert isinstance(shop.greenlight.tracer, Keeping)
    shop.greenlight.tracer.flush()
    found: list[dict[str, Any]] = json.loads(shop.api("GET", f"/commits/{REPO}/{sha_of(word)}/trace").get_data())[
        "spans"
    ]
    return found


def below(spans: list[dict[str, Any]], top: str) -> list[dict[str, Any]]:
    """What hangs below a span, however deep."""
    inside = {top}
    for span in spans:  # parents come first
        if span["parent_id"] in inside:
            inside.add(span["span_id"])
    return [span for span in spans if span["span_id"] in inside - {top}]


def test_every_step_of_the_story_is_there_once(shop: Shop) -> None:
    """Of the fact that made the commit ready: received, recorded, decided; and of the deployment, with its command."""
    ship(shop, "one")
    spans = trace(shop)
    (build,) = [span for span in spans if span["name"] == "receive com.circleci.buildsuccess build-test"]
    assert build["start"] < build["end"]
    inside = below(spans, build["span_id"])
    for service in ("webhooks", "recorder", "promoter"):
        assert Counter(span["name"] for span in inside if span["service"] == service) == Counter(STEPS[service])
    ids_of = {span["span_id"]: span for span in spans}
    chain = ["check for promotion", "read event", "send event", "read event", build["name"]]
    (found,) = [span for span in inside if span["name"] == "check for promotion"]
    for name in chain:
        assert found["name"] == name
        found = ids_of[found["parent_id"]]
    for environment in ("staging", "production"):
        (deploy,) = [span for span in spans if span["name"] == f"deploy shop/{environment}"]
        parts = [span for span in below(spans, deploy["span_id"]) if span["service"] == "deployer"]
        assert [span["name"] for span in parts] == STEPS["deployer"]
        command = parts[1]["attributes"]
        assert command["cmd"] == "sh deploy.sh"
        assert command["output"] == "it begins\ntoken=[secret]\nit is up\n"
        assert command["duration_ms"] >= 50
        assert deploy["start"] <= parts[0]["start"] <= parts[1]["start"] < parts[1]["end"] <= deploy["end"]
    assert {span["span_id"] for span in spans if span["parent_id"] not in ids_of} == {
        ids.root_span_id(REPO, sha_of("one"))
    }


def test_a_redelivery_shows_nothing_twice(shop: Shop) -> None:
    """A webhook again, and every event again."""
    ship(shop, "one")
    before = [span["span_id"] for span in trace(shop)]
    shop.push("one", at=1)
    shop.build("one")
    for event in [event for event in shop.watch.events if "commit" in event.extensions]:
        shop.greenlight.broker.publish(event)
    shop.settle()
    after = trace(shop)
    assert len({span["span_id"] for span in after}) == len(after)
    names = Counter(span["name"] for span in after)
    assert (names["create message"], names["prepare"], names["command"]) == (4, 2, 2)
    assert set(before) <= {span["span_id"] for span in after}


def test_the_time_of_the_last_deployment_is_marked_and_compared(shop: Shop) -> None:
    """What it consisted of, in an unbroken chain; medians once there are a few commits."""
    words = ["one", "two", "three", "four"]
    for number, word in enumerate(words):
        ship(shop, word, before=words[number - 1] if number else "nothing", number=number + 1)
    spans = trace(shop, "four")
    critical = [span["name"] for span in spans if span["attributes"].get("critical")]
    assert critical[0] == f"commit {REPO}@{sha_of('four')[:7]}"
    assert {"receive com.github.push", "wait for legal (shop/production)", "deploy shop/production", "command"} <= {
        *critical
    }
    assert "receive com.circleci.buildsuccess build-test" not in critical
    usual = {span["name"]: span["attributes"]["usually_ms"] for span in spans if "usually_ms" in span["attributes"]}
    waits = [f"wait for {gate} (shop/production)" for gate in ("build", "scan", "legal")]
    assert {*usual} == {*waits, "wait for build (shop/staging)", "deploy shop/staging", "deploy shop/production"}
    assert usual["deploy shop/production"] >= 50


def test_the_page_shows_the_same(shop: Shop) -> None:
    """Every span with its attributes, escaped; the critical path alone; a link from the commit's page."""
    (shop.folder / "config" / "deploy.sh").write_text("echo '<b>bold</b>'; exit 3")
    shop.push("one")
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    shop.settle()
    spans, client = trace(shop), Client(shop.greenlight.apps["board"])
    path = f"/commits/{REPO}/{sha_of('one')}"

    def page(path: str) -> str:
        return client.get(path, headers={"Accept": "text/html"}).get_data(as_text=True)

    assert f'href="{path}/trace"' in page(path)
    whole = page(f"{path}/trace")
    assert [whole.count(f'id="span-{span["span_id"]}"') for span in spans] == [1] * len(spans)
    assert "&lt;b&gt;bold&lt;/b&gt;" in whole
    assert "<b>bold</b>" not in whole
    assert "style=" not in whole
    marked = [span for span in spans if span["attributes"].get("critical")]
    assert page(f"{path}/trace?critical").count("<details") == len(marked) < len(spans)
    assert client.get(f"/commits/{REPO}/{'0' * 40}/trace", headers={"Accept": "text/html"}).status_code == 404


def test_no_names_and_no_words_of_people_are_kept(shop: Shop) -> None:
    """So that there is nothing to erase: neither who approved, nor what they wrote, nor what a commit is called."""
    ship(shop, "one")
    path = f"/commits/{REPO}/{sha_of('one')}/revocations"
    shop.act(path, {"application": "shop", "gate": "legal", "comment": "a word of Lena"}, "lena")
    shop.settle()
    trace(shop)
    with shop.greenlight.store.read() as connection:
        bodies = [body for (body,) in connection.execute("SELECT body FROM spans")]
    spans = [span for body in bodies for span in unpacked(body)]
    assert any(span["name"] == "receive approval.revoked" for span in spans)
    text = repr(spans).lower()
    assert [word for word in ("lena", "developer", "@", "hunter2", "a word", "/api/") if word in text] == []


def test_a_full_queue_drops_and_counts_and_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but details is missing."""
    monkeypatch.setattr(keeping, "DELAY", 3600.0)
    shop = Shop(tmp_path).start()
    assert isinstance(shop.greenlight.tracer, Keeping)
    shop.greenlight.tracer._limit = 2
    lost = metrics.SPANS.labels("lost")._value.get()
    ship(shop, "one")
    assert metrics.SPANS.labels("lost")._value.get() > lost
    spans = trace(shop)
    shop.stop()
    assert {"deploy shop/staging", "deploy shop/production"} <= {span["name"] for span in spans}
    assert "command" not in {span["name"] for span in spans}


def _send(up: Up, folder: Path, kind: str) -> None:
    port, path, body, headers = signed(folder, kind, "one")
    assert up.http.request("POST", getattr(up, port) + path, body=body, headers=headers).status == 202


def _trace_when(up: Up, name: str, *, ended: bool = True) -> list[dict[str, Any]]:
    """The trace once it has a span of this name."""
    path = f"{up.board}/api/v1/commits/{REPO}/{sha_of('one')}/trace"
    for _ in range(int(PATIENCE * 100)):
        answer = up.http.request("GET", path)
        spans: list[dict[str, Any]] = answer.json()["spans"] if answer.status == 200 else []
        if any(span["name"] == name and (span["end"] or not ended) for span in spans):
            return spans
    raise AssertionError(f"no {name} among {[span['name'] for span in spans]}")


def test_a_kill_loses_details_and_nothing_else(tmp_path: Path) -> None:
    """The command that went on meanwhile has its span all the same; of what was written before, nothing is lost."""
    Shop(tmp_path).stop()
    (tmp_path / "config" / "deploy.sh").write_text("sleep 1; echo it is up")
    up = Up(tmp_path)
    _send(up, tmp_path, "push")
    before = {span["span_id"] for span in _trace_when(up, "create message") if span["end"]}
    _send(up, tmp_path, "build")
    _trace_when(up, "deploy shop/staging", ended=False)
    up.kill()
    up = Up(tmp_path)
    _trace_when(up, "deploy shop/staging")
    after = _trace_when(up, "command")
    assert up.stop() == 0
    assert before <= {span["span_id"] for span in after}
    (command,) = [span for span in after if span["name"] == "command"]
    assert command["attributes"]["duration_ms"] >= 1000
    assert command["attributes"]["output"] == "it is up\n"


def test_it_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the waterfall is the journals'."""
    Shop(tmp_path).stop()
    monkeypatch.setenv("GREENLIGHT_SPANS", "off")
    up = Up(tmp_path)
    _send(up, tmp_path, "push")
    spans = _trace_when(up, "receive com.github.push")
    assert up.stop() == 0
    assert {span["service"] for span in spans} == {"greenlight", "webhooks", "promoter"}
    assert "receiving request" not in {span["name"] for span in spans}


def test_a_wrong_setting_prevents_the_start(tmp_path: Path) -> None:
    """It says what it may be."""
    Shop(tmp_path).stop()
    command = [sys.executable, "-m", "greenlight.cli.main", "up", "--config", str(tmp_path / "config")]
    env = {**os.environ, "GREENLIGHT_SPANS": "soon", "GREENLIGHT_SECRETS": str(tmp_path / "secrets")}
    done = subprocess.run(
        [*command, "--data", str(tmp_path / "data")], env=env, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 2
    assert "GREENLIGHT_SPANS is 'soon'; it must be off, or for how long spans are kept, such as 7d" in done.stderr
