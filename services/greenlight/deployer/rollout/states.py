"""States of a release's objects, by what each kind's controller documents of its status. Pure.

One rule a kind, in RULES. A number that is absent from a status is 0; `spec.replicas` that is absent is 1. Sources:

* Deployment, StatefulSet, DaemonSet: `kubectl rollout status` (kubectl 0.36, pkg/polymorphichelpers/rollout_status.go). The
  controllers count updated pods whatever the strategy is, so that OnDelete can be distinguished from its end, too
  (StatefulSetStatus.updatedReplicas and DaemonSetStatus.updatedNumberScheduled of k8s.io/api, apps/v1).
* Job: its conditions Complete and Failed (k8s.io/api, batch/v1, JobConditionType).
* Rollout of Argo Rollouts: GetRolloutPhase (argo-rollouts 1.8, utils/rollout/rolloututil.go): generations are text, and the
  phase is the controller's.
* Service of Knative: its conditions and revision names (Knative Serving API specification, "Error Conditions and Reporting").
* Any other: kstatus (cli-utils, pkg/kstatus): observedGeneration, Stalled, Reconciling, Ready; and Available.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenlight.deployer.clusters.api import Object

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class State:
    """The state of one object. Not done and not failed: on its way, and `message` says how far."""

    done: bool
    message: str
    failed: bool = False
    silent: bool = False  # it says nothing about itself


NOT_SEEN = State(False, "its controller has not seen it yet")
NOT_OBSERVED = State(False, "its controller has not seen the change yet")


def state(item: Object) -> State:
    """Return the state of an object."""
    if item["metadata"].get("deletionTimestamp"):
        return State(False, "is being deleted")
    status: Fields = item.get("status") or {}
    if not _observed(item, status):
        return NOT_OBSERVED
    rule = RULES.get((group(item["apiVersion"]), item["kind"]), _other)
    return rule(item, item.get("spec") or {}, status)


def group(api_version: str) -> str:
    """Return the API group; empty for the core group."""
    return api_version.rpartition("/")[0]


def condition(item: Object, type: str) -> Fields | None:
    """Return the object's condition of that type."""
    conditions: Sequence[Fields] = (item.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one.get("type") == type), None)


def is_true(item: Object, type: str) -> bool:
    """Return whether the object's condition of that type is True."""
    return (condition(item, type) or {}).get("status") == "True"


def ended(item: Object) -> bool:
    """Return whether a Job has come to its end, which no later change takes back."""
    return is_true(item, "Complete") or is_true(item, "Failed")


def _observed(item: Object, status: Fields) -> bool:
    """Return whether the status is about the newest spec.

    It may be if it names no generation, or none that is a number.
    """
    seen, newest = _number(status.get("observedGeneration")), item["metadata"].get("generation", 0)
    return seen is None or seen >= newest


