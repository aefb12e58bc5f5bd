"""What the helm driver tells of failures on a real API server, with the real Helm: the cause, to what, and what to do."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenlight.deployer.driver import Busy, Progress
from greenlight.deployer.drivers.helm import release
from support.cluster import Object, Refused, kubeconfig_of, kubectl
from support.helm import Helm, eventually, sha_of

pytestmark = [pytest.mark.cluster, pytest.mark.helm]


def failed(end: Progress, *words: str) -> str:
    """The reason of a deployment that failed; it has all the words."""
    reason = end.reason or ""
    assert end.outcome == "failed", end
    assert [word for word in words if word not in reason] == [], reason
    return reason


def config_map(name: str, **fields: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


def test_a_field_that_the_kind_does_not_have_is_the_templates_fault(helm: Helm) -> None:
    end = helm.end(helm.order("one", values={"extra": [config_map("a", dataa={})]}))
    reason = failed(end, "the chart's template writes the field .dataa, which this kind does not have")
    assert "values" not in reason


def test_a_field_that_a_resource_of_somebodys_own_kind_does_not_have_is_refused_too(
    helm: Helm, widgets: Object
) -> None:
    """By the API server, which validates all that is applied: Helm does not."""
    widget = {"apiVersion": f"{widgets['spec']['group']}/v1", "kind": "Widget", "metadata": {"name": "blue"}}
    assert helm.end(helm.order("one", values={"extra": [{**widget, "spec": {"size": 1}}]})).outcome == "succeeded"
    end = helm.end(helm.order("two", fence=2, values={"extra": [{**widget, "spec": {"sise": 2}}]}))
    failed(end, "the chart's template writes the field .spec.sise, which this kind does not have")


def test_an_object_beyond_a_quota_is_no_question_of_rights(helm: Helm) -> None:
    quota: Object = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few", "namespace": helm.namespace},
        "spec": {"hard": {"count/configmaps": "0"}},
    }
    helm.cluster.apply(quota)
    eventually(lambda: "hard" in helm.cluster.get(quota).get("status", {}))
    end = helm.end(helm.order("one", values={"extra": [config_map("a")]}))
    assert "rights" not in failed(end, "the quota few of the namespace is used up")


@pytest.fixture
def policy(helm: Helm) -> Iterator[str]:
    """An admission policy that denies one ConfigMap in the test's namespace, in words that other failures have, too."""
    name = f"{helm.namespace}-words"
    rules = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    admission = "admissionregistration.k8s.io/v1"
    made: list[Object] = [
        {
            "apiVersion": admission,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": helm.namespace}},
                    "resourceRules": [rules],
                },
                "validations": [
                    {
                        "expression": "object.metadata.name != 'denied'",
                        "message": "conflict with the schema of i/o timeout",
                    }
                ],
            },
        },
        {
            "apiVersion": admission,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]
    helm.cluster.apply(*made)
    yield name
    helm.cluster.delete(*made)


def test_what_an_admission_policy_denies_is_its_no_whatever_its_words_are(helm: Helm, policy: str) -> None:
    def denied() -> bool:
        try:
            helm.cluster.admit({**config_map("denied"), "metadata": {"name": "denied", "namespace": helm.namespace}})
        except Exception as problem:
            return "denied request" in str(problem)
        return False

    eventually(denied)
    end = helm.end(helm.order("one", values={"extra": [config_map("denied")]}))
    reason = failed(end, f"the cluster's admission policy {policy} does not admit it")
    assert not any(word in reason for word in ("lists the rights", "the values in", "conflicts:")), reason


def test_a_namespace_that_is_missing_or_ends_is_named_with_how_to_have_it_made(helm: Helm) -> None:
    missing = helm.end(helm.order("one", namespace=f"{helm.namespace}-none"))
    failed(missing, f"`kubectl create namespace {helm.namespace}-none`", "then retry")
    held: Object = {**config_map("held"), "metadata": {"name": "held", "namespace": helm.namespace}}
    held["metadata"]["finalizers"] = ["example.com/held"]
    helm.cluster.apply(held)
    kubectl("delete", "namespace", helm.namespace, "--wait=false")
    try:
        ends = helm.end(helm.order("two", fence=2))
        failed(ends, "the namespace is being deleted: once it is gone, have it made anew")
    finally:
        kubectl(
            "patch", "configmap", "held", "-n", helm.namespace, "--type=merge", "-p", '{"metadata": {"finalizers": []}}'
        )


def _says_yes(*words: str) -> bool:
    """Tell whether kubectl answers yes; it fails where the answer is no."""
    try:
        return kubectl(*words).strip() == "yes"
    except Refused:
        return False


