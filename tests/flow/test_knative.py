"""The talk's story on the real Knative broker: every service a process of its own, the ledger a DynamoDB that they share."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from greenlight.cli.main import main
from greenlight.model.rows import DUE_AFTER
from support.cluster import OURS, Cluster, kubeconfig_of, kubectl
from support.dynamodb import MISSING, Table
from support.flow import sha_of
from support.helm import write_chart
from support.services import Services, installed, ping

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

CLUSTER = Path(__file__).parents[1] / "cluster" / "cluster"


@pytest.fixture
def table() -> Iterator[Table]:
    table = Table()
    yield table
    table.delete()


def warm(services: Services) -> None:
    """Ship commits to staging until one arrives: what is sent just after Ready may be lost, on any of the ways."""
    words = itertools.count()
    sent: list[str] = []

    def ship() -> None:
        sent.append(f"warm-{next(words)}")
        services.send("push", sent[-1])
        services.send("build", sent[-1])

    services.until(
        lambda: any(services.outcome(word, "staging") == "succeeded" for word in sent), "no commit arrives", every=ship
    )


def everything_but_approval(services: Services, word: str) -> None:
    for kind in ("push", "build", "scan"):
        services.send(kind, word)
    services.until(lambda: services.commit(word), f"{word} was not recorded")


def test_the_talks_story_over_the_real_broker(cluster: Cluster, tmp_path: Path, table: Table) -> None:
    """Signed facts in, one deployment to each environment out, nobody helping."""
    with installed(cluster, tmp_path, f"dynamodb:{table.name}") as (_, services):
        warm(services)
        everything_but_approval(services, "one")
        services.until(lambda: services.outcome("one", "staging") == "succeeded", "staging was not deployed")
        services.send("approval", "one")
        services.until(lambda: services.outcome("one", "production") == "succeeded", "production was not deployed")
        assert [environment for environment, _ in services.commands("one")] == ["staging", "production"]


@pytest.mark.skipif(
    shutil.which("helm") is None, reason="there is no helm: . $(tests/cluster/cluster up helm) brings it"
)
def test_the_story_ends_in_a_helm_release_by_no_more_rights_than_the_policy_gives(
    cluster: Cluster, tmp_path: Path, table: Table
) -> None:
    """Production is a release on the API server; the deployer's token allows what `greenlight policy rbac` rendered."""
    with cluster.namespace("production") as production, cluster.namespace("accounts") as accounts:
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "deployer", "namespace": accounts},
        }
        cluster.apply(account)
        token = kubectl("create", "token", "deployer", "-n", accounts).strip()

        def by_helm(config: Path) -> None:
            (config / "kubeconfig").write_text(kubeconfig_of(token))
            write_chart(config / "charts" / "shop")
            file = config / "pipeline.yaml"
            pipeline = yaml.safe_load(file.read_text())
            context = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())["current-context"]
            pipeline["clusters"] = {"here": {"kubeconfig": str(config / "kubeconfig"), "context": context}}
            release = {"cluster": "here", "chart": "charts/shop", "release": "shop", "namespace": production}
            (app,) = pipeline["applications"]
            app["environments"][1]["deploy"] = {"helm": {**release, "values": {"sha": "${sha}"}, "timeout": "60s"}}
            file.write_text(yaml.safe_dump(pipeline))
            group = f"system:serviceaccounts:{accounts}"
            roles = CliRunner().invoke(main, ["policy", "rbac", "--config", str(config), "--group", group])
            assert roles.exit_code == 0, roles.output
            kubectl("apply", "-f", "-", text=roles.output)

        with installed(cluster, tmp_path, f"dynamodb:{table.name}", by_helm) as (_, services):
            warm(services)
            everything_but_approval(services, "one")
            services.send("approval", "one")
            services.until(lambda: services.outcome("one", "production") not in (None, "running"), "it came to no end")
            end = services.deployment("one", "production")
            assert end["outcome"] == "succeeded", end
            shop = {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "shop", "namespace": production},
            }
            pods = cluster.get(shop)["spec"]["template"]["metadata"]
            assert pods["annotations"]["sha"] == sha_of("one")


@pytest.mark.skipif(
    not OURS,
    reason="it kills the broker of everybody on this cluster; CLUSTER_IS_OURS=1 says that nobody else is there",
)
def test_what_a_killed_broker_had_in_memory_is_finished_from_the_ledger(
    cluster: Cluster, tmp_path: Path, table: Table
) -> None:
    """The reconciler, which a ping wakes once a minute, emits again what is due: the commit is late, and deployed once."""
    with installed(cluster, tmp_path, f"dynamodb:{table.name}") as (namespace, services):
        warm(services)
        services.kill("promoter")  # so that what it is told stays with the Broker, to be tried again
        everything_but_approval(services, "two")
        services.send("approval", "two")
        subprocess.run([CLUSTER, "restart", "controllers"], check=True, timeout=60)
        services.start("promoter")
        services.until(
            lambda: services.outcome("two", "production") == "succeeded",
            "it was not finished",
            every=lambda: ping(cluster, namespace),
        )
        assert [environment for environment, _ in services.commands("two")] == ["staging", "production"]
        (pushed,) = [entry["at"] for entry in services.journal("two") if entry["type"] == "com.github.push"]
        began = services.deployment("two", "staging")["started"]
        assert datetime.fromisoformat(began) - datetime.fromisoformat(pushed) >= DUE_AFTER  # nothing came sooner


def test_a_service_that_is_killed_delays_a_commit_and_no_more(cluster: Cluster, tmp_path: Path, table: Table) -> None:
    """With all that it was doing; what it left half-done the Broker tries again, or the ledger has emitted again."""
    hold = tmp_path / "config" / "hold-production"
    with installed(cluster, tmp_path, f"dynamodb:{table.name}") as (namespace, services):
        warm(services)
        for service in ("webhooks", "board", "recorder", "promoter", "deployer"):
            word = f"{service} dies"
            if service == "deployer":
                os.mkfifo(hold)  # the command waits until somebody writes
            everything_but_approval(services, word)
            services.send("approval", word)
            if service == "deployer":
                services.until(lambda word=word: len(services.commands(word)) == 2, "the command did not start")
            services.kill(service)
            if service == "deployer":
                hold.write_text("go on\n")  # it ends well while there is no deployer
                hold.unlink()
            services.start(service)
            services.until(
                lambda word=word: services.outcome(word, "production") == "succeeded",
                f"{word}, and its commit was not finished",
                every=lambda: ping(cluster, namespace),
            )
            begun = {each: services.deployment(word, each)["id"] for each in ("staging", "production")}
            assert services.commands(word) == [*begun.items()]


def test_an_edit_of_the_pipeline_is_in_force_in_every_process(cluster: Cluster, tmp_path: Path, table: Table) -> None:
    """What it makes ready is deployed, though nothing more is heard of the commit; what it was decided by stays known."""
    pipeline = tmp_path / "config" / "pipeline.yaml"
    with installed(cluster, tmp_path, f"dynamodb:{table.name}") as (namespace, services):
        warm(services)
        everything_but_approval(services, "four")
        services.until(lambda: services.outcome("four", "staging") == "succeeded", "staging was not deployed")
        assert services.deployment("four", "production") == {}
        pipeline.write_text(pipeline.read_text().replace("[build, scan, legal]", "[build, scan]"))

        def a_minute_goes_by() -> None:
            ping(cluster, namespace)
            services.ready("promoter")  # as the kubelet asks

        services.until(
            lambda: services.outcome("four", "production") == "succeeded", "it was not deployed", every=a_minute_goes_by
        )
