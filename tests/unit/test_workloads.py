"""What the objects of a release say of themselves: up, on the way, or lost."""

from __future__ import annotations

from typing import Any

import pytest

from greenlight.deployer.workloads import Workload, new_pods, signs, state, unproven, workloads

APPS = "apps/v1"
FRESH = {"observedGeneration": 1}
DONE = {**FRESH, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


def item(kind: str, spec: Any = None, status: Any = None, version: str = APPS, **metadata: Any) -> dict[str, Any]:
    meta = {"name": "shop", "uid": "u", "generation": 1, **metadata}
    return {"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec or {}, "status": status or {}}


def said(*conditions: tuple[str, str, str]) -> dict[str, Any]:
    return {"conditions": [{"type": type, "status": status, "reason": reason} for type, status, reason in conditions]}


KNATIVE = "serving.knative.dev/v1"
TWO = {"replicas": 2}


@pytest.mark.parametrize(
    ("one", "verdict", "message"),
    [
        (item("Deployment", TWO, DONE), "done", "2 of 2 pods of the new revision are available"),
        (
            item("Deployment", {}, {**FRESH, "updatedReplicas": 1, "replicas": 1, "availableReplicas": 1}),
            "done",
            "1 of 1",
        ),
        (item("Deployment", {"replicas": 0}, FRESH), "done", "0 of 0"),
        (item("Deployment", TWO, DONE, generation=2), "waits", "has not seen the change yet"),
        (item("Deployment", TWO, {}), "waits", "has not seen it yet"),
        (item("Deployment", TWO, {**DONE, "updatedReplicas": 1}), "waits", "1 of 2 pods are new"),
        (item("Deployment", TWO, {**DONE, "replicas": 3}), "waits", "1 old pods are still there"),
        (item("Deployment", TWO, {**DONE, "availableReplicas": 1}), "waits", "1 of 2 new pods are available"),
        (item("Deployment", {**TWO, "paused": True}, FRESH), "failed", "is paused"),
        (
            item("Deployment", TWO, {**FRESH, **said(("Progressing", "False", "ProgressDeadlineExceeded"))}),
            "failed",
            "made no progress in 600 s",
        ),
        (item("StatefulSet", TWO, {**FRESH, "readyReplicas": 1}), "waits", "1 of 2 pods are ready"),
        (
            item("StatefulSet", TWO, {**FRESH, "readyReplicas": 2, "updatedReplicas": 1, "updateRevision": "b"}),
            "waits",
            "1 of 2 pods are new",
        ),
        (
            item(
                "StatefulSet",
                {**TWO, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
                {**FRESH, "readyReplicas": 2, "updatedReplicas": 1, "updateRevision": "b"},
            ),
            "done",
            "1 of 2 pods are of the new revision",
        ),
        (item("StatefulSet", {"updateStrategy": {"type": "OnDelete"}}), "done", "nothing is proven"),
        (
            item("DaemonSet", {}, {**FRESH, "desiredNumberScheduled": 3, "updatedNumberScheduled": 2}),
            "waits",
            "2 of 3 pods are new",
        ),
        (
            item(
                "DaemonSet",
                {},
                {**FRESH, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3},
            ),
            "done",
            "3 of 3",
        ),
        (item("Job", {}, said(("Complete", "True", "")), "batch/v1"), "done", "has completed"),
        (
            item("Job", {}, said(("Failed", "True", "BackoffLimitExceeded")), "batch/v1"),
            "failed",
            "BackoffLimitExceeded",
        ),
        (item("Job", {}, {}, "batch/v1"), "waits", "0 of 1 done"),
        (item("Service", {}, said(("Ready", "Unknown", "")), KNATIVE), "waits", "is not ready yet"),
        (item("Service", {}, said(("Ready", "False", "RevisionMissing")), KNATIVE), "failed", "RevisionMissing"),
        (
            item(
                "Service",
                {},
                {**said(("Ready", "True", "")), "latestCreatedRevisionName": "b", "latestReadyRevisionName": "a"},
                KNATIVE,
            ),
            "waits",
            "revision b is not ready yet",
        ),
        (item("Certificate", {}, said(("Ready", "False", "Issuing")), "cert-manager.io/v1"), "waits", "Issuing"),
        (
            item("Kustomization", {}, said(("Stalled", "True", "")), "kustomize.toolkit.fluxcd.io/v1"),
            "failed",
            "stalled",
        ),
        (item("PrometheusRule", {}, {}, "monitoring.coreos.com/v1"), "done", "nothing is proven"),
    ],
)
def test_an_object_is_up_on_its_way_or_lost(one: dict[str, Any], verdict: str, message: str) -> None:
    found = state(one)
    assert ("failed" if found.failed else "done" if found.done else "waits", message in found.message) == (
        verdict,
        True,
    ), found


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
    assert unproven(owner, [], []) == [("u", None)]
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
