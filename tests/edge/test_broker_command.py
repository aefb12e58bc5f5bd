"""`greenlight broker` as a process of its own: its output, the story of an event, working with dead letters."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3
from click.testing import CliRunner, Result

from greenlight.cli.main import main
from support.broker import PATIENCE, Recorder, http_server, reply

MANIFESTS = """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {{name: default, namespace: shop}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {{name: orders, namespace: shop}}
spec:
  broker: default
  filters: [{{prefix: {{type: order}}}}]
  subscriber: {{uri: "{subscriber}"}}
  delivery: {{retry: 1, backoffPolicy: exponential, backoffDelay: PT0.01S}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {{name: billing, namespace: shop}}
spec:
  broker: default
  filter: {{attributes: {{type: bill}}}}
  subscriber: {{ref: {{apiVersion: serving.knative.dev/v1, kind: Service, name: billing}}}}
"""


@dataclass
class Running:
    """One running `greenlight broker`, its log, and whom it delivers to."""

    folder: Path
    process: subprocess.Popen[str]
    ready: str
    url: str
    subscriber: Recorder

    def post(self, id: str, type: str = "order.placed", **headers: str) -> int:
        named = {"ce-specversion": "1.0", "ce-id": id, "ce-type": type, "ce-source": "/test", **headers}
        named["content-type"] = "application/json"
        return urllib3.request(
            "POST", f"{self.url}/shop/default", headers=named, body=b'{"n": 1}', retries=False
        ).status

    def __call__(self, *words: str) -> Result:
        return CliRunner().invoke(main, list(words), env={"GREENLIGHT_URL": self.url})

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json").stdout)

    def until(self, words: tuple[str, ...], holds: Any) -> Any:
        """What a command prints as JSON, once `holds` of it."""
        deadline = time.monotonic() + PATIENCE
        while not holds(found := self.json(*words)):
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
        return found

    def log(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    def answer(n: int, request: Any) -> Any:
        id = request.headers["ce-id"]
        if id.startswith("bad") and not (tmp_path / "mended").exists():
            return 503, {}, b"broken today"
        return reply(f"r-{id}", "answer") if id.startswith("ask") else (202, {}, b"")

    recorder = Recorder(answer)
    (tmp_path / "m").mkdir()
    with http_server(recorder) as subscriber, (tmp_path / "log").open("w") as log:
        (tmp_path / "m" / "all.yaml").write_text(MANIFESTS.format(subscriber=subscriber))
        command = [sys.executable, "-m", "greenlight.cli.main", "broker", "--manifests", str(tmp_path / "m")]
        command += ["--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0", "--service", f"billing={subscriber}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=dict(os.environ)) as process:
            assert process.stdout is not None
            ready = process.stdout.readline()
            url = ready.split()[-1].removesuffix("/shop/default")
            try:
                yield Running(tmp_path, process, ready, url, recorder)
            finally:
                process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0


def test_it_says_one_line_and_tells_the_story_of_an_event(running: Running) -> None:
    """Received, who wanted it and why not the others, attempts, replies."""
    assert running.ready.startswith("greenlight broker is ready, 2 Triggers: http://127.0.0.1:")
    assert running.post("ask-1") == 202
    reply = running.until(("broker", "events", "show", "r-ask-1"), lambda found: found["events"])
    assert reply["events"][0]["reply_to"]["id"] == "ask-1"
    (story,) = running.json("broker", "events", "show", "ask-1")["events"]
    orders, billing = (
        next(it for it in story["triggers"] if it["trigger"] == f"shop/{name}") for name in ("orders", "billing")
    )
    assert (orders["state"], orders["attempts"]) == ("delivered", 1)
    assert [it["id"] for it in orders["replies"]] == ["r-ask-1"]
    assert billing["state"] == "not wanted"
    assert billing["why"] == "filter type: bill does not pass it: type is 'order.placed'"
    shown = running("broker", "events", "show", "ask-1").output
    assert "shop/orders: delivered, attempts: 1" in shown
    assert "replied answer r-ask-1" in shown
    nothing = running("broker", "events", "show", "never")
    assert (nothing.exit_code, "the log has no event 'never'" in nothing.output) == (1, True)


def test_dead_letters_are_listed_shown_replayed_and_discarded(running: Running) -> None:
    """One, and many by what they have in common; a replay keeps the id and goes to its Trigger alone."""
    for id in ("bad-1", "bad-2", "bad-3", "good-1"):
        assert running.post(id) == 202
    found = running.until(("dead-letters", "list"), lambda it: len(it["dead_letters"]) == 3)["dead_letters"]
    assert {(it["event"]["id"], it["attempts"], it["code"], it["trigger"]) for it in found} == {
        (f"bad-{n}", 2, 503, "shop/orders") for n in (1, 2, 3)
    }
    dead_letter = running.json("dead-letters", "show", str(found[0]["id"]))
    assert (dead_letter["answer"], dead_letter["event"]["data"]) == ("broken today", {"n": 1})
    assert [it["number"] for it in dead_letter["failures"]] == [1]
    shown = running("dead-letters", "show", str(found[0]["id"])).output
    assert "attempt 1 at" in shown
    assert "answer: broken today" in shown

    assert running("dead-letters", "discard", str(found[0]["id"]), "--reason", "known").output == "1 discarded\n"
    again = running("dead-letters", "replay", str(found[0]["id"]))
    assert (again.exit_code, "there is no open dead letter" in again.output) == (1, True)
    assert running("dead-letters", "discard", str(found[1]["id"])).exit_code == 2, "a reason is needed"
    assert running("dead-letters", "replay").exit_code == 2, "which?"

    (running.folder / "mended").touch()
    assert running("dead-letters", "replay", "--all", "--code", "404").output == "0 replayed\n"
    assert running("dead-letters", "replay", "--all", "--trigger", "shop/orders").output == "2 replayed\n"
    assert running.json("dead-letters", "list") == {"dead_letters": []}
    stories = running.until(
        ("broker", "events", "show", found[1]["event"]["id"]),
        lambda it: [story["triggers"][1]["state"] for story in it["events"]] == ["delivered", "dead letter, replayed"],
    )
    assert stories["events"][0]["only"] == "shop/orders"
    ids = running.subscriber.ids()
    assert {ids.count(it["event"]["id"]) for it in found[1:]} == {3}


def test_edited_manifests_are_taken_up_and_wrong_ones_change_nothing(running: Running) -> None:
    """Without a restart; what is wrong is reported with its file and line."""
    file = running.folder / "m" / "all.yaml"
    text = file.read_text()
    file.write_text(text.replace("backoffDelay: PT0.01S", "backoffDelay: soon"))
    deadline = time.monotonic() + PATIENCE
    while "the edited manifests are wrong" not in running.log() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "all.yaml:13: backoffDelay: 'soon' is not an ISO 8601 duration" in running.log()
    assert running.post("1") == 202
    running.subscriber.wait(1)
    file.write_text(text.replace("type: order", "type: parcel"))
    while "the edited manifests are in force" not in running.log() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (running.post("2"), running.post("3", type="parcel.sent")) == (202, 202)
    assert running.subscriber.wait(2)[1].headers["ce-id"] == "3"


def test_metrics_have_knatives_names_and_lag_per_trigger(running: Running) -> None:
    """One delivery that works, one that dies."""
    running.post("good-1")
    running.post("bad-1")
    running.until(("dead-letters", "list"), lambda it: it["dead_letters"])
    text = urllib3.request("GET", f"{running.url}/metrics").data.decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    labels = 'kn_broker_name="default",kn_broker_namespace="shop",messaging_destination_name="trigger:orders.shop"'
    for status, count in (("202", "1.0"), ("503", "2.0")):
        name = f'kn_eventing_dispatch_duration_seconds_count{{http_response_status_code="{status}",{labels}}}'
        assert lines[name] == count
    for name in ("lag", "in_flight", "retrying", "oldest"):
        assert lines[f'greenlight_broker_{name}{{trigger="shop/orders"}}'] == "0.0"
    assert lines['greenlight_broker_dead_letters{trigger="shop/orders"}'] == "1.0"
    assert lines['greenlight_broker_retries_total{trigger="shop/orders"}'] == "1.0"
    assert lines['greenlight_broker_received_total{status="202"}'] == "2.0"
    assert float(lines["greenlight_broker_log_bytes"]) > 0
    assert urllib3.request("GET", f"{running.url}/readyz").status == 200


def test_events_of_web_pages_are_refused(running: Running) -> None:
    """403, and no Trigger gets them; its health is for all."""
    event = {"ce-specversion": "1.0", "ce-source": "/s", "ce-type": "com.example.page", "ce-id": "of a page"}
    for headers in ({"Origin": "null"}, {"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        refused = urllib3.request("POST", f"{running.url}/shop/default", headers=event | headers, retries=False)
        assert refused.status == 403
        assert refused.json()["detail"]
        assert urllib3.request("GET", f"{running.url}/metrics", headers=headers, retries=False).status == 403
        assert urllib3.request("GET", f"{running.url}/healthz", headers=headers, retries=False).status == 200
    found = urllib3.request("GET", f"{running.url}/api/v1/events?id=of%20a%20page", retries=False).json()
    assert found == {"events": []}


@pytest.mark.parametrize("path", ["/shop/default", "/healthz", "/readyz", "/metrics", "/api/v1/triggers"])
def test_a_405_says_what_is_allowed(running: Running, path: str) -> None:
    """On every path of the port."""
    answer = urllib3.request("PUT", f"{running.url}{path}", body=b"x", retries=False)
    assert answer.status == 405
    assert ("POST" if path == "/shop/default" else "GET") in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 200), ({"Origin": "http://evil.example"}, 403), ({"Host": "evil.example"}, 403)],
)
def test_operators_are_this_machine_alone(running: Running, headers: dict[str, str], status: int) -> None:
    """Not a page in a browser, nor a name that was bound to this machine."""
    answer = urllib3.request("GET", f"{running.url}/api/v1/triggers", headers=headers, retries=False)
    assert answer.status == status
    answer = urllib3.request("POST", f"{running.url}/api/v1/dead-letters/replay", body=b"where", headers=headers)
    assert answer.status == (400 if status == 200 else 403)


def _refused(*words: str) -> str:
    command = [sys.executable, "-m", "greenlight.cli.main", "broker", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=dict(os.environ))
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_what_prevents_a_start_is_reported(running: Running, tmp_path: Path) -> None:
    """Exit 2, and what to do."""
    manifests, empty = str(tmp_path / "m"), tmp_path / "empty"
    empty.mkdir()
    data = str(tmp_path / "other")
    assert "--manifests DIR --data DIR" in _refused()
    assert "there is no Broker" in _refused("--manifests", str(empty), "--data", data)
    assert "there is no service billing here" in _refused("--manifests", manifests, "--data", data)
    known = ("--manifests", manifests, "--service", "billing=http://127.0.0.1:1")
    assert f"is in use by process {running.process.pid}" in _refused(*known, "--data", str(tmp_path / "data"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert "--listen" in _refused(*known, "--data", data, "--listen", address)
    assert "NAME=http://HOST:PORT" in _refused(*known, "--data", data, "--service", "billing")
