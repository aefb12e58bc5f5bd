"""The page about the broker is played as it stands: its manifest, its commands, what they print."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
from click.testing import CliRunner

from greenlight.cli.main import main
from greenlight.entrypoints.broker import operators_app
from support.broker import PATIENCE, Recorder, http_server, running

PAGE = (Path(__file__).parents[2] / "docs" / "broker.md").read_text()
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def _session() -> Iterator[tuple[str, list[str]]]:
    """Each command of the page, with the lines that it prints."""
    for block in _blocks("console"):
        for part in block.removeprefix("$ ").split("\n$ "):
            command, *printed = part.strip().split("\n")
            yield command, printed


def _fits(line: str, printed: str) -> bool:
    """Whether a printed line is the page's, in which TIME is any time and ... any end."""
    line = TIME.sub("TIME", line)
    return line.startswith(printed.removesuffix("...")) if printed.endswith("...") else line == printed


@contextlib.contextmanager
def _broker(folder: Path, command: str) -> Iterator[str]:
    words = shlex.split(command.removesuffix("&"))[1:]
    start = [sys.executable, "-m", "greenlight.cli.main", *words, "--listen", "127.0.0.1:0"]
    with subprocess.Popen(start, cwd=folder, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def test_the_session_of_the_page_goes_as_it_says(tmp_path: Path) -> None:
    """Only ports differ."""
    (tmp_path / "manifests").mkdir()
    (command, ready), *rest = _session()
    with http_server(Recorder()) as subscriber:
        port = subscriber.rpartition(":")[2]
    manifest = tmp_path / "manifests" / "shop.yaml"
    manifest.write_text(_blocks("yaml")[0].replace(":9000", f":{port}"))
    with _broker(tmp_path, command) as said:
        url = said.split()[-1].removesuffix("/shop/default")
        assert said == ready[0].replace("http://127.0.0.1:8080", url)
        for line, printed in rest:
            expected = [it.replace(":9000", f":{port}") for it in printed]
            deadline = time.monotonic() + PATIENCE
            while True:
                got = _run(line.replace("http://127.0.0.1:8080", url), url)
                if all(map(_fits, got, expected)) and len(got) >= len(expected):
                    break
                assert time.monotonic() < deadline, f"{line}\n{got}\nis not\n{expected}"
                time.sleep(0.05)


def _run(line: str, url: str) -> list[str]:
    words = shlex.split(line)
    if words[0] == "greenlight":
        return CliRunner().invoke(main, words[1:], env={"GREENLIGHT_URL": url}).output.splitlines()
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def test_every_route_command_and_metric_of_the_page_is_there(tmp_path: Path) -> None:
    """And the other way round: none is missing from the page."""
    with running(tmp_path, services={}) as broker:
        app = operators_app(broker)
        rules = {rule.rule.replace("<int:id>", "ID") for rule in app.url_map.iter_rules()}  # type: ignore[attr-defined]
        text = app.test_client().get("/metrics").text  # type: ignore[attr-defined]
    table = PAGE.partition("The same over HTTP:")[2].partition("## Metrics")[0]
    for rule in rules:
        assert rule in table or rule.rpartition("/")[2] in table, rule
    metrics = {name for name in re.findall(r"^# TYPE (\S+)", text, flags=re.MULTILINE) if not name.endswith("_created")}
    told = PAGE.partition("## Metrics")[2]
    for name in metrics:
        assert name in told or f"…_{name.removeprefix('greenlight_broker_')}" in told, name
    for name, command in main.get_command(click.Context(main), "dead-letters").commands.items():  # type: ignore[union-attr]
        assert f"greenlight dead-letters {name}" in PAGE, command
    assert json.dumps(sorted(rules)), "there are some"