def _number(value: Any) -> int | None:
    """Return a generation; Argo Rollouts writes it as text, and before its version 0.10 wrote a hash there."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) else None


def _deployment(item: Object, spec: Fields, status: Fields) -> State:
    if "observedGeneration" not in status:
        return NOT_SEEN
    replicas, updated = spec.get("replicas", 1), status.get("updatedReplicas", 0)
    if spec.get("paused") and updated < replicas:
        why = f"is paused, so that its pods are not replaced: {updated} of {replicas} are new; resume it"
        return State(False, why, failed=True)
    if (condition(item, "Progressing") or {}).get("reason") == "ProgressDeadlineExceeded":
        return State(False, f"made no progress in {spec.get('progressDeadlineSeconds', 600)} s", failed=True)
    if updated < replicas:
        return State(False, f"{updated} of {replicas} pods are new")
    if status.get("replicas", 0) > updated:
        return State(False, f"{status['replicas'] - updated} old pods are still there")
    available = status.get("availableReplicas", 0)
    if available < updated:
        return State(False, f"{available} of {updated} new pods are available")
    if replicas == 0:
        return State(True, "is scaled to 0, so no pod runs")
    paused = "; it is paused" if spec.get("paused") else ""
    return State(True, f"{available} of {replicas} pods of the new revision are available{paused}")


def _stateful_set(item: Object, spec: Fields, status: Fields) -> State:
    if not status.get("observedGeneration"):
        return NOT_SEEN
    replicas, ready = spec.get("replicas", 1), status.get("readyReplicas", 0)
    rolled = status.get("updateRevision") == status.get("currentRevision")
    updated = max(status.get("updatedReplicas", 0), ready) if rolled else status.get("updatedReplicas", 0)
    strategy: Fields = spec.get("updateStrategy") or {}
    partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
    wanted = max(replicas - partition, 0)
    if strategy.get("type") == "OnDelete":
        if updated < replicas:
            return State(False, _on_delete(updated, replicas))
    elif wanted == 0 < replicas and not rolled:
        why = f"its partition {partition} keeps all of its {replicas} pods at the revision before; lower the partition"
        return State(False, why, failed=True)
    if ready < replicas:
        return State(False, f"{ready} of {replicas} pods are ready")
    if spec.get("minReadySeconds") and status.get("availableReplicas", 0) < replicas:
        return State(False, f"{status.get('availableReplicas', 0)} of {replicas} pods are available")
    if updated < wanted:
        return State(False, f"{updated} of {wanted} pods are new")
    if status.get("replicas", 0) > replicas:
        return State(False, f"{status['replicas'] - replicas} pods too many are still there")
    if replicas == 0:
        return State(True, "is scaled to 0, so no pod runs")
    kept = f"; its partition keeps {replicas - updated} at the revision before" if updated < replicas else ""
    return State(True, f"{updated} of {replicas} pods are of the new revision, {ready} are ready{kept}")


def _daemon_set(item: Object, spec: Fields, status: Fields) -> State:
    if "observedGeneration" not in status:
        return NOT_SEEN
    wanted, updated = status.get("desiredNumberScheduled", 0), status.get("updatedNumberScheduled", 0)
    if updated < wanted:
        on_delete = (spec.get("updateStrategy") or {}).get("type") == "OnDelete"
        return State(False, _on_delete(updated, wanted) if on_delete else f"{updated} of {wanted} pods are new")
    available = status.get("numberAvailable", 0)
    if wanted == 0:
        return State(True, "no node is to run it, so no pod runs")
    return State(available >= wanted, f"{available} of {wanted} new pods are available")


def _on_delete(updated: int, wanted: int) -> str:
    """Return the message for OnDelete, where pods are replaced only when they are deleted."""
    return f"{updated} of {wanted} pods are new; with OnDelete a pod is replaced only when somebody deletes it"


def _replica_set(item: Object, spec: Fields, status: Fields) -> State:
    replicas, available = spec.get("replicas", 1), status.get("availableReplicas", 0)
    if status.get("replicas", 0) > replicas:
        return State(False, f"{status['replicas'] - replicas} pods too many are still there")
    return State(available >= replicas, f"{available} of {replicas} pods are available")


def _job(item: Object, spec: Fields, status: Fields) -> State:
    if is_true(item, "Failed"):
        failed = condition(item, "Failed") or {}
        return State(False, f"failed: {failed.get('message') or failed.get('reason', '')}", failed=True)
    if is_true(item, "Complete"):
        return State(True, "has completed")
    if spec.get("suspend"):
        return State(True, "is suspended, so it does not run")
    return State(False, f"{status.get('succeeded', 0)} of {spec.get('completions', 1)} done")


def _pod(item: Object, spec: Fields, status: Fields) -> State:
    if status.get("phase") == "Failed":
        return State(False, f"failed: {status.get('message') or status.get('reason') or ''}", failed=True)
    done = status.get("phase") == "Succeeded" or is_true(item, "Ready")
    return State(done, "is ready" if done else "is not ready yet")


def _knative_service(item: Object, spec: Fields, status: Fields) -> State:
    """Judge by Knative's conditions: True is up, Unknown is on the way, False will not come up."""
    ready = condition(item, "Ready") or {}
    created, latest = status.get("latestCreatedRevisionName"), status.get("latestReadyRevisionName")
    if ready.get("status") == "True" and created == latest:
        return State(True, f"revision {latest} is ready")
    if ready.get("status") == "False":
        return State(False, f"is not ready: {ready.get('reason', '')}: {ready.get('message', '')}", failed=True)
    return State(False, f"revision {created} is not ready yet")


