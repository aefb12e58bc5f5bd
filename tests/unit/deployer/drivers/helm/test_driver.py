"""The driver over a Helm and an API server whose words the test chooses; tests/contract has the real ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from greenlight.deployer.driver import Order, Output
from greenlight.deployer.drivers.helm import phases
from greenlight.deployer.drivers.helm.driver import HelmDriver
from greenlight.deployer.drivers.helm.release import encoded
from greenlight.lib.clock import SystemClock
from greenlight.lib.scrub import Scrubber
from support.backends import PATIENCE

Object = dict[str, Any]

HELM = """#!/bin/sh
cat > values
printf '%s\\n' "$@" > {folder}/arguments
echo "reached the cluster with $HELM_KUBETOKEN"
while [ ! -e {folder}/applied ]; do sleep 0.02; done
printf 'Release "shop" has been upgraded.'
"""
MADE = "2026-01-01T00:00:00Z"
MIGRATE = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate}\n"
WEB = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"


class Cluster:
    """The API server, and the access to it: it has what the Helm of the test has applied by now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.available = 0

    def helm(self) -> Mapping[str, str]:
        return {"HELM_KUBETOKEN": "token-of-the-cluster"}

    def api(self) -> Any:
        return self

    def labels(self, path: str, query: Mapping[str, str]) -> Sequence[Object]:
        return [self._secret()] if (self._folder / "arguments").exists() else []

    def get(self, path: str) -> Object:
        whole = {"manifest": WEB, "hooks": [{"name": "migrate", "manifest": MIGRATE, "events": ["pre-install"]}]}
        return {**self._secret(), "data": {"release": encoded(whole)}}

    def list(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        items = {"jobs": [self._object("migrate", {})], "deployments": [self._object("web", self._status())]}
        return {"items": items.get(path.rpartition("/")[2], []), "metadata": {"resourceVersion": "1"}}

    def watch(self, path: str, query: Mapping[str, str], version: str) -> Cluster:
        return self

    def __iter__(self) -> Iterator[tuple[str, Object]]:
        """Yield nothing: the connection ends soon, so that what is there is listed again."""
        time.sleep(0.02)  # what a server takes to answer: the follower connects again at once, and would use up the CPU
        return iter(())

    def close(self) -> None:
        pass

    def _secret(self) -> Object:
        words = (self._folder / "arguments").read_text().splitlines()
        ours = dict(pair.split("=") for pair in words[words.index("--labels") + 1].split(","))
        status = "deployed" if (self._folder / "applied").exists() else "pending-install"
        now = str(int(time.time()))
        labels = {"owner": "helm", "name": "shop", "version": "1", "status": status, "createdAt": now, **ours}
        meta = {"name": "sh.helm.release.v1.shop.v1", "labels": labels, "creationTimestamp": MADE}
        return {"metadata": {**meta, "resourceVersion": "1"}}

    def _status(self) -> Object:
        return {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": self.available}

    def _object(self, name: str, status: Object) -> Object:
        meta = {"name": name, "namespace": "here", "uid": name, "generation": 1, "creationTimestamp": MADE}
        return {"metadata": meta, "spec": {"replicas": 1}, "status": status}


def test_what_helm_and_the_rollout_do_is_told_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Phases, hooks and objects by their names, and Helm's own words once their line has ended; no secret in any."""
    monkeypatch.setattr(phases, "HOOKS", 0.0)
    program, cluster = tmp_path / "helm", Cluster(tmp_path)
    program.write_text(HELM.format(folder=tmp_path))
    program.chmod(0o755)
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts/Chart.yaml").write_text("name: shop\n")
    config = {"chart": "charts", "release": "shop", "namespace": "here", "settle": "1s"}
    order = Order("d" * 32, "shop", "staging", "acme/shop", "a" * 40, 1, 0, "00-1-1-01", config, tmp_path)
    driver = HelmDriver(
        tmp_path / "state", scrub=Scrubber(), clock=SystemClock(), access=lambda *_: cluster,
        env={"GREENLIGHT_HELM": str(program), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert driver.output(order) is None
    begun = driver.apply(order)
    assert begun.outcome == "running", begun

    def printed() -> Output:
        progress = driver.watch(order, 0.05)
        assert progress.outcome == "running", progress
        found = driver.output(order)
        assert found is not None
        return found

    def eventually(text: Callable[[], str], end: str) -> None:
        until = time.monotonic() + PATIENCE
        while not text().endswith(end):
            assert time.monotonic() < until, text()

    begin = "helm upgrade shop, in namespace here\nreached the cluster with [secret]\nhook Job migrate: 0 of 1 done\n"
    eventually(
        lambda: "".join(sorted(printed().text.splitlines(keepends=True))), "".join(sorted(begin.splitlines(True)))
    )
    shown = printed().text
    (tmp_path / "applied").touch()
    rest = 'Release "shop" has been upgraded.\nrollout: waiting for Deployment web\n'
    eventually(lambda: printed().text, f"{shown}{rest}Deployment web: 0 of 1 new pods are available\n")
    shown = printed().text
    cluster.available = 1
    end = driver.watch(order, PATIENCE)
    assert end.outcome == "succeeded", end
    assert end.output == f"{shown}Deployment web: 1 of 1 pods of the new revision are available\n"
    assert end.printed == len(end.output)
    driver.close()
