"""The helm driver on a real API server, with the real Helm: what it proves, what it tells, and what a crash leaves."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import itertools
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from greenlight.deployer.driver import Busy
from greenlight.deployer.drivers.helm import live_release, release
from greenlight.deployer.drivers.helm.declaration import Helm as Declared
from greenlight.deployer.drivers.helm.program import Prepared
from greenlight.lib.clock import SystemClock
from greenlight.lib.errors import Unavailable
from greenlight.lib.process import Process
from greenlight.policy import rbac
from support.cluster import Object, kubectl
from support.helm import Helm, Line, eventually, sha_of

pytestmark = [pytest.mark.cluster, pytest.mark.helm]


# what it proves


def test_a_commit_is_installed_then_replaced_and_proven_up(helm: Helm) -> None:
    first = helm.end(helm.order("one"))
    assert first.outcome == "succeeded", first
    assert "1 of 1 pods of the new revision are available" in (first.output or "")
    assert helm.end(helm.order("two", fence=2)).outcome == "succeeded"
    assert (helm.revisions(), helm.runs()) == ([(1, "superseded"), (2, "deployed")], sha_of("two"))


def test_an_end_tells_what_the_deployment_consisted_of(helm: Helm) -> None:
    """Phase by phase without a gap, with Helm's command line and what it printed; also of one that failed."""
    end = helm.end(helm.order("one"))
    assert [part.name for part in end.parts] == ["helm upgrade", "rollout", "verify"]
    assert [before.ended for before in end.parts[:-1]] == [after.began for after in end.parts[1:]]
    assert all(part.began <= part.ended for part in end.parts)
    upgrade = end.parts[0]
    assert upgrade.cmd.startswith("helm upgrade --install --namespace ")
    assert "has been upgraded" in upgrade.output or "STATUS: deployed" in upgrade.output
    failed = helm.end(helm.order("two", fence=2, values={"behaviour": "crash-loop"}))
    assert (failed.outcome, [part.name for part in failed.parts]) == ("failed", ["helm upgrade", "rollout"])


def test_nothing_is_done_when_the_release_already_runs_that_commit(helm: Helm) -> None:
    """The record only says from then on whose it is."""
    helm.end(helm.order("one"))
    assert helm.end(helm.order("one", id="b" * 32, fence=2)).outcome == "succeeded"
    assert helm.revisions() == [(1, "deployed")]
    assert (helm.labels(1)["greenlight/deployment"], helm.labels(1)["greenlight/fence"]) == ("b" * 32, "2")


def test_the_newest_revisions_are_kept_and_the_one_that_is_deployed(helm: Helm) -> None:
    for n in range(6):
        assert helm.end(helm.order(f"{n}", fence=n + 1)).outcome == "succeeded"
    assert helm.revisions() == [*((n, "superseded") for n in range(2, 6)), (6, "deployed")]
    broken = {"extra": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "dataa": {}}]}
    for n in range(6, 12):
        assert helm.end(helm.order(f"{n}", fence=n + 1, values=broken)).outcome == "failed"
    assert helm.revisions() == [(6, "deployed"), *((n, "failed") for n in range(8, 13))]


POD = {"containers": [{"name": "app", "image": "app"}]}


def _workload(kind: str, behaviour: str = "fine") -> Object:
    labels = {"app": f"extra-{kind.lower()}", "greenlight-test": behaviour}
    template: Object = {"metadata": {"labels": labels}, "spec": POD}
    spec: Object = {"template": template}
    if kind == "Job":
        template["spec"] = {**POD, "restartPolicy": "Never"}
        spec["backoffLimit"] = 0
    else:
        spec["selector"] = {"matchLabels": {"app": labels["app"]}}
    if kind == "StatefulSet":
        spec["serviceName"] = "none"
    version = "batch/v1" if kind == "Job" else "apps/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": labels["app"]}, "spec": spec}


