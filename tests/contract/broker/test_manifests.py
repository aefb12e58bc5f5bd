"""What is read from Broker and Trigger YAML, and how mistakes are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenlight.broker.delivery_options import DeliveryOptions, seconds
from greenlight.broker.manifests import load_folder, load_texts
from greenlight.broker.trigger_spec import BrokerSpec, TriggerSpec
from greenlight.lib.errors import ConfigurationError
from support.broker import BROKER, running, trigger


def one(*, spec: str = "", broker_spec: str = "", subscriber: str = "s", annotations: str = "{}") -> TriggerSpec:
    (found,) = load_texts(
        {"b.yaml": BROKER + broker_spec, "t.yaml": trigger("one", subscriber, spec=spec, annotations=annotations)}
    ).triggers
    return found


@pytest.mark.parametrize(
    ("text", "length"),
    [("PT0.2S", 0.2), ("PT1M", 60), ("PT1H30M", 5400), ("P1D", 86400), ("P1W", 604800), ("PT0,3S", 0.3), ("PT0S", 0)],
)
def test_b8_durations_are_iso_8601(text: str, length: float) -> None:
    """Fractions are kept, where Knative cuts them to one digit."""
    assert seconds(text) == pytest.approx(length)


@pytest.mark.parametrize("text", ["", "P", "PT", "1S", "PT1", "P1DT", "-PT1S", "10s", "PT1S ", "P1Y", "PT.5S"])
def test_b8_other_texts_are_no_durations(text: str) -> None:
    """Negative ones included, which Knative admits; years and months have no length."""
    with pytest.raises(ValueError, match="ISO 8601"):
        seconds(text)


def test_b2_b3_b4_waits_are_those_of_knatives_broker() -> None:
    """Exponential from the delay on; linear from nothing on; no wait with half of the options."""
    exponential = DeliveryOptions(backoff_policy="exponential", backoff_delay=0.2)
    linear = DeliveryOptions(backoff_policy="linear", backoff_delay=0.2)
    assert [exponential.wait(n) for n in (1, 2, 3, 4)] == pytest.approx([0.2, 0.4, 0.8, 1.6])
    assert [linear.wait(n) for n in (1, 2, 3, 4)] == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert [DeliveryOptions(backoff_policy="linear").wait(n) for n in (1, 2)] == [0.0, 0.0]
    assert [DeliveryOptions(backoff_delay=5).wait(n) for n in (1, 2)] == [0.0, 0.0]
    assert exponential.wait(10_000) < float("inf")


def test_b5_a_broker_that_says_nothing_gets_knatives_default() -> None:
    """Ten retries; but only if there is no delivery at all."""
    broker = load_texts({"b.yaml": BROKER}).brokers[0]
    assert broker == BrokerSpec("test", "default", DeliveryOptions(10, "exponential", 0.2))
    sink = "spec: {delivery: {deadLetterSink: {uri: 'http://dead/'}}}"
    assert load_texts({"b.yaml": BROKER + sink}).brokers[0].delivery.retry == 0


def test_b9_b10_a_triggers_delivery_replaces_all_but_the_sink() -> None:
    """Also an empty one; and a Broker's format is not used."""
    broker = (
        "spec: {delivery: {retry: 5, backoffPolicy: linear, backoffDelay: PT1S, format: json, "
        "deadLetterSink: {uri: 'http://dead/'}}}"
    )
    inherited = one(broker_spec=broker).delivery
    assert (inherited.retry, inherited.backoff_delay, inherited.format) == (5, 1.0, "binary")
    for own, retry in (("{retry: 3}", 3), ("{}", 0), ("{format: json}", 0)):
        delivery = one(broker_spec=broker, spec=f"delivery: {own}").delivery
        assert (delivery.retry, delivery.backoff_delay, delivery.backoff_policy) == (retry, None, None)
        assert delivery.dead_letter_sink is not None
        assert delivery.dead_letter_sink.uri == "http://dead/"


MISTAKES = [
    ("spec", "delivery: {retries: 3}", "unknown field 'retries'"),
    ("spec", "delivery: {retry: -1}", "retry is a whole number"),
    ("spec", "delivery: {retry: true}", "retry is a whole number"),
    ("spec", "delivery: {backoffPolicy: random}", "backoffPolicy is linear or exponential"),
    ("spec", "delivery: {backoffDelay: 10s}", "ISO 8601"),
    ("spec", "delivery: {timeout: PT0S}", "longer than 0"),
    ("spec", "delivery: {format: JSON}", "format is json or binary"),
    ("spec", "delivery: {retryAfterMax: PT1S}", "delivery-retryafter"),
    ("spec", "delivery: {deadLetterSink: {}}", "needs a ref or a uri"),
    ("spec", "brokerRef: {name: x}", "unknown field 'brokerRef'"),
    ("spec", "filters: [{exact: {type: a}, suffix: {type: b}}]", "multiple dialects"),
    ("spec", "filters: {exact: {type: a}}", "filters is a list"),
    ("spec", "filters: [{regex: {type: a}}]", "unknown dialect 'regex'"),
    ("spec", "filters: [{exact: {Type: a}}]", "invalid attribute name 'Type'"),
    ("spec", "filters: [{exact: {type: 5}}]", "put 5 in quotes"),
    ("spec", 'filters: [{exact: {type: ""}}]', "can never match"),
    ("spec", "filters: [{not: {}}]", "not needs a filter"),
    ("spec", "filters: [{cesql: \"type LIKE 'a' AND id LIKE 5\"}]", "cesql, column 27: expected a pattern in quotes"),
    ("spec", "filters: [{cesql: true}]", "put True in quotes"),
    ("spec", 'filters: [{cesql: ""}]', "cesql, column 1: expected a value"),
    ("spec", "filters: [{not: {cesql: \"id = NOPE('a')\"}}]", "cesql, column 6: there is no function NOPE; there are"),
    ("spec", "filters: [{cesql: LENGTH(type)}]", "of type Integer, and only true passes"),
    ("spec", "filter: {attributes: {my-type: a}}", "invalid attribute name"),
    ("subscriber", "ftp://x/", "not an absolute http or https address"),
    ("annotations", '{greenlight/concurrency: "none"}', "number from 1 to 1000"),
]


