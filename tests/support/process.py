"""A process of `greenlight up`, reached over HTTP: for what only a real process can show."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3

from greenlight.lib import signing
from support.flow import REPO, TOKENS, build_payload, push_payload, sha_of
from support.timing import PATIENCE


@contextmanager
def no_files_left() -> Iterator[None]:
    """Let this process open not one more file."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Up:
    """One running `greenlight up`. Ports are ephemeral; the addresses are read from what it prints."""

    def __init__(self, folder: Path, *arguments: str, timeout: float = PATIENCE, files: int | None = None) -> None:
        """Start it; `files`: how many it may open."""
        self.folder = folder
        self.started = time.perf_counter()
        self.log = (folder / "up.log").open("ab")
        self.process = subprocess.Popen(
            [
                *(("sh", "-c", f'ulimit -n {files} && exec "$@"', "sh") if files else ()),
                *(sys.executable, "-m", "greenlight.cli.main", "up"),
                *("--config", str(folder / "config"), "--data", str(folder / "data")),
                *("--listen", "127.0.0.1:0", "--webhooks-listen", "127.0.0.1:0", "--broker-listen", "127.0.0.1:0"),
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={**os.environ, "GREENLIGHT_SECRETS": str(folder / "secrets")},
        )
        self.board, self.webhooks, self.broker = self._addresses(timeout)
        self.ready_after = time.perf_counter() - self.started
        self.http = urllib3.PoolManager(retries=False, timeout=PATIENCE)

    def _addresses(self, timeout: float) -> tuple[str, str, str]:
        found: dict[str, str] = {}
        assert self.process.stdout is not None
        guard = threading.Timer(timeout, self.process.kill)
        guard.start()
        for line in self.process.stdout:
            words = line.split()
            if len(words) > 1 and words[0] in ("board", "webhooks", "broker"):
                found[words[0]] = words[1]
            if len(found) == 3:
                break
        guard.cancel()
        assert len(found) == 3, f"it did not start: {(self.folder / 'up.log').read_text()[-3000:]}"
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        return found["board"], found["webhooks"], found["broker"]

    def kill(self) -> None:
        """Send SIGKILL, as a power cut would end it."""
        self.process.send_signal(signal.SIGKILL)
        self._gone()

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal that stops it in order; return the exit code."""
        self.process.send_signal(by)
        return self._gone()

    def _gone(self) -> int:
        code = self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()
        self.http.clear()
        return code

    def get(self, path: str) -> dict[str, Any]:
        answer = self.http.request("GET", f"{self.board}/api/v1{path}")
        assert answer.status == 200, answer.data
        document: dict[str, Any] = answer.json()
        return document


def signed(
    folder: Path, kind: str, word: str, *, at: int = 0, before: str = "nothing"
) -> tuple[str, str, bytes, dict[str, str]]:
    """Return a sender's request about the commit `word`: (port's name, path, body, headers)."""
    secret = {
        name: (folder / "secrets" / name).read_text().strip().encode() for name in ("github", "circleci", "gate-scan")
    }
    sha, json_type = sha_of(word), {"Content-Type": "application/json"}
    if kind == "push":
        body = json.dumps(push_payload(word, at=at, before=before)).encode()
        headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": signing.github(secret["github"], body)}
        return "webhooks", "/webhooks/github", body, headers | json_type
    if kind == "build":
        body = json.dumps(build_payload(word, number=at + 1)).encode()
        return (
            "webhooks",
            "/webhooks/circleci",
            body,
            {"circleci-signature": signing.circleci(secret["circleci"], body)} | json_type,
        )
    if kind == "scan":
        body = json.dumps({"repo": REPO, "sha": sha, "outcome": "passed", "run": 1}).encode()
        id, stamp = f"scan-{sha}", int(time.time())
        headers = {"webhook-id": id, "webhook-timestamp": str(stamp)}
        headers["webhook-signature"] = signing.standard_webhooks(secret["gate-scan"], id, stamp, body)
        return "webhooks", "/webhooks/gates/scan", body, headers | json_type
    body = json.dumps({"application": "shop", "gate": "legal"}).encode()
    return (
        "board",
        f"/api/v1/commits/{REPO}/{sha}/approvals",
        body,
        {"Authorization": f"Bearer {TOKENS['lena']}"} | json_type,
    )