def test_every_kind_of_workload_in_the_release_has_to_come_up(helm: Helm) -> None:
    """A Knative Service and a resource of somebody's own kind, too, as soon as their controllers say so."""
    service: Object = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "extra-knative"},
        "spec": {"template": {"spec": {"containers": [{"image": "none"}]}}},
    }
    broker: Object = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": "extra-broker"}}
    extra = [
        _workload("StatefulSet"),
        _workload("DaemonSet"),
        _workload("Job", "completes"),
        service,
        broker,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra-map"}},
    ]
    order = helm.order("one", values={"extra": extra})
    progress = helm.driver.apply(order)
    until = time.monotonic() + 10
    while progress.outcome == "running" and time.monotonic() < until:
        progress = helm.driver.watch(order, 0.5)
        if helm.revisions() == [(1, "deployed")] and time.monotonic() > until - 7:
            break
    assert progress.outcome == "running", "nobody has said yet that the Knative Service is ready"
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"latestCreatedRevisionName": "r1", "latestReadyRevisionName": "r1", "conditions": [ready]}
    there = helm.cluster.get({**service, "metadata": {"name": "extra-knative", "namespace": helm.namespace}})
    helm.cluster.patch_status(there, {**status, "observedGeneration": there["metadata"]["generation"]})
    end = helm.end(order)
    assert end.outcome == "succeeded", end
    lines = (end.output or "").partition("rollout: waiting for ")[2].splitlines()[1:]
    assert {line.partition(":")[0] for line in lines} == {
        "Deployment shop",
        "StatefulSet extra-statefulset",
        "DaemonSet extra-daemonset",
        "Job extra-job",
        "Service extra-knative",
        "Broker extra-broker",
    }


def test_a_container_that_nobody_asks_if_it_is_ready_has_to_run_for_a_while(helm: Helm) -> None:
    """It is Ready as soon as it runs, and so is one that crashes a moment later."""
    order = helm.order("one", values={"probe": False}, settle="4s")
    began = time.monotonic()
    assert helm.end(order).outcome == "succeeded"
    assert time.monotonic() - began >= 4
    began = time.monotonic()
    order = helm.order("two", fence=2, values={"probe": False}, settle="1h")
    helm.driver.apply(order)
    eventually(lambda: len(helm.revisions()) == 2 and helm.runs() == sha_of("two"))
    path = f"/api/v1/namespaces/{helm.namespace}/pods"

    def new() -> list[Object]:
        pods: list[Object] = helm.api.list(path)["items"]
        return [
            pod
            for pod in pods
            if pod["metadata"]["annotations"].get("sha") == sha_of("two") and pod["status"]["phase"] == "Running"
        ]

    eventually(lambda: len(new()) == 1)
    assert helm.driver.watch(order, 2).outcome == "running"
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": "no database"}}
    back_off = {"waiting": {"reason": "CrashLoopBackOff"}}
    status = {"name": "app", "image": "shop", "imageID": "", "ready": False, "restartCount": 1, "state": back_off}
    pod = {**new()[0], "apiVersion": "v1", "kind": "Pod"}
    unready = [{**one, "status": "False"} for one in pod["status"]["conditions"] if one["type"] != "Initialized"]
    helm.cluster.patch_status(pod, {"containerStatuses": [{**status, "lastState": ended}], "conditions": [*unready]})
    end = helm.end(order)
    assert (end.outcome, "ended with exit status 1, and was restarted once: no database" in (end.reason or "")) == (
        "failed",
        True,
    ), end


# what it tells


