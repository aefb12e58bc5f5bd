"""Helm values that mean something else than they seem to, and how to write what is meant."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from greenlight.deployer.drivers.helm.values import _printed
from greenlight.deployer.drivers.registry import DRIVERS
from greenlight.policy.load import warnings

PIPELINE = """apiVersion: greenlight/v1
kind: Pipeline
clusters: {here: {in-cluster: true}}
applications:
  - name: shop
    repo: acme/shop
    branches: [main]
    gates: {}
    environments:
      - name: live
        require: []
        deploy: {helm: {cluster: here, chart: c, release: r, namespace: n, values: {some: [VALUE]}}}
    operators: [ops]
"""


def told(value: str) -> list[str]:
    return [str(one) for one in warnings({"pipeline.yaml": PIPELINE.replace("VALUE", value)}, DRIVERS)]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("no", 'is the text "no", not false, and a chart takes any text for true; write false, or "no" in quotes'),
        ("Off", 'is the text "Off", not false'),
        ("yes", 'is the text "yes", not true; write true, or "yes" in quotes if it is text'),
        ("True", 'is the text "True", not true; write true'),
        ("FALSE", "write false"),
        ("Null", 'is the text "Null", not null; write null'),
        ("007", 'is the text "007", not a number; write 7, or "007" in quotes'),
        ("0755", 'write 493, which is octal 0755, or 755, or "0755" in quotes'),
        ("08", "write 8,"),
        ("1_000", 'write 1000, or "1_000" in quotes'),
        ("-1_000.5", "write -1000.5,"),
        ("0x1F", "write 31,"),
        ("-0x1f", "write -31,"),
        ("0o17", "write 15,"),
        ("0b101", "write 5,"),
        ("+5", "write 5,"),
        (".5", "write 0.5,"),
        (".inf", "JSON has no such number"),
        (
            "10000000",
            'prints as 1e+07 where it says {{ … }}; write "10000000" in quotes where the chart wants text, or',
        ),
        ("10000000", "{{ … | int64 }}"),
        ("1000000", "prints as 1e+06"),
        ("1048576", "prints as 1.048576e+06"),
        ("-123456789", "prints as -1.23456789e+08"),
        ("1500000.5", "prints as 1.5000005e+06"),
        ("0.00001", "prints as 1e-05"),
        ("1.10", 'prints as 1.1 where it says {{ … }}; write "1.10" in quotes'),
        ("1.0", "prints as 1 where"),
        ("1e3", "prints as 1000 where"),
    ],
)
def test_a_value_that_is_probably_not_meant_so_is_warned_about(value: str, words: str) -> None:
    (found,) = told(value)
    assert found.startswith("pipeline.yaml:12: environments.live.deploy.helm.values.some[0]: "), found
    assert words in found


FINE = """"no" 'on' "007" "10000000" false null ~ 0 999999 0.5 -1.5 12:30 80:8080 v1.10 1.2.3 2026-01-01 "${sha}" ${sha} none
node deadbeef [] {a:b}"""


@pytest.mark.parametrize("value", [*FINE.split(), "!!str no"])
def test_what_says_what_it_means_is_not(value: str) -> None:
    assert told(value) == []


def test_only_helm_values_are_looked_at() -> None:
    """What Greenlight reads itself has a schema."""
    text = PIPELINE.replace(
        "{helm: {cluster: here, chart: c, release: r, namespace: n, values: {some: [VALUE]}}}", "COMMAND"
    )
    assert warnings({"a": text.replace("COMMAND", "{command: {run: [echo, no]}}")}, DRIVERS) == []


def test_helm_prints_numbers_as_is_told(tmp_path: Path) -> None:
    if shutil.which("helm") is None:
        pytest.skip("needs Helm 4 on the PATH; tests/cluster/cluster build helm builds it")
    numbers = [999999, 1000000, 1048576, 10000000, 2**53 - 1, 1500000.5, 0.0001, 0.00001, 1.1, 1.0, 123456.789, -2e7, 0]
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: c\nversion: 1.0.0\n")
    (tmp_path / "templates/all.yaml").write_text('all: "{{ range .Values.all }}{{ . }} {{ end }}"\n')
    (tmp_path / "values.json").write_text(json.dumps({"all": numbers}))
    command = ["helm", "template", str(tmp_path), "-f", str(tmp_path / "values.json")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.partition('all: "')[2].partition('"')[0].split() == [_printed(float(one)) for one in numbers]
