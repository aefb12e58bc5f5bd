"""G: POST to the broker -> subscriber called, HTTP both ways, fsynced; beside Knative's real one, which keeps in memory."""

from __future__ import annotations

import http.client
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml
from measure import Missing, Row, broker, cpu, free, interleaved, load, ms

ROWS = ("G",)
PRODUCERS = 16
EVENTS = 3000
PACE = 200  # events per second, for latency that is not waiting behind others

Figures = Mapping[str, float]


def main() -> list[Row]:
    """Flat out and at a pace, in interleaved rounds; what Knative's name-routing proxy costs is subtracted."""
    missing = [name for name in ("KUBECONFIG", "BROKER_INGRESS") if not os.environ.get(name)]
    if missing:
        raise Missing(
            f"the baseline is a Knative broker, and {' and '.join(missing)} are not set (tests/cluster/README.md)"
        )
    port = free()
    with _knative(port) as knative, _ours(port) as ours:
        proxy = _Proxy()
        found = interleaved(
            {
                "ours, flat out": lambda: _flat_out(ours, port),
                "knative, flat out": lambda: proxy.without(lambda: _flat_out(knative, port), busy=True),
                "ours, paced": lambda: _paced(ours, port),
                "knative, paced": lambda: proxy.without(lambda: _paced(knative, port), busy=False),
            }
        )
        print(
            f"  subtracted for Knative's name-routing proxy: {proxy.hops} hops of {ms(proxy.hop)} an event at a pace, "
            f"{proxy.cpu * 1e6:.0f} us of CPU an event flat out"
        )
    for name, figures in found.items():
        print(
            f"  {name:18} {figures['rate']:6.0f} events/s   p50 {ms(figures['p50']):>10}   p99 {ms(figures['p99']):>10}"
        )
    return [
        _row("events/s, 16 producers flat out", found, "flat out", "rate"),
        _row("p50, 16 producers flat out", found, "flat out", "p50"),
        _row("p99, 16 producers flat out", found, "flat out", "p99"),
        _row(f"p50 at {PACE} events/s", found, "paced", "p50"),
        _row(f"p99 at {PACE} events/s", found, "paced", "p99"),
    ]


def _row(measure: str, found: Mapping[str, Figures], how: str, figure: str) -> Row:
    ours, knative = found[f"ours, {how}"][figure], found[f"knative, {how}"][figure]
    if figure == "rate":
        return Row("G", measure, f"{ours:.0f}/s", f"{knative:.0f}/s", ours / knative, at_least=1.0)
    return Row("G", measure, ms(ours), ms(knative), knative / ours, at_least=1.0)


def _flat_out(url: str, port: int) -> dict[str, float]:
    """Every producer sends as soon as it was answered."""
    return _sent(url, port, EVENTS)


def _paced(url: str, port: int) -> dict[str, float]:
    """PACE events per second in all, for three seconds."""
    return _sent(url, port, 3 * PACE, "-rate", PACE)


def _sent(url: str, port: int, events: int, *words: object) -> dict[str, float]:
    at = ("-url", url, "-listen", f"127.0.0.1:{port}", "-events", events, "-producers", PRODUCERS)
    figures = load("broker", *at, *words)
    assert not figures["lost"], f"{figures['lost']:.0f} events did not arrive"
    return {**figures, "rate": events / figures["seconds"]}


@contextmanager
def _ours(port: int) -> Iterator[str]:
    """The embedded broker, at the priority of the cluster's processes: its address."""
    with (
        tempfile.TemporaryDirectory() as name,
        broker(Path(name), manifests("bench", port), nice_as=_proxy_pid()) as one,
    ):
        yield one.url