def test_a_crash_loop_fails_at_once_with_what_a_person_needs(helm: Helm) -> None:
    end = helm.end(helm.order("one", values={"behaviour": "crash-loop"}))
    assert end.outcome == "failed"
    assert "crash loops: container app ended with exit status 137 (OOMKilled: out of memory)" in (end.reason or "")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (
            {"behaviour": "no-image"},
            "container app cannot get its image: ImagePullBackOff: manifest for shop:nope not found",
        ),
        ({"requests": {"cpu": "900"}}, "fits on no node"),
        ({"extra": [_workload("Job", "fails")]}, "Job extra-job: failed: Job has reached the specified backoff limit"),
        (
            {"extra": [_workload("StatefulSet", "crash-loop")]},
            "StatefulSet extra-statefulset: pod extra-statefulset-0 crash loops",
        ),
        ({"extra": [_workload("DaemonSet", "crash-loop")]}, "DaemonSet extra-daemonset: pod extra-daemonset-"),
    ],
    ids=["image", "unschedulable", "job", "statefulset", "daemonset"],
)
def test_what_will_not_come_up_is_told_before_the_time_is_up(helm: Helm, values: dict[str, Any], reason: str) -> None:
    end = helm.end(helm.order("one", values=values, patience="1s"), seconds=40)
    assert (end.outcome, reason in (end.reason or "")) == ("failed", True), end


def test_what_helm_and_the_rollout_do_is_told_while_it_runs(helm: Helm) -> None:
    """What was shown stays; a secret in a name is not."""
    order = helm.order("one", values={"hook": "slow", "behaviour": "not-ready", "image": "hunter22"}, timeout="10m")
    helm.driver.apply(order)
    shown = [""]

    def tells(words: str) -> bool:
        assert helm.driver.watch(order, 0.2).outcome == "running"
        printed = helm.driver.output(order)
        assert printed is not None
        assert (printed.text.startswith(shown[0]), printed.printed) == (True, len(printed.text)), printed
        shown[0] = printed.text
        return words in printed.text

    def patch(behaviour: str, status: Object) -> None:
        pods = helm.cluster.items("v1", "Pod", helm.namespace, f"greenlight-test={behaviour}")
        helm.cluster.patch_status({**pods[0], "apiVersion": "v1", "kind": "Pod"}, status)

    eventually(lambda: tells("hook Job shop-migrate: 0 of 1 done; pod shop-migrate-"), 60)
    eventually(lambda: tells(": container migrate waits: ContainerCreating"), 60)
    patch("slow", {"phase": "Succeeded"})
    eventually(lambda: tells("Deployment shop: 0 of 1 new pods are available; pod shop-"), 60)
    eventually(lambda: tells(": container app runs, not ready yet"), 60)
    ready = [{"type": name, "status": "True"} for name in ("Initialized", "Ready", "ContainersReady")]
    patch("not-ready", {"conditions": ready, "containerStatuses": []})
    end = helm.end(order)
    assert (end.outcome, (end.output or "").startswith(shown[0]), end.printed) == (
        "succeeded",
        True,
        len(end.output or ""),
    ), end
    assert shown[0].startswith(f"helm upgrade shop, in namespace {helm.namespace}\n")
    assert "rollout: waiting for Deployment shop\n" in shown[0]
    assert "Deployment shop: 1 of 1 pods of the new revision are available" in (end.output or "")
    assert "hunter22" not in (end.output or "")


def test_a_quota_and_a_failing_probe_are_told_with_the_clusters_own_words(helm: Helm) -> None:
    metadata = {"namespace": helm.namespace}
    quota: Object = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {**metadata, "name": "none"},
        "spec": {"hard": {"pods": "0"}},
    }
    helm.cluster.apply(quota)
    eventually(lambda: "hard" in helm.cluster.get(quota).get("status", {}))
    end = helm.end(helm.order("one", patience="1s"))
    assert end.outcome == "failed"
    assert "no pod can be made" in (end.reason or ""), end
    assert "exceeded quota: none" in (end.reason or ""), end
    helm.cluster.delete(quota)

    order = helm.order("two", fence=2, values={"behaviour": "not-ready"}, patience="1s")
    helm.driver.apply(order)

    def pods() -> list[Object]:
        query = {"labelSelector": "greenlight-test=not-ready"}
        found: list[Object] = helm.api.list(f"/api/v1/namespaces/{helm.namespace}/pods", query)["items"]
        return [pod for pod in found if (pod["status"].get("containerStatuses") or [{}])[0].get("started")]

    while not pods():
        assert helm.driver.watch(order, 0.2).outcome == "running"
    pod = pods()[0]
    event = {  # as the kubelet tells it
        "metadata": {**metadata, "generateName": "unhealthy-"},
        "involvedObject": {"kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"], **metadata},
        "type": "Warning",
        "reason": "Unhealthy",
        "message": "Readiness probe failed: HTTP probe failed with statuscode: 500",
    }
    helm.api.create(f"/api/v1/namespaces/{helm.namespace}/events", event)
    end = helm.end(order)
    assert end.outcome == "failed"
    assert "runs, but is not ready: Readiness probe failed: HTTP probe failed with statuscode: 500" in (
        end.reason or ""
    )