def test_rights_that_are_missing_are_an_error_and_never_the_commits_failure(helm: Helm, tmp_path: Path) -> None:
    """Whether Greenlight's own look or Helm is refused."""
    reader = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "records", "namespace": helm.namespace},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]}],
    }
    account = {"kind": "ServiceAccount", "name": "default", "namespace": helm.namespace}
    binding = {
        **reader,
        "kind": "RoleBinding",
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "records"},
        "subjects": [account],
    }
    del binding["rules"]
    file = tmp_path / "little.kubeconfig"
    file.write_text(kubeconfig_of(kubectl("create", "token", "default", "-n", helm.namespace).strip()))
    order = helm.order("one", cluster_file=str(file))
    end = helm.driver.apply(order)
    assert (end.outcome, f"in namespace {helm.namespace}, which has to be there" in (end.reason or "")) == (
        "error",
        True,
    ), end
    helm.cluster.apply(reader, binding)
    whom = f"system:serviceaccount:{helm.namespace}:default"
    ask = ["auth", "can-i", "list", "secrets", "-n", helm.namespace, "--as", whom]
    eventually(lambda: _says_yes(*ask))  # the API server has heard of the binding
    end = helm.end(helm.order("two", fence=2, cluster_file=str(file)))
    assert (end.outcome, "lists the rights that the deployer needs" in (end.reason or "")) == ("error", True), end


def workload(kind: str, image: str = "a", **spec: Any) -> Object:
    """A Job or StatefulSet that takes no time to come up: there are no pods, or nobody waits for them."""
    labels = {"app": f"extra-{kind.lower()}", "greenlight-test": "completes"}
    pod: Object = {"containers": [{"name": "app", "image": image, "env": [{"name": "LONG", "value": "x" * 9000}]}]}
    whole: Object = {"template": {"metadata": {"labels": labels}, "spec": pod}, **spec}
    if kind == "Job":
        pod["restartPolicy"] = "Never"
    else:
        whole |= {"selector": {"matchLabels": {"app": labels["app"]}}, "replicas": 0}
    version = "batch/v1" if kind == "Job" else "apps/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": labels["app"]}, "spec": whole}


def claim(mode: str) -> Object:
    spec = {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec}


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            workload("Job", "a"),
            workload("Job", "b"),
            ["Job extra-job: spec.template cannot be changed", "kubectl delete job extra-job -n", "or make it a hook"],
        ),
        (
            workload("StatefulSet", serviceName="a"),
            workload("StatefulSet", serviceName="b"),
            ["StatefulSet extra-statefulset: spec cannot be changed", "--cascade=orphan"],
        ),
        (
            claim("ReadWriteOnce"),
            claim("ReadOnlyMany"),
            ["PersistentVolumeClaim data: spec cannot be changed", "deleting the claim may delete its data"],
        ),
        (
            {**config_map("fixed"), "immutable": True, "data": {"a": "b"}},
            {**config_map("fixed"), "immutable": True, "data": {"a": "c"}},
            ["ConfigMap fixed: data cannot be changed", "kubectl delete configmap fixed -n"],
        ),
    ],
    ids=["job", "statefulset", "claim", "configmap"],
)
def test_a_field_that_cannot_be_changed_is_named_with_the_way_out(
    helm: Helm, before: Object, after: Object, words: list[str]
) -> None:
    """In a sentence, not in the API server's dump of the whole value."""
    assert helm.end(helm.order("one", values={"extra": [before]})).outcome == "succeeded"
    reason = failed(helm.end(helm.order("two", fence=2, values={"extra": [after]})), *words)
    assert '"Spec"' not in reason, reason


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (
            "no-image",
            ["a hook cannot begin: Job shop-migrate", "container migrate cannot get its image: ImagePullBackOff"],
        ),
        ("stuck", ["a hook cannot begin: Job shop-migrate", "fits on no node"]),
    ],
)
def test_a_hook_that_cannot_begin_is_named_long_before_the_time_is_up(helm: Helm, hook: str, words: list[str]) -> None:
    """Helm is ended, and its record is not left locked; nothing of the release was applied."""
    began = time.monotonic()
    end = helm.end(helm.order("one", values={"hook": hook}, timeout="10m", patience="1s"))
    failed(end, *words)
    assert time.monotonic() - began < 300, "Helm would have waited for ten minutes"
    assert helm.revisions() == [(1, "failed")]
    assert helm.end(helm.order("two", fence=2, values={"hook": "completes"})).outcome == "succeeded"


def test_a_hook_that_helm_waited_for_in_vain_is_named_with_what_it_did(helm: Helm) -> None:
    """No sign had lasted long enough, so the time limit was reached first."""
    end = helm.end(helm.order("one", values={"hook": "stuck"}, timeout="6s"))
    failed(end, "Helm: a hook failed: ", "; Job shop-migrate: pod shop-migrate-", "fits on no node")


