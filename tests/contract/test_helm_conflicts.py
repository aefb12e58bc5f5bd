"""The helm driver where others work at the same objects: by hand, by an autoscaler, or by deleting what was there."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from greenlight.deployer.drivers.helm import release
from support.cluster import Object, kubectl
from support.helm import Helm, eventually, sha_of

pytestmark = [pytest.mark.cluster, pytest.mark.helm]

MAP: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra-map"}, "data": {"a": "b"}}


def deployment(helm: Helm) -> Object:
    found: Object = helm.api.get(f"/apis/apps/v1/namespaces/{helm.namespace}/deployments/shop")
    return found


def replicas(helm: Helm) -> int:
    found: int = deployment(helm)["spec"]["replicas"]
    return found


def image(helm: Helm) -> str:
    found: str = deployment(helm)["spec"]["template"]["spec"]["containers"][0]["image"]
    return found


def by_hand(helm: Helm, *words: str) -> None:
    kubectl(*words, "-n", helm.namespace)


def test_what_was_changed_by_hand_is_put_back_by_the_next_commit_and_told(helm: Helm) -> None:
    assert helm.end(helm.order("one", values={"replicas": 2})).outcome == "succeeded"
    by_hand(helm, "scale", "deployment", "shop", "--replicas=5")
    by_hand(helm, "set", "image", "deployment/shop", "app=by-hand")
    end = helm.end(helm.order("two", fence=2, values={"replicas": 2}))
    assert end.outcome == "succeeded", end
    assert (helm.runs(), replicas(helm), image(helm)) == (sha_of("two"), 2, "shop")
    told = end.output or ""
    assert "Deployment shop: .spec.replicas was set to 5 by kubectl, and is put back to the chart's value" in told, told
    assert '.spec.template.spec.containers[name="app"].image was set by kubectl-set' in told, told


def test_what_was_changed_by_hand_stays_where_the_pipeline_says_so(helm: Helm) -> None:
    """In every later deployment, too, until somebody asks for a rollback."""
    values = {"replicas": 2, "extra": [MAP]}
    assert helm.end(helm.order("one", values=values)).outcome == "succeeded"
    by_hand(helm, "scale", "deployment", "shop", "--replicas=3")
    by_hand(helm, "patch", "configmap", "extra-map", "--type=merge", "-p", '{"data": {"a": "grüße\\nno"}}')
    for fence, word in enumerate(("two", "three"), 2):
        end = helm.end(helm.order(word, fence=fence, values=values, conflicts="theirs"))
        assert (end.outcome, helm.runs(), replicas(helm)) == ("succeeded", sha_of(word), 3), end
        assert "Deployment shop: .spec.replicas was set to 3 by kubectl, and stays as it is" in (end.output or ""), end
        assert helm.cluster.get(_there(helm, MAP))["data"] == {"a": "grüße\nno"}
    back = helm.order("one", id="b" * 32, fence=4, values=values, conflicts="theirs", cause="rollback")
    assert (helm.end(back).outcome, helm.runs(), replicas(helm)) == ("succeeded", sha_of("one"), 2)
    assert helm.cluster.get(_there(helm, MAP))["data"] == {"a": "b"}


def test_a_conflict_fails_where_the_pipeline_says_so_and_names_every_field(helm: Helm) -> None:
    """Two at once as well as one; and a rollback is never held up by any."""
    values = {"replicas": 2}
    assert helm.end(helm.order("one", values=values)).outcome == "succeeded"
    by_hand(helm, "scale", "deployment", "shop", "--replicas=5")
    one = helm.end(helm.order("two", fence=2, values=values, conflicts="fail"))
    assert (one.outcome, "`conflicts: ours` in the pipeline file" in (one.reason or "")) == ("failed", True), one
    by_hand(helm, "set", "image", "deployment/shop", "app=by-hand")
    both = helm.end(helm.order("three", fence=3, values=values, conflicts="fail"))
    assert "`conflicts: ours` in the pipeline file" in (both.reason or ""), both
    assert "Deployment shop: .spec.replicas was set by kubectl, " in (both.reason or ""), both
    assert '.spec.template.spec.containers[name="app"].image was set by kubectl-set. ' in (both.reason or ""), both
    back = helm.order("one", id="b" * 32, fence=4, values=values, conflicts="fail", cause="rollback")
    assert (helm.end(back).outcome, helm.runs(), replicas(helm)) == ("succeeded", sha_of("one"), 2)


def test_a_rollback_from_what_is_never_ready_wins_over_who_scaled_it_meanwhile(helm: Helm) -> None:
    assert helm.end(helm.order("one")).outcome == "succeeded"
    bad = helm.order("two", fence=2, values={"behaviour": "not-ready"}, timeout="4s")
    assert helm.end(bad).outcome == "failed"
    by_hand(helm, "scale", "deployment", "shop", "--replicas=4")
    end = helm.end(helm.order("one", id="b" * 32, fence=3, cause="rollback"))
    assert (end.outcome, helm.runs(), replicas(helm)) == ("succeeded", sha_of("one"), 1), end


HPA: Object = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "shop"},
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
        "minReplicas": 3,
        "maxReplicas": 5,
    },
}


@pytest.mark.parametrize("conflicts", ["ours", "theirs", "fail"])
def test_replicas_under_an_autoscaler_are_the_autoscalers(helm: Helm, conflicts: str) -> None:
    """Though the chart says 1, in every deployment and in a rollback; at no moment are there fewer."""
    values = {"extra": [HPA], "hook": "completes"}
    assert helm.end(helm.order("one", values=values, conflicts=conflicts)).outcome == "succeeded"
    eventually(lambda: replicas(helm) == 3, 60)
    for fence, word, cause in ((2, "two", "automatic"), (3, "one", "rollback")):
        order = helm.order(word, id=f"{fence}" * 32, fence=fence, values=values, conflicts=conflicts, cause=cause)
        end = helm.end(order)
        assert (end.outcome, helm.runs(), replicas(helm)) == ("succeeded", sha_of(word), 3), end
        assert "3 of 3 pods of the new revision are available" in (end.output or ""), end
        assert "replicas: 3" in _manifest(helm), "it was never told to scale down"


def test_replicas_that_an_autoscaler_never_had_to_change_stay_too(helm: Helm) -> None:
    """Helm is their only manager then; were they left out, they would become 1. A chart may leave them out from then on."""
    values = {"extra": [HPA], "replicas": 3}
    assert helm.end(helm.order("one", values=values)).outcome == "succeeded"
    assert helm.end(helm.order("two", fence=2, values=values)).outcome == "succeeded"
    assert (helm.runs(), replicas(helm)) == (sha_of("two"), 3)
    template = helm.chart / "templates/deployment.yaml"
    template.write_text(template.read_text().replace("  replicas: {{ .Values.replicas }}\n", ""))
    assert helm.end(helm.order("three", fence=3, values=values)).outcome == "succeeded"
    assert (helm.runs(), replicas(helm), "replicas: 3" in _manifest(helm)) == (sha_of("three"), 3, True)


def test_a_release_that_was_made_in_another_way_goes_on(helm: Helm) -> None:
    """Applied by the client, as Helm 3 does, and changed by hand since: from now on the API server settles it."""
    made = ["helm", "install", "shop", str(helm.chart), "-n", helm.namespace, "--server-side=false", "--set", "sha=x"]
    subprocess.run(made, check=True, capture_output=True)
    by_hand(helm, "scale", "deployment", "shop", "--replicas=4")
    end = helm.end(helm.order("one"))
    assert (end.outcome, helm.runs(), replicas(helm)) == ("succeeded", sha_of("one"), 1), end


def _set_image(helm: Helm) -> None:
    by_hand(helm, "set", "image", "deployment/shop", "app=by-hand")


def _scale_to_nothing(helm: Helm) -> None:
    by_hand(helm, "scale", "deployment", "shop", "--replicas=0")


def _delete_map(helm: Helm) -> None:
    by_hand(helm, "delete", "configmap", "extra-map")


def _delete_deployment(helm: Helm) -> None:
    by_hand(helm, "delete", "deployment", "shop")


CHANGES = [
    (_set_image, "Deployment shop was changed"),
    (_scale_to_nothing, "Deployment shop was changed"),
    (_delete_map, "ConfigMap extra-map was deleted"),
    (_delete_deployment, "Deployment shop was deleted"),
]


@pytest.mark.parametrize("cause", ["automatic", "retry"])
@pytest.mark.parametrize(("change", "told"), CHANGES, ids=[change.__name__.strip("_") for change, _ in CHANGES])
def test_a_release_is_what_is_in_the_cluster_and_not_what_helms_record_says(
    helm: Helm, change: Any, told: str, cause: str
) -> None:
    """The same commit again, after somebody's hands: what the release contains is there again, and it is told why."""
    values = {"extra": [MAP]}
    assert helm.end(helm.order("one", values=values)).outcome == "succeeded"
    change(helm)
    end = helm.end(helm.order("one", id="b" * 32, fence=2, values=values, cause=cause))
    assert end.outcome == "succeeded", end
    assert "1 of 1 pods of the new revision are available" in (end.output or ""), end
    assert (helm.runs(), replicas(helm), image(helm)) == (sha_of("one"), 1, "shop")
    assert helm.cluster.get(_there(helm, MAP))["data"] == {"a": "b"}
    assert (f"ran this already, but {told}, so it was applied again" in (end.output or "")) == (cause == "automatic"), (
        end
    )