def test_a_failing_hook_and_a_chart_that_cannot_be_rendered_are_failures_with_helms_reason(helm: Helm) -> None:
    end = helm.end(helm.order("one", values={"hook": "fails"}))
    assert (end.outcome, "hook" in (end.reason or "")) == ("failed", True), end
    assert helm.revisions() == [(1, "failed")]
    (helm.chart / "templates/broken.yaml").write_text("{{ fail `the values lack a host` }}")
    end = helm.end(helm.order("two", fence=2))
    assert (end.outcome, "the values lack a host" in (end.reason or "")) == ("failed", True), end


def test_what_is_not_up_in_time_fails_with_how_far_it_came(helm: Helm) -> None:
    end = helm.end(helm.order("one", values={"behaviour": "not-ready"}, timeout="3s"))
    assert end.outcome == "failed"
    assert "was not up in time: Deployment shop: 0 of 1 new pods are ready; pod shop-" in (end.reason or ""), end


def test_a_cluster_that_cannot_be_asked_and_a_helm_that_is_missing_are_errors(helm: Helm, tmp_path: Path) -> None:
    elsewhere = tmp_path / "kubeconfig"
    text = Path(os.environ["KUBECONFIG"]).read_text()
    elsewhere.write_text(text.replace(helm.port(), "127.0.0.1:1"))
    gone = helm.driver.apply(helm.order("one", cluster_file=str(elsewhere)))
    assert (gone.outcome, "cannot be reached" in (gone.reason or "")) == ("error", True), gone
    bare = helm.another(env={"GREENLIGHT_HELM": str(tmp_path / "nothing")})
    missing = bare.apply(helm.order("two", fence=2))
    assert missing.outcome == "error"
    assert "install Helm 4" in (missing.reason or "")


def test_a_cluster_that_cannot_be_asked_for_a_while_changes_nothing(helm: Helm, tmp_path: Path) -> None:
    """The line is cut while it watches; the watch goes on where it is mended, and the end is the cluster's, not the line's."""
    line = Line(helm.port())
    file = tmp_path / "kubeconfig"
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    for entry in config["clusters"]:
        entry["cluster"]["server"] = f"https://127.0.0.1:{line.port}"
    file.write_text(json.dumps(config))
    order = helm.order("one", values={"behaviour": "not-ready"}, cluster_file=str(file), timeout="10m")
    helm.driver.apply(order)
    until = time.monotonic() + 30
    while helm.revisions() != [(1, "deployed")] or not helm.pods("not-ready"):
        assert time.monotonic() < until, "it was not applied"
        assert helm.driver.watch(order, 0.5).outcome == "running"
    line.cut()
    assert helm.driver.watch(order, 2).outcome == "running"
    for pod in helm.pods("not-ready"):
        ready = [{**one, "status": "True"} for one in pod["status"]["conditions"]]
        helm.cluster.patch_status(pod, {"conditions": ready})
    assert helm.driver.watch(order, 1).outcome == "running", "nobody has told it yet"
    line.mend()
    assert helm.end(order).outcome == "succeeded"
    line.close()


