"""Notifications of a whole Greenlight to a real mail server and a real webhook, through failures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from standardwebhooks import Webhook as Standard

from greenlight.events import Event, types
from greenlight.events.http import from_http
from greenlight.events.schemas import schema
from greenlight.ledger.notifications import results
from greenlight.ledger.notifications import test_requested as requested
from greenlight.lib.clock import SystemClock
from support.flow import PIPELINE, REPO, TOKENS, Ahead, Shop, push_payload, sha_of
from support.process import Up
from support.receivers import Mail, Webhook, text_of

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # in Apprise's own imports

KEY = "whsec_" + "YXVkaXQgc2VjcmV0IG9mIHRoZSB0ZXN0cyE="
BOARD = "https://greenlight.example.com"


@pytest.fixture
def mail() -> Iterator[Mail]:
    mail = Mail()
    yield mail
    mail.close()


@pytest.fixture
def hook() -> Iterator[Webhook]:
    hook = Webhook()
    yield hook
    hook.close()


def prepared(folder: Path, mail: Mail, hook: Webhook) -> None:
    """Write the shop's files: mail for what needs somebody in production, the webhook for everything."""
    Shop(folder).stop()
    (folder / "config/feedback.yaml").write_text(f"""
board: {BOARD}
notifications:
  destinations:
    mail:
    audit: {{webhook: "{hook.url}"}}
  routes:
    - {{to: [mail], application: shop, environment: production, outcomes: [waiting, failed, blocked]}}
    - {{to: [audit]}}
""")
    (folder / "secrets/notify-mail").write_text(mail.url + "\n")
    (folder / "secrets/notify-audit").write_text(KEY + "\n")


def notices(hook: Webhook) -> list[tuple[str, str]]:
    """Return what the webhook got, each verified by the library of Standard Webhooks: (environment, outcome)."""
    found = []
    for headers, body in hook.all:
        Standard(KEY).verify(body, headers)
        event = from_http(headers, body)
        jsonschema.validate(event.json(), schema(event.type))
        found.append((event.json()["environment"], event.json()["outcome"]))
    return found


def test_who_must_act_is_told_once_with_the_reason_and_the_link(tmp_path: Path, mail: Mail, hook: Webhook) -> None:
    """By the routes: application, environment, outcome. A repetition, or another process, sends nothing."""
    prepared(tmp_path, mail, hook)
    shop, sha = Shop(tmp_path).start(), sha_of("one")
    try:
        shop.push("one")
        shop.build("one")
        shop.watch.end("staging", sha)
        shop.settle()
        assert mail.all == []
        shop.scan("one")
        shop.settle()
        text = text_of(mail.until(lambda _: True)).replace("\u200b", "")
        assert f"shop production: waiting: {REPO} {sha[:7]}" in text
        assert "Who must act: legal: legal" in text
        assert f"{BOARD}/commits/{REPO}/{sha}" in text
        shop.approve("one")
        shop.watch.end("production", sha)
        shop.settle()
        for event in list(shop.watch.events):
            shop.greenlight.services["feedback"].handle(event)
    finally:
        shop.stop()
    shop = Shop(tmp_path).start()
    try:
        shop.settle()
    finally:
        shop.stop()
    assert len(mail.all) == 1
    assert notices(hook) == [("staging", "succeeded"), ("production", "waiting"), ("production", "succeeded")]


def test_a_dead_destination_delays_nothing_is_reported_and_gets_its_message_later(
    tmp_path: Path, mail: Mail, hook: Webhook
) -> None:
    """The commit ships; doctor and the API name the destination; another one is not kept waiting."""
    prepared(tmp_path, mail, hook)
    hook.status, clock = 500, Ahead()
    shop, sha = Shop(tmp_path, clock=clock).start(), sha_of("one")
    try:
        shop.push("one")
        shop.build("one")
        shop.watch.end("staging", sha)
        shop.scan("one")
        mail.until(lambda _: True)
        shop.approve("one")
        shop.watch.end("production", sha)
        shop.settle()
        (failing,) = json.loads(shop.api("GET", "/notifications").get_data())["failing"]
        assert (failing["destination"], failing["reason"]) == ("audit", "it answered 500")
        hook.status, clock.ahead = 204, timedelta(hours=1)
        event = Event.of(types.PING, id="ping", source="tests", time=clock.now(), data={})
        shop.greenlight.services["reconciler"].handle(event)
        hook.until(lambda it: b'"outcome":"succeeded"' in it[1] and b"production" in it[1])
        shop.settle()
        found = [json.loads(body)["data"] for _, body in hook.all]
        assert sorted((it["environment"], it["outcome"]) for it in found) == [
            ("production", "succeeded"),
            ("staging", "succeeded"),
        ], "what is over is not told any more"
        assert json.loads(shop.api("GET", "/notifications").get_data())["failing"] == []
    finally:
        shop.stop()