def _argo_rollout(item: Object, spec: Fields, status: Fields) -> State:
    """Judge by the phase.

    A canary step waits for its time or for a person, maybe for long: the Rollout is not up yet.
    """
    if "observedGeneration" not in status:
        return NOT_SEEN
    if not _workload_observed(item, status):
        return NOT_OBSERVED
    phase, message = status.get("phase"), status.get("message") or ""
    if phase == "Degraded":
        return State(False, f"is Degraded{': ' + message if message else ''}", failed=True)
    promoted = _argo_promoted(spec, status)
    if spec.get("paused") and not promoted:
        return State(False, "is paused by its spec, so that it is not rolled out; resume it", failed=True)
    if phase == "Paused" and not spec.get("paused"):
        return State(False, _argo_pause(item, spec, status, message))
    if phase == "Progressing" or (status.get("controllerPause") and not status.get("pauseConditions")):
        return State(False, f"is Progressing{': ' + message if message else ''}")
    if phase == "Healthy" or (promoted and phase in (None, "", "Paused")):
        if spec.get("replicas", 1) == 0:
            return State(True, "is scaled to 0, so no pod runs")
        counted = f"{status.get('availableReplicas', 0)} of {spec.get('replicas', 1)} pods are available"
        return State(True, f"is {'Healthy' if phase == 'Healthy' else 'promoted'}; {counted}")
    return State(False, f"its phase is {phase}" if phase else "its new pods are not promoted yet")


def _workload_observed(item: Object, status: Fields) -> bool:
    """Return whether a Rollout has seen the newest template of the Deployment that its `workloadRef` names."""
    newest = _number((item["metadata"].get("annotations") or {}).get("rollout.argoproj.io/workload-generation"))
    seen = _number(status.get("workloadObservedGeneration"))
    return newest is None or seen is None or seen == newest


def _argo_pause(item: Object, spec: Fields, status: Fields, message: str) -> str:
    steps = ((spec.get("strategy") or {}).get("canary") or {}).get("steps") or ()
    at = f" at step {status.get('currentStepIndex', 0) + 1} of {len(steps)}" if steps else ""
    why = f" ({message})" if message else ""
    name = item["metadata"]["name"]
    return f"is Paused{at}{why}, and continues when its time is over, or by `kubectl argo rollouts promote {name}`"


def _argo_promoted(spec: Fields, status: Fields) -> bool:
    """Return whether all pods are of the newest hash, and that is the stable one.

    No phase shows this before version 1.0, nor for a Rollout that is paused by its spec.
    """
    hash, replicas = status.get("currentPodHash"), spec.get("replicas", 1)
    counted = (status.get("updatedReplicas", 0), status.get("availableReplicas", 0))
    return bool(hash) and status.get("stableRS") == hash and min(counted) >= replicas


def _other(item: Object, spec: Fields, status: Fields) -> State:
    if is_true(item, "Stalled"):
        return State(False, f"is stalled: {(condition(item, 'Stalled') or {}).get('message', '')}", failed=True)
    if is_true(item, "Reconciling"):
        return State(False, f"is reconciling: {(condition(item, 'Reconciling') or {}).get('message', '')}")
    for type in ("Ready", "Available"):
        found = condition(item, type)
        if found is not None:
            done = found.get("status") == "True"
            words = " ".join(str(found[key]) for key in ("reason", "message") if found.get(key))
            return State(done, f"{type} is {found.get('status')}{': ' + words if words and not done else ''}")
    return State(True, "has no status, so nothing is proven", silent=True)


RULES: Mapping[tuple[str, str], Callable[[Object, Fields, Fields], State]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "ReplicaSet"): _replica_set,
    ("batch", "Job"): _job,
    ("", "Pod"): _pod,
    ("serving.knative.dev", "Service"): _knative_service,
    ("argoproj.io", "Rollout"): _argo_rollout,
}
"""(API group, kind) -> its rule; every other kind is asked by `_other`."""
