"""What the objects of a release say of themselves: up, on the way, or lost. A table for each kind."""

from __future__ import annotations

from typing import Any

import pytest

from greenlight.deployer.rollout.states import state

APPS = "apps/v1"
FRESH = {"observedGeneration": 1}
DONE = {**FRESH, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


def item(kind: str, spec: Any = None, status: Any = None, version: str = APPS, **metadata: Any) -> dict[str, Any]:
    meta = {"name": "shop", "uid": "u", "generation": 1, **metadata}
    return {"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec or {}, "status": status or {}}


def said(*conditions: tuple[str, str, str]) -> dict[str, Any]:
    return {"conditions": [{"type": type, "status": status, "reason": reason} for type, status, reason in conditions]}


def told(one: dict[str, Any]) -> tuple[str, str]:
    found = state(one)
    return "failed" if found.failed else "done" if found.done else "waits", found.message


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
        (item("Deployment", {"replicas": 0}, FRESH), "done", "is scaled to 0, so no pod runs"),
        (item("Deployment", {"replicas": 0}, {**FRESH, "replicas": 2}), "waits", "2 old pods are still there"),
        (item("Deployment", TWO, DONE, generation=2), "waits", "has not seen the change yet"),
        (item("Deployment", TWO, {}), "waits", "has not seen it yet"),
        (item("Deployment", TWO, {**DONE, "updatedReplicas": 1}), "waits", "1 of 2 pods are new"),
        (item("Deployment", TWO, {**DONE, "replicas": 3}), "waits", "1 old pods are still there"),
        (item("Deployment", TWO, {**DONE, "availableReplicas": 1}), "waits", "1 of 2 new pods are available"),
        (
            item("Deployment", {**TWO, "paused": True}, {**DONE, "updatedReplicas": 1}),
            "failed",
            "1 of 2 are new; resume",
        ),
        (item("Deployment", {**TWO, "paused": True}, FRESH), "failed", "is paused"),
        (
            item("Deployment", {**TWO, "paused": True}, DONE),
            "done",
            "2 of 2 pods of the new revision are available; it is",
        ),
        (item("Deployment", {**TWO, "paused": True}, DONE, generation=2), "waits", "has not seen the change yet"),
        (item("Deployment", TWO, DONE, deletionTimestamp="2026-01-01T00:00:00Z"), "waits", "is being deleted"),
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
    found = told(one)
    assert (found[0], message in found[1]) == (verdict, True), found


CANARY = {"replicas": 4, "strategy": {"canary": {"steps": [{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}]}}}


def argo(phase: str | None, seen: Any = "7", spec: Any = None, **status: Any) -> dict[str, Any]:
    """A Rollout of generation 7 whose old pods serve, so that it is Available all the while."""
    own = {
        "conditions": [{"type": "Available", "status": "True"}],
        "observedGeneration": seen,
        "phase": phase,
        **status,
    }
    return item("Rollout", spec or CANARY, own, "argoproj.io/v1alpha1", generation=7)


@pytest.mark.parametrize(
    ("one", "verdict", "message"),
    [
        (argo("Healthy", availableReplicas=4), "done", "is Healthy; 4 of 4 pods are available"),
        (argo("Healthy", seen="6"), "waits", "has not seen the change yet"),
        (argo("Healthy", seen=6), "waits", "has not seen the change yet"),
        (argo("Healthy", seen="6f5d9c4b8"), "done", "is Healthy"),
        (argo("Progressing", message="more replicas need to be updated"), "waits", "more replicas need to be updated"),
        (
            argo("Degraded", message="RolloutAborted: metric failed"),
            "failed",
            "is Degraded: RolloutAborted: metric failed",
        ),
        (argo("Degraded", seen="6"), "waits", "has not seen the change yet"),
        (
            argo(
                "Paused", message="CanaryPauseStep", currentStepIndex=1, pauseConditions=[{"reason": "CanaryPauseStep"}]
            ),
            "waits",
            "is Paused at step 2 of 3 (CanaryPauseStep), and continues when its time is over, or by `kubectl argo rollouts",
        ),
        (argo("Paused", message="BlueGreenPause", spec={"strategy": {"blueGreen": {}}}), "waits", "(BlueGreenPause)"),
        (argo("Paused", spec={**CANARY, "paused": True}, message="manually paused"), "failed", "is paused by its spec"),
        (
            argo(
                "Paused",
                spec={"paused": True},
                currentPodHash="b",
                stableRS="b",
                updatedReplicas=1,
                availableReplicas=1,
            ),
            "done",
            "is promoted",
        ),
        (argo("Healthy", spec={"replicas": 0}), "done", "is scaled to 0"),
        (argo("Healthy", workloadObservedGeneration="2"), "done", "is Healthy"),
        (argo("Unknown"), "waits", "its phase is Unknown"),
        (item("Rollout", CANARY, {}, "argoproj.io/v1alpha1"), "waits", "has not seen it yet"),
        (argo(None, currentPodHash="b", stableRS="a", updatedReplicas=4, availableReplicas=4), "waits", "not promoted"),
        (argo(None, currentPodHash="b", stableRS="b", updatedReplicas=4, availableReplicas=4), "done", "is promoted"),
    ],
)
def test_an_argo_rollout_stands_where_its_phase_says(one: dict[str, Any], verdict: str, message: str) -> None:
    """Never where its old pods would have it: these serve all the while."""
    found = told(one)
    assert (found[0], message in found[1]) == (verdict, True), found


def test_an_argo_rollout_has_to_see_the_deployment_that_its_template_is_in() -> None:
    one = argo("Healthy", workloadObservedGeneration="2")
    one["metadata"]["annotations"] = {"rollout.argoproj.io/workload-generation": "3"}
    assert told(one) == ("waits", "its controller has not seen the change yet")


ON_DELETE = {"replicas": 3, "updateStrategy": {"type": "OnDelete"}}
NEWER = {**FRESH, "currentRevision": "a", "updateRevision": "b", "readyReplicas": 3}


def partition(kept: int) -> dict[str, Any]:
    return {"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": kept}}}


