"""What a release contains that has to come up, and what its pods say of that."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from greenlight.deployer.rollout.pods import incomplete, new_pods, not_ready, signs, unproven
from greenlight.deployer.rollout.workloads import Workload, objects, workloads


def item(kind: str, spec: Any = None, status: Any = None, version: str = "apps/v1", **metadata: Any) -> dict[str, Any]:
    meta = {"name": "shop", "uid": "u", "generation": 1, **metadata}
    return {"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec or {}, "status": status or {}}


KNATIVE = "serving.knative.dev/v1"
TWO = {"replicas": 2}


def test_what_has_to_come_up_is_found_in_a_manifest() -> None:
    """A Kubernetes Service, a ConfigMap or a Role has nothing to come up; a Knative Service has."""
    kinds = [
        ("apps/v1", "Deployment"),
        ("v1", "Service"),
        ("v1", "ConfigMap"),
        ("rbac.authorization.k8s.io/v1", "Role"),
        ("networking.k8s.io/v1", "Ingress"),
        ("autoscaling/v2", "HorizontalPodAutoscaler"),
        (KNATIVE, "Service"),
        ("cert-manager.io/v1", "Certificate"),
    ]
    manifest = [{"apiVersion": version, "kind": kind, "metadata": {"name": "shop"}} for version, kind in kinds]
    assert workloads([None, *manifest], "here") == [
        Workload("apps/v1", "Deployment", "here", "shop"),
        Workload(KNATIVE, "Service", "here", "shop"),
        Workload("cert-manager.io/v1", "Certificate", "here", "shop"),
    ]


def test_what_is_in_a_list_is_looked_into() -> None:
    """As Kubernetes' clients do, and Helm with them: lists in lists, and typed ones whose items leave out what they are."""
    web = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    bare = {"metadata": {"name": "api", "namespace": "there"}}
    typed = {"apiVersion": "apps/v1", "kind": "DeploymentList", "items": [bare]}
    whole = {"apiVersion": "v1", "kind": "List", "items": [web, {"apiVersion": "v1", "kind": "List", "items": [typed]}]}
    assert workloads([whole], "here") == [
        Workload("apps/v1", "Deployment", "here", "web"),
        Workload("apps/v1", "Deployment", "there", "api"),
    ]
    assert list(objects([{"apiVersion": "v1", "kind": "List", "items": []}, None, "text", {"kind": "List"}])) == [
        {"kind": "List"}
    ]


def _pod(uid: str, owner: str, container: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": f"pod-{uid}", "uid": uid, "ownerReferences": [{"uid": owner}]}
    return {"metadata": meta, "status": {"containerStatuses": [{"name": "app", "ready": False, **container}]}}


def test_only_the_new_revisions_pods_count() -> None:
    """That the old ones crash is known, and why a new version is coming."""
    shop = item("Deployment", annotations={"deployment.kubernetes.io/revision": "2"})
    sets = [
        {
            "metadata": {
                "uid": f"set-{n}",
                "ownerReferences": [{"uid": "u"}],
                "annotations": {"deployment.kubernetes.io/revision": str(n)},
            }
        }
        for n in (1, 2)
    ]
    crash = {"restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    pods = [_pod("old", "set-1", crash), _pod("new", "set-2", {"state": {"running": {}}})]
    assert [pod["metadata"]["uid"] for pod in new_pods(shop, pods, sets)] == ["new"]
    assert signs(shop, pods, sets, []) == []


def test_only_what_nobody_asks_if_it_is_ready_has_to_settle() -> None:
    """Each life of a container is one of its own; what does not run, or whose pod is not known yet, has not begun."""
    owner = item("ReplicaSet", TWO, {"replicas": 1})
    pod = _pod("p", "u", {"restartCount": 2, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}})
    pod["spec"] = {"containers": [{"name": "app"}]}
    assert unproven(owner, [pod], []) == [("p/app/2", "2026-01-01T00:00:00Z")]
    assert (incomplete(owner, [], []), incomplete(owner, [pod], [])) == (True, False)
    waits = {**pod, "status": {"containerStatuses": [{"name": "app", "state": {"waiting": {}}}]}}
    assert unproven(owner, [waits], []) == [("p/app/0", None)]
    pod["spec"]["containers"][0]["readinessProbe"] = {}
    assert unproven(owner, [pod], []) == []
    assert unproven(item("Job", version="batch/v1"), [pod], []) == []


def test_a_container_between_two_crashes_still_crash_loops() -> None:
    """Else a back-off that is shorter than one's patience would never be told."""
    ended = {"terminated": {"exitCode": 3, "reason": "Error"}}
    pod = _pod("p", "u", {"restartCount": 2, "state": {"running": {}}, "lastState": ended})
    (sign,) = signs(item("ReplicaSet"), [pod], [], [])
    assert (sign.kind, sign.container) == ("crash-loop", "app")
    assert "ended with exit status 3, and was restarted 2 times" in sign.message


def test_an_argo_rollouts_new_pods_are_those_of_its_newest_hash() -> None:
    shop = item("Rollout", {}, {"currentPodHash": "b"}, "argoproj.io/v1alpha1")
    sets = [
        {"metadata": {"uid": f"set-{hash}", "ownerReferences": [{"uid": "u"}], "labels": {HASH: hash}}} for hash in "ab"
    ]
    pods = [_pod("old", "set-a", {}), _pod("new", "set-b", {})]
    assert [pod["metadata"]["uid"] for pod in new_pods(shop, pods, sets)] == ["new"]


HASH = "rollouts-pod-template-hash"


def test_pods_that_are_never_ready_are_named_with_counts() -> None:
    now = datetime(2026, 1, 1, 0, 2, 55, tzinfo=UTC)
    owner = item("ReplicaSet", TWO, {"replicas": 2})
    runs = _pod("p", "u", {"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}})
    up = _pod("q", "u", {"ready": True})
    up["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    assert not_ready(owner, [up], [], now) == ""
    told = not_ready(owner, [up, runs], [], now)
    assert told == "1 of 2 new pods are ready; pod pod-p: container app runs, not ready for 175 s"
    waits = _pod("p", "u", {"state": {"waiting": {"reason": "PodInitializing"}}})
    assert not_ready(owner, [waits], [], now).endswith("pod pod-p: container app waits: PodInitializing")
    gated = {**waits, "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False"}]}}
    assert not_ready(owner, [gated], [], now).endswith("pod pod-p: is Pending, PodScheduled False")
