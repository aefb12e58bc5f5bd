"""`skaffold dev` as a developer uses it: the story ships, a changed line is served by a new revision, Ctrl-C leaves nothing."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.cluster import kubectl
from support.flow import TOKENS
from support.node import NAMESPACE, OVERLAY, ROOT, Pipeline, run, skaffold, surroundings, until

pytestmark = pytest.mark.node

BUILT = 1800.0
"""Seconds that a round of Skaffold's may take: the first builds the image, Helm included."""

WATCHES = "Watching for changes"
"""What Skaffold prints when a round has come to its end."""

TEMPLATE = Path("services/greenlight/board/templates/base.html")
LINE = "<span>All times in UTC</span>"
CHANGED = "<span>All times in UTC, changed</span>"


class Dev:
    """A running `skaffold dev`, in a process group of its own, as a terminal would start it."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            ["skaffold", "dev", "--profile=node", "--update-check=false"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._said: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait_until_it_watches(self) -> None:
        """The next round is built, applied and Ready."""
        while True:
            try:
                line = self._lines.get(timeout=BUILT)
            except queue.Empty:
                line = None
            assert line is not None, f"skaffold dev does not come to watch for changes:\n{''.join(self._said[-200:])}"
            self._said.append(line)
            if WATCHES in line:
                return

    def interrupt(self) -> None:
        """Ctrl-C, as a terminal sends it to everybody of the group; returns when all have ended."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(BUILT)
        self._end_of_output()
        until(lambda: not _is_there(self.process.pid), "everybody whom skaffold started has ended")

    def kill(self) -> None:
        """For a test that has failed."""
        if _is_there(self.process.pid):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._end_of_output()

    def _end_of_output(self) -> None:
        """Read what is left, and close it."""
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def developing(folder: Path) -> Iterator[Dev]:
    """`skaffold dev` in a checkout; whatever a failed test leaves is taken away."""
    dev = Dev(folder)
    try:
        yield dev
    finally:
        dev.kill()
        if _left():
            skaffold("delete", "--profile=node")
            until(lambda: not _left(), "nothing of it is in the cluster")


def _left() -> str:
    """The names of those objects of the overlay that the cluster has."""
    manifests = kubectl("kustomize", str(OVERLAY))
    return kubectl("get", "--filename=-", "--ignore-not-found", "--output=name", text=manifests)


def _checkout(folder: Path) -> Path:
    """A copy of the files of this checkout that git knows, as they are now, to be edited."""
    for name in run("git", "ls-files", "-z").split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def _board(pipeline: Pipeline) -> str:
    """The board's first page, as lena sees it; empty while it cannot be had."""
    answer = pipeline.request("GET", "board", "/", headers={"Authorization": f"Bearer {TOKENS['lena']}"})
    return answer.data.decode() if answer.status == 200 else ""


def _revision(service: str) -> str:
    return kubectl("-n", NAMESPACE, "get", "ksvc", service, "-o", "jsonpath={.status.latestReadyRevisionName}")


def test_a_developer_sees_a_changed_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """A commit ships before the change and after it; the changed service runs as a new revision of the new image."""
    checkout = _checkout(tmp_path / "checkout")
    (tmp_path / "pipeline").mkdir()
    with surroundings() as (door, sites), developing(checkout) as dev:
        dev.wait_until_it_watches()
        pipeline = Pipeline(tmp_path / "pipeline", door, sites)
        pipeline.facts("before")
        pipeline.shipped("before")
        until(lambda: LINE in _board(pipeline), "the board shows its page")
        first = _revision("board")

        page = checkout / TEMPLATE
        assert LINE in page.read_text()
        page.write_text(page.read_text().replace(LINE, CHANGED))
        dev.wait_until_it_watches()
        until(lambda: CHANGED in _board(pipeline), "the board shows the changed line")
        assert _revision("board") != first
        pipeline.facts("after")
        pipeline.shipped("after")

        dev.interrupt()
        assert dev.process.returncode == 0
        until(lambda: not _left(), "nothing of it is in the cluster")
