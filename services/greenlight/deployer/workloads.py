"""What a release contains that has to come up, and what its objects say of that. Pure.

The rules for Deployment, StatefulSet and DaemonSet are those of `kubectl rollout status` (kubectl 0.36, polymorphichelpers); a
number that is absent from a status is 0, and absent from a spec 1. Knative's are its conditions; other kinds' are the
conventions of kstatus: observedGeneration, Ready or Available, Stalled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenlight.deployer.access import Object

BUILT_IN = {
    ("apps/v1", "Deployment"): "deployments",
    ("apps/v1", "StatefulSet"): "statefulsets",
    ("apps/v1", "DaemonSet"): "daemonsets",
    ("apps/v1", "ReplicaSet"): "replicasets",
    ("batch/v1", "Job"): "jobs",
    ("v1", "Pod"): "pods",
    ("serving.knative.dev/v1", "Service"): "services",
}
"""The kinds that have to come up, and their collections. Kinds of other groups are asked for (see `custom`)."""

_OF_KUBERNETES = ("k8s.io", "apps", "batch", "autoscaling", "policy", "extensions")
"""Groups, or ends of groups, of Kubernetes itself: what is not in BUILT_IN has nothing to come up."""


@dataclass(frozen=True, slots=True)
class Workload:
    """An object of the release that has to come up."""

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class State:
    """Where one object stands. Not done and not failed: on its way, and `message` says how far."""

    done: bool
    message: str
    failed: bool = False
    silent: bool = False  # it says nothing about itself


@dataclass(frozen=True, slots=True)
class Sign:
    """Something bad about an object or its pods. It is a failure once it has lasted for its kind's time."""

    kind: str  # crash-loop, image, configuration, unschedulable, refused, probe, volume, condition
    message: str
    pod: str | None = None
    container: str | None = None
    uid: str = ""


def custom(api_version: str) -> bool:
    """Whether an object of that apiVersion is of somebody's own kind, whose conditions are looked at."""
    group = api_version.rpartition("/")[0]
    return bool(group) and not any(group == own or group.endswith("." + own) for own in _OF_KUBERNETES)


def workloads(documents: Iterable[Any], namespace: str) -> list[Workload]:
    """The objects of a manifest that have to come up; `namespace` is theirs where they name none."""
    found = []
    for item in documents:
        if not isinstance(item, dict) or "kind" not in item:
            continue
        version, meta = str(item.get("apiVersion", "")), item.get("metadata") or {}
        if (version, item["kind"]) in BUILT_IN or custom(version):
            found.append(Workload(version, item["kind"], meta.get("namespace") or namespace, str(meta.get("name"))))
    return found


def state(item: Object) -> State:
    """Where an object stands."""
    status: Mapping[str, Any] = item.get("status") or {}
    seen, wanted = status.get("observedGeneration"), item["metadata"].get("generation", 0)
    if isinstance(seen, int) and seen < wanted:
        return State(False, "its controller has not seen the change yet")
    of = _RULES.get(item["kind"]) if (item["apiVersion"], item["kind"]) in BUILT_IN else None
    return _custom(item, status) if of is None else of(item, item.get("spec") or {}, status)


def signs(item: Object, pods: Sequence[Object], sets: Sequence[Object], events: Sequence[Object]) -> list[Sign]:
    """What is bad about an object and the pods of its new revision. `sets` are ReplicaSets, `events` warnings."""
    uids = {item["metadata"].get("uid", "")}
    found = []
    refused = condition(item, "ReplicaFailure")
    if refused is not None and refused.get("status") == "True":
        found.append(Sign("refused", f"no pod can be made: {refused.get('message', '')}", uid=item["metadata"]["uid"]))
    uids |= {one["metadata"]["uid"] for one in sets if owned(one, item)}
    mine = new_pods(item, pods, sets)
    for event in events:
        if event.get("reason") == "FailedCreate" and event["involvedObject"].get("uid") in uids and not mine:
            found.append(
                Sign("refused", f"no pod can be made: {event.get('message', '')}", uid=item["metadata"]["uid"])
            )
            break
    for pod in mine:
        found += _pod_signs(
            pod, [event for event in events if event["involvedObject"].get("uid") == pod["metadata"]["uid"]]
        )
    return found


