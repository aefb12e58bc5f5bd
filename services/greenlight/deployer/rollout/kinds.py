"""The places of a manifest's objects on the API server.

Each is in the collection of its kind, asked for once where it is unknown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from greenlight.deployer.clusters.api import Api
from greenlight.deployer.clusters.refusals import NotFound

_KNOWN: Mapping[tuple[str, str], str] = {
    ("v1", "ConfigMap"): "configmaps",
    ("v1", "PersistentVolumeClaim"): "persistentvolumeclaims",
    ("v1", "Pod"): "pods",
    ("v1", "Secret"): "secrets",
    ("v1", "Service"): "services",
    ("v1", "ServiceAccount"): "serviceaccounts",
    ("apps/v1", "DaemonSet"): "daemonsets",
    ("apps/v1", "Deployment"): "deployments",
    ("apps/v1", "ReplicaSet"): "replicasets",
    ("apps/v1", "StatefulSet"): "statefulsets",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "horizontalpodautoscalers",
    ("batch/v1", "CronJob"): "cronjobs",
    ("batch/v1", "Job"): "jobs",
    ("networking.k8s.io/v1", "Ingress"): "ingresses",
    ("networking.k8s.io/v1", "NetworkPolicy"): "networkpolicies",
    ("policy/v1", "PodDisruptionBudget"): "poddisruptionbudgets",
    ("rbac.authorization.k8s.io/v1", "Role"): "roles",
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): "rolebindings",
    ("serving.knative.dev/v1", "Service"): "services",
}
"""Kinds of usual charts, all of them inside namespaces: no question is spent on these."""


class Kinds:
    """The kinds of one cluster, for one deployment: they may have changed for the next."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: dict[tuple[str, str], tuple[str, bool] | None] = {
            key: (plural, True) for key, plural in _KNOWN.items()
        }

    def collection(self, api_version: str, kind: str, namespace: str) -> str | None:
        """Return the path of the collection in which objects of that kind are. None: the cluster has no such kind."""
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        if (api_version, kind) not in self._known:
            self._known[api_version, kind] = self._discovered(root, kind)
        found = self._known[api_version, kind]
        if found is None:
            return None
        plural, namespaced = found
        return f"{root}{f'/namespaces/{namespace}' if namespaced else ''}/{plural}"

    def _discovered(self, root: str, kind: str) -> tuple[str, bool] | None:
        with contextlib.suppress(NotFound):
            for resource in self._api.get(root)["resources"]:
                if resource["kind"] == kind and "/" not in resource["name"]:
                    return resource["name"], resource["namespaced"]
        return None
