"""Greenlight on Knative, as `greenlight doctor` looks at it through the Kubernetes API."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from greenlight.broker.manifests import default_folder, manifest_files
from greenlight.deployer.clusters.api import Api, Object
from greenlight.deployer.clusters.named import access_of
from greenlight.deployer.clusters.refusals import NotFound
from greenlight.deployer.drivers.registry import DRIVERS
from greenlight.entrypoints.doctor.findings import OK, UNKNOWN, WRONG, Finding, checked
from greenlight.entrypoints.doctor.machine import present, table
from greenlight.entrypoints.doctor.targets import InClusterAccount, skew, targets
from greenlight.lib.clock import Clock
from greenlight.lib.documents import load
from greenlight.lib.errors import ConfigurationError
from greenlight.model.policy import Pipeline
from greenlight.service.configuration import read_pipeline

APPLY = "kubectl apply -k your overlay (docs/install.md)"

ASYNC = "messaging.knative.dev/async-handler"
"""Without it a channel delivers inside the producer's request, and each reply nests one more request into it."""

_DAY = 86_400
_PLURALS = {
    ("eventing.knative.dev/v1", "Broker"): "brokers",
    ("eventing.knative.dev/v1", "Trigger"): "triggers",
    ("serving.knative.dev/v1", "Service"): "services",
    ("sources.knative.dev/v1", "SinkBinding"): "sinkbindings",
    ("sources.knative.dev/v1", "PingSource"): "pingsources",
}
"""What says of itself whether it is Ready."""


def cluster(api: Api, namespace: str, clock: Clock) -> Iterator[Finding]:
    """Yield the findings about an installation in `namespace`."""
    yield from checked("clock", lambda: skew("clock", api, clock))
    live: dict[str, Object] = {}
    for wanted in _ours():
        what = f"{wanted['kind']} {wanted['metadata']['name']}"
        yield from checked(what, partial(_object, api, namespace, wanted, what, live))
    broker = live.get("Broker default")
    if broker is not None:
        yield from checked("channel", lambda: _channel(api, namespace, broker))
        yield from checked("dead letters", lambda: _sinks(broker, live))
    yield from checked("dead letters", lambda: _letters(api, namespace))
    yield from _configuration(api, namespace, clock)


def installation(named: Mapping[str, Any], namespace: str, clock: Clock) -> Iterator[Finding]:
    """Yield the findings about an installation in a cluster that is named as in a pipeline file."""
    return cluster(access_of(named, Path(), clock).api(), namespace, clock)


def _ours() -> Iterator[Object]:
    """Yield the objects of this version of Greenlight, from its own manifests."""
    for path in manifest_files(default_folder()):
        for document in load(path.read_text(encoding="utf-8"), path.name):
            if (document.value.get("apiVersion"), document.value.get("kind")) in _PLURALS:
                yield document.value


def _object(api: Api, namespace: str, wanted: Object, what: str, live: dict[str, Object]) -> Iterator[Finding]:
    version, kind, name = wanted["apiVersion"], wanted["kind"], wanted["metadata"]["name"]
    try:
        found = api.get(f"/apis/{version}/namespaces/{namespace}/{_PLURALS[version, kind]}/{name}")
    except NotFound:
        yield Finding(what, WRONG, f"there is none in the namespace {namespace}", APPLY)
        return
    live[f"{kind} {name}"] = found
    if kind == "Trigger" and found["spec"].get("filters") != wanted["spec"]["filters"]:
        yield Finding(what, WRONG, "its filter is not that of this version", APPLY)
    why = unready(found)
    if why is None:
        yield Finding(what, OK, "Ready")
    else:
        group = version.partition("/")[0]
        todo = f"kubectl describe -n {namespace} {_PLURALS[version, kind]}.{group} {name}"
        yield Finding(what, WRONG, f"not Ready: {why}", todo)


def unready(found: Object) -> str | None:
    """Return why an object is not Ready, by its conditions; None: it is."""
    status, generation = found.get("status") or {}, found["metadata"].get("generation")
    if status.get("observedGeneration", generation) != generation:
        return "its controller has not seen its newest version yet"
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    ready = conditions.get("Ready")
    if ready is None:
        return "its controller has not reported on it yet"
    if ready["status"] == "True":
        return None
    shown = ready
    if not ready.get("message"):
        shown = next((condition for condition in conditions.values() if condition["status"] != "True"), ready)
    why = [text for text in (shown.get("reason"), shown.get("message")) if text]
    return ": ".join(why) or f"Ready is {ready['status']}"


def _channel(api: Api, namespace: str, broker: Object) -> Iterator[Finding]:
    """Yield the channel of a Broker that has one: its status names it; Kafka's has none."""
    status = (broker.get("status") or {}).get("annotations") or {}
    kind, name = status.get("knative.dev/channelKind"), status.get("knative.dev/channelName")
    if not kind or not name:
        yield Finding("channel", OK, "this class of Broker has none: it answers once it has stored the event")
        return
    version = status["knative.dev/channelAPIVersion"]
    channel = api.get(f"/apis/{version}/namespaces/{namespace}/{kind.lower()}s/{name}")
    if (channel["metadata"].get("annotations") or {}).get(ASYNC) == "true":
        yield Finding("channel", OK, f"{kind} {name} answers before it delivers")
    else:
        yield Finding(
            "channel",
            WRONG,
            f"{kind} {name} delivers inside the producer's request: one step that fails makes every step before it repeat",
            f'give the Broker the annotation {ASYNC}: "true", and delete the channel: its Broker makes it anew',
        )