def test_a_hook_that_takes_its_time_is_left_alone(helm: Helm) -> None:
    """What has no bad sign may take as long as Helm waits."""
    order = helm.order("one", values={"hook": "slow"}, timeout="10m", patience="1s")
    helm.driver.apply(order)

    def pods() -> list[Object]:
        query = {"labelSelector": "greenlight-test=slow"}
        found: list[Object] = helm.api.list(f"/api/v1/namespaces/{helm.namespace}/pods", query)["items"]
        return [pod for pod in found if pod["status"].get("containerStatuses")]

    eventually(lambda: helm.driver.watch(order, 0.2).outcome == "running" and len(pods()) == 1)
    assert helm.driver.watch(order, 6).outcome == "running"
    helm.cluster.patch_status({**pods()[0], "apiVersion": "v1", "kind": "Pod"}, {"phase": "Succeeded"})
    assert helm.end(order).outcome == "succeeded"


def test_pods_that_are_never_ready_are_named_while_the_old_ones_are_still_there(helm: Helm) -> None:
    assert helm.end(helm.order("one")).outcome == "succeeded"
    end = helm.end(helm.order("two", fence=2, values={"behaviour": "not-ready"}, timeout="6s"))
    failed(end, "Deployment shop: 0 of 1 new pods are ready; pod shop-", ": container app runs, not ready for")


WIDGET = {"type": "object", "properties": {"size": {"type": "integer"}}}

WIDGETS: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {},
    "spec": {
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": WIDGET}}},
            }
        ],
    },
}


@pytest.fixture
def widgets(helm: Helm) -> Iterator[Object]:
    """A kind of the test's own, of the group that is returned as its apiVersion."""
    group = f"{helm.namespace}.example.com"
    made: Object = {**WIDGETS, "metadata": {"name": f"widgets.{group}"}, "spec": {**WIDGETS["spec"], "group": group}}
    helm.cluster.apply(made)
    established = {"type": "Established", "status": "True"}
    helm.cluster.wait(
        made, lambda it: any(established.items() <= one.items() for one in it.get("status", {}).get("conditions") or [])
    )
    yield made
    helm.cluster.delete(made)


def test_a_kind_that_was_removed_is_named_with_its_object_and_the_way_out(helm: Helm, widgets: Object) -> None:
    version = f"{widgets['spec']['group']}/v1"
    widget = {"apiVersion": version, "kind": "Widget", "metadata": {"name": "blue"}}
    assert helm.end(helm.order("one", values={"extra": [widget]})).outcome == "succeeded"
    helm.cluster.delete(widgets)
    helm.cluster.wait_gone(widgets)
    again = helm.end(helm.order("one", id="b" * 32, fence=2, values={"extra": [widget]}, cause="retry"))
    failed(again, f"Widget blue: the cluster has no kind Widget of {version}", "install its CustomResourceDefinition")
    without = helm.end(helm.order("two", fence=3))
    reason = failed(
        without, f"Widget blue: the cluster has no kind Widget of {version}", "have Helm forget the release"
    )
    command = reason.partition("forget the release: `")[2].partition("`")[0]
    subprocess.run(command, shell=True, check=True, capture_output=True)
    assert (helm.end(helm.order("three", fence=4)).outcome, helm.runs()) == ("succeeded", sha_of("three"))


def test_a_first_install_that_somebody_elses_dead_helm_left_is_ended_by_what_is_advised(
    helm: Helm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`helm rollback` has nothing to go back to."""
    subprocess.run(
        ["helm", "install", "shop", str(helm.chart), "-n", helm.namespace, "--set", "sha=x"],
        check=True,
        capture_output=True,
    )
    newest = release.newest(helm.api, helm.namespace, "shop")
    assert newest is not None
    path = f"/api/v1/namespaces/{helm.namespace}/secrets/{newest.secret}"
    secret = helm.api.get(path)
    whole = release.decoded(secret)
    whole["info"]["status"] = secret["metadata"]["labels"]["status"] = "pending-install"
    helm.api.replace(path, {**secret, "data": {"release": release.encoded(whole)}})
    with pytest.raises(Busy, match="did not start"):
        helm.driver.apply(helm.order("one"))
    monkeypatch.setattr("greenlight.deployer.drivers.helm.beginning.FOREIGN", 0.0)
    reason = failed(helm.driver.apply(helm.order("one")), f"`helm uninstall shop -n {helm.namespace}`, then retry")
    subprocess.run(reason.partition("`")[2].partition("`")[0].split(), check=True, capture_output=True)
    assert helm.end(helm.order("one", id="b" * 32, fence=2)).outcome == "succeeded"
