"""Which Brokers and Triggers are admitted: by Knative's own admission webhook, and by us at load. The words may differ."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from greenlight.broker.delivery_options import DEFAULT, DeliveryOptions, seconds
from greenlight.broker.manifests import load_texts
from greenlight.lib.errors import ConfigurationError
from support.broker import BROKER, Recorder, running, trigger
from support.cluster import Cluster, Refused

YES, NO = True, False


@dataclass(frozen=True)
class Manifest:
    """A manifest and its verdict; Knative's is the other one where there is a reason `difference` for it.

    `text`: lines of a Trigger's spec, beside a good broker and subscriber, which they may replace; or a whole document.
    """

    text: str
    admitted: bool
    difference: str | None = None

    @property
    def knative(self) -> bool:
        return self.admitted if self.difference is None else not self.admitted

    def object(self, namespace: str) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load(self.text)
        if "kind" not in found:
            spec = {"broker": "default", "subscriber": {"uri": "http://127.0.0.1:1/"}, **found}
            spec = {name: value for name, value in spec.items() if value != "absent"}
            found = {
                "apiVersion": "eventing.knative.dev/v1",
                "kind": "Trigger",
                "metadata": {"name": "one"},
                "spec": spec,
            }
        found["metadata"].setdefault("namespace", namespace)
        return found


def broker(spec: str) -> str:
    return f"{{apiVersion: eventing.knative.dev/v1, kind: Broker, metadata: {{name: other}}, spec: {spec}}}"


def named(name: str, annotations: str = "{}") -> str:
    return (
        f"{{apiVersion: eventing.knative.dev/v1, kind: Trigger, metadata: {{name: '{name}', annotations: {annotations}}}, "
        "spec: {broker: default, subscriber: {uri: 'http://127.0.0.1:1/'}}}"
    )


def delivery(text: str) -> str:
    return f"delivery: {{{text}}}"


def filters(text: str) -> str:
    return f"filters: [{text}]"


MANIFESTS = [
    # The Trigger itself.
    Manifest("{}", YES),
    Manifest("broker: absent", NO),
    Manifest("broker: ''", NO),
    Manifest("subscriber: absent", NO),
    Manifest("unknown: 1", NO),
    Manifest("brokerRef: {name: default}", NO),
    Manifest("broker: missing", NO, "unresolved"),
    Manifest("filter: {attributes: {type: a}, subscriber: {uri: 'http://x/'}}", NO),
    # Destinations.
    Manifest("subscriber: {}", NO),
    Manifest("subscriber: {uri: 'http://x/', ref: {apiVersion: v1, kind: Service, name: x}}", NO),
    Manifest("subscriber: {uri: /relative}", NO),
    Manifest("subscriber: {uri: 'https://x.example:8443/path?q=1'}", YES),
    Manifest("subscriber: {uri: 'bad://uri'}", NO, "unresolved"),
    Manifest("subscriber: {uri: 'ftp://x/'}", NO, "unresolved"),
    Manifest("subscriber: {uri: 5}", NO),
    Manifest("subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: s}}", YES),
    Manifest("subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: s}, uri: /events}", YES),
    Manifest(
        "subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: s, namespace: elsewhere}}", YES
    ),
    Manifest("subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service}}", NO),
    Manifest("subscriber: {ref: {kind: Service, name: s}}", NO),
    Manifest("subscriber: {ref: {apiVersion: v1, name: s}}", NO),
    Manifest("subscriber: {ref: {apiVersion: v1, kind: Service, name: s, port: 80}}", NO),
    Manifest("subscriber: {url: 'http://x/'}", NO),
    Manifest("subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: nobody}}", NO, "unresolved"),
    Manifest("subscriber: {ref: {apiVersion: v1, kind: Service, name: s}}", NO, "unresolved"),
    Manifest("subscriber: {uri: 'http://x/', CACerts: x}", NO),
    Manifest("subscriber: {uri: 'https://x/', audience: x}", NO, "certificates"),
    # Delivery.
    Manifest(delivery("retry: 3, backoffPolicy: linear, backoffDelay: PT1S, timeout: PT5S, format: json"), YES),
    Manifest(delivery(""), YES),
    Manifest(delivery("retry: 0"), YES),
    Manifest(delivery("retry: -1"), NO),
    Manifest(delivery("retry: three"), NO),
    Manifest(delivery("retry: true"), NO),
    Manifest(delivery("retry: 1.5"), NO),
    Manifest(delivery("retries: 3"), NO),
    Manifest(delivery("backoffPolicy: exponential"), YES),
    Manifest(delivery("backoffPolicy: random"), NO),
    Manifest(delivery("backoffPolicy: Linear"), NO),
    Manifest(delivery("backoffDelay: PT0.2S"), YES),
    Manifest(delivery("backoffDelay: PT0S"), YES),
    Manifest(delivery("backoffDelay: P1D"), YES),
    Manifest(delivery("backoffDelay: P1W"), YES),
    Manifest(delivery("backoffDelay: P1DT1H"), YES),
    Manifest(delivery("backoffDelay: 'PT0,3S'"), YES),
    Manifest(delivery("backoffDelay: 10s"), NO),
    Manifest(delivery("backoffDelay: 5"), NO),
    Manifest(delivery("backoffDelay: P"), NO),
    Manifest(delivery("backoffDelay: PT"), NO),
    Manifest(delivery("backoffDelay: ''"), NO),
    Manifest(delivery("backoffDelay: -PT1S"), NO, "durations"),
    Manifest(delivery("backoffDelay: P1Y"), NO, "durations"),
    Manifest(delivery("timeout: PT1S"), YES),
    Manifest(delivery("timeout: PT0S"), NO),
    Manifest(delivery("timeout: -PT1S"), NO, "durations"),
    Manifest(delivery("timeout: 1 second"), NO),
    Manifest(delivery("format: binary"), YES),
    Manifest(delivery("format: JSON"), NO),
    Manifest(delivery("format: xml"), NO),
    Manifest(delivery("retryAfterMax: PT1S"), NO),
    Manifest(delivery("deadLetterSink: {uri: 'http://x/'}"), YES),
    Manifest(delivery("deadLetterSink: {}"), NO),
    Manifest(delivery("deadLetterSink: {uri: relative}"), NO),
    Manifest(delivery("deadLetterSink: {ref: {apiVersion: v1, kind: Service}}"), NO),
    # Filters.
    Manifest("filter: {}", YES),
    Manifest("filter: {attributes: {type: a, stage: ''}}", YES),
    Manifest("filter: {attributes: {my-type: a}}", NO),
    Manifest("filter: {attributes: {Type: a}}", NO),
    Manifest("filter: {attributes: {1st: a}}", NO),
    Manifest("filter: {attributes: {type: 5}}", NO),
    Manifest("filter: {attrs: {type: a}}", NO),
    Manifest("filters: []", YES),
    Manifest("filters: {exact: {type: a}}", NO),
    Manifest(filters("{}"), YES),
    Manifest(filters("{exact: {type: a}}"), YES),
    Manifest(filters("{exact: {}}"), YES),
    Manifest(filters("{exact: {Type: a}}"), NO),
    Manifest(filters("{exact: {type: 5}}"), NO),
    Manifest(filters("{exact: type}"), NO),
    Manifest(filters("{exact: {type: a}, suffix: {type: b}}"), NO),
    Manifest(filters("{regex: {type: a}}"), NO),
    Manifest(filters("{prefix: {my-type: a}}"), NO),
    Manifest(filters("{all: [{exact: {type: a}}, {prefix: {source: /}}]}"), YES),
    Manifest(filters("{all: []}"), YES),
    Manifest(filters("{any: []}"), YES),
    Manifest(filters("{any: {exact: {type: a}}}"), NO),
    Manifest(filters("{any: [{exact: {type: a}, prefix: {type: b}}]}"), NO),
    Manifest(filters("{not: {exact: {type: a}}}"), YES),
    Manifest(filters("{not: [{exact: {type: a}}]}"), NO),
    Manifest(filters("{exact: {type: ''}}"), NO, "empty-filters"),
    Manifest(filters("{prefix: {type: ''}}"), NO, "empty-filters"),
    Manifest(filters("{cesql: \"type = 'a'\"}"), YES),
    Manifest(filters('{cesql: "type ="}'), NO),
    Manifest(filters('{cesql: "nothere = 5"}'), YES),
    Manifest(filters('{cesql: "MISSING(type)"}'), NO, "cesql-checks"),
    Manifest(filters('{cesql: "UPPER(type, type) = source"}'), NO, "cesql-checks"),
    Manifest(filters('{cesql: ""}'), NO, "empty-filters"),
    Manifest(filters("{cesql: \"type = 'a';\"}"), NO, "cesql-checks"),
    Manifest(filters("{cesql: \"type = 'it''s'\"}"), NO, "cesql-checks"),
    Manifest("filters: [{exact: {type: a}}]\nfilter: {attributes: {Type: a}}", NO),
    *(Manifest(filters(f"{{exact: {{'{name}': a}}}}"), NO) for name in ("a.b", "a_b", "a b", "ä", "", "-a", "aB")),
    # Names and annotations.
    *(Manifest(named(name), YES) for name in ("a", "a-b.c", "1", "a" * 63)),
    *(Manifest(named(name), NO) for name in ("A", "a_b", "-a", "a.", "a" * 254)),
    Manifest(named("a", "{greenlight/concurrency: '3'}"), YES),
    Manifest(named("a", "{knative.dev/dependency: 'no json'}"), YES, "dependencies"),
    # Brokers.
    Manifest(broker("{}"), YES),
    Manifest(broker("{delivery: {retry: 3}}"), YES),
    Manifest(broker("{delivery: {retry: -1}}"), NO),
    Manifest(broker("{delivery: {backoffDelay: soon}}"), NO),
    Manifest(broker("{delivery: {deadLetterSink: {uri: relative}}}"), NO),
    Manifest(broker("{deliveries: {}}"), NO),
    Manifest(broker("{config: {apiVersion: v1, kind: ConfigMap, name: c, namespace: n}}"), YES),
]

PARAMETERS = [
    pytest.param(it, id=it.text.removeprefix("{apiVersion: eventing.knative.dev/v1, ")[:90]) for it in MANIFESTS
]


@pytest.mark.parametrize("manifest", PARAMETERS)
def test_greenlight(manifest: Manifest, tmp_path: Path) -> None:
    """At load, or where names are looked up when the Broker is made."""
    with (
        contextlib.nullcontext() if manifest.admitted else pytest.raises(ConfigurationError),
        running(tmp_path, json.dumps(manifest.object("test")), services={"s": Recorder()}),
    ):
        pass


@pytest.mark.cluster
@pytest.mark.parametrize("manifest", PARAMETERS)
def test_knatives(manifest: Manifest, cluster: Cluster, namespace: str) -> None:
    """The real webhook, which is asked and stores nothing."""
    with contextlib.nullcontext() if manifest.knative else pytest.raises(Refused):
        cluster.admit(manifest.object(namespace))


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    with cluster.namespace("admission") as name:
        yield name


def test_a_triggers_broker_cannot_be_changed(tmp_path: Path) -> None:
    """Ours says so when the folder changes, and goes on as before."""
    second = BROKER.replace("default", "second")
    one = trigger("one", "http://127.0.0.1:1/")
    before, after = (
        load_texts({"m.yaml": "---".join([BROKER, second, it])}) for it in (one, one.replace(" default", " second"))
    )
    with running(tmp_path, second, one) as broker:
        with pytest.raises(ConfigurationError, match="cannot be changed"):
            broker.change(*after)
        assert broker.change(*before) == set()


@pytest.mark.cluster
def test_a_triggers_broker_cannot_be_changed_there(cluster: Cluster, namespace: str) -> None:
    """As with Knative."""
    object = Manifest("{}", YES).object(namespace)
    cluster.apply(object)
    with pytest.raises(Refused, match="Immutable"):
        cluster.apply({**object, "spec": {**object["spec"], "broker": "second"}})


@pytest.mark.cluster
def test_what_cannot_be_resolved_is_not_ready_there(cluster: Cluster, namespace: str) -> None:
    """Admitted, but reported in the status: the other half of the difference `unresolved`."""
    made = yaml.safe_load(broker("{}"))
    made["metadata"] |= {"name": "default", "namespace": namespace}
    ref = "{apiVersion: serving.knative.dev/v1, kind: Service, name: nobody}"
    subscriber, sink = (
        Manifest(text, YES).object(namespace)
        for text in (f"subscriber: {{ref: {ref}}}", delivery(f"deadLetterSink: {{ref: {ref}}}"))
    )
    subscriber["metadata"]["name"], sink["metadata"]["name"] = "no-subscriber", "no-sink"
    cluster.apply(made, subscriber, sink)
    cluster.wait(subscriber, lambda it: _says_no(it, "SubscriberResolved"))
    cluster.wait(sink, lambda it: _says_no(it, "DeadLetterSinkResolved"))


def _says_no(object: dict[str, Any], condition: str) -> bool:
    conditions = object.get("status", {}).get("conditions") or []
    return any(it["type"] == condition and it["status"] == "False" for it in conditions)


@pytest.mark.cluster
def test_the_delivery_that_a_broker_without_one_is_given_is_the_same(cluster: Cluster, namespace: str) -> None:
    """B5: the webhook writes the default into the Broker; Greenlight has it in its code."""
    object = yaml.safe_load(broker("{}"))
    object["metadata"]["namespace"] = namespace
    (stored,) = cluster.apply(object)
    delivery = stored["spec"]["delivery"]
    assert DeliveryOptions(delivery["retry"], delivery["backoffPolicy"], seconds(delivery["backoffDelay"])) == DEFAULT
