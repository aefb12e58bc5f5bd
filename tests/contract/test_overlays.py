"""Every overlay on a real API server, with Eventing's and Serving's own admission: what is stored, what works, who may what."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from greenlight.cli.commands.run import SERVICES
from greenlight.cli.main import main
from greenlight.flow import FLOW
from support.cluster import OURS, Cluster, Object, Refused, kubectl
from support.overlays import applied, rendered, services_there

pytestmark = pytest.mark.cluster

SERVING = "validatingwebhookconfiguration/validation.webhook.serving.knative.dev"

DEPLOYS = """
apiVersion: greenlight/v1
kind: Pipeline
clusters:
  here: {in-cluster: true}
  elsewhere: {eks: {name: shop, region: eu-west-1}}
applications:
  - name: shop
    repo: acme/shop
    branches: [main]
    gates: {scan: {webhook: scan}}
    environments:
      - {name: staging, require: [scan], deploy: {helm: {cluster: here, chart: shop, release: shop, namespace: NS-staging}}}
      - {name: far, require: [scan], deploy: {helm: {cluster: elsewhere, chart: shop, release: shop, namespace: NS-far}}}
"""


def test_the_try_out_is_admitted_and_works_up_to_where_containers_begin(cluster: Cluster) -> None:
    """Broker, Triggers and SinkBindings become Ready, and every Service is told where events go."""
    with applied(cluster, "dev") as (namespace, stored):
        services_there(cluster, namespace)
        ready = [each for (kind, _), each in stored.items() if kind in ("Broker", "Trigger", "SinkBinding")]
        assert len(ready) == 1 + len(FLOW) + len(SERVICES)
        cluster.wait_ready(*ready)
        broker = cluster.get(stored["Broker", "default"])
        assert broker["metadata"]["annotations"]["eventing.knative.dev/broker.class"] == "MTChannelBasedBroker"
        for service in SERVICES:
            found = cluster.wait(stored["Service", service], lambda each: "K_SINK" in _environment(each))
            assert _environment(found)["K_SINK"] == broker["status"]["address"]["url"]
        again = rendered("overlays/dev", namespace)[1:]
        stays = {name: each["metadata"]["generation"] for name, each in _services(cluster, stored).items()}
        cluster.apply(*again)  # a second apply takes nothing away again: no Service would start anew
        assert {name: each["metadata"]["generation"] for name, each in _services(cluster, stored).items()} == stays


def test_production_is_admitted(cluster: Cluster) -> None:
    """With Kafka's Broker, which nobody reconciles here, on no channel; and more of what must never be gone."""
    with applied(cluster, "production") as (_, stored):
        broker = stored["Broker", "default"]
        assert broker["metadata"]["annotations"]["eventing.knative.dev/broker.class"] == "Kafka"
        assert "messaging.knative.dev/async-handler" not in broker["metadata"]["annotations"]
        assert broker["spec"]["config"]["name"] == "kafka-broker-config"
        for edge in FLOW:
            delivery = stored["Trigger", edge.trigger]["spec"]["delivery"]
            assert {"retry", "backoffPolicy", "backoffDelay", "timeout", "deadLetterSink"} == set(delivery)
        scale = stored["Service", "webhooks"]["spec"]["template"]["metadata"]["annotations"]
        assert scale["autoscaling.knative.dev/min-scale"] == "2"
        settings = stored["ConfigMap", "greenlight-settings"]["data"]
        assert settings["GREENLIGHT_LEDGER"].startswith("dynamodb:")
        (port,) = stored["NetworkPolicy", "metrics"]["spec"]["ingress"][0]["ports"]
        assert scale["prometheus.io/port"] == settings["GREENLIGHT_METRICS_PORT"] == str(port["port"])


def test_servings_admission_is_there_and_looks(cluster: Cluster) -> None:
    """It tries a pod of each Service: one that its namespace would refuse, is refused with its Service."""
    _needs_serving()
    with applied(cluster, "dev") as (_, stored):
        service = stored["Service", "recorder"]
        for field in ("managedFields", "resourceVersion"):
            service["metadata"].pop(field)
        (container,) = service["spec"]["template"]["spec"]["containers"]
        container["securityContext"] = {"privileged": False}
        with pytest.raises(Refused, match="restricted"):
            cluster.admit(service)


def test_who_may_say_what_on_the_broker_is_refused_only_where_senders_have_no_names(cluster: Cluster) -> None:
    """Structure and fields pass; what is in `filters` passes as a Trigger's, which the same code judges."""
    with cluster.namespace("policies") as namespace:
        cluster.apply(*(each for each in rendered("broker", namespace) if each["kind"] == "Broker"))
        for policy in rendered("access/event-policies", namespace):
            with pytest.raises(Refused, match="oidc-authentication feature not enabled"):
                cluster.admit(policy)
            cluster.admit(
                {
                    "apiVersion": "eventing.knative.dev/v1",
                    "kind": "Trigger",
                    "metadata": {"name": policy["metadata"]["name"], "namespace": namespace},
                    "spec": {
                        "broker": "default",
                        "filters": policy["spec"]["filters"],
                        "subscriber": {"uri": "http://127.0.0.1:1/"},
                    },
                }
            )


