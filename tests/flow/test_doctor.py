"""`greenlight doctor` on one machine: the files, and the Greenlight that runs there."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import urllib3
from click.testing import CliRunner

from greenlight.cli.main import main
from greenlight.entrypoints.doctor.findings import OK, UNKNOWN, WRONG, Finding
from support.broker import trigger
from support.flow import Shop
from support.process import Up, signed
from support.timing import PATIENCE


def _doctor(folder: Path, url: str) -> tuple[int, dict[str, list[Finding]]]:
    """Its exit code, and what it found, by what it looked at."""
    env = {"GREENLIGHT_URL": url, "GREENLIGHT_SECRETS": str(folder / "secrets"), "GREENLIGHT_LEDGER": ""}
    words = ["doctor", "--json", "--config", str(folder / "config"), "--data", str(folder / "data")]
    result = CliRunner().invoke(main, words, env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    found: dict[str, list[Finding]] = {}
    for it in json.loads(result.output)["findings"]:
        found.setdefault(it["what"], []).append(Finding(**it))
    return result.exit_code, found


def _wrong(found: dict[str, list[Finding]]) -> list[Finding]:
    return [it for each in found.values() for it in each if it.state == WRONG]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Configuration and secrets of a shop that has run."""
    Shop(tmp_path).stop()
    return tmp_path


def test_all_is_well_until_it_stops(folder: Path) -> None:
    """0 while it runs; 3 when nobody answers, because that may be meant."""
    up = Up(folder)
    code, found = _doctor(folder, up.board)
    assert (code, _wrong(found)) == (0, [])
    assert {it.state for each in found.values() for it in each} == {OK}
    assert set(found) == {"pipeline", "people", "secrets", "operators", "deploys", "running", "triggers"}
    up.stop()
    code, found = _doctor(folder, up.board)
    assert (code, _wrong(found)) == (3, [])
    assert found["running"][0].state == UNKNOWN
    assert "Start one with `greenlight up`" in found["running"][0].said


def test_what_is_missing_is_said_with_what_to_do(folder: Path) -> None:
    """Each on its own: a sender without a secret, a program that is not installed, nobody who may approve."""
    (folder / "secrets" / "gate-scan").unlink()
    pipeline = folder / "config" / "pipeline.yaml"
    text = pipeline.read_text()
    assert "run: [sh, " in text
    pipeline.write_text(text.replace("run: [sh, ", "run: [no-such-program, "))
    (folder / "config" / "people.yaml").unlink()
    code, found = _doctor(folder, "http://127.0.0.1:9")
    assert code == 1
    assert "has no secret for gate-scan, and the gate" in found["secrets"][0].said
    assert "no-such-program" in found["deploys"][0].said
    assert "Write the person there" in found["people"][0].todo
    pipeline.write_text("kind: Nothing\n")
    code, found = _doctor(folder, "http://127.0.0.1:9")
    assert code == 1
    assert "pipeline.yaml:1" in found["pipeline"][0].said


def test_feedback_that_cannot_reach_anybody_is_said(folder: Path) -> None:
    """A GitHub App without its key, a destination without its secret, and, while it runs, one that fails."""
    text = "github: {app: 1}\nnotifications:\n  destinations: {chat: , hook: {webhook: 'http://127.0.0.1:9/'}}\n"
    text += "  routes: [{to: [hook]}]\n"
    (folder / "config" / "feedback.yaml").write_text(text)
    (folder / "secrets" / "notify-hook").write_text("whsec_" + "YXVkaXQgc2VjcmV0IG9mIHRoZSB0ZXN0cyE=\n")
    up = Up(folder)
    for kind in ("push", "build"):
        _, path, body, headers = signed(folder, kind, "one")
        assert up.http.request("POST", up.webhooks + path, body=body, headers=headers).status == 202
    deadline = time.monotonic() + PATIENCE
    while not up.get("/notifications")["failing"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    code, found = _doctor(folder, up.board)
    up.stop()
    assert code == 1
    said = [it.said for it in found["feedback"]]
    assert "no file github-app" in said[0]
    assert "no file notify-chat" in said[1]
    assert "the destination hook has taken no message since" in found["notifications"][0].said
    assert "greenlight notify test hook" in found["notifications"][0].todo


def test_dead_letters_are_told(folder: Path) -> None:
    """A Trigger of the operator's own, whose subscriber is gone."""
    triggers = folder / "config" / "triggers"
    triggers.mkdir()
    own = trigger("mine", "http://127.0.0.1:9/", spec="delivery: {retry: 0}")
    (triggers / "own.yaml").write_text(own.replace("namespace: test", "namespace: greenlight"))
    up = Up(folder)
    _, path, body, headers = signed(folder, "push", "one")
    assert urllib3.request("POST", up.webhooks + path, body=body, headers=headers).status == 202
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not up.get("/dead-letters")["dead_letters"]:
        time.sleep(0.05)
    code, found = _doctor(folder, up.board)
    up.stop()
    assert code == 1
    (letters,) = found["dead letters"]
    assert "could not be delivered" in letters.said
    assert "greenlight dead-letters list" in letters.todo
