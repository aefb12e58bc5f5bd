"""The pods of an object's new revision: bad signs, and pods that are not ready. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from greenlight.deployer.clusters.api import Object
from greenlight.deployer.rollout.states import condition, group, is_true


@dataclass(frozen=True, slots=True)
class Sign:
    """A bad sign about an object or its pods. It is a failure once it has lasted for its kind's time."""

    kind: str  # crash-loop, image, configuration, unschedulable, refused, probe, volume, condition
    message: str
    pod: str | None = None
    container: str | None = None
    uid: str = ""


def signs(item: Object, pods: Sequence[Object], sets: Sequence[Object], events: Sequence[Object]) -> list[Sign]:
    """Return the bad signs about an object and the pods of its new revision.

    `sets` are ReplicaSets, `events` warnings.
    """
    uids = {item["metadata"].get("uid", "")}
    found = []
    if is_true(item, "ReplicaFailure"):
        why = (condition(item, "ReplicaFailure") or {}).get("message", "")
        found.append(Sign("refused", f"no pod can be made: {why}", uid=item["metadata"]["uid"]))
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
    """Return the pods of the object's present revision, not of the one before."""
    kind, status = item["kind"], item.get("status") or {}
    if kind == "Pod":
        return [pod for pod in pods if pod["metadata"]["uid"] == item["metadata"]["uid"]]
    if item["apiVersion"].startswith("serving.knative.dev/"):
        revision = status.get("latestCreatedRevisionName")
        return [pod for pod in pods if _label(pod, "serving.knative.dev/revision") == revision and revision]
    if (group(item["apiVersion"]), kind) == ("argoproj.io", "Rollout"):
        newest = status.get("currentPodHash")
        new = [one for one in sets if owned(one, item) and _label(one, "rollouts-pod-template-hash") == newest]
        return [pod for pod in pods if any(owned(pod, one) for one in new)]
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
    """Return the new pods' containers that are Ready by merely running, without a readiness probe.

    Each has what distinguishes its present life, and since when it has been running (RFC 3339; None: it is not). A
    container that crashes a moment later was Ready, and its Deployment up, until its controller notices.
    """
    if not _kept_running(item):
        return []
    found: list[tuple[str, str | None]] = []
    for pod in new_pods(item, pods, sets):
        statuses = {one["name"]: one for one in (pod.get("status") or {}).get("containerStatuses") or ()}
        for container in pod["spec"]["containers"]:
            if "readinessProbe" not in container:
                status = statuses.get(container["name"], {})
                running = (status.get("state") or {}).get("running")
                life = f"{pod['metadata']['uid']}/{container['name']}/{status.get('restartCount', 0)}"
                found.append((life, None if running is None else str(running["startedAt"])))
    return found


def incomplete(item: Object, pods: Sequence[Object], sets: Sequence[Object]) -> bool:
    """Return whether fewer new pods are known than the controller counts: the other list may be behind."""
    return _kept_running(item) and len(new_pods(item, pods, sets)) < _counted(item)


def not_ready(item: Object, pods: Sequence[Object], sets: Sequence[Object], now: datetime) -> str:
    """Return how many new pods are ready, and the state of the first unready container.

    The state is empty if all known ones are ready.
    """
    known = new_pods(item, pods, sets)
    bad = sorted((pod for pod in known if not is_true(pod, "Ready")), key=lambda pod: str(pod["metadata"]["name"]))
    if not bad or item["kind"] in ("Job", "Pod"):
        return ""
    count = f"{len(known) - len(bad)} of {max(len(known), _counted(item))} new pods are ready"
    return f"{count}; pod {bad[0]['metadata']['name']}: {_idle(bad[0], now)}"