# what is verified once it is up


@contextlib.contextmanager
def answering() -> Iterator[str]:
    """A server that answers 501 at first, and then 200."""
    answers = itertools.chain([501], itertools.repeat(200))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(next(answers))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_release_that_is_up_is_verified_as_the_pipeline_says(helm: Helm) -> None:
    with answering() as url:
        verify = {"http": url, "command": ["sh", "-c", "test $GREENLIGHT_ENVIRONMENT = staging"], "helm-test": True}
        assert helm.end(helm.order("one", verify=verify)).outcome == "succeeded"
    wrong = helm.end(helm.order("two", fence=2, verify={"http": "http://127.0.0.1:1/", "timeout": "1s"}))
    assert (wrong.outcome, "the release is up, but http://127.0.0.1:1/" in (wrong.reason or "")) == ("failed", True)
    wrong = helm.end(helm.order("three", fence=3, verify={"command": ["sh", "-c", "echo too slow; exit 4"]}))
    assert "ended with exit status 4: too slow" in (wrong.reason or "")
    failing = helm.order("four", fence=4, values={"test": "fails"}, verify={"helm-test": True, "timeout": "10s"})
    assert "helm test" in (helm.end(failing).reason or "")


# what a crash leaves, and who else is there


def _pending(helm: Helm, status: str, **marks: str) -> None:
    """The newest revision, as a Helm that was killed leaves it."""
    newest = release.newest(helm.api, helm.namespace, "shop")
    assert newest is not None
    path = f"/api/v1/namespaces/{helm.namespace}/secrets/{newest.secret}"
    secret = helm.api.get(path)
    whole = release.decoded(secret)
    whole["info"]["status"] = status
    secret["data"]["release"] = release.encoded(whole)
    labels = secret["metadata"]["labels"]
    labels["status"] = status
    for name, value in marks.items():
        labels[f"greenlight/{name}"] = value
    helm.api.replace(path, secret)


def test_a_release_that_a_dead_helm_of_ours_locked_is_unlocked_and_deployed(helm: Helm) -> None:
    helm.end(helm.order("one"))
    _pending(helm, "pending-upgrade")
    assert helm.end(helm.order("two", fence=2), helm.another()).outcome == "succeeded"
    assert helm.revisions() == [(1, "superseded"), (2, "deployed")]


def test_a_release_that_another_greenlight_of_ours_may_be_changing_is_waited_for_until_it_must_be_dead(
    helm: Helm,
) -> None:
    helm.end(helm.order("one"))
    _pending(helm, "pending-upgrade", host="another", until=str(int(time.time()) + 3600))
    with pytest.raises(Busy, match="another Greenlight that may be alive"):
        helm.driver.apply(helm.order("two", fence=2))
    _pending(helm, "pending-upgrade", host="another", until=str(int(time.time()) - 1))
    assert helm.end(helm.order("two", fence=2)).outcome == "succeeded"


