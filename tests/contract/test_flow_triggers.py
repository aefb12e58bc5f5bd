"""The flow exists once: the Triggers in knative/triggers say what flow.py says."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenlight.broker.manifests import default_folder, load_folder
from greenlight.broker.trigger_spec import Manifests, TriggerSpec
from greenlight.events import Event, types
from greenlight.flow import FLOW, Edge
from greenlight.lib.errors import ConfigurationError
from greenlight.reconciler.app import DEAD_LETTERS
from support.vocabulary import NOT_FACTS, OUR_FACTS, made

FOLDER = default_folder()

OUTSIDE = ["com.github.push", "com.circleci.buildsuccess", "com.github.check_run.completed", "com.example.scan", "x"]


@pytest.fixture(scope="module")
def manifests() -> Manifests:
    return load_folder(FOLDER)


def trigger_of(manifests: Manifests, edge: Edge) -> TriggerSpec:
    (found,) = [trigger for trigger in manifests.triggers if trigger.name == edge.trigger]
    return found


def test_every_edge_has_its_file_and_every_file_its_edge() -> None:
    """Numbered in flow order."""
    files = sorted(path.name for path in (FOLDER / "triggers").iterdir())
    assert files == sorted([*(f"{edge.number}-{edge.trigger}.yaml" for edge in FLOW), "kustomization.yaml"])
    assert [edge.number for edge in FLOW] == sorted(edge.number for edge in FLOW)


@pytest.mark.parametrize("edge", FLOW, ids=lambda edge: edge.trigger)
def test_a_trigger_passes_exactly_the_types_of_its_edge(manifests: Manifests, edge: Edge) -> None:
    """The compiled filter decides, not the text of the YAML."""
    wants = trigger_of(manifests, edge).filter
    facts = {*OUR_FACTS, *OUTSIDE}
    passed = {type for type in [*NOT_FACTS, *facts] if wants(made(type))}
    assert passed == (facts if edge.on == (types.FACT,) else set(edge.on))


def test_a_type_that_a_service_begins_to_conclude_concerns_no_trigger_yet(manifests: Manifests) -> None:
    """No Trigger names it, and none names what it does not want."""
    new = Event("1", "/s", "deployment.verified")
    assert not [trigger.name for trigger in manifests.triggers if trigger.filter(new)]


@pytest.mark.parametrize("edge", FLOW, ids=lambda edge: edge.trigger)
def test_a_trigger_calls_the_service_of_its_edge_and_says_how_it_is_tried_again(
    manifests: Manifests, edge: Edge
) -> None:
    """Nothing is left to defaults: once a Trigger has a delivery, Knative fills in nothing."""
    trigger = trigger_of(manifests, edge)
    ref = trigger.subscriber.ref
    assert ref is not None
    assert (ref.api_version, ref.kind, ref.name) == ("serving.knative.dev/v1", "Service", edge.service)
    assert (ref.namespace, trigger.broker_key) == ("greenlight", "greenlight/default")
    assert trigger.delivery.retry > 0
    assert trigger.delivery.backoff_policy == "exponential"
    assert trigger.delivery.backoff_delay
    assert trigger.delivery.timeout
    assert trigger.delivery.timeout >= (30 if types.DEPLOYMENT_PROGRESSING in edge.on else 10)
    sink = trigger.delivery.dead_letter_sink
    assert sink is not None
    assert sink.ref is not None
    assert (sink.ref.name, sink.uri) == ("reconciler", DEAD_LETTERS)


def test_the_broker_answers_producers_before_it_delivers() -> None:
    """Without the annotation a channel nests every reply into one request."""
    assert 'messaging.knative.dev/async-handler: "true"' in (FOLDER / "broker" / "100-broker.yaml").read_text()


def test_the_broker_hands_no_dead_letter_sink_down_to_triggers_of_others(manifests: Manifests) -> None:
    """Where there is one, a long error page ends Knative's in-memory channel; and a Broker waits for its own to be ready."""
    (broker,) = manifests.brokers
    assert broker.delivery.dead_letter_sink is None


def test_the_folder_is_found_in_a_checkout_and_in_an_installed_package(tmp_path: Path) -> None:
    """And its absence is told, with what to do."""
    package = tmp_path / "services" / "greenlight"
    package.mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="install Greenlight again"):
        default_folder(package)
    (tmp_path / "knative" / "triggers").mkdir(parents=True)
    assert default_folder(package) == tmp_path / "knative"
    (package / "knative" / "triggers").mkdir(parents=True)
    assert default_folder(package) == package / "knative"
