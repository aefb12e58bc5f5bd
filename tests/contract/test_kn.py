"""The `kn` commands of docs/knative.md make what the YAML makes, as the real kn runs them and Knative's controllers see it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from greenlight.broker.manifests import default_folder, load_texts
from greenlight.broker.trigger_spec import TriggerSpec
from greenlight.cli.commands.run import SERVICES
from greenlight.flow import FLOW
from support.cluster import Cluster, Object, kubectl
from support.vocabulary import NOT_FACTS, made

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(shutil.which("kn") is None, reason="there is no kn: . $(tests/cluster/cluster up kn) brings it"),
]

FOLDER = default_folder()
PAGE = Path(__file__).parents[2] / "docs" / "knative.md"


def commands() -> str:
    """The page's own, as it has them."""
    (found,) = [block for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL) if "kn broker" in block]
    return str(found)


def moved(text: str, namespace: str) -> str:
    """From the namespace that the page and the manifests name."""
    text = re.sub(r"-n greenlight\b", f"-n {namespace}", text)
    return text.replace("namespace: greenlight\n", f"namespace: {namespace}\n").replace(
        ".greenlight.", f".{namespace}."
    )


def run(script: str, folder: Path) -> None:
    kubectl = "" if shutil.which("kubectl") else 'kubectl() { kube kubectl "$@"; }\n'
    done = subprocess.run(["bash", "-euc", kubectl + script], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_commands_of_the_page_make_the_same_broker_and_triggers(cluster: Cluster, tmp_path: Path) -> None:
    """The same filter, retries and back-off; subscriber and dead-letter sink resolved to the same addresses."""
    with cluster.namespace("by-kn") as by_kn, cluster.namespace("by-yaml") as by_yaml:
        for namespace in (by_kn, by_yaml):
            for service in SERVICES:
                cluster.service(namespace, service, f"http://{service}.{namespace}.svc.cluster.local")
        for file in FOLDER.glob("triggers/[0-9]*.yaml"):
            copy = tmp_path / "knative/triggers" / file.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(moved(file.read_text(), by_kn))
        run(moved(commands(), by_kn), tmp_path)
        for file in [FOLDER / "broker/100-broker.yaml", *sorted(FOLDER.glob("triggers/[0-9]*.yaml"))]:
            cluster.apply(yaml.safe_load(moved(file.read_text(), by_yaml)))
        names = [edge.trigger for edge in FLOW]
        kn, ours = (Made(cluster, namespace, names) for namespace in (by_kn, by_yaml))
        assert set(kn.exist()) == set(ours.exist()) == {*names}
        assert kn.broker() == ours.broker()
        for name in names:
            assert kn.addresses(name) == ours.addresses(name)
            mine, theirs = ours.read(name), kn.read(name)
            assert (theirs.delivery.retry, theirs.delivery.backoff_policy, theirs.delivery.backoff_delay) == (
                *(mine.delivery.retry, mine.delivery.backoff_policy, mine.delivery.backoff_delay),
            )
            assert theirs.delivery.timeout == mine.delivery.timeout
            for event in map(made, (*NOT_FACTS, "com.github.push", "gate.passed", "x")):
                assert theirs.filter(event) == mine.filter(event), (name, event.type)


class Made:
    """The Broker and Triggers of one namespace, Ready."""

    def __init__(self, cluster: Cluster, namespace: str, names: list[str]) -> None:
        self._cluster, self._namespace = cluster, namespace
        self._broker = self._ready("Broker", "default")
        self._triggers = {name: self._ready("Trigger", name) for name in names}

    def exist(self) -> list[str]:
        """The names of the Triggers that there are."""
        listed = kubectl("get", "triggers.eventing.knative.dev", "-n", self._namespace, "-o", "name")
        return [line.rpartition("/")[2] for line in listed.splitlines()]

    def broker(self) -> Any:
        """What is set of it, and the annotation as its channel has it."""
        channel = {
            "apiVersion": "messaging.knative.dev/v1",
            "kind": "InMemoryChannel",
            "metadata": {"name": "default-kne-trigger", "namespace": self._namespace},
        }
        asynchronous = self._cluster.wait(
            channel, lambda found: "messaging.knative.dev/async-handler" in found["metadata"]["annotations"]
        )["metadata"]["annotations"]["messaging.knative.dev/async-handler"]
        return asynchronous, self._broker["spec"]

    def addresses(self, name: str) -> tuple[str, str]:
        """Where the controllers resolved its subscriber and its dead-letter sink to."""
        found = self._triggers[name]
        return self._here(found, "subscriberUri"), self._here(found, "deadLetterSinkUri")

    def read(self, name: str) -> TriggerSpec:
        """As our own broker reads it, with the Broker's delivery where it has none."""
        texts = [
            {key: each[key] for key in ("apiVersion", "kind", "metadata", "spec")}
            for each in (self._broker, self._triggers[name])
        ]
        (found,) = load_texts({"made.yaml": yaml.safe_dump_all(texts)}).triggers
        return found

    def _ready(self, kind: str, name: str) -> Object:
        object = {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": self._namespace},
        }
        self._cluster.wait_ready(object)
        return self._cluster.get(object)

    def _here(self, object: Object, field: str) -> str:
        return str(object["status"][field]).replace(f".{self._namespace}.", ".NAMESPACE.")
