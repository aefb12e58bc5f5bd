"""The program `helm`: where it is, the closed environment it runs in, and its command lines."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from greenlight.deployer.clusters.exec_plugin import INHERITED
from greenlight.deployer.driver import Order
from greenlight.deployer.drivers.helm import post_renderer, release
from greenlight.deployer.lock import TargetLock
from greenlight.lib.clock import Clock
from greenlight.lib.files import make_folder
from greenlight.lib.process import Process, Start

HISTORY = "5"
"""Revisions that Helm keeps: it reads all of them, whole, several times in every run."""


class Helm:
    """One object for the process. Nothing is set up for a deployment: no plugin, no repository, no kubeconfig."""

    def __init__(self, state: Path, clock: Clock, grace: float, env: Mapping[str, str]) -> None:
        """Keep `state`, the folder for Helm's own files, and `grace`, the seconds between SIGTERM and SIGKILL."""
        homes = [state / "home" / name for name in ("cache", "config", "data")]
        for folder in homes:
            make_folder(folder)
        self._path = env.get("GREENLIGHT_HELM") or shutil.which("helm", path=env.get("PATH"))
        self._clock, self.grace = clock, grace
        self.environment: Mapping[str, str] = {
            **{name: env[name] for name in INHERITED if name in env},
            "HELM_CACHE_HOME": str(homes[0]),
            "HELM_CONFIG_HOME": str(homes[1]),
            "HELM_DATA_HOME": str(homes[2]),
            "HELM_NO_PLUGINS": "1",
            **post_renderer.install(homes[2], env),
        }

    def missing(self) -> str | None:
        """Return why Helm cannot be run here; None if it can."""
        if self._path is not None and os.access(self._path, os.X_OK):
            return None
        where = f"GREENLIGHT_HELM names {self._path!r}, which is no program" if self._path else "it is not on the PATH"
        return f"Helm is missing: {where}; install Helm 4 (https://helm.sh/docs/intro/install/), or set GREENLIGHT_HELM"

    def run(self, arguments: Sequence[str], cluster: Mapping[str, str], folder: Path, timeout: float) -> Process:
        """Start Helm in `folder`. `cluster`: the variables by which it reaches the cluster. `timeout` in seconds."""
        return Process(self._start(arguments, cluster, folder, timeout, []))

    def upgrade(
        self,
        arguments: Sequence[str],
        cluster: Mapping[str, str],
        folder: Path,
        timeout: float,
        lock: TargetLock,
        deployment: str,
    ) -> Process:
        """Start what changes a release: Helm holds the target's lock as long as it runs, whatever becomes of us."""
        process = Process(self._start(arguments, cluster, folder, timeout, [lock.descriptor]))
        lock.name(process.pid, deployment, self._clock.now().timestamp() + timeout)
        process.on_end(lock.release)
        return process

    def _start(
        self, arguments: Sequence[str], cluster: Mapping[str, str], folder: Path, timeout: float, keep: Sequence[int]
    ) -> Start:
        assert self._path is not None, "missing() is asked before"
        env = {**self.environment, **cluster}
        return Start([self._path, *arguments], env, folder, folder / "helm.log", timeout, self.grace, keep)


def upgrade_arguments(
    order: Order, chart: Path, marks: Mapping[str, str], timeout: float, *, force: bool, keep: Sequence[str]
) -> Sequence[str]:
    """Return the arguments that install or upgrade the order's release, with `values.json` of the folder Helm runs in.

    Without --wait: the rollout is proven here. `marks` become labels of the revision; `force` takes fields that others
    have set; `keep` are the arguments by which other fields stay as they are.
    """
    config = order.config
    labels = ",".join(f"{release.OURS}{name}={value}" for name, value in marks.items())
    return [
        *("upgrade", "--install", "--namespace", config["namespace"], "--reset-values", "--history-max", HISTORY),
        *("--timeout", f"{timeout:.0f}s", "--hide-notes", "--labels", labels, "--server-side=true"),
        *(["--force-conflicts"] if force else []),
        *keep,
        *("--description", f"greenlight: {order.repo}@{order.sha[:12]}, deployment {order.deployment}"),
        *("-f", "values.json", "--", config["release"], str(chart)),
    ]


def test_arguments(order: Order, timeout: float) -> Sequence[str]:
    """Return the arguments that run the release's tests."""
    config = order.config
    return ["test", "--namespace", config["namespace"], "--timeout", f"{timeout:.0f}s", "--", config["release"]]