def test_a_release_that_somebody_elses_helm_locked_is_never_stolen(helm: Helm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its revision carries copies of our labels."""
    helm.end(helm.order("one"))
    _pending(helm, "pending-rollback", revision="0")
    with pytest.raises(Busy, match="did not start"):
        helm.driver.apply(helm.order("two", fence=2))
    monkeypatch.setattr("greenlight.deployer.drivers.helm.beginning.FOREIGN", 0.0)
    end = helm.driver.apply(helm.order("two", fence=2))
    assert (end.outcome, "helm rollback shop" in (end.reason or "")) == ("failed", True)
    assert helm.revisions() == [(1, "pending-rollback")]


def test_an_older_fence_never_acts_after_a_newer_one(helm: Helm) -> None:
    helm.end(helm.order("two", fence=5))
    end = helm.another("elsewhere").apply(helm.order("one", fence=4))
    assert (end.outcome, "carries fence 5" in (end.reason or "")) == ("error", True)
    assert helm.runs() == sha_of("two")


class _InAnHour(SystemClock):
    """The clock of a process that is started an hour from now."""

    def now(self) -> datetime:
        return super().now() + timedelta(hours=1)


def test_what_a_dead_process_had_applied_is_not_applied_again(helm: Helm) -> None:
    """Killed after Helm's success, or while it watched: the next try finds its own revision, and goes on watching."""
    order = helm.order("one", values={"behaviour": "not-ready"}, timeout="1h")
    helm.driver.apply(order)
    eventually(lambda: helm.revisions() == [(1, "deployed")])
    helm.driver.close()
    later = helm.order("one", fence=2, values={"behaviour": "not-ready"}, timeout="1h")
    end = helm.end(later, helm.another(clock=_InAnHour()))  # whose time would not end in this test if it began now
    assert (end.outcome, "was not up in time" in (end.reason or "")) == ("failed", True)
    assert helm.revisions() == [(1, "deployed")]
    assert helm.labels(1)["greenlight/fence"] == "2"


STUCK = """#!/bin/sh
case "$1" in upgrade) ;; *) exec {helm} "$@" ;; esac
echo $$ > {folder}/pid
{when}
"""


def _stuck(helm: Helm, when: str) -> dict[str, str]:
    """A Helm that stops where the test wants it: before it acts, or in the middle."""
    program = helm.folder / "stuck"
    program.write_text(STUCK.format(helm=shutil.which("helm"), folder=helm.folder, when=when))
    program.chmod(0o755)
    return {**os.environ, "GREENLIGHT_HELM": str(program)}


def _pid(helm: Helm) -> int:
    eventually(lambda: (helm.folder / "pid").exists() and (helm.folder / "pid").read_text().strip() != "")
    return int((helm.folder / "pid").read_text())


def test_an_orphaned_helm_holds_its_target_and_is_waited_for(helm: Helm) -> None:
    """Whoever started it is gone; nobody else touches the release before it is."""
    orphan = helm.another(env=_stuck(helm, "sleep 60"))
    orphan.apply(helm.order("one"))
    pid = _pid(helm)
    orphan.close()
    with pytest.raises(Busy, match=f"process {pid}"):
        helm.driver.apply(helm.order("one", fence=2))
    os.killpg(pid, signal.SIGKILL)
    assert helm.driver.watch(helm.order("one", fence=2), 10).outcome == "running"
    eventually(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())
    assert helm.end(helm.order("one", fence=2)).outcome == "succeeded"
    assert helm.revisions() == [(1, "deployed")]


def test_a_helm_that_was_started_early_does_nothing_unless_it_is_let(
    helm: Helm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts while the release is looked at. A Greenlight that is killed then, or cannot look, leaves it nothing to do."""
    helm.end(helm.order("one"))
    driver = helm.another(env=_stuck(helm, f'exec {shutil.which("helm")} "$@"'))

    def killed(prepared: Prepared, _: str) -> Process:
        prepared._values.close()  # as the kernel does with all that a killed process had open
        return prepared._process

    def unreachable(*_: object, **__: object) -> None:
        _pid(helm)  # Helm runs
        raise Unavailable("the cluster does not answer")

    for fence, at, name, instead, reason in (
        (2, Prepared, "go", killed, "failed to parse -"),
        (3, live_release, "release", unreachable, "the cluster does not answer"),
    ):
        (helm.folder / "pid").unlink(missing_ok=True)
        with monkeypatch.context() as patched:
            patched.setattr(at, name, instead)
            end = helm.end(helm.order("two", id=f"{fence}" * 32, fence=fence), driver)
        assert reason in (end.reason or ""), end
        assert not Path(f"/proc/{_pid(helm)}").exists()
        assert (helm.revisions(), helm.runs()) == ([(1, "deployed")], sha_of("one"))
    assert helm.end(helm.order("two", fence=4), driver).outcome == "succeeded"


def test_a_helm_that_is_killed_is_an_error_and_the_next_try_unlocks_what_it_left(helm: Helm) -> None:
    helm.end(helm.order("zero"))
    driver = helm.another(env=_stuck(helm, f'exec {shutil.which("helm")} "$@"'))
    slow = helm.order("one", fence=2, values={"hook": "stuck"})  # so that Helm is surely in the middle of it
    driver.apply(slow)
    eventually(lambda: helm.revisions()[-1] == (2, "pending-upgrade"))
    os.kill(_pid(helm), signal.SIGKILL)
    end = helm.end(slow, driver)
    assert (end.outcome, "signal 9, which Greenlight did not send" in (end.reason or "")) == ("error", True), end
    again = helm.order("one", fence=3, values={"hook": "completes"})
    assert helm.end(again, driver).outcome == "succeeded"
    assert helm.revisions()[-1][1] == "deployed"


@pytest.mark.parametrize(
    "words",
    [
        "Error: kubernetes cluster unreachable: the server has asked for the client to provide credentials",
        "Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress",
        'Error: UPGRADE FAILED: create: failed to create: secrets "sh.helm.release.v1.shop.v2" already exists',
    ],
    ids=["token-expired", "locked-meanwhile", "race-lost"],
)
def test_what_trying_again_may_mend_is_an_error_and_the_next_try_succeeds(helm: Helm, words: str) -> None:
    """A token that expired in the middle; somebody who upgraded between our look and Helm's: looked at again, done again."""
    once = f"[ -e {helm.folder}/said ] || {{ touch {helm.folder}/said; echo '{words}' >&2; exit 1; }}"
    driver = helm.another(env=_stuck(helm, f'{once}\nexec {shutil.which("helm")} "$@"'))
    end = helm.end(helm.order("one"), driver)
    assert (end.outcome, words.removeprefix("Error: ").removeprefix("UPGRADE FAILED: ")) == ("error", end.reason)
    assert helm.end(helm.order("one", fence=2), driver).outcome == "succeeded"


def test_what_somebody_did_by_hand_in_between_is_replaced(helm: Helm) -> None:
    """Helm copies our labels to their revision; it does not run our commit all the same."""
    helm.end(helm.order("one"))
    by_hand = [
        "helm",
        "upgrade",
        "shop",
        str(helm.chart),
        "-n",
        helm.namespace,
        "--reset-values",
        "--set",
        "sha=by-hand",
    ]
    subprocess.run(by_hand, check=True, capture_output=True)
    assert helm.labels(2)["greenlight/identity"] == helm.labels(1)["greenlight/identity"]
    assert helm.runs() == "by-hand"
    assert helm.end(helm.order("one", id="b" * 32, fence=2)).outcome == "succeeded"
    assert (helm.runs(), len(helm.revisions())) == (sha_of("one"), 3)


def test_a_helm_that_hangs_is_ended_at_its_time_limit_and_its_record_is_mended(helm: Helm) -> None:
    driver = helm.another(env=_stuck(helm, f'trap "" TERM; {shutil.which("helm")} "$@" & wait; sleep 60; sleep 60'))
    end = helm.end(helm.order("one", values={"hook": "stuck"}, timeout="2s"), driver)
    assert (end.outcome, "did not end within" in (end.reason or "")) == ("failed", True), end
    assert helm.revisions() == [(1, "failed")]


# what it is told to do


def test_values_arrive_as_they_are_written_and_nothing_of_an_event_reaches_the_arguments(helm: Helm) -> None:
    nasty = "a,b={x}[9999]\\ --set image=evil $(id) `id` ${HOME} {{ .Release.Name }}\n--post-renderer"
    (helm.chart / "templates/map.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: nasty}\ndata: {text: {{ .Values.nasty | toJson }}}\n"
    )
    program, seen = helm.folder / "seen", helm.folder / "argv.json"
    program.write_text(
        "#!/usr/bin/env python3\nimport json, os, sys\n"
        f"json.dump([sys.argv, dict(os.environ)], open({str(seen)!r}, 'w'))\n"
        f"os.execv({shutil.which('helm')!r}, sys.argv)\n"
    )
    program.chmod(0o755)
    driver = helm.another(env={**os.environ, "GREENLIGHT_HELM": str(program), "AWS_SECRET_ACCESS_KEY": "no"})
    assert helm.end(helm.order("one", values={"nasty": nasty}), driver).outcome == "succeeded"
    path = f"/api/v1/namespaces/{helm.namespace}/configmaps/nasty"
    assert helm.api.get(path)["data"]["text"] == nasty
    argv, env = json.loads(seen.read_text())
    assert argv[argv.index("--") + 1 :] == ["shop", str(helm.chart)]
    assert not [word for word in argv if "evil" in word]
    assert "AWS_SECRET_ACCESS_KEY" not in env
    assert env["HELM_NO_PLUGINS"] == "1"


def test_a_chart_that_is_not_what_the_pipeline_file_names_is_not_deployed(helm: Helm, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    shutil.copytree(helm.chart, outside)
    (helm.folder / "charts/link").symlink_to(outside.parent.parent, target_is_directory=True)
    end = helm.driver.apply(helm.order("one", chart="charts/link"))
    assert (end.outcome, "leads out of" in (end.reason or "")) == ("error", True), end
    end = helm.driver.apply(helm.order("two", fence=2, chart="charts/none"))
    assert (end.outcome, "is not a folder with a Chart.yaml" in (end.reason or "")) == ("error", True), end


def test_a_chart_of_a_repository_is_fetched_once_and_only_with_its_digest(helm: Helm, tmp_path: Path) -> None:
    served = tmp_path / "repository"
    served.mkdir()
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for words in (["package", str(helm.chart), "-d", str(served)], ["repo", "index", str(served), "--url", url]):
            subprocess.run(["helm", *words], check=True, capture_output=True)
        digest = "sha256:" + hashlib.sha256((served / "shop-1.0.0.tgz").read_bytes()).hexdigest()
        chart = {"repository": url, "name": "shop", "version": "1.0.0", "digest": digest}
        wrong = helm.end(helm.order("one", chart={**chart, "digest": "sha256:" + "0" * 64}))
        assert (wrong.outcome, "nothing was deployed" in (wrong.reason or "")) == ("error", True), wrong
        assert helm.revisions() == []
        assert helm.end(helm.order("one", fence=2, chart=chart)).outcome == "succeeded"
        asked.clear()
        assert helm.end(helm.order("two", fence=3, chart=chart)).outcome == "succeeded"
        assert asked == []
        server.shutdown()


def test_the_rights_that_policy_rbac_gives_are_enough(helm: Helm, tmp_path: Path) -> None:
    """To deploy, to watch, and to read why something does not come up."""
    account = {"kind": "ServiceAccount", "name": "deployer", "namespace": helm.namespace}
    helm.cluster.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "deployer", "namespace": helm.namespace}},
        *rbac.roles({helm.namespace: Declared.rules}, account),
    )
    token = kubectl("create", "token", "deployer", "-n", helm.namespace).strip()
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    file = tmp_path / "deployer.kubeconfig"
    file.write_text(json.dumps(config))
    service: Object = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "extra-knative"},
        "spec": {"template": {"spec": {"containers": [{"image": "none"}]}}},
    }
    extra = [_workload("StatefulSet"), _workload("DaemonSet"), _workload("Job", "completes"), service]
    order = helm.order("one", cluster_file=str(file), values={"extra": extra, "hook": "completes"}, timeout="10s")
    end = helm.end(order)
    assert "Service extra-knative: revision None is not ready yet" in (end.reason or ""), "all else is up"
    end = helm.end(helm.order("two", fence=2, cluster_file=str(file), values={"behaviour": "crash-loop"}))
    assert (end.outcome, "crash loops" in (end.reason or "")) == ("failed", True), end