def first_idle(item: Object, pods: Sequence[Object], sets: Sequence[Object], now: datetime | None = None) -> str:
    """Return the state of the first pod that has neither ended nor become ready; empty if there is none.

    Without `now` it has no seconds, so that it is the same until something happens.
    """
    known = [
        pod
        for pod in new_pods(item, pods, sets)
        if (pod.get("status") or {}).get("phase") in (None, "Pending", "Running") and not is_true(pod, "Ready")
    ]
    return f"pod {known[0]['metadata']['name']}: {_idle(known[0], now)}" if known else ""


def _idle(pod: Object, now: datetime | None) -> str:
    """Return the state of a pod that is not ready."""
    status: Mapping[str, Any] = pod.get("status") or {}
    statuses = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    for one in statuses:
        state: Mapping[str, Any] = one.get("state") or {}
        if one.get("ready") or (state.get("terminated") or {}).get("exitCode") == 0:
            continue
        if "running" in state:
            began = datetime.fromisoformat(state["running"]["startedAt"])
            lasts = "yet" if now is None else f"for {max((now - began).total_seconds(), 0):.0f} s"
            return f"container {one['name']} runs, not ready {lasts}"
        if "terminated" in state:
            return f"container {one['name']} ended with exit status {state['terminated'].get('exitCode')}"
        waiting = state.get("waiting") or {}
        return f"container {one['name']} waits: {waiting.get('reason') or 'it has not begun'}"
    gate: Mapping[str, Any] = next((one for one in status.get("conditions") or () if one.get("status") != "True"), {})
    why = " ".join(str(gate[name]) for name in ("type", "status", "reason", "message") if gate.get(name))
    return f"is {status.get('phase', 'Pending')}{', ' + why if why else ''}"


def _counted(item: Object) -> int:
    """Return how many pods of the present revision the object's controller counts."""
    status: Mapping[str, int] = item.get("status") or {}
    if item["kind"] == "StatefulSet" and status.get("updateRevision") == status.get("currentRevision"):
        return status.get("replicas", 0)
    names = {"DaemonSet": "updatedNumberScheduled", "ReplicaSet": "replicas"}
    return status.get(names.get(item["kind"], "updatedReplicas"), 0)


def _kept_running(item: Object) -> bool:
    """Return whether it keeps its pods running for ever."""
    return (group(item["apiVersion"]), item["kind"]) in (
        ("apps", "Deployment"),
        ("apps", "StatefulSet"),
        ("apps", "DaemonSet"),
        ("apps", "ReplicaSet"),
        ("argoproj.io", "Rollout"),
    )


def owned(item: Object, by: Object) -> bool:
    """Return whether `by` is an owner of the object."""
    uid = by["metadata"].get("uid")
    return any(owner.get("uid") == uid for owner in item["metadata"].get("ownerReferences") or ())


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
            words = waiting.get("message") or waiting["reason"]
            verb = "cannot get its image" if kind == "image" else "cannot be started"
            message = f"pod {name}: container {container['name']} {verb}: {waiting['reason']}: {words}"
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
    """Return how the container's previous life ended; empty if it has had none."""
    ended: Mapping[str, Any] = (container.get("lastState") or {}).get("terminated") or {}
    return ended


def _crash(container: Mapping[str, Any]) -> str:
    ended, restarts = _last(container), container.get("restartCount", 0)
    reason = {"OOMKilled": "OOMKilled: out of memory"}.get(ended.get("reason", ""), ended.get("reason"))
    why = f" ({reason})" if reason and reason != "Error" else ""
    code = f"ended with exit status {ended['exitCode']}{why}" if "exitCode" in ended else "ended"
    times = "once" if restarts == 1 else f"{restarts} times"
    words = f": {' '.join(ended['message'].split())[-300:]}" if ended.get("message") else ""
    return f"container {container['name']} {code}, and was restarted {times}{words}"


def _label(item: Object, name: str) -> str | None:
    found: str | None = (item["metadata"].get("labels") or {}).get(name)
    return found


def _annotation(item: Object, name: str) -> str | None:
    found: str | None = (item["metadata"].get("annotations") or {}).get(name)
    return found
