"""P, P2: promotion.ready received -> new revision applied by Helm, and to rollout proven; beside a bare `helm upgrade`."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import Missing, Row, ms

from greenlight.deployer.drivers.helm.program import Helm as Program
from greenlight.deployer.drivers.helm.program import Prepared
from greenlight.deployer.rollout import states
from greenlight.events import types
from support.cluster import MISSING, Cluster
from support.flow import Shop, sha_of
from support.helm import Helm, pipeline, write_chart

ROWS = ("P", "P2")
ROUNDS = 15


class _Seen:
    """When the API server told of what: revisions that are deployed, and the Deployment up with a sha."""

    def __init__(self) -> None:
        self.deployed: dict[tuple[str, int], float] = {}
        self.up: dict[str, float] = {}
        self.news = threading.Condition()

    def wait(self, where: dict, key: object) -> float:  # type: ignore[type-arg]
        with self.news:
            assert self.news.wait_for(lambda: key in where, 60), f"{key} was not seen"
            return float(where[key])


def main() -> list[Row]:
    """A commit and a bare upgrade in turn, each with values of its own; medians."""
    if MISSING or shutil.which("helm") is None:
        raise Missing('needs a cluster and Helm: . "$(tests/cluster/cluster up)"')
    cluster = Cluster.from_environment()
    with cluster.namespace("bench") as namespace, tempfile.TemporaryDirectory() as name, _spawned() as spawned:
        folder = Path(name)
        shop = Shop(folder, pipeline=pipeline(namespace))
        chart = write_chart(folder / "config/charts/shop")
        seen = _watched(Helm(folder / "look", namespace, cluster))
        shop.start()
        try:
            rounds = [_round(shop, seen, spawned, chart, namespace, n) for n in range(ROUNDS + 1)][
                1:
            ]  # the first is cold
        finally:
            shop.stop()
    bare, spawn, go, ours, added, proof = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(
        f"  received -> Helm started {ms(spawn)}, -> let act {ms(go)}, -> applied {ms(ours)}, bare {ms(bare)}; "
        f"up -> proven and told {ms(added)}"
    )
    return [
        Row("P", "promotion.ready -> applied by Helm", ms(ours), ms(bare), ours / bare, at_most=1.15),
        Row(
            "P2", "the same to proven, without the pods' own time", ms(proof), "150 ms added", added / 0.150, at_most=1
        ),
    ]


def _round(shop: Shop, seen: _Seen, spawned: list[float], chart: Path, namespace: str, n: int) -> tuple[float, ...]:
    bare = _bare(seen, chart, namespace, n)
    word = f"commit {n}"
    shop.push(word, before=f"commit {n - 1}")
    spawned.clear()
    shop.build(word, number=n + 1)
    sha = sha_of(word)
    received = shop.watch.at(types.PROMOTION_READY, sha)
    succeeded = shop.watch.at("deployment.succeeded", sha)
    applied = seen.wait(seen.deployed, ("shop", n + 1))
    up = seen.wait(seen.up, sha)
    added = succeeded - max(applied, up)
    return bare, spawned[0] - received, spawned[1] - received, applied - received, added, applied - received + added


def _bare(seen: _Seen, chart: Path, namespace: str, n: int) -> float:
    """The command that a person would type, for another release of the same chart, until the same word of the API server."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as values:
        json.dump({"sha": sha_of(f"bare {n}")}, values)
        values.flush()
        argv = [
            "helm",
            "upgrade",
            "--install",
            "-n",
            namespace,
            "--history-max",
            "5",
            "-f",
            values.name,
            "bare",
            str(chart),
        ]
        start = time.perf_counter()
        subprocess.run(argv, check=True, capture_output=True)
    took = seen.wait(seen.deployed, ("bare", n + 1)) - start
    seen.wait(seen.up, sha_of(f"bare {n}"))  # the controllers' work for it must not fall into Greenlight's time
    return took


@contextmanager
def _spawned() -> Iterator[list[float]]:
    """When Helm was started for an upgrade, and when it was let act."""
    stamps: list[float] = []
    prepare, go = Program.prepare, Prepared.go

    def stamped(original):  # type: ignore[no-untyped-def]
        def call(*arguments):  # type: ignore[no-untyped-def]
            found = original(*arguments)
            stamps.append(time.perf_counter())
            return found

        return call

    Program.prepare, Prepared.go = stamped(prepare), stamped(go)  # type: ignore[method-assign]
    try:
        yield stamps
    finally:
        Program.prepare, Prepared.go = prepare, go  # type: ignore[method-assign]


def _watched(look: Helm) -> _Seen:
    """Threads that note what the API server tells."""
    seen = _Seen()

    def follow(path: str, note, version: str) -> None:  # type: ignore[no-untyped-def]
        while True:
            for type, item in look.api.watch(path, {}, version):
                version = item["metadata"]["resourceVersion"]
                if type in ("ADDED", "MODIFIED"):
                    with seen.news:
                        note(item)
                        seen.news.notify_all()

    def secret(item) -> None:  # type: ignore[no-untyped-def]
        labels = item["metadata"].get("labels") or {}
        if labels.get("status") == "deployed":
            seen.deployed.setdefault((labels["name"], int(labels["version"])), time.perf_counter())

    def deployment(item) -> None:  # type: ignore[no-untyped-def]
        sha = item["spec"]["template"]["metadata"]["annotations"]["sha"]
        if states.state({**item, "apiVersion": "apps/v1", "kind": "Deployment"}).done:
            seen.up.setdefault(sha, time.perf_counter())

    namespace = look.namespace
    for path, note in (
        (f"/api/v1/namespaces/{namespace}/secrets", secret),
        (f"/apis/apps/v1/namespaces/{namespace}/deployments", deployment),
    ):
        since = look.api.list(path)["metadata"][
            "resourceVersion"
        ]  # before anything is deployed, so that all of it is seen
        threading.Thread(target=follow, args=(path, note, since), daemon=True).start()
    return seen
