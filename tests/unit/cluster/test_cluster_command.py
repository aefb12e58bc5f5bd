"""tests/cluster/cluster, as far as it can be tried without what it builds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")

FOLDER = Path(__file__).parents[2] / "cluster"


def run(home: Path, *words: str, path: str = os.defpath, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    # A home of its own: what runs on this machine is not touched.
    env = {"PATH": path, "HOME": str(home), "CLUSTER_HOME": str(home), "CLUSTER_RUN": str(home / "run")}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=env, cwd=cwd, timeout=60)


def test_what_the_machine_lacks_is_said_before_anything_is_built(tmp_path: Path) -> None:
    """Every part with what it needs."""
    done = run(tmp_path, str(FOLDER / "cluster"), "up", "knative", "dynamodb", path="/nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert "kube needs Go" in done.stderr
    assert "knative needs Go" in done.stderr
    assert "dynamodb needs Java" in done.stderr


def test_a_part_that_can_be_had_is_named_when_another_cannot(tmp_path: Path) -> None:
    """With a Java that is too old, and a Go that will do."""
    for name, says in (("go", "go version go1.26.0 linux/amd64"), ("java", 'openjdk version "11.0.2"')):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{says}'\n")
        (tmp_path / name).chmod(0o755)
    done = run(tmp_path, str(FOLDER / "cluster"), "up", "kube", "dynamodb", path=str(tmp_path))
    assert done.returncode == 1
    assert "cluster up kube\n" in done.stderr
    assert "17 or newer" in done.stderr
    assert "11.0.2" in done.stderr


def test_only_processes_with_our_mark_are_known_and_ended(tmp_path: Path) -> None:
    """Of two that do the same, started by the same process."""
    script = """
import subprocess
from kit.processes import RUN, running, start, stop
RUN.mkdir()
ours, stranger = start("ours", "sleep", "60"), subprocess.Popen(["sleep", "60"])
try:
    assert running() == {"ours": ours.pid}
    stop()
    assert ours.wait(10) == -15 and stranger.poll() is None and running() == {}
finally:
    stranger.kill()
    stranger.wait()
"""
    done = run(tmp_path, "-Bc", script, cwd=FOLDER)
    assert done.returncode == 0, done.stderr


def test_status_of_nothing_says_so(tmp_path: Path) -> None:
    """Scripts ask it before they start one."""
    done = run(tmp_path, str(FOLDER / "cluster"), "status")
    assert done.returncode == 1
    assert done.stdout.endswith("nothing runs\n")


def test_a_process_that_is_restarted_is_killed_and_is_the_same_again(tmp_path: Path) -> None:
    """With its arguments and its environment, whatever those of the command are."""
    script = """
import sys, time
from kit.processes import RUN, restart, running, start, stop
RUN.mkdir()
does = "import os, time; print(os.environ['WORD'], file=open('words', 'a'), flush=True); time.sleep(60)"
first = start("ours", sys.executable, "-c", does, env={"WORD": "kept"})
words = RUN / "words"
try:
    while not words.exists():
        time.sleep(0.01)
    again = restart("ours")
    assert first.wait(10) == -9 and running() == {"ours": again.pid}
    while words.read_text() != "kept\\nkept\\n":
        time.sleep(0.01)
    try:
        restart("none")
    except SystemExit as said:
        assert "none does not run" in str(said)
finally:
    stop()
"""
    done = run(tmp_path, "-Bc", script, cwd=FOLDER)
    assert done.returncode == 0, done.stderr
