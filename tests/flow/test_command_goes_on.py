"""A deploy command and the life of Greenlight: the command runs once, and its end is known, whatever ends Greenlight."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenlight.deployer.drivers.command.ends import read_end
from greenlight.deployer.lock import TargetLock
from greenlight.lib.process import wait_for_exit
from support.flow import REPO, Shop, sha_of
from support.process import Up, signed

SOON = 60.0
"""Seconds for what takes a fraction of one on an idle machine."""


def _running(folder: Path) -> Up:
    """A Greenlight whose command for staging has begun, and waits in the pipe `hold-staging`."""
    Shop(folder).stop()
    os.mkfifo(folder / "config" / "hold-staging")
    up = Up(folder)
    for kind in ("push", "build"):
        port, path, body, headers = signed(folder, kind, "one")
        assert up.http.request("POST", getattr(up, port) + path, body=body, headers=headers).status == 202
    _until(lambda: (folder / "config" / "deployed.log").exists())
    return up


def _let_go(folder: Path) -> None:
    (folder / "config" / "hold-staging").write_text("go\n")


def _deployment(up: Up) -> dict[str, Any]:
    commit = up.get(f"/commits/{REPO}/{sha_of('one')}")
    found: dict[str, Any] = commit["applications"]["shop"]["environments"]["staging"]["deployment"]
    return found


def _starts(folder: Path) -> int:
    return len((folder / "config" / "deployed.log").read_text().splitlines())


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("ends", ["while it is down", "after the start"])
def test_after_kill_9_the_command_is_not_started_again(tmp_path: Path, ends: str) -> None:
    """Its end is taken where it was written meanwhile, and heard where it still runs."""
    up = _running(tmp_path)
    up.kill()
    parent = TargetLock(tmp_path / "data" / "deployer" / "locks" / "shop--staging.lock").holder()
    assert parent is not None
    if ends == "while it is down":
        _let_go(tmp_path)
        assert wait_for_exit(parent.pid, SOON)
        assert read_end(tmp_path / "data" / "deployer" / "ends" / "shop--staging.json") is not None
    up = Up(tmp_path)
    if ends == "after the start":
        assert _deployment(up)["outcome"] == "running"
        _let_go(tmp_path)
    _until(lambda: _deployment(up)["outcome"] == "succeeded")
    assert _starts(tmp_path) == 1
    assert up.stop() == 0


def test_sigterm_does_not_wait_for_a_command(tmp_path: Path) -> None:
    """It stops in order while the command runs on, and the next start hears of its end."""
    up = _running(tmp_path)
    assert up.stop() == 0
    assert "deliveries that were cut off" not in (tmp_path / "up.log").read_text()
    holder = TargetLock(tmp_path / "data" / "deployer" / "locks" / "shop--staging.lock").holder()
    assert holder is not None
    up = Up(tmp_path)
    _let_go(tmp_path)
    _until(lambda: _deployment(up)["outcome"] == "succeeded")
    assert _starts(tmp_path) == 1
    assert up.stop() == 0
