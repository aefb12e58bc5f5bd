"""The deployer's rights in a cluster: a Role for each namespace that the pipeline file names, and no more. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from greenlight.model.policy import Pipeline, Rule

NAME = "greenlight-deployer"
LABELS = {"app.kubernetes.io/part-of": "greenlight", "app.kubernetes.io/managed-by": "greenlight-policy-rbac"}
"""What `kubectl apply --prune -l` finds those by that a later pipeline file no longer names."""

READ = ("get", "list", "watch")
WRITE = (*READ, "create", "update", "patch", "delete")

Needed = Mapping[str, Sequence[Rule]]
"""What the drivers have to be allowed, by namespace."""


def needed(pipeline: Pipeline, cluster: str) -> Needed:
    """Collect what the drivers that deploy to a cluster have to be allowed in each namespace there."""
    found: dict[str, dict[Rule, None]] = {}
    for policy in pipeline.applications.values():
        for deploy in (environment.deploy for environment in policy.environments.values()):
            if deploy.cluster == cluster and deploy.namespace is not None:
                found.setdefault(deploy.namespace, {}).update(dict.fromkeys(deploy.rules))
    return {namespace: [*found[namespace]] for namespace in sorted(found)}


def roles(needed: Needed, subject: Mapping[str, Any], also: Sequence[tuple[str, str]] = ()) -> Iterator[dict[str, Any]]:
    """Make a Role and its RoleBinding to `subject` for each namespace; `also`: more (API group, resource) of charts."""
    more: Sequence[Rule] = [(group, (resource,), WRITE) for group, resource in also]
    for namespace, own in needed.items():
        rules = [_rule(*rule) for rule in (*own, *more)]
        metadata = {"name": NAME, "namespace": namespace, "labels": dict(LABELS)}
        rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
        yield {**rbac, "kind": "Role", "metadata": metadata, "rules": rules}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME}
        yield {**rbac, "kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [dict(subject)]}


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [*resources], "verbs": [*verbs]}
