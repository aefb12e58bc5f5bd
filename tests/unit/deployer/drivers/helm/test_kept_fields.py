"""Fields that stay as the cluster has them: whose they are, and how a manifest is given their values."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from greenlight.deployer.drivers.helm import field_managers, kept_fields
from greenlight.deployer.drivers.helm.kept_fields import replaced

WEB = """\
# Source: shop/templates/web.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: "web"   # größer
spec:
  replicas: 1  # the chart's
  paused: no
  template:
    spec:
      containers:
      - name: side
        image: side
      - name: app
        image: "app:1"
        args:
        - --one
        # and
        - --two
        ports: [{containerPort: 80, hostPort: 1}, {containerPort: 80, protocol: UDP, hostPort: 2}]
        env: [{name: A, value: a}, {name: B, value: b}]
      nodeSelector: {}
      serviceAccountName:
"""


def field(path: list[Any], value: Any, *, add: bool = False, name: str = "web", **other: str) -> Any:
    its = {"group": "apps", "kind": "Deployment", "namespace": "here", "name": name, **other}
    return {**its, "path": path, "value": value, "add": add}


APP = ["spec", "template", "spec", "containers", {"name": "app"}]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["spec", "replicas"], 5),
        ([*APP, "image"], "by-hand:2"),
        ([*APP, "args"], ["--three", "grüße\nno"]),
        ([*APP, "env", {"name": "B"}, "value"], "no"),
        ([*APP, "ports", {"containerPort": 80, "protocol": "TCP"}, "hostPort"], 5),
        ([*APP, "ports", {"containerPort": 80, "protocol": "UDP"}, "hostPort"], 5),
        (["spec", "template", "spec", "nodeSelector"], {"a": "b: c"}),
        (["spec", "template", "spec", "serviceAccountName"], "robot"),
        (APP, {"name": "app", "image": "other"}),
    ],
)
def test_a_value_is_replaced_and_nothing_else(path: list[Any], value: Any) -> None:
    """Whatever its style; all other text is the same."""
    text = f"{WEB}---\n{WEB.replace('web', 'api')}"
    got = replaced(text, {"namespace": "here", "fields": [field(path, value)]})
    web, api = yaml.safe_load_all(got)
    want = yaml.safe_load(WEB)
    there, holder = field_managers.at(want, path[:-1])
    assert there
    if isinstance(holder, list):
        holder[1] = value
    else:
        holder[path[-1]] = value
    assert (web, api) == (want, yaml.safe_load(WEB.replace("web", "api")))
    assert got.endswith(WEB.replace("web", "api"))
    lost = [line for line in text.splitlines() if line not in got.splitlines()]
    assert len(lost) <= 4, lost


@pytest.mark.parametrize(
    "other",
    [
        field(["spec", "replicas"], 5, name="api"),
        field(["spec", "replicas"], 5, namespace="there"),
        field(["spec", "replicas"], 5, kind="StatefulSet"),
        field(["spec", "minReadySeconds"], 5),
        field([*APP[:-1], {"name": "none"}, "image"], "x"),
        field(["spec", "replicas", "deeper"], 5),
    ],
)
def test_what_the_manifest_does_not_have_is_not_put_there(other: Any) -> None:
    assert replaced(WEB, {"namespace": "here", "fields": [other]}) == WEB


@pytest.mark.parametrize(
    "spec", ["\n  paused: true\n  a: b\n", " {paused: true, a: b}\n", "\n    a: b\n    paused: true"]
)
def test_what_has_to_be_there_is_added_in_any_style(spec: str) -> None:
    text = f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:{spec}"
    got = replaced(text, {"namespace": "here", "fields": [field(["spec", "replicas"], 3, add=True)]})
    assert yaml.safe_load(got)["spec"] == {"replicas": 3, "paused": True, "a": "b"}
    empty = text.partition("spec:")[0] + "spec: {}\n"
    got = replaced(empty, {"namespace": "here", "fields": [field(["spec", "replicas"], 3, add=True)]})
    assert yaml.safe_load(got)["spec"] == {"replicas": 3}


def test_what_is_in_a_list_is_found_and_several_fields_at_once() -> None:
    whole = "kind: List\nitems:\n- " + WEB.replace("\n", "\n  ")
    fields = [field(["spec", "replicas"], 5), field([*APP, "image"], "x")]
    (item,) = yaml.safe_load(replaced(whole, {"namespace": "here", "fields": fields}))["items"]
    assert (item["spec"]["replicas"], item["spec"]["template"]["spec"]["containers"][1]["image"]) == (5, "x")


def test_an_anchor_and_its_aliases_are_two_values() -> None:
    text = WEB.replace("image: side", "image: &image side").replace('image: "app:1"', "image: *image")
    text += "  date: 2026-01-01\n"
    got = yaml.load(
        replaced(text, {"namespace": "here", "fields": [field([*APP, "image"], "x")]}), Loader=kept_fields.AsJson
    )
    assert [one["image"] for one in got["spec"]["template"]["spec"]["containers"]] == ["side", "x"]
    assert got["spec"]["date"] == "2026-01-01"


def trees(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    scalars = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | text
    return st.recursive(scalars, lambda it: st.lists(it, max_size=3) | st.dictionaries(text, it, max_size=3))


plain = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufeff"), max_size=8)


@given(value=trees(st.text(max_size=8)), other=trees(plain), block=st.booleans())
def test_any_value_in_any_style_may_take_the_place_of_any_other(value: Any, other: Any, block: bool) -> None:
    item = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"a": other, "b": other},
    }
    text = yaml.safe_dump(item, default_flow_style=not block, allow_unicode=True, width=20)
    got = yaml.safe_load(replaced(text, {"namespace": "here", "fields": [field(["spec", "a"], value)]}))
    assert got == {**item, "spec": {"a": value, "b": other}}


def test_helm_runs_it_as_a_program(tmp_path: Path) -> None:
    file = tmp_path / "kept_fields.json"
    file.write_text(json.dumps({"namespace": "here", "fields": [field(["spec", "replicas"], 5)]}))
    done = subprocess.run(
        [sys.executable, "-P", kept_fields.__file__, str(file)], input=WEB, capture_output=True, text=True, check=True
    )
    assert done.stdout == WEB.replace("replicas: 1", "replicas: 5")


def live(*entries: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "managedFields": list(entries)},
        "spec": {
            "replicas": 5,
            "template": {"spec": {"containers": [{"name": "app", "image": "hand", "args": ["a"]}]}},
        },
        "status": {"replicas": 5},
    }


def entry(manager: str, fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": "Update", "fieldsV1": fields, **more}


IMAGE = {
    "f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"app"}': {".": {}, "f:image": {}, "f:args": {}}}}}}
}


def test_what_helm_has_set_is_known() -> None:
    replicas = {"f:spec": {"f:replicas": {}}}
    assert field_managers.helm_set(live(entry("helm", replicas), entry("kubectl", replicas)), ("spec", "replicas"))
    assert not field_managers.helm_set(live(entry("helm", IMAGE), entry("kubectl", replicas)), ("spec", "replicas"))


def test_who_else_has_set_a_field_is_what_the_api_server_noted() -> None:
    """Not Helm, not what is of the status, and each field once."""
    replicas = {"f:spec": {"f:replicas": {}}}
    item = live(
        entry("helm", {**replicas, **IMAGE}, operation="Apply"),
        entry("kubectl", replicas, subresource="scale"),
        entry("kubectl-set", {**replicas, **IMAGE, "f:status": {"f:replicas": {}}}),
        entry("controller", {"f:spec": {"f:gone": {}}, "f:metadata": {"f:finalizers": {'v:"x"': {}}}}),
        entry("controller", {"f:status": {"f:replicas": {}}}, subresource="status"),
    )
    assert [(str(one), one.manager, one.value) for one in field_managers.foreign(item)] == [
        (".spec.replicas", "kubectl", 5),
        ('.spec.template.spec.containers[name="app"].image', "kubectl-set", "hand"),
        ('.spec.template.spec.containers[name="app"].args', "kubectl-set", ["a"]),
    ]
    chart = {"spec": {"replicas": 5, "template": {"spec": {"containers": [{"name": "app", "image": "chart"}]}}}}
    assert [str(one) for one in field_managers.also_in(field_managers.foreign(item), chart)] == [
        '.spec.template.spec.containers[name="app"].image'
    ]
