"""The helm driver before containers that really fail: what it says, and that what ran before goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cluster import Cluster, Object
from support.helm import Helm, sha_of
from support.node import NODE, ROOT, run, until

pytestmark = pytest.mark.node

IMAGE = "dev.local/greenlight:tests"

# A container without a probe is ready as soon as it starts, also one that crashes a moment later: without minReadySeconds
# Kubernetes would take away what ran.
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}"}
spec:
  replicas: 1
  minReadySeconds: 5
  selector: {matchLabels: {app: "{{ .Release.Name }}"}}
  template:
    metadata:
      labels: {app: "{{ .Release.Name }}"}
      annotations: {sha: "{{ .Values.sha }}"}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{ .Values.container | toJson }}]
"""

SLEEPS = ["python", "-c", "import time; time.sleep(10000)"]
FINE: Object = {"name": "app", "image": IMAGE, "imagePullPolicy": "Never", "command": SLEEPS}

QUOTA: Object = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "only-one"},
    "spec": {"hard": {"pods": "1"}},
}

FAILS: dict[str, tuple[dict[str, Any], str]] = {
    "crash loop": (
        {"command": ["python", "-c", "import sys; sys.exit('no database at db:5432')"]},
        "no database at db:5432",
    ),
    "out of memory": (
        {"command": ["python", "-c", "bytearray(1 << 28)"], "resources": {"limits": {"memory": "48Mi"}}},
        "OOMKilled",
    ),
    "missing image": ({"image": "dev.local/absent:1"}, "dev.local/absent:1"),
    "missing image, never pulled": ({"image": "dev.local/absent:2"}, "dev.local/absent:2"),
    "a program that is not in the image": ({"command": ["absent-program"]}, "absent-program"),
    "probe never ready": (
        {
            "readinessProbe": {
                "periodSeconds": 1,
                "exec": {"command": ["python", "-c", "import sys; sys.exit('not yet')"]},
            }
        },
        "not yet",
    ),
}
"""By what happens: how the container differs from the one that runs, and what a person has to be told."""


@pytest.fixture(scope="module", autouse=True)
def image() -> None:
    """On the node."""
    run(NODE / "image", IMAGE, ROOT, seconds=1800)


@pytest.fixture
def helm(cluster: Cluster, tmp_path: Path) -> Iterator[Helm]:
    """A release that runs."""
    with cluster.namespace("helm") as namespace:
        helm = Helm(tmp_path, namespace, cluster)
        (helm.chart / "templates/deployment.yaml").write_text(DEPLOYMENT)
        first = helm.end(helm.order("good", values={"container": FINE}), seconds=120)
        assert first.outcome == "succeeded", first
        yield helm
        helm.driver.close()


@pytest.mark.parametrize("failure", FAILS)
def test_a_container_that_cannot_be_is_told_with_its_reason_and_what_ran_goes_on(helm: Helm, failure: str) -> None:
    """Long before the deployment's own time is over."""
    differs, told = FAILS[failure]
    if failure == "missing image":
        differs = {**differs, "imagePullPolicy": "IfNotPresent"}
    order = helm.order("bad", fence=2, values={"container": {**FINE, **differs}}, timeout="10m", patience="5s")
    end = helm.end(order, seconds=180)
    assert end.outcome == "failed", end
    assert told in f"{end.reason} {end.output}", end
    assert _serves(helm, "good")


def test_a_quota_that_is_full_is_named(helm: Helm) -> None:
    """The new pod is never made; its Deployment alone says nothing of why."""
    quota = {**QUOTA, "metadata": {**QUOTA["metadata"], "namespace": helm.namespace}}
    helm.cluster.apply(quota)
    until(lambda: helm.cluster.get(quota).get("status", {}).get("used"), "the quota counts")
    end = helm.end(helm.order("bad", fence=2, values={"container": FINE}, timeout="10m", patience="5s"), seconds=180)
    assert end.outcome == "failed", end
    assert "only-one" in f"{end.reason} {end.output}", end
    assert _serves(helm, "good")


def _serves(helm: Helm, word: str) -> bool:
    """Is there a ready pod of this commit?"""
    pods = helm.cluster.items("v1", "Pod", helm.namespace, "app=shop")
    return any(
        pod["metadata"]["annotations"]["sha"] == sha_of(word)
        and all(status["ready"] for status in pod["status"]["containerStatuses"])
        for pod in pods
        if pod["status"].get("containerStatuses")
    )
