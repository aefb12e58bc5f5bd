"""A commit's way into a real cluster by Helm: rolled back when it crash loops, and deployed once whatever is killed."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from greenlight.events import types
from support.cluster import Cluster, kubectl
from support.flow import Shop
from support.helm import STAGES, Helm, eventually, pipeline, sha_of, write_chart
from support.process import Up, signed

pytestmark = [pytest.mark.cluster, pytest.mark.helm]

PROMPT = 24.0
"""The time from the first evidence of a crash loop to the rollback, by that of an ordinary deployment, at most: ten times what
was measured on an idle machine (2.4), since the two are not measured at the same moment."""


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    if shutil.which("helm") is None:
        pytest.skip("needs Helm 4 on the PATH; tests/cluster/cluster build helm builds it")
    cluster.apply(*STAGES)
    with cluster.namespace("flow") as name:
        yield name


def _first_crash(helm: Helm, seen: list[float]) -> None:
    """Note when a pod of the namespace first says that it crash loops."""
    path = f"/api/v1/namespaces/{helm.namespace}/pods"
    listed = helm.api.list(path)
    for _, pod in helm.api.watch(path, {}, listed["metadata"]["resourceVersion"]):
        states = [one["state"] for one in pod.get("status", {}).get("containerStatuses", ())]
        if any("waiting" in state for state in states):
            seen.append(time.monotonic())
            return


def test_a_crash_looping_release_is_reported_and_rolled_back_with_its_reason_promptly(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    shop = Shop(tmp_path, pipeline=pipeline(namespace, bad=["bad"]))
    write_chart(tmp_path / "config/charts/shop")
    helm = Helm(tmp_path / "look", namespace, cluster)
    shop.start()
    try:
        began = time.monotonic()
        shop.push("good")
        shop.build("good")
        assert shop.watch.end("production", sha_of("good"))["outcome"] == "succeeded"
        ordinary = time.monotonic() - began

        seen: list[float] = []
        witness = threading.Thread(target=_first_crash, args=(helm, seen), daemon=True)
        witness.start()
        shop.push("bad", before="good")
        shop.build("bad", number=2)
        failed = shop.watch.end("production", sha_of("bad"))
        eventually(lambda: helm.runs() == sha_of("good") and len(helm.revisions()) == 3)
        took = time.monotonic() - seen[0]
        back = shop.watch.end("production", sha_of("good"), n=1)
        shop.settle()
        target = shop.greenlight.ledger.target("shop", "production")
        journal = shop.commit("bad")["applications"]["shop"]["environments"]["production"]
    finally:
        shop.stop()
    assert failed["outcome"] == "failed"
    assert "crash loops: container app ended with exit status 137 (OOMKilled: out of memory)" in failed["reason"]
    assert (back["outcome"], back["cause"]) == ("succeeded", "rollback")
    assert took < PROMPT * ordinary, f"{took:.1f} s, an ordinary deployment {ordinary:.1f} s"
    assert target is not None
    assert target.running is not None
    assert target.running.sha == sha_of("good")
    assert journal["decision"] == "blocked", "what failed is for a person, or for a newer commit"
    requests = [event for event in shop.watch.events if event.type == "deployment.requested"]
    assert [event.json()["person"] for event in requests] == ["policy"]
    assert failed["deployment"] in requests[0].json()["reason"], "the rollback names its cause"


def test_a_failed_rollback_is_for_a_person(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """What ran no longer comes up either: one way back by itself, and no more."""
    shop = Shop(tmp_path, pipeline=pipeline(namespace, bad=["bad"]))
    chart = write_chart(tmp_path / "config/charts/shop")
    shop.start()
    try:
        shop.push("good")
        shop.build("good")
        assert shop.watch.end("production", sha_of("good"))["outcome"] == "succeeded"
        (chart / "values.yaml").write_text((chart / "values.yaml").read_text().replace("fine", "crash-loop"))
        shop.push("bad", before="good")
        shop.build("bad", number=2)
        assert shop.watch.end("production", sha_of("bad"))["outcome"] == "failed"
        assert shop.watch.end("production", sha_of("good"), n=1)["outcome"] == "failed"
        shop.settle()
        ended = [
            event.type for event in shop.watch.events if event.type in ("deployment.failed", "deployment.succeeded")
        ]
    finally:
        shop.stop()
    assert ended == ["deployment.succeeded", "deployment.failed", "deployment.failed"]


def test_what_a_person_asks_for_is_applied_whatever_was_done_by_hand(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    """A deployment of what runs puts back what was deleted though Helm's record has it; the rollback wins over the conflict
    that failed a commit."""
    text = pipeline(namespace).replace("            timeout:", "            conflicts: fail\n            timeout:")
    text = text.replace("    branches: [main]\n", "    branches: [main]\n    operators: [legal]\n")
    shop = Shop(tmp_path, pipeline=text)
    write_chart(tmp_path / "config/charts/shop")
    helm = Helm(tmp_path / "look", namespace, cluster)
    ask = "/targets/shop/production/deployments"
    shop.start()
    try:
        shop.push("one")
        shop.build("one")
        assert shop.watch.end("production", sha_of("one"))["outcome"] == "succeeded"
        shop.push("two", before="one")
        shop.build("two", number=2)
        assert shop.watch.end("production", sha_of("two"))["outcome"] == "succeeded"
        kubectl("delete", "deployment", "shop", "-n", namespace)
        shop.act(ask, {"sha": sha_of("two"), "kind": "deploy", "reason": "it is gone"})
        assert shop.watch.end("production", sha_of("two"), n=1)["outcome"] == "succeeded"
        assert helm.runs() == sha_of("two")
        kubectl("scale", "deployment", "shop", "--replicas=3", "-n", namespace)
        shop.push("three", before="two")
        shop.build("three", number=3)
        failed = shop.watch.end("production", sha_of("three"))
        assert (failed["outcome"], ".spec.replicas was set by kubectl" in failed["reason"]) == ("failed", True), failed
        back = shop.watch.end("production", sha_of("two"), n=2)
        assert (back["cause"], back["outcome"], helm.runs()) == ("rollback", "succeeded", sha_of("two"))
    finally:
        shop.stop()


# Every invocation of `helm upgrade` notes its number. At the one that the test names it stops where the test wants it.
HELM = """#!/bin/sh
case "$1" in upgrade) ;; *) exec {helm} "$@" ;; esac
echo "$*" >> {folder}/calls
n=$(wc -l < {folder}/calls)
hold() {{ echo $$ > {folder}/pid; while [ ! -e {folder}/go ]; do sleep 0.02; done; }}
if [ "$n" = "{at}" ]; then
  case "{point}" in
    before) hold ;;
    after) {helm} "$@"; code=$?; hold; exit $code ;;
    [0-9]*) {helm} "$@" & sleep {point}; kill -9 $!; hold; exit 137 ;;
  esac
