"""`greenlight doctor` on an installation in a real cluster: what is well is told to be, and each fault with what to do."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from greenlight.cli.main import main
from greenlight.deployer.clusters.api import Api
from greenlight.deployer.clusters.in_cluster import InCluster
from greenlight.deployer.clusters.kubeconfig import Kubeconfig
from greenlight.deployer.drivers.helm.declaration import Helm
from greenlight.entrypoints.doctor.cluster import _letters
from greenlight.entrypoints.doctor.cluster import cluster as examined
from greenlight.entrypoints.doctor.findings import OK, UNKNOWN, WRONG, Finding, verdict
from greenlight.entrypoints.doctor.targets import skew, targets
from greenlight.flow import FLOW
from greenlight.lib.clock import SystemClock
from greenlight.policy.rbac import roles
from support.aws import aws
from support.cluster import PATIENCE, Cluster, Object, kubectl
from support.dynamodb import MISSING, Table
from support.overlays import applied, services_there
from support.policy import parse

pytestmark = pytest.mark.cluster

PIPELINE = """
apiVersion: greenlight/v1
kind: Pipeline
clusters:
  here: {in-cluster: true}
  far: {kubeconfig: /etc/greenlight/far.yaml, context: far}
applications:
  - name: shop
    repo: acme/shop
    branches: [main]
    gates:
      build: {circleci: {workflow: build}}
      scan: {webhook: scan}
    environments:
      - {name: staging, require: [build, scan], deploy: {helm: {cluster: here, chart: shop, release: shop, namespace: NS}}}
      - {name: far, require: [build], deploy: {helm: {cluster: far, chart: shop, release: shop, namespace: shop}}}
"""


class Installation:
    """The try-out's overlay in a namespace, with a pipeline that deploys by Helm into the same one."""

    def __init__(self, cluster: Cluster, namespace: str, stored: Mapping[tuple[str, str], Object]) -> None:
        self.cluster, self.namespace, self.stored = cluster, namespace, stored

    def config(self, name: str, **data: str) -> None:
        """What operators write: a ConfigMap's or, for greenlight-secrets, a Secret's data."""
        kind, field = ("Secret", "stringData") if name == "greenlight-secrets" else ("ConfigMap", "data")
        metadata = {"name": name, "namespace": self.namespace}
        self.cluster.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, field: data})

    def grant(self) -> None:
        """As `greenlight policy rbac | kubectl apply -f -` does."""
        subject = {"kind": "ServiceAccount", "name": "deployer", "namespace": self.namespace}
        self.cluster.apply(*roles({self.namespace: Helm.rules}, subject))

    def doctor(self, *words: str) -> Result:
        """The command, told where by a kubeconfig's context."""
        where = ["--kubeconfig", os.environ["KUBECONFIG"], "--context", "cluster", "--namespace", self.namespace]
        return CliRunner().invoke(main, ["doctor", *where, *words])

    def findings(self) -> list[Finding]:
        result = self.doctor("--json")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        told = json.loads(result.output)
        found = [Finding(**it) for it in told["findings"]]
        assert result.exit_code == verdict(found)
        assert told["healthy"] == (result.exit_code == 0)
        return found

    def wrong(self) -> dict[str, Finding]:
        return {it.what: it for it in self.findings() if it.state == WRONG}


@pytest.fixture
def installation(cluster: Cluster) -> Iterator[Installation]:
    """Everything applied, and Ready but for pods, which nothing makes here."""
    if MISSING:
        pytest.skip(MISSING)
    table = Table()
    with applied(cluster, "dev") as (namespace, stored):
        it = Installation(cluster, namespace, stored)
        services_there(cluster, namespace)
        ping = stored["PingSource", "every-minute"]
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        cluster.patch_status(ping, {"observedGeneration": ping["metadata"]["generation"], "conditions": [ready]})
        cluster.wait_ready(
            *(each for (kind, _), each in stored.items() if kind in ("Broker", "Trigger", "SinkBinding"))
        )
        for name in ("webhooks", "recorder", "promoter", "deployer", "reconciler", "board"):
            cluster.wait(stored["Service", name], lambda each: "K_SINK" in json.dumps(each["spec"]))
        services_there(cluster, namespace)  # once more: a SinkBinding has changed their generation
        it.config("greenlight-config", **{"pipeline.yaml": PIPELINE.replace("NS", namespace)})
        there = {"AWS_ENDPOINT_URL_DYNAMODB": os.environ["AWS_ENDPOINT_URL_DYNAMODB"], "AWS_REGION": "us-east-1"}
        it.config("greenlight-settings", GREENLIGHT_LEDGER=f"dynamodb:{table.name}", **there)
        it.grant()
        yield it
    table.delete()