def new_pods(item: Object, pods: Sequence[Object], sets: Sequence[Object]) -> list[Object]:
    """The pods of what the object is now, not of what it was before."""
    kind, status = item["kind"], item.get("status") or {}
    if kind == "Pod":
        return [pod for pod in pods if pod["metadata"]["uid"] == item["metadata"]["uid"]]
    if item["apiVersion"].startswith("serving.knative.dev/"):
        revision = status.get("latestCreatedRevisionName")
        return [pod for pod in pods if _label(pod, "serving.knative.dev/revision") == revision and revision]
    if kind == "Deployment":
        current = _annotation(item, "deployment.kubernetes.io/revision")
        new = [
            one for one in sets if owned(one, item) and _annotation(one, "deployment.kubernetes.io/revision") == current
        ]
        return [pod for pod in pods if any(owned(pod, one) for one in new)]
    mine = [pod for pod in pods if owned(pod, item)]
    if kind == "StatefulSet":
        return [pod for pod in mine if _label(pod, "controller-revision-hash") == status.get("updateRevision")]
    if kind == "DaemonSet":
        template = _annotation(item, "deprecated.daemonset.template.generation")
        return mine if template is None else [pod for pod in mine if _label(pod, "pod-template-generation") == template]
    return mine


def unproven(item: Object, pods: Sequence[Object], sets: Sequence[Object]) -> list[tuple[str, str | None]]:
    """The containers of the new pods that are Ready by merely running, as nobody asks them: what tells one life from the
    next, and since when it has been running (RFC 3339; None: it is not). One that crashes a moment later was Ready, and its
    Deployment up, until its controller hears of it."""
    if (item["apiVersion"], item["kind"]) not in _KEPT_RUNNING:
        return []
    known = new_pods(item, pods, sets)
    found: list[tuple[str, str | None]] = []
    if len(known) < _wanted(item):
        found.append((item["metadata"]["uid"], None))  # the pods are told by another list, which may be a moment behind
    for pod in known:
        told = {one["name"]: one for one in (pod.get("status") or {}).get("containerStatuses") or ()}
        for container in pod["spec"]["containers"]:
            if "readinessProbe" not in container:
                status = told.get(container["name"], {})
                running = (status.get("state") or {}).get("running")
                life = f"{pod['metadata']['uid']}/{container['name']}/{status.get('restartCount', 0)}"
                found.append((life, None if running is None else str(running["startedAt"])))
    return found


def _wanted(item: Object) -> int:
    """How many pods of what it is now the object's controller says there are."""
    status: Mapping[str, int] = item.get("status") or {}
    if item["kind"] == "StatefulSet" and status.get("updateRevision") == status.get("currentRevision"):
        return status.get("replicas", 0)
    names = {"DaemonSet": "updatedNumberScheduled", "ReplicaSet": "replicas"}
    return status.get(names.get(item["kind"], "updatedReplicas"), 0)


def owned(item: Object, by: Object) -> bool:
    """Whether `by` is an owner of the object."""
    uid = by["metadata"].get("uid")
    return any(owner.get("uid") == uid for owner in item["metadata"].get("ownerReferences") or ())


def condition(item: Object, type: str) -> Mapping[str, Any] | None:
    """The object's condition of that type."""
    conditions: Sequence[Mapping[str, Any]] = (item.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one.get("type") == type), None)