@pytest.mark.skipif(
    not OURS, reason="it changes a setting of the whole cluster; CLUSTER_IS_OURS=1 says that nobody else is there"
)
def test_who_may_say_what_on_the_broker_is_admitted_where_senders_have_names(cluster: Cluster) -> None:
    """With Knative's feature authentication-oidc on, for as long as it takes to ask."""
    features = ("configmap", "config-features", "-n", "knative-eventing", "--type", "merge", "-p")
    with cluster.namespace("policies") as namespace:
        policies = rendered("access/event-policies", namespace)
        kubectl("patch", *features, '{"data": {"authentication-oidc": "enabled"}}')
        try:
            cluster.settle(lambda: None, lambda: _admitted(cluster, policies[0]))
            for policy in policies:
                cluster.admit(policy)
            policies[0]["spec"]["filters"] = [{"exact": {"Type": "x"}}]
            with pytest.raises(Refused, match="Type"):
                cluster.admit(policies[0])
        finally:
            kubectl("patch", *features, '{"data": {"authentication-oidc": "disabled"}}')
            cluster.settle(lambda: None, lambda: not _admitted(cluster, policies[1]))


def test_the_deployer_alone_touches_what_the_policy_names_and_nothing_else(cluster: Cluster, tmp_path: Path) -> None:
    """With real tokens, against what `greenlight policy rbac` renders."""
    with contextlib.ExitStack() as stack:
        home, other = (stack.enter_context(cluster.namespace(name)) for name in ("home", "other"))
        staging = _namespace(cluster, stack, f"{home}-staging")
        _namespace(cluster, stack, f"{home}-far")
        (tmp_path / "pipeline.yaml").write_text(DEPLOYS.replace("NS", home))
        cluster.apply(*(each for each in rendered("access", home) if each["kind"] == "ServiceAccount"))
        roles = CliRunner().invoke(main, ["policy", "rbac", "--config", str(tmp_path), "--cluster", "here"])
        assert roles.exit_code == 0, roles.output
        kubectl("apply", "-f", "-", text=roles.output.replace("namespace: greenlight\n", f"namespace: {home}\n"))
        token = {name: kubectl("create", "token", name, "-n", home).strip() for name in SERVICES}

        def may(service: str, verb: str, what: str, namespace: str) -> bool:
            return cluster.may(token[service], verb, what, namespace)

        for verb, what in (
            ("create", "deployments.apps"),
            ("patch", "secrets"),
            ("get", "pods/log"),
            ("watch", "jobs.batch"),
        ):
            assert may("deployer", verb, what, staging), (verb, what)
            for namespace in (home, other, f"{home}-far", "kube-system", "default"):
                assert not may("deployer", verb, what, namespace), (verb, what, namespace)
            assert not any(may(service, verb, what, staging) for service in SERVICES if service != "deployer")
        rbac = "rbac.authorization.k8s.io"
        for verb, what in (("create", f"rolebindings.{rbac}"), ("escalate", f"roles.{rbac}"), ("create", "pods/exec")):
            assert not may("deployer", verb, what, staging), (verb, what)
        kubectl("create", "configmap", "mine", "-n", staging, token=token["deployer"])
        with pytest.raises(Refused, match="forbidden"):
            kubectl("create", "configmap", "mine", "-n", other, token=token["deployer"])


def test_a_cluster_that_the_deployer_does_not_run_in_knows_it_as_a_group(tmp_path: Path) -> None:
    """And whoever does not say which, or deploys nothing there, is told so."""
    (tmp_path / "pipeline.yaml").write_text(DEPLOYS.replace("NS", "shop"))

    def rbac(*words: str) -> Any:
        return CliRunner().invoke(main, ["policy", "rbac", "--config", str(tmp_path), *words])

    assert "name a cluster with --cluster" in rbac().output
    assert "does not run in elsewhere" in rbac("--cluster", "elsewhere").output
    kind = ("--kind", "gateway.networking.k8s.io/httproutes")
    role, binding = yaml.safe_load_all(rbac("--cluster", "elsewhere", "--group", "greenlight", *kind).output)
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "shop-far"
    assert role["rules"][-1]["apiGroups"] == ["gateway.networking.k8s.io"]
    assert binding["subjects"] == [
        {"kind": "Group", "name": "greenlight", "apiGroup": "rbac.authorization.k8s.io"},
    ]


def _admitted(cluster: Cluster, object: Object) -> bool:
    try:
        cluster.admit(object)
    except Refused:
        return False
    return True


def _namespace(cluster: Cluster, stack: contextlib.ExitStack, name: str) -> str:
    namespace: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    cluster.apply(namespace)
    stack.callback(cluster.delete, namespace)
    return name


def _needs_serving() -> None:
    try:
        kubectl("get", SERVING)
    except Refused:
        pytest.skip("this cluster has no admission of Knative Serving's")


def _services(cluster: Cluster, stored: dict[tuple[str, str], Object]) -> dict[str, Object]:
    return {service: cluster.get(stored["Service", service]) for service in SERVICES}


def _environment(service: Object) -> dict[str, str]:
    (container,) = service["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in container["env"]}