fi
exec {helm} "$@"
"""

POINTS = [
    ("before", 2, "greenlight"),  # it holds the target and has begun; its Helm, an orphan, goes on to apply
    ("before", 2, "both"),
    ("0.15", 2, "both"),  # somewhere inside Helm
    ("0.3", 2, "both"),
    ("0.5", 2, "both"),
    ("after", 2, "greenlight"),  # Helm has succeeded, and nobody wrote that down
    ("after", 2, "both"),
    ("watch", 2, "greenlight"),  # while it watched
    ("before", 3, "both"),  # in the rollback
    ("0.3", 3, "both"),
    ("after", 3, "greenlight"),
]


@pytest.mark.parametrize(
    ("point", "at", "dies"), POINTS, ids=[f"{point}-helm-{at}-{dies}" for point, at, dies in POINTS]
)
def test_each_kill_ends_in_exactly_one_deployment(
    cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, at: int, dies: str
) -> None:
    """kill -9 of Greenlight, or of it and its Helm, at a step of the second commit's deployment or of its rollback."""
    rolled_back = at == 3
    shop = Shop(tmp_path, pipeline=pipeline(namespace, bad=["two"] if rolled_back else []))
    shop.stop()
    chart = write_chart(tmp_path / "config/charts/shop")
    if point == "watch":  # the second commit's pods are not ready until the test says so
        deployment = chart / "templates/deployment.yaml"
        text = (
            deployment.read_text()
            .replace('"crash-loop"', '"not-ready"')
            .replace(".Values.bad", f'(list "{sha_of("two")}")')
        )
        deployment.write_text(text)
    program = tmp_path / "stopping-helm"
    program.write_text(HELM.format(helm=shutil.which("helm"), folder=tmp_path, at=at, point=point))
    program.chmod(0o755)
    monkeypatch.setenv("GREENLIGHT_HELM", str(program))
    helm = Helm(tmp_path / "look", namespace, cluster)

    up = Up(tmp_path)
    try:
        _send(up, tmp_path, "one", 0)
        _ended(up, "one", "succeeded")
        _send(up, tmp_path, "two", 1)
        if point == "watch":
            eventually(lambda: helm.revisions()[-1] == (2, "deployed"))
        else:
            eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip() != "")
        up.kill()
        if dies == "both":
            os.killpg(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        up = Up(tmp_path)
        (tmp_path / "go").touch()
        if point == "watch":
            _make_ready(helm)
        _ended(up, "two", "failed" if rolled_back else "succeeded")
        last = "one" if rolled_back else "two"
        _ended(up, last, "succeeded", n=1 if rolled_back else 0)
        ends = _ends(up)
        assert up.stop() == 0
    finally:
        (tmp_path / "go").touch()
        if up.process.poll() is None:
            up.kill()
    assert len(ends) == (3 if rolled_back else 2), "one end for each deployment"
    assert len({deployment for *_, deployment in ends}) == len(ends)
    assert helm.runs() == sha_of(last)
    assert [status for _, status in helm.revisions()].count("deployed") == 1
    assert helm.revisions()[-1][1] == "deployed"
    fences = [int(line.partition("greenlight/fence=")[2].partition(",")[0]) for line in _calls(tmp_path)]
    assert fences == sorted(fences), "an older fence acted after a newer one"


def _calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def _send(up: Up, folder: Path, word: str, at: int) -> None:
    for kind in ("push", "build"):
        port, path, body, headers = signed(folder, kind, word, at=at)
        answer = urllib3.request("POST", getattr(up, port) + path, body=body, headers=headers)
        assert answer.status == 202, answer.data


def _ends(up: Up) -> list[tuple[str, str, int, str]]:
    """Every end in the target's journal: type, sha, n, deployment."""
    try:
        entries = up.get("/targets/shop/production/journal")["entries"]
    except AssertionError:
        return []  # nobody has heard of the target yet
    ends = [entry for entry in entries if entry["type"] in types.ENDS]
    said = [(entry["type"], entry["payload"]) for entry in ends]
    return [(type, payload["sha"], payload["n"], payload["deployment"]) for type, payload in said]


def _ended(up: Up, word: str, outcome: str, *, n: int = 0) -> None:
    """Wait for the end of the commit's n-th deployment."""
    wanted = (f"deployment.{outcome}", sha_of(word), n)
    eventually(lambda: wanted in [end[:3] for end in _ends(up)], 60)


def _make_ready(helm: Helm) -> None:
    """What the kubelet would say of the second commit's pods once their probes pass."""
    eventually(lambda: bool(helm.pods("not-ready")))
    for pod in helm.pods("not-ready"):
        ready = [{**one, "status": "True"} for one in pod["status"]["conditions"]]
        helm.cluster.patch_status(pod, {"conditions": ready})