@pytest.mark.parametrize(
    ("one", "verdict", "message"),
    [
        (item("StatefulSet", ON_DELETE, {**NEWER, "updatedReplicas": 1}), "waits", "only when somebody deletes it"),
        (
            item("StatefulSet", ON_DELETE, {**NEWER, "updatedReplicas": 3}),
            "done",
            "3 of 3 pods are of the new revision",
        ),
        (item("StatefulSet", ON_DELETE, {**NEWER, "currentRevision": "b"}), "done", "3 of 3"),
        (item("StatefulSet", ON_DELETE, {}), "waits", "has not seen it yet"),
        (item("StatefulSet", partition(1), {**NEWER, "updatedReplicas": 1}), "waits", "1 of 2 pods are new"),
        (item("StatefulSet", partition(1), {**NEWER, "updatedReplicas": 2}), "done", "its partition keeps 1 at the"),
        (item("StatefulSet", partition(3), {**NEWER}), "failed", "its partition 3 keeps all of its 3 pods"),
        (item("StatefulSet", partition(9), {**NEWER, "currentRevision": "b"}), "done", "3 of 3"),
        (item("StatefulSet", {"replicas": 0}, FRESH), "done", "is scaled to 0"),
        (item("StatefulSet", {"replicas": 0}, {**FRESH, "replicas": 1}), "waits", "1 pods too many are still there"),
        (item("ReplicaSet", {"replicas": 1}, {"replicas": 3, "availableReplicas": 3}), "waits", "2 pods too many"),
        (
            item("StatefulSet", {"replicas": 3, "minReadySeconds": 30}, {**NEWER, "updatedReplicas": 3}),
            "waits",
            "0 of 3 pods are available",
        ),
        (
            item("DaemonSet", ON_DELETE, {**FRESH, "desiredNumberScheduled": 3, "numberAvailable": 3}),
            "waits",
            "0 of 3 pods are new; with OnDelete a pod is replaced only when somebody deletes it",
        ),
        (
            item(
                "DaemonSet",
                ON_DELETE,
                {**FRESH, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3},
            ),
            "done",
            "3 of 3",
        ),
        (item("DaemonSet", {}, FRESH), "done", "no node is to run it"),
        (item("Job", {"suspend": True}, {}, "batch/v1"), "done", "is suspended"),
        (
            item("Widget", {}, said(("Reconciling", "True", ""), ("Ready", "True", "")), "acme.io/v1"),
            "waits",
            "reconciling",
        ),
        (
            item("Widget", {}, {"observedGeneration": "1"}, "acme.io/v1", generation=2),
            "waits",
            "has not seen the change",
        ),
    ],
)
def test_a_strategy_that_replaces_no_pods_by_itself_proves_nothing_by_itself(
    one: dict[str, Any], verdict: str, message: str
) -> None:
    found = told(one)
    assert (found[0], message in found[1]) == (verdict, True), found
