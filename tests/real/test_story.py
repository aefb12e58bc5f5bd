"""The talk's story as Knative Services in containers that Skaffold deployed: each woken by an event, each killed in the middle
of its step, and every commit deployed exactly once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from support.cluster import kubectl
from support.flow import REPO, sha_of
from support.node import (
    NAMESPACE,
    Pipeline,
    asleep,
    kill,
    pods,
    revisions,
    skaffold,
    surroundings,
    until,
)

pytestmark = pytest.mark.node

WOKEN = ("recorder", "promoter", "deployer", "reconciler", "board")
"""The services that the dev overlay lets sleep."""


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Deployed once, by Skaffold."""
    with surroundings() as (door, sites):
        skaffold("run", "--profile=node")
        try:
            yield Pipeline(tmp_path_factory.mktemp("pipeline"), door, sites)
        finally:
            skaffold("delete", "--profile=node")


def test_events_wake_every_service_and_the_commit_ships(pipeline: Pipeline) -> None:
    """All of them sleep; four facts later production runs the commit, deployed to once."""
    asleep(*WOKEN)
    pipeline.facts("told")
    pipeline.shipped("told")


def test_skaffold_run_again_makes_no_new_revision(pipeline: Pipeline) -> None:
    """Neither the image's tag nor a label differs if nothing changed."""
    query = ("-n", NAMESPACE, "get", "revisions", "-o", "name")
    before = kubectl(*query)
    skaffold("run", "--profile=node")
    assert kubectl(*query) == before


def test_the_bindings_tell_where_events_go_and_the_ping_wakes_the_reconciler(pipeline: Pipeline) -> None:
    """K_SINK comes from a SinkBinding; the minute from a PingSource."""
    sink = kubectl("-n", NAMESPACE, "get", "broker", "default", "-o", "jsonpath={.status.address.url}")
    for service in ("webhooks", *WOKEN):
        path = "{.spec.template.spec.containers[0].env[?(@.name=='K_SINK')].value}"
        assert kubectl("-n", NAMESPACE, "get", "ksvc", service, "-o", f"jsonpath={path}") == sink
    asleep("reconciler")
    until(lambda: pods("reconciler"), "the ping wakes the reconciler")


@pytest.mark.parametrize("after", [False, True], ids=["before its write", "after its write"])
@pytest.mark.parametrize("service", ["webhooks", "recorder", "promoter", "deployer", "board"])
def test_a_pod_killed_in_the_middle_of_its_step_delays_the_commit_and_no_more(
    pipeline: Pipeline, service: str, after: bool
) -> None:
    """The ledger has the step's write, or has not; nobody has heard of either."""
    word = f"{service} {after}"
    with pipeline.door.holding(service, after=after) as held:
        sender = _sending(pipeline, word)
        held.wait()
        kill(service)
    sender.join()
    pipeline.shipped(word)


def test_the_deployer_killed_in_the_middle_of_a_command_goes_on_with_the_same_one(pipeline: Pipeline) -> None:
    """The command is started again, under the same id."""
    with pipeline.sites.holding() as held:
        sender = _sending(pipeline, "half")
        held.wait()
        kill("deployer")
    sender.join()
    pipeline.shipped("half")


def test_the_deployer_killed_while_a_release_comes_up_goes_on_with_the_same_one(pipeline: Pipeline) -> None:
    """Helm has returned, or has not; the release's own record says whose revision it is."""
    before = max(revisions(), default=0)
    pipeline.facts("rising")
    until(lambda: max(revisions(), default=0) > before, "Helm makes a revision")
    kill("deployer")
    pipeline.shipped("rising")


@pytest.mark.parametrize("killed", [False, True], ids=["reconciler lives", "reconciler killed in its step"])
def test_what_a_broker_loses_the_reconciler_finishes(pipeline: Pipeline, killed: bool) -> None:
    """The events lie in the memory of the channel's dispatcher when that dies."""
    word = f"lost {killed}"
    with pipeline.door.holding("recorder", after=False) as held:
        pipeline.facts(word, "push", "build", "scan")
        held.wait()
        words = ("-n", "knative-eventing", "delete", "pod", "-l", "messaging.knative.dev/channel=in-memory-channel")
        kubectl(*words, "--grace-period=0", "--force")
        kill("recorder")
    if killed:
        with pipeline.door.holding("reconciler", after=False) as held:
            held.wait()
            kill("reconciler")
    pipeline.facts(word, "approve")
    pipeline.shipped(word)


def _sending(pipeline: Pipeline, word: str) -> threading.Thread:
    """The commit's facts, sent while the test does something else."""
    sender = threading.Thread(target=pipeline.facts, args=(word,), name=f"sends {REPO} {sha_of(word)}")
    sender.start()
    return sender