@pytest.mark.parametrize(("cause", "revisions"), [("automatic", 1), ("retry", 2), ("rollback", 2), ("deploy", 2)])
def test_what_a_person_asks_for_is_done_though_nothing_differs(helm: Helm, cause: str, revisions: int) -> None:
    """By itself, Helm is not run when there is nothing to do: an autoscaler's replicas, for one, are no difference."""
    values = {"extra": [MAP, HPA]}
    assert helm.end(helm.order("one", values=values)).outcome == "succeeded"
    eventually(lambda: replicas(helm) == 3, 60)
    assert helm.end(helm.order("one", id="b" * 32, fence=2, values=values, cause=cause)).outcome == "succeeded"
    assert (len(helm.revisions()), replicas(helm)) == (revisions, 3)


def test_an_object_that_is_deleted_while_it_is_watched_is_named_early(helm: Helm) -> None:
    order = helm.order("one", values={"behaviour": "not-ready"}, timeout="10m", patience="1s")
    helm.driver.apply(order)
    eventually(lambda: helm.driver.watch(order, 0.2).outcome == "running" and helm.pods("not-ready") != [])
    by_hand(helm, "delete", "deployment", "shop")
    end = helm.end(order)
    assert (end.outcome, (end.reason or "").startswith("Deployment shop: is not there")) == ("failed", True), end


def _there(helm: Helm, item: Object) -> Object:
    return {**item, "metadata": {**item["metadata"], "namespace": helm.namespace}}


def _manifest(helm: Helm) -> str:
    """The manifest of the newest revision, as Helm applied it."""
    newest = release.newest(helm.api, helm.namespace, "shop")
    assert newest is not None
    manifest: str = release.record(helm.api, helm.namespace, newest)["manifest"]
    return manifest
