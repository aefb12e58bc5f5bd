"""What the deployer may touch in a cluster: a Role for each namespace that the pipeline file names, and no more. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from greenlight.model.policy import Pipeline

NAME = "greenlight-deployer"
LABELS = {"app.kubernetes.io/part-of": "greenlight", "app.kubernetes.io/managed-by": "greenlight-policy-rbac"}
"""What `kubectl apply --prune -l` finds those by that a later pipeline file no longer names."""

READ = ("get", "list", "watch")
WRITE = (*READ, "create", "update", "patch", "delete")

RULES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("", ("secrets",), WRITE),  # Helm's release records, too
    ("", ("configmaps", "services", "serviceaccounts", "persistentvolumeclaims"), WRITE),
    ("", ("pods",), (*READ, "create", "delete")),  # of Helm's hooks and tests
    ("", ("pods/log", "events", "resourcequotas"), READ),  # why something does not come up
    ("apps", ("deployments", "statefulsets", "daemonsets"), WRITE),
    ("apps", ("replicasets", "controllerrevisions"), READ),
    ("batch", ("jobs", "cronjobs"), WRITE),
    ("networking.k8s.io", ("ingresses", "networkpolicies"), WRITE),
    ("autoscaling", ("horizontalpodautoscalers",), WRITE),
    ("policy", ("poddisruptionbudgets",), WRITE),
    ("serving.knative.dev", ("services",), WRITE),
    ("serving.knative.dev", ("configurations", "routes", "revisions"), READ),
)
"""(API group, resources, verbs): the kinds of usual charts. No Role is among them, so that nobody gives himself more."""


def namespaces(pipeline: Pipeline, cluster: str) -> Sequence[str]:
    """Where in that cluster environments are deployed to by Helm."""
    environments = (env for policy in pipeline.applications.values() for env in policy.environments.values())
    configs = (env.deploy.config for env in environments if env.deploy.driver == "helm")
    return sorted({config["namespace"] for config in configs if config["cluster"] == cluster})


def roles(
    namespaces: Sequence[str], subject: Mapping[str, Any], also: Sequence[tuple[str, str]] = ()
) -> Iterator[dict[str, Any]]:
    """A Role and its RoleBinding to `subject` for each namespace; `also`: (API group, resource) that charts have besides."""
    rules = [_rule(*rule) for rule in (*RULES, *((group, (resource,), WRITE) for group, resource in also))]
    for namespace in namespaces:
        metadata = {"name": NAME, "namespace": namespace, "labels": dict(LABELS)}
        rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
        yield {**rbac, "kind": "Role", "metadata": metadata, "rules": rules}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME}
        yield {**rbac, "kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [dict(subject)]}


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [*resources], "verbs": [*verbs]}
