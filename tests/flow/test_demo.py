"""`greenlight up --demo`: the talk's story as a reader sees it, and what it leaves alone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3

from greenlight.entrypoints import demo
from greenlight.entrypoints.compose import Folders
from support.timing import PATIENCE


@contextmanager
def _demo(data: Path, *arguments: str, **env: str) -> Iterator[list[str]]:
    """A running demo, with what it has said until it only waits."""
    listen = [word for name in ("webhooks-listen", "broker-listen") for word in (f"--{name}", "127.0.0.1:0")]
    with subprocess.Popen(
        [sys.executable, "-m", "greenlight.cli.main", "up", "--demo", "--data", str(data), *listen, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    ) as process:
        guard = threading.Timer(60, process.kill)
        guard.start()
        said: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line.rstrip())
            if line.startswith("still running"):
                break
        yield said
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        guard.cancel()


def _excerpt() -> list[str]:
    """The lines that the README shows of the demo."""
    page = (Path(__file__).parents[2] / "README.md").read_text().partition("It prints, among other lines:")[2]
    lines = page.partition("Then it prints")[0].splitlines()
    return [line[4:] for line in lines if line.strip() not in ("", "...")]


def _shows(excerpt: list[str], said: list[str]) -> None:
    """In this order, whatever the commit, the deployment and the port are called."""
    assert len(excerpt) > 3
    rest = iter(said)
    for line in excerpt:
        pattern = re.sub(r"[0-9a-f]{40}|[0-9a-f]{32}|\b[0-9a-f]{7}\b|(?<=:)\d{4,5}", "\0", line)
        pattern = re.escape(pattern).replace(re.escape("\0"), "[0-9a-f]+")
        assert any(re.fullmatch(pattern, printed) for printed in rest), line


def test_the_story_of_the_talk_is_told_to_its_end(tmp_path: Path) -> None:
    """The record in the talk's form, the deployment that answers, the waterfall, what to try next; then it tidies up."""
    with _demo(tmp_path, "--listen", "127.0.0.1:0") as said:
        text = "\n".join(said)
        gates = ("circle_ci_build_done", "dependency_scan", "static_code_scan", "accessibility_check")
        for line in ('repo: "acme/hello"', 'branch: "main"', *(f'{gate}: "TRUE"' for gate in gates)):
            assert f"  {line}" in said
        assert '  approval_from_legal: "TRUE"' in said
        answers = re.search(r"(http://\S+) answers: hello, this is commit ([0-9a-f]{40})", text)
        assert answers is not None
        assert f'  commit: "{answers[2]}"' in said
        assert any("wait for approval_from_legal" in line and "━" in line for line in said)
        assert any("deploy hello/production" in line for line in said)
        assert urllib3.request("GET", answers[1]).data.decode().strip().endswith(answers[2])
        _shows(_excerpt(), said)
    try:
        urllib3.request("GET", answers[1], retries=False, timeout=2)
    except urllib3.exceptions.HTTPError:
        return
    raise AssertionError("the sample application outlived the demo")


def test_the_demo_touches_nothing_of_the_users_and_runs_on_any_address(tmp_path: Path) -> None:
    """Not the secrets that GREENLIGHT_SECRETS names; and a board that is not on loopback wants a token for reading too."""
    theirs = tmp_path / "secrets"
    theirs.mkdir()
    (theirs / "github").write_text("a secret of the user's\n")
    with _demo(tmp_path / "data", "--listen", "0.0.0.0:0", GREENLIGHT_SECRETS=str(theirs)) as said:
        assert any("answers: hello" in line for line in said)
    assert [path.name for path in theirs.iterdir()] == ["github"]


def test_tidying_up_ends_no_process_of_others(tmp_path: Path) -> None:
    """The pid that a killed demo left behind may be anybody's by now."""
    (tmp_path / "running.json").write_text(json.dumps({"pid": os.getpid(), "url": "", "sha": ""}))
    demo.clean(Folders(config=tmp_path, data=tmp_path, secrets=tmp_path))
    assert not (tmp_path / "running.json").exists()


def test_a_second_demo_in_the_same_folder_ships_its_commit_too(tmp_path: Path) -> None:
    """On top of the first one's: nothing is missing between the two."""
    for _ in range(2):
        with _demo(tmp_path, "--listen", "127.0.0.1:0") as said:
            assert said[-1].startswith("still running"), "\n".join(said)
