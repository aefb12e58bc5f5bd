"""The manifests of a cluster, as files: nothing is left out, nothing is left to defaults, and they agree with flow.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from greenlight.broker.manifests import default_folder, load_folder, load_texts
from greenlight.cli.commands.run import SERVICES
from greenlight.entrypoints.serve import THREADS, WATCHES
from greenlight.events import types
from greenlight.events.build import as_fact
from greenlight.flow import FLOW
from greenlight.model.rows import DUE_AFTER
from support.vocabulary import NOT_FACTS, OUR_FACTS, made

FOLDER = default_folder()
POLICIES = FOLDER / "access/event-policies/event-policies.yaml"


def objects(path: str) -> Iterator[dict[str, Any]]:
    for file in sorted(FOLDER.glob(path)):
        yield from yaml.safe_load_all(file.read_text())


@pytest.mark.parametrize("folder", ["broker", "triggers", "services", "sources", "access"])
def test_every_file_is_applied(folder: str) -> None:
    """By kustomize, in the order of their names or better."""
    listed = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(
        path.name for path in (FOLDER / folder).glob("*.yaml") if path.name != "kustomization.yaml"
    )


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_a_knative_service_that_may_do_nothing_it_need_not(service: str) -> None:
    """One image with another argument, an account of its own, no root, no writing but in /tmp, bounded."""
    (found,) = objects(f"services/{service}.yaml")
    spec = found["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert (found["metadata"]["name"], container["image"], container["args"]) == (
        service,
        "greenlight",
        ["serve", service],
    )
    assert container["securityContext"] == {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == ("/healthz" if service == "webhooks" else "/readyz")
    assert spec["serviceAccountName"] == service
    assert spec.get("automountServiceAccountToken", True) == (service == "deployer")
    assert spec["containerConcurrency"] == {"webhooks": 0, "deployer": WATCHES}.get(service, THREADS)
    internet = "networking.knative.dev/visibility" not in found["metadata"]["labels"]
    assert internet == (service == "webhooks")
    secrets = {volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume}
    own = {"webhooks": "greenlight-secrets", "feedback": "greenlight-feedback", "board": "greenlight-login"}
    assert secrets == ({own[service]} if service in own else set())


@pytest.mark.parametrize("service", SERVICES)
def test_only_what_is_late_already_sleeps(service: str) -> None:
    """A start takes longer than all that the pipeline does with a commit."""
    (found,) = objects(f"services/{service}.yaml")
    least = int(found["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/min-scale"])
    assert least >= 1 or service == "reconciler"


def test_a_service_gets_at_least_the_time_that_its_triggers_wait_and_less_than_makes_the_event_due_again() -> None:
    """Else a queue-proxy would cut off what a Trigger still waits for; and nothing is emitted again that is still tried."""
    for trigger in load_folder(FOLDER).triggers:
        ref, timeout = trigger.subscriber.ref, trigger.delivery.timeout
        assert ref is not None
        assert timeout is not None
        (found,) = objects(f"services/{ref.name}.yaml")
        assert found["spec"]["template"]["spec"]["timeoutSeconds"] >= timeout
        assert timeout <= DUE_AFTER.total_seconds()


def test_whatever_publishes_is_told_where_and_has_a_name_of_its_own() -> None:
    """A SinkBinding for each service; a ServiceAccount, too; a token for the deployer alone."""
    bound = [each for each in objects("sources/*.yaml") if each["kind"] == "SinkBinding"]
    assert [each["spec"]["subject"]["name"] for each in bound] == [each["metadata"]["name"] for each in bound]
    assert sorted(each["metadata"]["name"] for each in bound) == sorted(SERVICES)
    accounts = {each["metadata"]["name"]: each for each in objects("access/10-*.yaml")}
    assert sorted(accounts) == sorted(SERVICES)
    assert [name for name, each in accounts.items() if each["automountServiceAccountToken"]] == ["deployer"]
    assert {each["kind"] for each in objects("access/*.yaml")} <= {"ServiceAccount", "NetworkPolicy", "Kustomization"}


def test_who_may_say_what_is_what_the_flow_says() -> None:
    """Under the name of the Trigger that called it, or of its SinkBinding, a service says what flow.py has it emit."""
    trigger = {"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger"}
    spec = {"broker": "default", "subscriber": {"uri": "http://127.0.0.1:1/"}}
    may: dict[tuple[str, str], set[str]] = {}
    every = [*NOT_FACTS, *OUR_FACTS, "com.github.push"]
    for policy in yaml.safe_load_all(POLICIES.read_text()):
        filters = {**spec, "filters": policy["spec"]["filters"]}
        (compiled,) = _triggers({**trigger, "metadata": {"name": "t", "namespace": "greenlight"}, "spec": filters})
        said = {type for type in every if compiled.filter(made(type)) or compiled.filter(as_fact(made(type)))}
        for sender in policy["spec"]["from"]:
            may.setdefault((sender["ref"]["kind"], sender["ref"]["name"]), set()).update(said)
    for edge in FLOW:
        if edge.emits:
            again = (
                {types.COMMIT_RECORDED} if edge.service == "deployer" else set()
            )  # what no longer holds, is decided again
            whole = {type for other in FLOW if other.service == edge.service for type in other.emits} | again
            assert may["Trigger", edge.trigger] == may["SinkBinding", edge.service] == whole
    assert may["SinkBinding", "webhooks"] == {type for type in every if type.startswith(("gate.", "com."))}
    assert may["SinkBinding", "feedback"] == {type for type in every if type.startswith("com.github.")}
    assert may["PingSource", "every-minute"] == {types.PING}
    assert may["SinkBinding", "reconciler"] == {*every} - {types.PING}
    assert [name for name, said in may.items() if types.PROMOTION_READY in said and name[0] == "SinkBinding"] == [
        ("SinkBinding", "promoter"),
        ("SinkBinding", "reconciler"),
    ]


def _triggers(*triggers: dict[str, Any]) -> Any:
    broker = (FOLDER / "broker/100-broker.yaml").read_text()
    return load_texts({"all.yaml": "\n---\n".join([broker, *(yaml.safe_dump(each) for each in triggers)])}).triggers
