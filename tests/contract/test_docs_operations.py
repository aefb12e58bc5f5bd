"""The pages about installing and running it: their commands are commands, their metrics are counted, their files work."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest
import urllib3
import yaml

from greenlight.cli.main import main
from greenlight.entrypoints.doctor.findings import OK
from greenlight.entrypoints.doctor.machine import present
from greenlight.service.health import DOWN
from greenlight.telemetry import metrics
from support.cluster import kubectl
from support.flow import Shop, sha_of
from support.policy import parse
from support.process import Up, signed
from support.timing import PATIENCE

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / f"{name}.md").read_text() for name in ("README", "docs/install", "docs/operations")}


def _commands(page: str) -> Iterator[str]:
    """Every line of an indented block."""
    for line in PAGES[page].splitlines():
        if re.match(r" {4}( {3})?\S", line):  # 7 within an item of a list
            yield line.strip()


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_page_is_one_with_these_options(page: str) -> None:
    """As the command line itself reads them; nothing is run."""
    ours = [line for line in _commands(page) if line.startswith("greenlight ")]
    assert len(ours) >= 2
    for line in ours:
        words = shlex.split(re.split(r" [|>] ", line)[0], comments=True)[1:]
        command: click.Command = main
        with click.Context(command) as context:
            while isinstance(command, click.Group) and words:
                found = command.get_command(context, words[0])
                assert found is not None, line
                command = found
                words = words[1:]
            command.make_context(command.name, words)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_the_page_names_is_there(page: str) -> None:
    """Those of the project; `mine` is the reader's."""
    named = set(re.findall(r"\b(knative/[\w./-]+)", PAGES[page]))
    assert named
    for path in named:
        assert (ROOT / path.rstrip(".")).exists(), path


def test_every_metric_of_an_alarm_is_counted_with_these_labels() -> None:
    """A name or label that nobody sets would be an alarm that never rings."""
    table = PAGES["docs/operations"].partition("## Alarms")[2].partition("## Upgrades")[0]
    ours = {
        metric._name + ("_total" if metric._type == "counter" else ""): set(metric._labelnames)
        for metric in vars(metrics).values()
        if hasattr(metric, "_labelnames")
    }
    for name in ours:
        assert name in PAGES["docs/operations"].partition("## What to watch")[2], f"{name} is told nowhere"
    alarms = re.findall(r"(greenlight_\w+)(?:\{(.*?)\})?", table)
    assert len(alarms) > 6
    for name, labels in alarms:
        assert name in ours, name
        for label, _ in re.findall(r'(\w+)="([^"]*)"', labels):
            assert label in ours[name], (name, label)
    assert f'outcome="{DOWN}"' in table
    source = (ROOT / "services/greenlight/webhooks/app.py").read_text()
    for verdict in re.findall(r'verdict="(\w+)"', table):
        assert f'"{verdict}"' in source, verdict


def test_prometheus_is_let_in_where_the_page_says() -> None:
    """The port of the settings, of the NetworkPolicy and of the scrape configuration are one."""
    (scrape,) = yaml.safe_load(_blocks("docs/operations", "yaml")[0])
    assert [rule["replacement"] for rule in scrape["relabel_configs"] if "replacement" in rule] == ["$1:9464"]
    for overlay in ("dev", "production"):
        text = (ROOT / "knative/overlays" / overlay / "kustomization.yaml").read_text()
        assert "GREENLIGHT_METRICS_PORT=9464" in text
    policies = yaml.safe_load_all((ROOT / "knative/access/20-network-policies.yaml").read_text())
    (policy,) = [it for it in policies if it["metadata"]["name"] == "from-prometheus"]
    assert policy["spec"]["ingress"][0]["ports"] == [{"port": 9464, "protocol": "TCP"}]