def _deployment(item: Object, spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    if spec.get("paused"):
        return State(False, "is paused, so that nobody rolls it out; resume it", failed=True)
    if "observedGeneration" not in status:
        return State(False, "its controller has not seen it yet")
    late = condition(item, "Progressing")
    if late is not None and late.get("reason") == "ProgressDeadlineExceeded":
        return State(False, f"made no progress in {spec.get('progressDeadlineSeconds', 600)} s", failed=True)
    replicas, updated = spec.get("replicas", 1), status.get("updatedReplicas", 0)
    if updated < replicas:
        return State(False, f"{updated} of {replicas} pods are new")
    if status.get("replicas", 0) > updated:
        return State(False, f"{status['replicas'] - updated} old pods are still there")
    available = status.get("availableReplicas", 0)
    if available < updated:
        return State(False, f"{available} of {updated} new pods are available")
    return State(True, f"{available} of {replicas} pods of the new revision are available")


def _stateful_set(item: Object, spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    strategy: Mapping[str, Any] = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return State(True, "replaces a pod only when somebody deletes it, so nothing is proven")
    if not status.get("observedGeneration"):
        return State(False, "its controller has not seen it yet")
    replicas, ready = spec.get("replicas", 1), status.get("readyReplicas", 0)
    partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
    updated = status.get("updatedReplicas", 0)
    if status.get("updateRevision") == status.get("currentRevision"):
        updated = max(updated, ready)
    wanted = max(replicas - partition, 0)
    if ready < replicas:
        return State(False, f"{ready} of {replicas} pods are ready")
    if updated < wanted:
        return State(False, f"{updated} of {wanted} pods are new")
    return State(True, f"{wanted} of {replicas} pods are of the new revision, {ready} are ready")


def _daemon_set(item: Object, spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        return State(True, "replaces a pod only when somebody deletes it, so nothing is proven")
    if "observedGeneration" not in status:
        return State(False, "its controller has not seen it yet")
    wanted, updated = status.get("desiredNumberScheduled", 0), status.get("updatedNumberScheduled", 0)
    if updated < wanted:
        return State(False, f"{updated} of {wanted} pods are new")
    available = status.get("numberAvailable", 0)
    return State(available >= wanted, f"{available} of {wanted} new pods are available")


def _replica_set(item: Object, spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    replicas, available = spec.get("replicas", 1), status.get("availableReplicas", 0)
    return State(available >= replicas, f"{available} of {replicas} pods are available")


def _job(item: Object, spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    failed, complete = condition(item, "Failed"), condition(item, "Complete")
    if failed is not None and failed.get("status") == "True":
        return State(False, f"failed: {failed.get('message') or failed.get('reason', '')}", failed=True)
    if spec.get("suspend"):
        return State(True, "is suspended")
    done = complete is not None and complete.get("status") == "True"
    return State(
        done, "has completed" if done else f"{status.get('succeeded', 0)} of {spec.get('completions', 1)} done"
    )


def _pod(item: Object, spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    if status.get("phase") == "Failed":
        return State(False, f"failed: {status.get('message') or status.get('reason') or ''}", failed=True)
    ready = condition(item, "Ready")
    done = status.get("phase") == "Succeeded" or (ready is not None and ready.get("status") == "True")
    return State(done, "is ready" if done else "is not ready yet")


def _knative(item: Object, spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    """Knative's conditions: True is there, Unknown is on the way, False will not be."""
    ready = condition(item, "Ready") or {}
    created, latest = status.get("latestCreatedRevisionName"), status.get("latestReadyRevisionName")
    if ready.get("status") == "True" and created == latest:
        return State(True, f"revision {latest} is ready")
    if ready.get("status") == "False":
        return State(False, f"is not ready: {ready.get('reason', '')}: {ready.get('message', '')}", failed=True)
    return State(False, f"revision {created} is not ready yet")


def _custom(item: Object, status: Mapping[str, Any]) -> State:
    stalled = condition(item, "Stalled")
    if stalled is not None and stalled.get("status") == "True":
        return State(False, f"is stalled: {stalled.get('message', '')}", failed=True)
    for type in ("Ready", "Available"):
        found = condition(item, type)
        if found is not None:
            done = found.get("status") == "True"
            words = " ".join(str(found[key]) for key in ("reason", "message") if found.get(key))
            return State(done, f"{type} is {found.get('status')}{': ' + words if words and not done else ''}")
    return State(True, "says nothing about itself, so nothing is proven", silent=True)


_RULES = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "ReplicaSet": _replica_set,
    "Job": _job,
    "Pod": _pod,
    "Service": _knative,
}

_KEPT_RUNNING = {(version, kind) for version, kind in BUILT_IN if version == "apps/v1"}
"""What keeps its pods running for ever."""

_WAITING = {
    "CrashLoopBackOff": "crash-loop",
    "ErrImagePull": "image",
    "ImagePullBackOff": "image",
    "ImageInspectError": "image",
    "ErrImageNeverPull": "image",
    "InvalidImageName": "image",
    "CreateContainerConfigError": "configuration",
    "CreateContainerError": "configuration",
    "RunContainerError": "configuration",
}
"""The kubelet's words for a container that waits (pkg/kubelet/kuberuntime and images of Kubernetes)."""


def _pod_signs(pod: Object, events: Sequence[Object]) -> list[Sign]:
    name, uid, status = pod["metadata"]["name"], pod["metadata"]["uid"], pod.get("status") or {}
    found = []
    unscheduled = condition(pod, "PodScheduled")
    if unscheduled is not None and unscheduled.get("reason") == "Unschedulable":
        message = f"pod {name} fits on no node: {unscheduled.get('message', '')}"
        found.append(Sign("unschedulable", message, name, uid=uid))
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    for container in containers:
        waiting = (container.get("state") or {}).get("waiting") or {}
        again = container.get("restartCount", 0) > 1 and not container.get("ready") and _last(container)
        kind = "crash-loop" if again else _WAITING.get(waiting.get("reason", ""))
        if kind == "crash-loop":
            found.append(Sign(kind, f"pod {name} crash loops: {_crash(container)}", name, container["name"], uid))
        elif kind is not None:
            said = waiting.get("message") or waiting["reason"]
            verb = "cannot have its image" if kind == "image" else "cannot be started"
            message = f"pod {name}: container {container['name']} {verb}: {waiting['reason']}: {said}"
            found.append(Sign(kind, message, name, container["name"], uid))
    reasons = {event.get("reason"): event.get("message", "") for event in events}
    if "FailedMount" in reasons and not any((one.get("state") or {}).get("running") for one in containers):
        found.append(Sign("volume", f"pod {name} cannot mount a volume: {reasons['FailedMount']}", name, uid=uid))
    for container in status.get("containerStatuses") or ():
        up = (container.get("state") or {}).get("running") is not None and container.get("started", True)
        if up and not container.get("ready") and "Unhealthy" in reasons:
            message = f"pod {name}: container {container['name']} runs, but is not ready: {reasons['Unhealthy']}"
            found.append(Sign("probe", message, name, container["name"], uid))
    return found


def _last(container: Mapping[str, Any]) -> Mapping[str, Any]:
    """How the container's life before this one ended; empty if it has had none."""
    ended: Mapping[str, Any] = (container.get("lastState") or {}).get("terminated") or {}
    return ended


def _crash(container: Mapping[str, Any]) -> str:
    ended, restarts = _last(container), container.get("restartCount", 0)
    reason = {"OOMKilled": "OOMKilled: out of memory"}.get(ended.get("reason", ""), ended.get("reason"))
    why = f" ({reason})" if reason and reason != "Error" else ""
    code = f"ended with exit status {ended['exitCode']}{why}" if "exitCode" in ended else "ended"
    times = "once" if restarts == 1 else f"{restarts} times"
    said = f": {' '.join(ended['message'].split())[-300:]}" if ended.get("message") else ""
    return f"container {container['name']} {code}, and was restarted {times}{said}"


def _label(item: Object, name: str) -> str | None:
    found: str | None = (item["metadata"].get("labels") or {}).get(name)
    return found


def _annotation(item: Object, name: str) -> str | None:
    found: str | None = (item["metadata"].get("annotations") or {}).get(name)
    return found
