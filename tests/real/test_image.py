"""The image: what a container of it may not do and need not do, and that a build says nothing of when and where it was made."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from support.cluster import Cluster, Object
from support.node import NODE, ROOT, run

pytestmark = pytest.mark.node

OURS = 4
"""The image's layers above its base: Python's bytecode, Helm, packages, Greenlight."""

MOUNTED = ("etc", "etc/pip.conf", "run")
"""What the builder of tests/cluster/real leaves of the files that it mounts while a step runs."""

LOOK = """
import importlib.util, json, os, subprocess, sys
import botocore.session
from greenlight.cli.commands.run import SERVICES
for service in SERVICES:
    importlib.import_module(f"greenlight.{service}.app")
session = botocore.session.get_session()
for name in ("dynamodb", "eks", "s3", "sts"):
    session.create_client(name, region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
from greenlight.deployer.clusters.endpoint import ApiEndpoint, client_of
import kubernetes.config.incluster_config, kubernetes.config.kube_config
client_of(ApiEndpoint("https://127.0.0.1:9"))
files = {str(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
try:
    open("/opt/greenlight/written", "w")
except OSError as problem:
    refused = problem.strerror
print(json.dumps({
    "uid": os.getuid(),
    "refused": refused,
    "helm": subprocess.run(["helm", "version", "--short"], capture_output=True, text=True).stdout,
    "greenlight": subprocess.run(["greenlight", "--version"], capture_output=True, text=True).stdout,
    "slow": [name for name in files if name.endswith(".py") and not os.path.exists(importlib.util.cache_from_source(name))],
}))
"""


def build(name: str, *options: str) -> Path:
    """The image's archive."""
    return Path(run(NODE / "image", name, ROOT, ROOT / "Dockerfile", *options, seconds=1800).strip())


def test_a_container_is_nobody_writes_nothing_and_compiles_nothing(cluster: Cluster) -> None:
    """It runs with every right taken away and no volume, has bytecode of all that the services import, and has Helm."""
    build("dev.local/greenlight:tests")
    nobody: Object = {
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container: Object = {
        "name": "look",
        "image": "dev.local/greenlight:tests",
        "imagePullPolicy": "Never",
        "command": ["python", "-c", LOOK],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": nobody,
    }
    with cluster.namespace("image") as namespace:
        pod: Object = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "look", "namespace": namespace},
            "spec": {"restartPolicy": "Never", "containers": [container]},
        }
        cluster.apply(pod)
        done = cluster.wait(pod, lambda each: each.get("status", {}).get("phase") in ("Succeeded", "Failed"))
        assert done["status"]["phase"] == "Succeeded", done["status"]
        said = json.loads(run("kubectl", "-n", namespace, "logs", "look"))
    assert said["uid"] == 65532
    assert said["refused"] == "Read-only file system"
    assert said["helm"].startswith("v4.")
    assert said["greenlight"].startswith("greenlight, version ")
    assert said["slow"] == []


def test_two_builds_have_the_same_files() -> None:
    """To the byte, with the same owners, modes and times, though nothing was kept from the first."""
    assert contents(build("dev.local/greenlight-once:tests")) == contents(
        build("dev.local/greenlight-again:tests", "--no-cache")
    )


def contents(archive: Path) -> list[dict[str, tuple[object, ...]]]:
    """By layer and name: what there is to know of each file of ours."""
    with tarfile.open(archive) as image:
        (manifest,) = json.load(_file(image, "manifest.json"))
        found = []
        for name in manifest["Layers"][-OURS:]:
            with tarfile.open(fileobj=_file(image, name)) as layer:
                found.append({one.name: _known(layer, one) for one in layer if one.name not in MOUNTED})
        return found


def _known(layer: tarfile.TarFile, one: tarfile.TarInfo) -> tuple[object, ...]:
    digest = hashlib.sha256(_file(layer, one.name).read()).hexdigest() if one.isreg() else one.linkname
    return one.type, one.mode, one.uid, one.gid, one.mtime, one.size, digest


def _file(archive: tarfile.TarFile, name: str):  # type: ignore[no-untyped-def]
    file = archive.extractfile(name)
    assert file is not None
    return file
