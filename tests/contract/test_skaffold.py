"""skaffold.yaml as the real Skaffold reads it, and what it renders on a real API server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from greenlight.cli.commands.run import SERVICES
from support.cluster import Cluster, Object

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not shutil.which("skaffold"), reason="no skaffold: tests/cluster/cluster up skaffold builds it"),
]

ROOT = Path(__file__).parent.parent.parent
IMAGE = "dev.local/greenlight"
BUILT = f"{IMAGE}:of-these-sources"


def rendered(folder: Path, *words: str) -> list[Object]:
    """What Skaffold makes of an image that is built already. It asks nobody for news of itself, and keeps nothing."""
    built = folder / "built.json"
    built.write_text(json.dumps({"builds": [{"imageName": IMAGE, "tag": BUILT}]}))
    done = subprocess.run(
        ["skaffold", "render", "--offline", "--digest-source=local", f"--build-artifacts={built}", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(folder), "PATH": _with_kubectl(folder), "SKAFFOLD_UPDATE_CHECK": "false"},
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def _with_kubectl(folder: Path) -> str:
    """A PATH with kubectl, which Skaffold asks for kustomize; the cluster of plain processes has it as `kube kubectl`."""
    if shutil.which("kubectl"):
        return os.environ["PATH"]
    shim = folder / "bin" / "kubectl"
    shim.parent.mkdir(exist_ok=True)
    shim.write_text('#!/bin/sh\nexec kube kubectl "$@"\n')
    shim.chmod(0o755)
    return f"{shim.parent}{os.pathsep}{os.environ['PATH']}"


def services(objects: list[Object]) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in objects if each["apiVersion"].startswith("serving.knative.dev")}


def container(service: Object) -> dict[str, Any]:
    (found,) = service["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_what_is_rendered_runs_the_built_image_and_is_admitted(cluster: Cluster, tmp_path: Path) -> None:
    """Every Service gets the image that was built, and no label that differs from run to run: it would make a new revision."""
    objects = rendered(tmp_path)
    labels = [service["spec"]["template"]["metadata"]["labels"] for service in services(objects).values()]
    assert {each["skaffold.dev/run-id"] for each in labels} == {"static"}
    assert {name: container(service)["image"] for name, service in services(objects).items()} == dict.fromkeys(
        SERVICES, BUILT
    )
    with cluster.namespace("skaffold") as namespace:
        for one in objects:
            if one["kind"] != "Namespace":
                cluster.apply(_moved(one, namespace))


def test_production_is_rendered_by_its_profile(cluster: Cluster, tmp_path: Path) -> None:
    """As what is promoted: the published image, and nothing of the dev overlay."""
    objects = rendered(tmp_path, "--profile=production")
    assert "InMemoryChannel" not in yaml.safe_dump_all(objects)
    images = {container(service)["image"] for service in services(objects).values()}
    assert len(images) == 1
    assert images.isdisjoint({BUILT, IMAGE})


def _moved(object: Object, namespace: str) -> Object:
    """In a namespace of the test's own."""
    text = json.dumps(object).replace('"namespace": "greenlight"', f'"namespace": "{namespace}"')
    moved: Object = json.loads(text.replace(".greenlight.svc.", f".{namespace}.svc."))
    return moved