def test_text_of_others_is_no_mention_and_no_link(tmp_path: Path, mail: Mail, hook: Webhook) -> None:
    """In the title of a commit."""
    prepared(tmp_path, mail, hook)
    shop = Shop(tmp_path).start()
    try:
        commit = push_payload("one")["head_commit"]
        commit["message"] = "<!channel> @here [x](https://evil.example) \x1b[2J"
        shop.push("one", commits=[commit], head_commit=commit)
        shop.build("one")
        shop.watch.end("staging", sha_of("one"))
        shop.scan("one")
        text = text_of(mail.until(lambda _: True))
        assert "channel" in text
        assert "<!channel>" not in text
        assert "@here" not in text
        assert "https://evil" not in text
        assert "\x1b" not in text
    finally:
        shop.stop()


def test_an_operator_tries_destinations_and_hears_how_each_went(tmp_path: Path, mail: Mail, hook: Webhook) -> None:
    """By the command line and a real process; nobody else may."""
    prepared(tmp_path, mail, hook)
    hook.status = 503
    up = Up(tmp_path)
    try:

        def test(*arguments: str, who: str = "lena") -> Any:
            env = {**os.environ, "GREENLIGHT_URL": up.board, "GREENLIGHT_TOKEN": TOKENS[who]}
            command = [sys.executable, "-m", "greenlight.cli.main", "notify", "test", *arguments]
            return subprocess.run(command, env=env, capture_output=True, text=True)

        whole = test("--json")
        assert whole.returncode == 1, whole.stderr
        found = {it["destination"]: (it["outcome"], it["reason"]) for it in json.loads(whole.stdout)["results"]}
        assert found == {"mail": ("sent", None), "audit": ("failed", "it answered 503")}
        one = test("mail")
        assert (one.returncode, "sent" in one.stdout) == (0, True), one.stderr
        assert "There is nothing to do" in text_of(mail.all[-1])
        none = test("nowhere")
        assert (none.returncode, "no such destination" in none.stdout) == (1, True)
    finally:
        up.stop()


def test_a_test_that_no_person_asked_for_sends_nothing(tmp_path: Path, mail: Mail, hook: Webhook) -> None:
    """Whoever reaches the Broker can post its event, with any name in it; and the event of a real one may come twice."""
    prepared(tmp_path, mail, hook)
    shop = Shop(tmp_path).start()
    feedback, ledger = shop.greenlight.services["feedback"], shop.greenlight.ledger
    try:
        (forged,) = requested("forged", "lena", "audit", SystemClock().now()).emit
        feedback.handle(forged)
        assert (hook.all, results(ledger, "forged")) == ([], ([], False))
        id = shop.act("/notifications/tests", {"destination": "audit"}, who="omar")["id"]
        shop.settle()
        (real,) = (event for event in shop.watch.events if event.type == types.FEEDBACK_TEST)
        feedback.handle(real)
        ((_, body),) = hook.all
        assert json.loads(body)["data"]["reason"].startswith("omar tries the destination audit")
        assert results(ledger, id) == ([{"destination": "audit", "outcome": "sent", "reason": None}], True)
    finally:
        shop.stop()


def test_who_operates_nothing_may_test_nothing(tmp_path: Path) -> None:
    """403; and without a token 401."""
    shop = Shop(tmp_path, pipeline=PIPELINE.replace("operators: [legal, engineering]", "operators: [legal]")).start()
    try:
        assert shop.api("POST", "/notifications/tests", {}, who="dev").status_code == 403
        assert shop.api("POST", "/notifications/tests", {}).status_code == 401
        assert shop.api("POST", "/notifications/tests", {"destination": 1}, who="lena").status_code == 422
    finally:
        shop.stop()
