"""The program `helm`: where it is, the closed environment it runs in, and its command lines."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from greenlight.deployer.clusters.exec_plugin import INHERITED
from greenlight.deployer.driver import Order
from greenlight.deployer.drivers.helm import post_renderer, release
from greenlight.deployer.lock import TargetLock
from greenlight.lib.clock import Clock
from greenlight.lib.files import make_folder
from greenlight.lib.process import Process, Start


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
            "GOGC": "400",  # Helm ends soon: collecting garbage at each doubling took a quarter of its CPU time
            "GOMEMLIMIT": "256MiB",  # from here on it collects more often
            "KUBECACHEDIR": str(homes[0] / "kube"),  # without a place for it, the cluster's kinds are read twice
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

    def prepare(
        self, arguments: Sequence[str], cluster: Mapping[str, str], folder: Path, timeout: float, lock: TargetLock
    ) -> Prepared:
        """Start what will change a release once `Prepared.go` is called, because the start of Helm takes long.

        Helm holds the target's lock as long as it runs, whatever becomes of us.
        """
        stdin, values = os.pipe()
        try:
            os.write(values, b"{")  # if we are killed, Helm reads this and no more, which is no YAML, and fails
            start = self._start(arguments, cluster, folder, timeout, [lock.descriptor])
            process = Process(replace(start, stdin=stdin))
        except BaseException:
            os.close(values)
            raise
        finally:
            os.close(stdin)
        return Prepared(process, os.fdopen(values, "wb", buffering=0), lock, self._clock.now().timestamp() + timeout)

    def _start(
        self, arguments: Sequence[str], cluster: Mapping[str, str], folder: Path, timeout: float, keep: Sequence[int]
    ) -> Start:
        assert self._path is not None, "missing() is asked before"
        env = {**self.environment, **cluster}
        return Start([self._path, *arguments], env, folder, folder / "helm.log", timeout, self.grace, keep)


class Prepared:
    """A Helm that has started. It waits for the end of its values, and until then it changes nothing."""

    def __init__(self, process: Process, values: BinaryIO, lock: TargetLock, until: float) -> None:
        """Hold the other end of `values`, which Helm reads; `until`, in seconds since 1970, is when its time is over."""
        self._process, self._values, self._lock, self._until = process, values, lock, until

    def go(self, deployment: str) -> Process:
        """Let it change the release for a deployment."""
        self._lock.name(self._process.pid, deployment, self._until)
        self._process.on_end(self._lock.release)
        with contextlib.suppress(BrokenPipeError), self._values:  # if it has ended already, its output says why
            self._values.write(b"}")
        return self._process

    def drop(self) -> None:
        """End it without any change."""
        self._values.close()
        self._process.cancel("it was not needed")


def upgrade_arguments(
    order: Order, chart: Path, marks: Mapping[str, str], timeout: float, *, force: bool, keep: Sequence[str]
) -> Sequence[str]:
    """Return the arguments that install or upgrade the order's release, with `values.json` of the folder Helm runs in.

    Without --wait: the rollout is proven here. Without a limit of the history: old revisions are deleted afterwards.
    Without Helm's own validation by the cluster's OpenAPI documents, because it only asks them whether the API server
    validates by itself, which it does for everything that is applied. Helm reads all values, also those of its standard
    input, before it changes anything. `marks` become labels of the revision; `force` takes fields that others have set;
    `keep` are the arguments by which other fields stay as they are.
    """
    config = order.config
    labels = ",".join(f"{release.OURS}{name}={value}" for name, value in marks.items())
    return [
        *("upgrade", "--install", "--namespace", config["namespace"], "--reset-values", "--history-max", "0"),
        *("--timeout", f"{timeout:.0f}s", "--hide-notes", "--labels", labels, "--server-side=true"),
        "--disable-openapi-validation",
        *(["--force-conflicts"] if force else []),
        *keep,
        *("--description", f"greenlight: {order.repo}@{order.sha[:12]}, deployment {order.deployment}"),
        *("-f", "values.json", "-f", "-", "--", config["release"], str(chart)),
    ]


def test_arguments(order: Order, timeout: float) -> Sequence[str]:
    """Return the arguments that run the release's tests."""
    config = order.config
    return ["test", "--namespace", config["namespace"], "--timeout", f"{timeout:.0f}s", "--", config["release"]]
