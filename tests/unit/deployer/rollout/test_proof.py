"""A release on its way up, over an API whose words the test chooses: what comes when, and what is gone by then."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from greenlight.deployer.clusters.refusals import NotFound
from greenlight.deployer.rollout.proof import Rollout, Verdict
from greenlight.lib.clock import SystemClock
from greenlight.lib.errors import Unavailable
from support.backends import PATIENCE

Object = dict[str, Any]

NAMESPACE = "/namespaces/here"
JOBS, DEPLOYMENTS = f"/apis/batch/v1{NAMESPACE}/jobs", f"/apis/apps/v1{NAMESPACE}/deployments"
EVENTS = f"/api/v1{NAMESPACE}/events"
SETS, PODS = f"/apis/apps/v1{NAMESPACE}/replicasets", f"/api/v1{NAMESPACE}/pods"


class Watched:
    """One watch: what the test says happens, in that order."""

    def __init__(self) -> None:
        self.news: queue.SimpleQueue[tuple[str, Object] | None] = queue.SimpleQueue()

    def __iter__(self) -> Iterator[tuple[str, Object]]:
        return iter(self.news.get, None)

    def close(self) -> None:
        self.news.put(None)


class Scripted:
    """An API server that lists what it was given, and then says what the test tells it."""

    def __init__(self, lists: Mapping[str, Sequence[Object]], kinds: Sequence[Object] = ()) -> None:
        self.lists, self.kinds = lists, kinds
        self.watches: dict[str, Watched] = {}

    def list(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        if path == EVENTS and query != {"fieldSelector": "involvedObject.kind=Job,reason=Completed"}:
            return {"items": [], "metadata": {"resourceVersion": "1"}}
        return {"items": self.lists.get(path, []), "metadata": {"resourceVersion": "1"}}

    def watch(self, path: str, query: Mapping[str, str], version: str) -> Watched:
        return self.watches.setdefault(path, Watched())

    def text(self, path: str, query: Mapping[str, str]) -> str:
        return ""

    def get(self, path: str) -> Object:
        if not self.kinds:
            raise NotFound(f"GET {path}", 404, "NotFound", "the server could not find the requested resource")
        return {"resources": self.kinds}


def meta(name: str) -> Object:
    return {"name": name, "namespace": "here", "uid": name, "generation": 1}


def job(*, ttl: int | None = 0, **status: Any) -> Object:
    return {"metadata": meta("load"), "spec": {"ttlSecondsAfterFinished": ttl}, "status": status}


def web(available: int) -> Object:
    status = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": available}
    return {"metadata": meta("web"), "spec": {"replicas": 1}, "status": status}


LOAD = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "load"},
    "spec": {"ttlSecondsAfterFinished": 0},
}
WEB = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
DONE = job(succeeded=1, conditions=[{"type": "Complete", "status": "True"}])
LOST = job(failed=1, conditions=[{"type": "Failed", "status": "True", "message": "no rows"}])


def end(
    api: Scripted, manifest: Sequence[Object], steps: Sequence[tuple[str, str, Object]] = (), **how: Any
) -> Verdict:
    """What the rollout comes to; each step happens after the one before was taken in."""
    deadline = datetime.now(UTC) + timedelta(seconds=how.pop("seconds", 20))
    rollout = Rollout(api, manifest, "here", deadline, SystemClock(), settle=0.05, **how)  # type: ignore[arg-type]
    found = rollout.watch(0.2)
    for path, type, item in steps:
        api.watches[path].news.put((type, item))
        found = found or rollout.watch(0.2)
    while found is None:
        found = rollout.watch(1)
    rollout.close()
    return found


GONE = [(JOBS, "MODIFIED", DONE), (JOBS, "DELETED", DONE), (DEPLOYMENTS, "MODIFIED", web(1))]


@pytest.mark.parametrize("steps", [GONE, GONE[1:]], ids=["seen to complete", "its last word is that it is complete"])
def test_a_job_that_ended_counts_though_its_ttl_removed_it(steps: Sequence[tuple[str, str, Object]]) -> None:
    api = Scripted({JOBS: [job(active=1)], DEPLOYMENTS: [web(0)]})
    assert end(api, [LOAD, WEB], steps).proven


def test_a_job_that_failed_has_failed_though_its_ttl_removed_it() -> None:
    api = Scripted({JOBS: [job(active=1)], DEPLOYMENTS: [web(0)]})
    found = end(api, [LOAD, WEB], [(JOBS, "DELETED", LOST)])
    assert (found.proven, found.reason) == (False, "Job load: failed: no rows")


def test_a_job_that_was_removed_before_anybody_looked_has_completed_if_its_controller_wrote_so() -> None:
    applied = datetime(2026, 1, 1, tzinfo=UTC)

    def completed(at: str) -> Object:
        of = {"kind": "Job", "name": "load", "namespace": "here"}
        return {"metadata": meta("event"), "reason": "Completed", "involvedObject": of, "lastTimestamp": at}

    found = end(Scripted({EVENTS: [completed("2026-01-01T00:00:05Z")]}), [LOAD], since=applied)
    assert (found.proven, found.details) == (
        True,
        "Job load: has completed, and its ttlSecondsAfterFinished removed it",
    )
    earlier = Scripted({EVENTS: [completed("2025-12-31T23:59:59Z")]})
    assert not end(earlier, [LOAD], since=applied, patience=0.2).proven


def test_a_job_that_is_made_anew_has_not_ended() -> None:
    api = Scripted({JOBS: [job(active=1)], DEPLOYMENTS: [web(0)]})
    again = [(JOBS, "DELETED", DONE), (JOBS, "ADDED", job(active=1)), (DEPLOYMENTS, "MODIFIED", web(1))]
    assert "Job load: 0 of 1 done" in end(api, [LOAD, WEB], again, seconds=1).reason


def test_what_helm_applied_and_somebody_deleted_is_named_before_the_time_is_up() -> None:
    """In a list, too."""
    found = end(Scripted({}), [{"apiVersion": "v1", "kind": "List", "items": [WEB]}], patience=0.2, seconds=600)
    assert (found.proven, "Deployment web: is not there: it was deleted" in found.reason) == (False, True), found


def test_a_kind_that_the_cluster_no_longer_has_is_the_releases_failure() -> None:
    """Named with its object and the way out; trying again would not bring it back."""
    widget = {"apiVersion": "acme.io/v1", "kind": "Widget", "metadata": {"name": "blue"}}
    found = end(Scripted({}), [widget])
    assert found.reason.startswith("Widget blue: the cluster has no kind Widget of acme.io/v1"), found
    assert "install its CustomResourceDefinition" in found.reason


def test_an_available_deployment_whose_pods_another_list_does_not_have_yet_is_waited_for_only_so_long() -> None:
    assert end(Scripted({DEPLOYMENTS: [web(1)]}), [WEB]).proven


def test_each_object_is_told_once_a_state_with_why_it_is_not_up() -> None:
    """Until it is up; a state has no seconds in it, so that it is news only where something happened."""
    running = {"name": "app", "ready": False, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
    pod = {"metadata": meta("web-1"), "spec": {"containers": []}, "status": {"containerStatuses": [running]}}
    owners = {"metadata": {**meta("set"), "ownerReferences": [{"uid": "web"}]}}
    pod["metadata"]["ownerReferences"] = [{"uid": "set"}]
    lists = {DEPLOYMENTS: [web(0)], SETS: [owners], PODS: [pod]}
    api = Scripted(lists)
    deadline = datetime.now(UTC) + timedelta(hours=1)
    rollout = Rollout(api, [WEB], "here", deadline, SystemClock(), settle=0.0)  # type: ignore[arg-type]
    told: list[str] = []
    while not told:
        assert rollout.watch(0.05) is None
        told = rollout.news()
    while told[-1].endswith("are available"):  # the pods are listed by another thread
        assert rollout.watch(0.05) is None
        told += rollout.news()
    assert told[-1] == "Deployment web: 0 of 1 new pods are available; pod web-1: container app runs, not ready yet"
    assert (rollout.watch(0.1), rollout.news()) == (None, [])
    api.watches[PODS].news.put(("MODIFIED", {**pod, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}))
    api.watches[DEPLOYMENTS].news.put(("MODIFIED", web(1)))
    found = rollout.watch(PATIENCE)
    assert found is not None
    assert rollout.news()[-1:] == ["Deployment web: 1 of 1 pods of the new revision are available"]
    rollout.close()


def test_who_waits_for_a_rollout_goes_on_as_soon_as_it_is_closed() -> None:
    """Whoever ends what is waited for closes it, such as the end of the Helm whose hooks are followed."""
    deadline = datetime.now(UTC) + timedelta(hours=1)
    rollout = Rollout(Scripted({DEPLOYMENTS: [web(0)]}), [WEB], "here", deadline, SystemClock())  # type: ignore[arg-type]
    assert rollout.watch(0.2) is None
    found: list[Verdict | None] = []
    waiting = threading.Thread(target=lambda: found.append(rollout.watch(3600)))
    waiting.start()
    rollout.close()
    waiting.join(PATIENCE)
    assert found == [None]


def test_a_cluster_that_did_not_answer_at_the_beginning_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What kinds it has is learnt then, and everything is followed."""
    kind = {"name": "widgets", "kind": "Widget", "namespaced": True}
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    api = Scripted(
        {"/apis/example.com/v1/namespaces/here/widgets": [{"metadata": meta("one"), "status": status}]}, [kind]
    )
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "one"}}
    deadline = datetime.now(UTC) + timedelta(seconds=PATIENCE)
    rollout = Rollout(api, [widget], "here", deadline, SystemClock(), settle=0.05)  # type: ignore[arg-type]
    with monkeypatch.context() as patched:
        patched.setattr(api, "get", lambda path: (_ for _ in ()).throw(Unavailable("no answer")))
        with pytest.raises(Unavailable):
            rollout.watch(1)
    found = rollout.watch(PATIENCE)
    rollout.close()
    assert found is not None
    assert found.proven, found