def test_a_whole_installation_has_nothing_wrong(installation: Installation) -> None:
    """Each object, the channel, the sinks, clocks, secrets, rights; what nobody can tell here is told apart."""
    found = installation.findings()
    wrong = [it for it in found if it.state == WRONG]
    assert all(it.what == "table" for it in wrong), wrong
    assert len(wrong) == 2, "the tests' own table has neither deletion protection nor a time to live"
    well = {it.what for it in found if it.state == OK}
    assert well >= {
        "clock",
        "Broker default",
        "channel",
        "pipeline",
        "secrets",
        "cluster here",
        "table",
        "dead letters",
    }
    assert well >= {f"Trigger {edge.trigger}" for edge in FLOW}
    assert well >= {"Service webhooks", "SinkBinding deployer", "PingSource every-minute"}
    # No pod of the reconciler runs here, and DynamoDB Local has no backups.
    assert {it.what for it in found if it.state == UNKNOWN} <= {"dead letters", "table", "cluster far"}
    (far,) = [it for it in found if it.what == "cluster far"]
    assert (far.state, "far.yaml" in far.said) == (UNKNOWN, True), "the file is the pods', not this machine's"
    told = installation.doctor().output
    assert "ok       channel: InMemoryChannel default-kne-trigger answers before it delivers" in told


def test_each_fault_is_found_and_says_what_to_do(installation: Installation) -> None:
    """All at once, as it is after an upgrade that went wrong."""
    cluster, namespace, stored = installation.cluster, installation.namespace, installation.stored
    cluster.delete(stored["Trigger", "ping-to-reconciler"])
    cluster.wait_gone(stored["Trigger", "ping-to-reconciler"])
    changed = _plain(stored["Trigger", "promotion-ready-to-deployer"])
    changed["spec"]["filters"] = [{"exact": {"type": "promotion.readied"}}]
    cluster.apply(changed)
    why = {"type": "Ready", "status": "False", "reason": "RevisionFailed", "message": "the image cannot be pulled"}
    why["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    service = cluster.get(stored["Service", "promoter"])
    status = {"observedGeneration": service["metadata"]["generation"], "conditions": [why]}
    cluster.patch_status(service, status)
    cluster.delete(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "greenlight-secrets", "namespace": namespace}}
    )
    installation.config("greenlight-secrets", github="s", circleci=" ")
    rbac = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "greenlight-deployer", "namespace": namespace},
    }
    cluster.delete({**rbac, "kind": "RoleBinding"})
    installation.config("greenlight-settings", GREENLIGHT_LEDGER="dynamodb:no-such-table", AWS_REGION="us-east-1")

    wrong = installation.wrong()
    assert (wrong["Trigger ping-to-reconciler"].said, wrong["Trigger ping-to-reconciler"].todo[:16]) == (
        f"there is none in the namespace {namespace}",
        "kubectl apply -k",
    )
    assert wrong["Trigger promotion-ready-to-deployer"].said == "its filter is not that of this version"
    assert wrong["Service promoter"].said == "not Ready: RevisionFailed: the image cannot be pulled"
    assert wrong["Service promoter"].todo == f"kubectl describe -n {namespace} services.serving.knative.dev promoter"
    assert "add the key gate-scan" in wrong["secrets"].todo
    assert (
        f"system:serviceaccount:{namespace}:deployer lacks rights in the namespace {namespace}"
        in wrong["cluster here"].said
    )
    assert "get, list, watch, create, update, patch, delete secrets" in wrong["cluster here"].said
    assert wrong["cluster here"].todo.startswith("greenlight policy rbac --cluster here")
    assert "greenlight ledger create" in wrong["table"].said


def test_a_broker_without_the_annotation_or_a_sink_is_wrong(cluster: Cluster) -> None:
    """As Knative makes it when nobody says otherwise: the real controller's channel is looked at, not the Broker's wish."""
    with cluster.namespace("doctor") as namespace:
        broker: Object = {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Broker",
            "metadata": {"name": "default", "namespace": namespace},
        }
        cluster.apply(broker)
        trigger = {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Trigger",
            "metadata": {"name": "facts-to-recorder", "namespace": namespace},
            "spec": {"broker": "default", "subscriber": {"uri": "http://127.0.0.1:9/"}, "delivery": {"retry": 1}},
        }
        cluster.apply(trigger)
        cluster.wait_ready(broker, trigger)
        wrong = {it.what: it for it in examined(_api(), namespace, SystemClock()) if it.state == WRONG}
    assert "delivers inside the producer's request" in wrong["channel"].said
    assert wrong["dead letters"].said.startswith("Trigger facts-to-recorder: what cannot be delivered vanishes")