@contextmanager
def _knative(port: int) -> Iterator[str]:
    """A Broker of its own on the cluster, with the annotation that makes its channel answer before it delivers: its address."""
    from support.cluster import Cluster

    cluster = Cluster.from_environment()
    with cluster.namespace("bench") as namespace:
        objects = list(yaml.safe_load_all(manifests(namespace, port)))
        cluster.apply(*objects)
        cluster.wait_ready(*objects)
        url = cluster.broker(namespace)
        for _ in range(20):  # the first events after Ready may fail while caches fill
            figures = load("broker", "-url", url, "-listen", f"127.0.0.1:{port}", "-events", 100, "-timeout", "5s")
            if not figures["lost"]:
                break
        yield url


def manifests(namespace: str, port: int) -> str:
    """A Broker and one Trigger; Knative's channel may answer at once, as ours does."""
    return f"""
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {{name: default, namespace: {namespace}, annotations: {{messaging.knative.dev/async-handler: "true"}}}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {{name: one, namespace: {namespace}}}
spec:
  broker: default
  filter: {{attributes: {{type: bench.happened}}}}
  subscriber: {{uri: "http://127.0.0.1:{port}/"}}
"""


def _proxy_pid() -> int | None:
    """The cluster's proxy, which stands in for a cluster's DNS; None for a cluster that has one. Raises Missing.

    A proxy that is there and not found would be Knative's loss: nothing would be subtracted.
    """
    if "CLUSTER_RUN" not in os.environ:  # not one that tests/cluster/cluster has started
        return None
    routes = str(Path(os.environ["CLUSTER_RUN"]) / "routes")
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_text().split("\0")
        except OSError:
            continue
        if routes in words and "-listen" in words:
            return int(file.parent.name)
    raise Missing("the cluster's name-routing proxy is not to be found, so what it costs cannot be subtracted")


class _Proxy:
    """What the proxy costs an event: its CPU time as the kernel counts it, and the time that a hop through it takes more.

    Two hops of each event go through it (ingress to channel, channel to filter). Were it not there, a machine whose cores are
    all busy would be done with an event earlier by its CPU time, shared by the cores.
    """

    hops = 2

    def __init__(self) -> None:
        self.pid = _proxy_pid()
        self.hop = _hop(self.pid) if self.pid else 0.0
        self.cpu = 0.0

    def without(self, measure: Callable[[], dict[str, float]], *, busy: bool) -> dict[str, float]:
        """What `measure` finds, less the proxy's part. `busy`: events wait for the cores, so all times shrink alike."""
        before = self._cpu()
        figures = measure()
        if not busy:
            return {**figures, **{name: max(figures[name] - self.hops * self.hop, 1e-9) for name in ("p50", "p99")}}
        self.cpu = (self._cpu() - before) / figures["events"]
        seconds = figures["seconds"] - self.cpu * figures["events"] / (os.cpu_count() or 1)
        shrunk = seconds / figures["seconds"]
        return {
            **figures,
            "p50": figures["p50"] * shrunk,
            "p99": figures["p99"] * shrunk,
            "rate": figures["rate"] / shrunk,
        }

    def _cpu(self) -> float:
        return cpu(self.pid) if self.pid else 0.0


def _hop(pid: int) -> float:
    """Seconds that a request to Knative's ingress takes longer through the proxy than directly: of the medians."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    proxy = words[words.index("-listen") + 1]
    direct = os.environ["BROKER_INGRESS"].partition("//")[2]
    taken: dict[str, list[float]] = {proxy: [], direct: []}
    clients = {address: http.client.HTTPConnection(address, timeout=10) for address in taken}
    headers = {"Host": "broker-ingress.knative-eventing.svc.cluster.local", "User-Agent": "kube-probe/bench"}
    for _ in range(300):
        for address, client in clients.items():
            start = time.perf_counter()
            client.request("GET", "/", headers=headers)
            client.getresponse().read()
            taken[address].append(time.perf_counter() - start)
    for client in clients.values():
        client.close()
    return max(statistics.median(taken[proxy]) - statistics.median(taken[direct]), 0.0)