def _sinks(broker: Object, live: Mapping[str, Object]) -> Iterator[Finding]:
    """Check that dead letters have a sink.

    It is each Trigger's own, or the Broker's where a Trigger has no `delivery` at all.
    """
    common = (broker["spec"].get("delivery") or {}).get("deadLetterSink")
    without = [
        name
        for name, object in live.items()
        if object["kind"] == "Trigger"
        and not (object["spec"].get("delivery") or {"deadLetterSink": common}).get("deadLetterSink", common)
    ]
    if without:
        yield Finding("dead letters", WRONG, f"{', '.join(without)}: what cannot be delivered vanishes unseen", APPLY)
    else:
        yield Finding("dead letters", OK, "every Trigger has a sink for them")


def _letters(api: Api, namespace: str) -> Iterator[Finding]:
    """Yield how many events the reconciler, their sink, has logged within a day."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    undelivered, seen = 0, 0
    for pod in api.get(pods, {"labelSelector": "app.kubernetes.io/name=reconciler"})["items"]:
        query = {"container": "user-container", "sinceSeconds": str(_DAY), "limitBytes": str(4 << 20)}
        log = api.text(f"{pods}/{pod['metadata']['name']}/log", query)
        seen += 1
        undelivered += sum("dead letter:" in line for line in log.splitlines())
    if undelivered:
        yield Finding(
            "dead letters",
            WRONG,
            f"{undelivered} events could not be delivered within a day",
            f"kubectl logs -n {namespace} -l app.kubernetes.io/name=reconciler -c user-container | grep 'dead letter'; "
            "what the ledger still waits for is sent again by itself",
        )
    elif seen:
        yield Finding("dead letters", OK, f"none within a day, by the reconciler's logs; pods checked: {seen}")
    else:
        yield Finding("dead letters", UNKNOWN, "no pod of the reconciler runs, so none reports them")


def _configuration(api: Api, namespace: str, clock: Clock) -> Iterator[Finding]:
    """Check what operators wrote: the pipeline in force, the settings, and the secrets that go with them."""
    pipeline: list[Pipeline] = []
    with tempfile.TemporaryDirectory(prefix="greenlight-doctor-") as name:
        folder = Path(name)
        yield from checked("pipeline", lambda: _pipeline(api, namespace, folder, pipeline))
        if pipeline:
            yield from checked("secrets", lambda: _secrets(api, namespace, pipeline[0]))
        yield from checked("settings", lambda: _settings(api, namespace))
        if pipeline:
            inside = InClusterAccount(api, f"system:serviceaccount:{namespace}:deployer")
            yield from targets(pipeline[0], folder, clock, inside)


def _pipeline(api: Api, namespace: str, folder: Path, found: list[Pipeline]) -> Iterator[Finding]:
    data = _held(api, namespace, "configmaps", "greenlight-config")
    for name, text in data.items():
        (folder / name).write_text(text, encoding="utf-8")
    found.append(read_pipeline(folder, DRIVERS))
    yield Finding("pipeline", OK, f"greenlight-config describes {', '.join(found[0].applications)}")


def _secrets(api: Api, namespace: str, pipeline: Pipeline) -> Iterator[Finding]:
    data = _held(api, namespace, "secrets", "greenlight-secrets")
    empty = [name for name, value in data.items() if not base64.b64decode(value).strip()]
    for name in empty:
        yield Finding(
            "secrets",
            WRONG,
            f"the Secret greenlight-secrets has nothing in {name}",
            "write a secret, or remove the key",
        )
    todo = "add the key {} to the Secret greenlight-secrets, with the secret that the sender signs with"
    yield from present(pipeline, set(data) - set(empty), "the Secret greenlight-secrets", todo)


def _settings(api: Api, namespace: str) -> Iterator[Finding]:
    settings = _held(api, namespace, "configmaps", "greenlight-settings")
    if not settings.get("GREENLIGHT_LEDGER", "").startswith("dynamodb:"):
        yield Finding(
            "settings",
            WRONG,
            "greenlight-settings names no ledger that several processes can share",
            "set GREENLIGHT_LEDGER=dynamodb:TABLE there, and make the table: greenlight ledger create",
        )
        return
    yield from table(
        {**os.environ, **settings}
    )  # the table that the services use, with the credentials of this command


def _held(api: Api, namespace: str, kind: str, name: str) -> Mapping[str, str]:
    try:
        found: Mapping[str, str] = api.get(f"/api/v1/namespaces/{namespace}/{kind}/{name}").get("data") or {}
    except NotFound as problem:
        raise ConfigurationError(f"{problem}; {APPLY} makes it") from problem
    return found
