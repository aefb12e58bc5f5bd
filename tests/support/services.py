"""Every service as a process of its own, as in a cluster, between a real Broker and a ledger that they share."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import urllib3
import yaml

from greenlight.broker.manifests import default_folder
from greenlight.cli.commands.run import SERVICES
from greenlight.events import Event, ids, rfc3339, types
from support.cluster import Cluster
from support.flow import REPO, TOKENS, Shop, sha_of
from support.process import signed

PATIENCE = 90.0
"""Seconds that a test waits for what must come: two of the reconciler's pauses, and a slow machine."""


class Services:
    """The six services of one installation: `greenlight serve NAME` each."""

    def __init__(self, folder: Path, sink: str, ledger: str) -> None:
        """Make configuration and secrets of the shop in `folder`; `ledger` as GREENLIGHT_LEDGER has it."""
        Shop(folder).stop()
        self.folder, self._sink, self._ledger = folder, sink, ledger
        self.ports = {name: _free_port() for name in SERVICES}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._http = urllib3.PoolManager(retries=False, timeout=10.0)
        self.pushes, self.head = 0, "nothing"

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def start(self, *names: str) -> None:
        """Start them, and wait until each is ready."""
        for name in names:
            env = {
                "PORT": str(self.ports[name]),
                "K_SINK": self._sink,
                "GREENLIGHT_LEDGER": self._ledger,
                "GREENLIGHT_CONFIG": str(self.folder / "config"),
                "GREENLIGHT_DATA": str(self.folder / f"data-{name}"),
                "GREENLIGHT_SECRETS": str(self.folder / "secrets"),
            }
            command = [sys.executable, "-m", "greenlight.cli.main", "serve", name]
            with (self.folder / f"{name}.log").open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    command, env={**os.environ, **env}, stdout=log, stderr=log, start_new_session=True
                )
        for name in names:
            self.until(lambda name=name: self.ready(name), f"{name} is not ready")

    def ready(self, name: str) -> bool:
        """Return whether its readiness probe succeeds."""
        return self._get(f"{self.url(name)}{'/healthz' if name == 'webhooks' else '/readyz'}") == 200

    def kill(self, *names: str) -> None:
        """Send SIGKILL to the master and its worker alike, as when a node is lost.

        Commands that they started live on.
        """
        for name in names:
            process = self._processes.pop(name)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)

    def stop(self) -> None:
        """Send SIGTERM; each ends in order."""
        for process in self._processes.values():
            process.terminate()
        codes = {name: process.wait(60) for name, process in self._processes.items()}
        self._http.clear()
        assert set(codes.values()) <= {0}, (codes, self.logs())

    def logs(self) -> str:
        """Return the end of each log, for a test that fails."""
        return "\n".join(f"{file.name}: {file.read_text()[-1500:]}" for file in sorted(self.folder.glob("*.log")))

    def until(self, holds: Callable[[], Any], otherwise: str, *, every: Callable[[], None] | None = None) -> Any:
        """Return what `holds` returns as soon as it is true; `every` is called once a second meanwhile."""
        deadline, next_call = time.monotonic() + PATIENCE, 0.0
        while not (found := holds()):
            assert time.monotonic() < deadline, f"{otherwise}\n{self.logs()}"
            if every is not None and time.monotonic() >= next_call:
                every()
                next_call = time.monotonic() + 1
            time.sleep(0.05)
        return found

    # what senders and people do

    def send(self, kind: str, word: str) -> None:
        """Send a signed push, build, scan or approval of the commit `word`.

        Pushes follow each other, a second later each.
        """
        before = self.head
        if kind == "push":
            self.pushes, self.head = self.pushes + 1, word
        service, path, body, headers = signed(self.folder, kind, word, at=self.pushes, before=before)
        answer = self._http.request("POST", f"{self.url(service)}{path}", body=body, headers=headers)
        assert answer.status == 202, answer.data

    def commit(self, word: str) -> dict[str, Any] | None:
        """Return the commit as the board shows it; None while it is not known."""
        url = f"{self.url('board')}/api/v1/commits/{REPO}/{sha_of(word)}"
        answer = self._http.request("GET", url, headers={"Authorization": f"Bearer {TOKENS['dev']}"})
        assert answer.status in (200, 404), answer.data
        return answer.json() if answer.status == 200 else None

    def journal(self, word: str) -> list[dict[str, Any]]:
        """Return the entries about a commit, by time."""
        url = f"{self.url('board')}/api/v1/commits/{REPO}/{sha_of(word)}/journal"
        answer = self._http.request("GET", url, headers={"Authorization": f"Bearer {TOKENS['dev']}"})
        assert answer.status == 200, answer.data
        entries: list[dict[str, Any]] = answer.json()["entries"]
        return entries

    def deployment(self, word: str, environment: str) -> dict[str, Any]:
        """Return the newest deployment of a commit to an environment, as the board has it.

        It is empty while there is none.
        """
        commit = self.commit(word)
        applications = commit["applications"] if commit else {}
        found: dict[str, Any] | None = (
            applications["shop"]["environments"][environment]["deployment"] if applications else None
        )
        return found or {}

    def outcome(self, word: str, environment: str) -> str | None:
        """Return the outcome of that deployment."""
        return self.deployment(word, environment).get("outcome")

    def commands(self, word: str) -> list[tuple[str, str]]:
        """Return the arguments of each deploy command for a commit, in order: environment, deployment."""
        log = self.folder / "config" / "deployed.log"
        lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
        return [(line[0], line[2]) for line in lines if line[1] == sha_of(word)]

    def _get(self, url: str) -> int:
        try:
            return self._http.request("GET", url).status
        except urllib3.exceptions.HTTPError:
            return 0


@contextlib.contextmanager
def installed(
    cluster: Cluster, folder: Path, ledger: str, prepare: Callable[[Path], object] = lambda config: None
) -> Iterator[tuple[str, Services]]:
    """Install all of it in a namespace of the test's own.

    These are the Broker and Triggers, and Services that lead to processes here. `prepare` may change the configuration before
    anything starts.
    """
    with cluster.namespace("story") as namespace:
        services = Services(folder, cluster.broker(namespace), ledger)
        for name in SERVICES:
            cluster.service(namespace, name, services.url(name))
        knative = default_folder()
        files = [knative / "broker/100-broker.yaml", *sorted(knative.glob("triggers/[0-9]*.yaml"))]
        objects = [
            yaml.safe_load(file.read_text().replace("namespace: greenlight", f"namespace: {namespace}"))
            for file in files
        ]
        prepare(folder / "config")
        try:
            services.start(*SERVICES)
            cluster.wait_ready(*cluster.apply(*objects))
            yield namespace, services
        finally:
            services.stop()


def ping(cluster: Cluster, namespace: str) -> None:
    """Post a PingSource's event."""
    now = datetime.now(UTC)
    id = ids.derive(types.PING, rfc3339(now))
    source = f"/apis/v1/namespaces/{namespace}/pingsources/every-minute"
    cluster.post(namespace, Event.of(types.PING, id=id, source=source, time=now, data={}))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
