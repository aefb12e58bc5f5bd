"""L3: on a real node, a service at zero: event posted to the Broker -> answered by its handler; beside the smallest Flask one.

The Broker here answers a POST when its Triggers have been answered, so that the POST's time is that of the whole way: Broker,
activator, autoscaler, container, interpreter, imports, first probe, handler. Ours is the recorder as the manifests have it, its
ledger in DynamoDB; both have the same limits.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from measure import Missing, Row

from greenlight.events import Event
from greenlight.events.build import as_fact
from support.cluster import Cluster, kubectl
from support.node import DYNAMODB, HOST, MISSING, NODE, ROOT, Door, run, served, until

ROWS = ("L3",)
ROUNDS = 5
SERVICES = ("recorder", "flask")
SETTINGS = {
    "GREENLIGHT_LEDGER": "dynamodb:greenlight-bench",
    "AWS_ENDPOINT_URL_DYNAMODB": f"http://{HOST}:{DYNAMODB}",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
}


def main() -> list[Row]:
    """Interleaved rounds, each from zero."""
    if MISSING or not os.environ.get("AWS_ENDPOINT_URL_DYNAMODB"):
        raise Missing("needs the node: . $(tests/cluster/cluster up dynamodb); . $(tests/cluster/real/cluster up)")
    run(NODE / "image", "dev.local/greenlight:bench", ROOT, seconds=1800)
    run(NODE / "image", "dev.local/flask:bench", Path(__file__).parent / "from_zero", seconds=1800)
    cluster = Cluster.from_environment()
    with (
        table(),
        served(DYNAMODB, Door(os.environ["AWS_ENDPOINT_URL_DYNAMODB"])),
        cluster.namespace("from-zero") as namespace,
    ):
        cluster.wait_ready(*cluster.apply(*objects(namespace)))
        for name in SERVICES:  # the first of each finds no image unpacked, and the Broker just made
            cluster.send(namespace, event(name, 0))
        taken: dict[str, list[float]] = {name: [] for name in SERVICES}
        for number in range(1, ROUNDS + 1):
            for name in SERVICES:
                asleep(cluster, namespace)
                start = time.perf_counter()
                cluster.send(namespace, event(name, number))
                taken[name].append(time.perf_counter() - start)
        for name, seconds in taken.items():
            print(f"  {name:10} " + "  ".join(f"{each:.2f} s" for each in sorted(seconds)))
    ours, baseline = (statistics.median(taken[name]) for name in SERVICES)
    return [
        Row(
            "L3",
            "event at the Broker -> handler, from zero",
            f"{ours:.2f} s",
            f"{baseline:.2f} s",
            ours / baseline,
            at_most=1.5,
        )
    ]


def asleep(cluster: Cluster, namespace: str) -> None:
    """Both are: whoever is on the way out takes the CPU from whoever comes."""
    until(lambda: not cluster.items("v1", "Pod", namespace), "no pod is left", 300)


def event(name: str, number: int) -> Event:
    """For the one or the other."""
    data = b'{"repo": "acme/shop", "ref": "refs/heads/main", "sha": "%s"}' % (b"a" * 40)
    return as_fact(
        Event(
            f"{name} {number}",
            "https://github.com/acme/shop",
            f"bench.{name}",
            datacontenttype="application/json",
            data=data,
        )
    )


@contextlib.contextmanager
def table() -> Iterator[None]:
    """The ledger's."""
    from greenlight.ledger.dynamodb import aws
    from greenlight.ledger.dynamodb.client import Dynamo
    from greenlight.ledger.dynamodb.table import settings

    dynamo = Dynamo(aws.Service("dynamodb", aws.account()), "greenlight-bench")
    dynamo.call(
        "CreateTable", {key: value for key, value in settings()["CreateTable"].items() if "Protection" not in key}
    )
    try:
        yield
    finally:
        dynamo.call("DeleteTable", {})


def objects(namespace: str) -> list[dict[str, Any]]:
    """A Broker, the two Services, and a Trigger for each."""
    named = {"namespace": namespace}
    pipeline = (ROOT / "knative/overlays/dev/pipeline.yaml").read_text()
    settings = [
        {"kind": "ConfigMap", "metadata": {"name": "greenlight-settings", **named}, "data": SETTINGS},
        {"kind": "ConfigMap", "metadata": {"name": "greenlight-config", **named}, "data": {"pipeline.yaml": pipeline}},
        {"kind": "ServiceAccount", "metadata": {"name": "recorder", **named}},
    ]
    for each in settings:
        kubectl("apply", "-f", "-", text=yaml.safe_dump({"apiVersion": "v1", **each}))
    made: list[dict[str, Any]] = [
        {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": "default", **named}}
    ]
    for name in SERVICES:
        service = yaml.safe_load((ROOT / "knative/services/recorder.yaml").read_text())
        service["metadata"] |= {"name": name, **named}
        scale = {"autoscaling.knative.dev/min-scale": "0", "autoscaling.knative.dev/window": "6s"}
        service["spec"]["template"]["metadata"]["annotations"] |= scale
        (container,) = service["spec"]["template"]["spec"]["containers"]
        container["image"] = f"dev.local/{'flask' if name == 'flask' else 'greenlight'}:bench"
        if name == "flask":
            for field in ("args", "readinessProbe", "livenessProbe"):
                del container[field]
        else:
            sink = f"http://broker-ingress.knative-eventing.svc.cluster.local/{namespace}/default"
            container["env"].append({"name": "K_SINK", "value": sink})
        reference = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": name}
        trigger = {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Trigger",
            "metadata": {"name": name, **named},
            "spec": {
                "broker": "default",
                "filter": {"attributes": {"type": f"bench.{name}"}},
                "subscriber": {"ref": reference},
            },
        }
        made += [service, trigger]
    return made
