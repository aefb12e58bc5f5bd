"""The project's own Broker and Triggers, on the real thing: admitted, Ready, and every event where flow.py says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from greenlight.broker.manifests import default_folder
from greenlight.events import types
from greenlight.flow import FLOW
from support.broker import Recorder, Request, http_server, reply
from support.cluster import Cluster, Refused
from support.vocabulary import NOT_FACTS, made

pytestmark = pytest.mark.cluster

FOLDER = default_folder()
FACT = "com.github.push"
"""Stands for every fact."""

SERVICES = sorted({edge.service for edge in FLOW})


def manifests(namespace: str) -> Iterator[dict[str, Any]]:
    """The Broker and the Triggers, as they are in the files but for the namespace."""
    for file in [FOLDER / "broker/100-broker.yaml", *sorted(FOLDER.glob("triggers/[0-9]*.yaml"))]:
        object = yaml.safe_load(file.read_text())
        object["metadata"]["namespace"] = namespace
        yield object


def wanted() -> dict[str, list[str]]:
    """By service: the types that it gets, once for each Trigger that says so."""
    got: dict[str, list[str]] = {service: [] for service in SERVICES}
    for edge in FLOW:
        got[edge.service] += [FACT] if edge.on == (types.FACT,) else edge.on
    return {service: sorted(names) for service, names in got.items()}


def came(requests: list[Request], round: str) -> list[str]:
    """The types of those that belong to this round of sending."""
    return sorted(request.event.type for request in requests if request.event.id.startswith(round))


def wait_for(recorder: Recorder, round: str, count: int) -> None:
    recorder.wait_until(lambda requests: len(came(requests, round)) >= count)


def test_every_event_of_the_flow_reaches_exactly_the_services_of_the_table(cluster: Cluster) -> None:
    """Our manifests pass the real admission, and the real broker does with them what the table says."""
    recorders = {service: Recorder() for service in SERVICES}
    with contextlib.ExitStack() as stack:
        namespace = stack.enter_context(cluster.namespace("flow"))
        for service, recorder in recorders.items():
            cluster.service(namespace, service, stack.enter_context(http_server(recorder)))
        cluster.wait_ready(*cluster.apply(*manifests(namespace)))

        def send(round: str) -> None:
            for type in (FACT, *NOT_FACTS):  # some of them concern nobody
                cluster.send(namespace, made(type, f"{round} {type}"))

        cluster.settle(
            lambda: send("probe"),
            lambda: all(
                {*names} <= {*came(recorders[service].requests, "probe")} for service, names in wanted().items()
            ),
        )
        for round in ("first", "second"):  # what the first brought to a wrong place is there by the end of the second
            send(round)
            for service, names in wanted().items():
                wait_for(recorders[service], round, len(names))
    assert {service: came(recorder.requests, "first") for service, recorder in recorders.items()} == wanted()


def test_the_real_admission_refuses_what_a_slip_of_the_pen_makes_of_a_trigger(cluster: Cluster) -> None:
    """So that the test above means something: the webhook is there, and looks."""
    with cluster.namespace("flow") as namespace:
        *_, trigger = manifests(namespace)
        trigger["spec"]["delivery"]["backoffDelay"] = "2 seconds"
        with pytest.raises(Refused, match="backoffDelay"):
            cluster.apply(trigger)


@pytest.mark.parametrize(
    ("ours", "calls"),
    [
        pytest.param(True, [1, 1, 3], id="our-broker"),
        pytest.param(False, [1, 3, 27], id="without-its-annotation-and-dead-letter-sink"),
    ],
)
def test_a_last_step_that_fails_is_called_once_and_as_often_again_as_its_trigger_says(
    cluster: Cluster, ours: bool, calls: list[int]
) -> None:
    """Each reply is a POST of its own. Where the channel delivers within it, its failure is a reason to send the reply again,
    and with it all that follows from it: two steps before the failing one, 27 calls instead of 3."""
    recorders = {
        "recorder": Recorder(lambda n, request: reply(request.event.id, types.COMMIT_RECORDED)),
        "promoter": Recorder(lambda n, request: reply(request.event.id, types.PROMOTION_READY)),
        "deployer": Recorder(lambda n, request: (503, {}, b"")),
        "reconciler": Recorder(),  # which gets the dead letters
        "feedback": Recorder(),
    }

    def called(service: str, id: str) -> int:
        return [request.event.id for request in recorders[service].requests].count(id)

    with contextlib.ExitStack() as stack:
        namespace = stack.enter_context(cluster.namespace("retries"))
        for service, recorder in recorders.items():
            cluster.service(namespace, service, stack.enter_context(http_server(recorder)))
        objects = list(manifests(namespace))
        for object in objects:
            object["spec"]["delivery"] |= {"retry": 2, "backoffPolicy": "linear", "backoffDelay": "PT0.1S"}
            if not ours:
                object["metadata"].pop("annotations", None)
                object["spec"]["delivery"].pop("deadLetterSink", None)
        cluster.wait_ready(*cluster.apply(*objects))
        cluster.settle(lambda: cluster.post(namespace, made(FACT, "probe")), lambda: called("deployer", "probe") > 0)
        for id in ("counted", "fence"):  # what the first is still called for is over when the second is
            status = cluster.post(namespace, made(FACT, id))
            assert status == (202 if ours else 500)
            if ours:
                recorders["reconciler"].wait_until(lambda requests, id=id: id in [each.event.id for each in requests])
    assert [called(name, "counted") for name in ("recorder", "promoter", "deployer")] == calls