def test_who_may_not_look_is_told_apart_from_what_is_wrong(cluster: Cluster, tmp_path: Path) -> None:
    """A ServiceAccount without rights finds nothing out: exit code 3, and no alarm."""
    with cluster.namespace("doctor") as namespace:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody", "namespace": namespace}}
        cluster.apply(account)
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/nobody/token"
        (tmp_path / "token").write_text(cluster._request("POST", path, asked)["status"]["token"])
        server, authority = _server()
        (tmp_path / "ca.crt").write_bytes(authority)
        host, port = server.removeprefix("https://").split(":")
        env = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        found = list(examined(InCluster(tmp_path, env).api(), namespace, SystemClock()))
    assert verdict(found) == 3
    assert {it.state for it in found if it.what != "clock"} == {UNKNOWN}
    assert any("cannot get resource" in it.said and "account that may read" in it.todo for it in found)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kubeconfig", "x"], "--kubeconfig and --context must be given together"),
        (["--region", "eu-west-1"], "--eks and --region must be given together"),
        (["--eks", "a", "--region", "b", "--in-cluster"], "name one cluster"),
    ],
)
def test_which_cluster_is_meant_is_said_whole_and_once(words: list[str], said: str) -> None:
    """Exit 2; never the current context."""
    result = CliRunner().invoke(main, ["doctor", *words])
    assert (result.exit_code, said in result.output) == (2, True)


def test_an_eks_cluster_is_asked_with_ones_own_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here its server has no authenticator of AWS's and refuses the token: that a person has to mend."""
    with aws(monkeypatch) as cloud:
        cloud.describes("platform", *_server())
        result = CliRunner().invoke(main, ["doctor", "--eks", "platform", "--region", "eu-west-1", "--json"])
        assert result.exit_code == 1
        assert "does not accept the credentials" in result.output
        assert cloud.asked[0][0] == "/clusters/platform"


def test_the_rights_of_whoever_deploys_from_outside_are_asked_for_as_himself(cluster: Cluster, tmp_path: Path) -> None:
    """By SelfSubjectAccessReview, through the pipeline file's own kubeconfig; what is missing is named by verb and kind."""
    with cluster.namespace("doctor") as namespace:
        subject = {"kind": "ServiceAccount", "name": "outside", "namespace": namespace}
        metadata = {"name": "outside", "namespace": namespace}
        cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
        token = kubectl("create", "token", "outside", "-n", namespace).strip()
        config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
        config["users"] = [{"name": "admin", "user": {"token": token}}]
        (tmp_path / "outside.yaml").write_text(json.dumps(config))
        text = PIPELINE.replace("{in-cluster: true}", "{kubeconfig: outside.yaml, context: cluster}").replace(
            "NS", namespace
        )
        pipeline = parse({"pipeline.yaml": text}, tmp_path)

        def here() -> Finding:
            return [it for it in targets(pipeline, tmp_path, SystemClock()) if it.what == "cluster here"][-1]

        assert here().state == WRONG
        assert "get, list, watch, create, update, patch, delete secrets" in here().said
        (role, binding) = roles({namespace: Helm.rules}, subject)
        role["rules"] = role["rules"][1:]
        cluster.apply(role, binding)
        _until(lambda: "deployments.apps" not in here().said)
        assert here().said == (
            f"this account lacks rights in the namespace {namespace}: get, list, watch, create, update, patch, delete secrets"
        )
        cluster.apply(*roles({namespace: Helm.rules}, subject))
        _until(lambda: here().state == OK)


def _until(true: Callable[[], bool]) -> None:
    """The authorizer hears of a Role a moment after it is stored."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline


@pytest.mark.parametrize(("seconds", "state"), [(-60, WRONG), (-3, OK), (0, OK), (3, OK), (60, WRONG)])
def test_clocks_that_differ_are_told_with_their_distance(cluster: Cluster, seconds: int, state: str) -> None:
    """Against the real API server's own Date."""

    class Shifted(SystemClock):
        def now(self) -> datetime:
            return super().now() + timedelta(seconds=seconds)

    (found,) = skew("clock", _api(), Shifted())
    assert found.state == state, found
    if state == WRONG:
        assert ("behind" if seconds > 0 else "ahead") in found.said
        assert "NTP" in found.todo


def test_dead_letters_are_counted_in_the_reconcilers_logs() -> None:
    """Where pods run: the process-only cluster has none, so their log is written here."""

    class Logs:
        def get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
            return {"items": [{"metadata": {"name": "reconciler-1"}}, {"metadata": {"name": "reconciler-2"}}]}

        def text(self, path: str, query: Mapping[str, str]) -> str:
            assert query["sinceSeconds"] == "86400"
            return (
                "ERROR greenlight.reconciler dead letter: a fact 'x' was not accepted\nINFO\n"
                if path.endswith("1/log")
                else ""
            )

    (found,) = _letters(Logs(), "greenlight")  # type: ignore[arg-type]
    assert (found.state, found.said) == (WRONG, "1 events could not be delivered within a day")


def _server() -> tuple[str, bytes]:
    endpoint = _access()._endpoint()
    assert endpoint.authority is not None
    return endpoint.server, endpoint.authority


def _api() -> Api:
    return _access().api()


def _access() -> Kubeconfig:
    return Kubeconfig(Path(os.environ["KUBECONFIG"]), "cluster")


def _plain(stored: Object) -> Object:
    """What was stored, as somebody would apply it."""
    metadata = {"name": stored["metadata"]["name"], "namespace": stored["metadata"]["namespace"]}
    return {"apiVersion": stored["apiVersion"], "kind": stored["kind"], "metadata": metadata, "spec": stored["spec"]}
