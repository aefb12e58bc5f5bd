"""Why Helm failed, told from the forms in which Helm and the API server write it, and from no word that happens to be there."""

from __future__ import annotations

import pytest

from greenlight.deployer.drivers.helm.causes import error_line, failure

CONFLICT = (
    "Error: UPGRADE FAILED: conflict occurred while applying object shop/d apps/v1, Kind=Deployment: Apply failed with"
)
APPLY = "Error: UPGRADE FAILED: server-side apply failed for object shop/"


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (
            f'{APPLY}load batch/v1, Kind=Job: Job.batch "load" is invalid: spec.template: Invalid value: {{"labels":{{"x":'
            f'"{"y" * 9000}"}}}}: field is immutable',
            ["Job load: spec.template cannot be changed", "kubectl delete job load -n shop"],
        ),
        (
            f'{APPLY}a batch/v1, Kind=Job: Job.batch "a" is invalid: spec.template: Invalid value: {{}}: field is immutable && '
            'server-side apply failed for object shop/d apps/v1, Kind=Deployment: Deployment.apps "d" is invalid: '
            'spec.selector: Invalid value: {"matchLabels":{}}: field is immutable',
            [
                "Job a: spec.template cannot",
                "Deployment d: spec.selector cannot",
                "kubectl delete deployment d -n shop",
            ],
        ),
        (
            f'{APPLY}v /v1, Kind=Service: Service "v" is invalid: spec.clusterIPs[0]: Invalid value: ["10.0.0.9"]: may not '
            "change once set",
            ["Service v: spec.clusterIPs[0] cannot be changed", "kubectl delete service v -n shop"],
        ),
        (
            f'{CONFLICT} 1 conflict: conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas',
            ["Deployment d: .spec.replicas was set by kubectl", "`conflicts: theirs`"],
        ),
        (
            f"{CONFLICT} 2 "
            'conflicts: conflicts with "kubectl" using apps/v1:\n- .spec.replicas\n'
            'conflicts with "x" using apps/v1:\n- .spec.a',
            ["Deployment d: .spec.replicas was set by kubectl, .spec.a was set by x.", "`conflicts: theirs`"],
        ),
        (
            'Error: admission webhook "no.example.com" denied the request: i/o timeout',
            ["webhook no.example.com does not admit"],
        ),
        (
            'Error: pods "a" is forbidden: violates PodSecurity "restricted:latest": privileged',
            ["restricted:latest only"],
        ),
        (
            "Error: UPGRADE FAILED: values don't meet the specifications of the schema(s) in the following chart(s):\nshop:\n- "
            "at '/replicas': got string, want integer",
            ["at '/replicas': got string, want integer", "the values in the pipeline file"],
        ),
    ],
)
def test_a_cause_is_known_by_its_form_and_has_its_advice(output: str, words: list[str]) -> None:
    found = failure(output, "shop", "shop")
    assert not found.again
    assert [word for word in words if word not in found.reason] == [], found


@pytest.mark.parametrize(
    "words",
    [
        "execution error at (shop/templates/a.yaml:1:3): is forbidden by the schema in conflict with",
        "shop/templates/schema.yaml: the field immutable is missing",
        'parse error at (shop/templates/a.yaml:3): function "quota" not defined',
    ],
)
def test_a_word_is_no_cause(words: str) -> None:
    """A template may be called anything."""
    assert failure(f"Error: UPGRADE FAILED: {words}", "shop", "shop").reason == f"Helm: {words}"


def test_however_many_fields_others_have_set_the_way_out_is_told() -> None:
    fields = "".join(f"\n- .data.field{number}" for number in range(99))
    found = failure(f'{CONFLICT} 99 conflicts: conflicts with "kubectl" using v1:{fields}', "r", "n").reason
    assert ".data.field4 was set by kubectl, 94 more fields by others. `conflicts: ours`" in found, found


def test_a_right_that_is_missing_is_an_error_of_ours() -> None:
    found = failure(
        'Error: configmaps "a" is forbidden: User "x" cannot get resource "configmaps" in API group', "r", "n"
    )
    assert (found.again, "lists the rights" in found.reason) == (True, True), found


def test_what_trying_again_may_mend_is_told_apart() -> None:
    assert failure(
        'Error: error while running post render: failed to invoke post-renderer plugin "x": no', "r", "n"
    ).again
    assert failure("Error: UPGRADE FAILED: etcdserver: leader changed", "shop", "shop").again
    assert failure("Error: pre-upgrade hooks failed: timed out waiting", "shop", "shop").reason.startswith(
        "Helm: a hook failed: pre-upgrade"
    )


def test_the_reason_is_what_follows_the_last_error() -> None:
    assert error_line("level=WARN\nError: first\nError: UPGRADE FAILED: second\nmore\n") == "second more"
    assert error_line("one\ntwo\n") == "two"
    assert error_line("") == "it printed nothing"