def test_the_overlay_of_ones_own_renders_to_what_the_page_promises(tmp_path: Path) -> None:
    """The image by digest in every Service, the settings of both, a secret for each sender of the example's kind."""
    if shutil.which("kubectl") is None and shutil.which("kube") is None:
        pytest.skip("no kubectl on the PATH")
    shutil.copytree(ROOT / "knative", tmp_path / "knative")
    mine = tmp_path / "mine"
    (mine / "secrets").mkdir(parents=True)
    (mine / "kustomization.yaml").write_text(_blocks("docs/install", "yaml")[0])
    pipeline = "apiVersion: greenlight/v1\nkind: Pipeline\napplications: []\n"
    (mine / "pipeline.yaml").write_text(pipeline)
    (mine / "people.yaml").write_text("people: {}\n")
    for name in ("github", "circleci", "gate-dependency_scan"):
        (mine / "secrets" / name).write_text("secret\n")
    objects = list(yaml.safe_load_all(kubectl("kustomize", str(mine))))
    by = {(it["kind"], it["metadata"]["name"]): it for it in objects}
    services = [it for it in objects if it["kind"] == "Service"]
    assert len(services) == 7
    for service in services:
        (container,) = service["spec"]["template"]["spec"]["containers"]
        assert re.fullmatch(r"123456789012\.dkr\.ecr\..*/greenlight@sha256:[0-9a-f]{64}", container["image"])
    assert by["ConfigMap", "greenlight-config"]["data"]["pipeline.yaml"] == pipeline
    settings = by["ConfigMap", "greenlight-settings"]["data"]
    assert (settings["AWS_REGION"], settings["GREENLIGHT_LEDGER"]) == ("eu-west-1", "dynamodb:greenlight")
    example = {"pipeline.yaml": (ROOT / "config/pipeline.example.yaml").read_text()}
    keys = by["Secret", "greenlight-secrets"]["data"]
    missing = {it.said.split(",")[0] for it in present(parse(example, ROOT), keys, "it", "{}") if it.state != OK}
    assert missing == {"it has no secret for gate-static_code_scan"}


def test_the_policies_of_the_page_are_json() -> None:
    """As IAM takes them: a version, statements, actions."""
    for block in _blocks("docs/install", "json"):
        policy = json.loads(block)
        assert policy["Version"] == "2012-10-17"
        assert all({"Effect", "Action"} <= set(it) for it in policy["Statement"])


def test_a_backup_made_while_it_runs_is_restored_as_the_page_says(tmp_path: Path) -> None:
    """What was committed before is there; what came later is not; it goes on from there."""
    if shutil.which("sqlite3") is None:
        pytest.skip("no sqlite3 on the PATH")
    lines = [line for line in _commands("docs/operations") if "greenlight.db" in line and "ATTACH" not in line]
    assert len(lines) == 3
    backup, *restore = [line.replace("DATA/", "data/") for line in lines]
    Shop(tmp_path).stop()
    up = Up(tmp_path)
    _send(up, tmp_path, "one")
    subprocess.run(shlex.split(backup), cwd=tmp_path, check=True)
    _send(up, tmp_path, "two")
    assert up.stop() == 0
    for line in restore:
        subprocess.run(shlex.split(line), cwd=tmp_path, check=True)
    up = Up(tmp_path)
    assert len(up.get("/commits")["commits"]) == 1
    _send(up, tmp_path, "three")
    assert len(up.get("/commits")["commits"]) == 2
    assert up.stop() == 0


def test_a_row_that_cannot_be_read_is_mended_as_the_page_says(tmp_path: Path) -> None:
    """From a backup, by the page's own statement."""
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    (statement,) = re.findall(r'"(ATTACH .*?)"', page, re.DOTALL)
    shop = Shop(tmp_path).start()
    shop.push("one")
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    shop.settle()
    shop.stop()
    file = tmp_path / "data" / "greenlight.db"
    shutil.copy(file, tmp_path / "copy.db")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE targets SET json = '{'")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.executescript(statement.replace("copy.db", str(tmp_path / "copy.db")))
    up = Up(tmp_path)
    assert up.get("/targets/shop/staging")["running"]["sha"] == sha_of("one")
    assert up.stop() == 0


def _send(up: Up, folder: Path, word: str) -> None:
    """A push, until its commit is recorded."""
    known = len(up.get("/commits")["commits"])
    _, path, body, headers = signed(folder, "push", word)
    assert urllib3.request("POST", up.webhooks + path, body=body, headers=headers).status == 202
    deadline = time.monotonic() + PATIENCE
    while len(up.get("/commits")["commits"]) == known:
        assert time.monotonic() < deadline, os.listdir(folder)
        time.sleep(0.05)