@pytest.mark.parametrize(("where", "text", "message"), MISTAKES, ids=[text for _, text, _ in MISTAKES])
def test_a_mistake_is_reported_with_file_and_line(where: str, text: str, message: str) -> None:
    """What the admission webhook refuses is refused here, before anything starts; and what it should refuse."""
    with pytest.raises(ConfigurationError) as caught:
        one(**{where: text})
    start = {"subscriber": "t.yaml:7: ", "annotations": "t.yaml:4: ", "spec": "t.yaml:8: "}[where]
    assert str(caught.value).startswith(start)
    assert message in str(caught.value)


REFS = {
    "both": ("{ref: {apiVersion: v1, kind: Service, name: x}, uri: 'http://x/'}", "not allowed beside a ref"),
    "relative": ("{uri: /x}", "there is no ref"),
    "none": ("{}", "needs a ref or a uri"),
    "nameless": ("{ref: {apiVersion: v1, kind: Service}}", "the ref needs name"),
    "certificates": ("{uri: 'http://x/', CACerts: x}", "unknown field 'CACerts'"),
}


@pytest.mark.parametrize("case", REFS)
def test_a_subscriber_is_a_ref_or_an_absolute_address(case: str) -> None:
    """As the admission webhook has it."""
    subscriber, message = REFS[case]
    text = trigger("one", "http://x/").replace("{uri: 'http://x/'}", subscriber)
    with pytest.raises(ConfigurationError, match=message):
        load_texts({"b.yaml": BROKER, "t.yaml": text})


def test_all_mistakes_are_reported_at_once_and_doubles_and_missing_brokers_too() -> None:
    """One run of the checker is enough."""
    texts = {
        "a.yaml": trigger("one", "http://x/", spec="delivery: {retry: x}"),
        "b.yaml": BROKER + "---" + trigger("two", "http://x/") + "---" + trigger("two", "http://x/"),
        "c.yaml": trigger("three", "http://x/").replace("broker: default", "broker: missing"),
        "d.yaml": "a: [",
        "e.yaml": trigger("four", "http://x/").replace("knative.dev/v1", "knative.dev/v1beta1"),
    }
    with pytest.raises(ConfigurationError) as caught:
        load_texts(texts)
    message = str(caught.value)
    assert len(message.splitlines()) == 5
    for part in (
        "a.yaml:8: retry",
        "called test/two",
        "c.yaml:6: there is no Broker missing",
        "d.yaml:",
        "v1beta1",
    ):
        assert part in message


def test_a_folder_is_read_in_order_and_other_kinds_are_passed_over(tmp_path: Path) -> None:
    """Services, other API groups, and kustomize's overlays, which hold patches."""
    (tmp_path / "triggers").mkdir()
    (tmp_path / "overlays").mkdir()
    (tmp_path / "broker.yml").write_text(BROKER)
    (tmp_path / "triggers" / "20-b.yaml").write_text(trigger("b", "http://x/"))
    (tmp_path / "triggers" / "10-a.yaml").write_text(trigger("a", "http://x/"))
    (tmp_path / "service.yaml").write_text("apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: x}\n")
    (tmp_path / "overlays" / "patch.yaml").write_text(trigger("a", "http://patched/"))
    (tmp_path / "notes.txt").write_text("kind: Trigger")
    brokers, triggers = load_folder(tmp_path)
    assert [broker.key for broker in brokers] == ["test/default"]
    assert [trigger.key for trigger in triggers] == ["test/a", "test/b"]


def test_an_unknown_service_is_reported_before_anything_starts(tmp_path: Path) -> None:
    """With the file, the line, and what there is."""
    sink = "delivery: {deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: dead}}}"
    with (
        pytest.raises(ConfigurationError) as caught,
        running(tmp_path, trigger("one", "nobody"), trigger("two", "s", spec=sink), services={"s": object()}),
    ):
        pass
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("test.yaml:")
    assert "no service nobody here (known: s)" in lines[0]
    assert "Service dead (v1) cannot be resolved" in lines[1]
