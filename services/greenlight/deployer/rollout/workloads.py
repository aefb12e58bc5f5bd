"""The objects of a release that have to come up. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from greenlight.deployer.clusters.api import Object
from greenlight.deployer.rollout.states import group

BUILT_IN = {
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "ReplicaSet"),
    ("batch/v1", "Job"),
    ("v1", "Pod"),
    ("serving.knative.dev/v1", "Service"),
}
"""The kinds that have to come up. So have kinds of other groups (see `custom`)."""

_OF_KUBERNETES = ("k8s.io", "apps", "batch", "autoscaling", "policy", "extensions")
"""Groups, or ends of groups, of Kubernetes itself: what is not in BUILT_IN has nothing to come up."""


@dataclass(frozen=True, slots=True)
class Workload:
    """An object of the release that has to come up."""

    api_version: str
    kind: str
    namespace: str
    name: str
    expires: bool = False  # a Job that the cluster removes once it has ended: ttlSecondsAfterFinished

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def objects(documents: Iterable[Any]) -> Iterator[Object]:
    """Yield the objects of a manifest; what is in a list stands for itself, as in Kubernetes' clients.

    An item of a typed list (`kind: DeploymentList`) may leave out what it is (apimachinery, UnstructuredJSONScheme).
    """
    for document in documents:
        if not isinstance(document, dict) or "kind" not in document:
            continue
        if not isinstance(document.get("items"), list):
            yield document
            continue
        kind = str(document["kind"]).removesuffix("List")
        own = {"apiVersion": document.get("apiVersion"), "kind": kind} if kind else {}
        yield from objects({**own, **item} for item in document["items"] if isinstance(item, dict))


def workloads(documents: Iterable[Any], namespace: str) -> list[Workload]:
    """Return the objects of a manifest that have to come up; `namespace` is theirs where they name none."""
    found = []
    for item in objects(documents):
        version, meta = str(item.get("apiVersion", "")), item.get("metadata") or {}
        if (version, item["kind"]) in BUILT_IN or custom(version):
            expires = item["kind"] == "Job" and (item.get("spec") or {}).get("ttlSecondsAfterFinished") is not None
            own = meta.get("namespace") or namespace
            found.append(Workload(version, item["kind"], own, str(meta.get("name")), expires))
    return found


def custom(api_version: str) -> bool:
    """Return whether an object of that apiVersion is of a third party's kind, whose conditions are looked at."""
    own = group(api_version)
    return bool(own) and not any(own == name or own.endswith("." + name) for name in _OF_KUBERNETES)
