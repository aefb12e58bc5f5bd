"""What is printed: rich on a terminal, plain lines when piped."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

_COLOURS = {
    **dict.fromkeys(("passed", "ready", "succeeded", "ok"), "green"),
    **dict.fromkeys(("failed", "revoked", "blocked", "wrong"), "red"),
    "error": "magenta",
    **dict.fromkeys(("pending", "waiting", "expired", "unknown"), "yellow"),
    "running": "blue",
}
_BAR = 40
_STATE = len("pending")
_NAME = 64
"""Columns of a waterfall: the line itself, and the names beside it at most."""

NOBODYS = "no application of the pipeline file is made from this repository"


def document(value: Any) -> None:
    """JSON, for programs."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def state(word: str) -> str:
    """A state's word in its colour; click drops the colour when the output is no terminal."""
    return click.style(word, fg=_COLOURS.get(word))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on a terminal, tab-separated lines otherwise."""
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(click.unstyle(cell) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rich = Table(*head, box=None, pad_edge=False, header_style="dim")
    for row in rows:
        rich.add_row(*(Text.from_ansi(cell) for cell in row))
    Console().print(rich)


def commit(value: dict[str, Any]) -> None:
    """Where one commit stands, target by target, and why."""
    refs = ", ".join(ref.split("/", 2)[-1] for ref in value["refs"]) or "no ref that is known"
    click.echo(f"{value['repo']} {value['sha'][:7]} on {refs}")
    if not value["applications"]:
        click.echo(f"  {NOBODYS}")
    for name, application in value["applications"].items():
        for environment, it in application["environments"].items():
            click.echo(f"  {name}/{environment}: {standing(it)}")
            for gate in it["requires"]:
                found = application["gates"][gate]
                room = " " * (_STATE - len(found["state"]))
                click.echo(f"    {state(found['state'])}{room} {gate}: {found['reason']}")


def standings(value: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """A commit's rows in a table: one for each target."""
    begin = (value["sha"][:7], value["repo"])
    rows = [
        (*begin, f"{name}/{environment}", standing(it))
        for name, application in value["applications"].items()
        for environment, it in application["environments"].items()
    ]
    return rows or [(*begin, "-", NOBODYS)]


def standing(environment: dict[str, Any]) -> str:
    """`succeeded`, or the decision with its reasons."""
    deployment, words = environment["deployment"], []
    if deployment:
        words.append(state(deployment["outcome"]))
    if not deployment or environment["decision"] != "ready":
        words.append(state(environment["decision"]))
    reasons = f": {'; '.join(environment['reasons'])}" if environment["reasons"] else ""
    return ", ".join(words) + reasons


def waterfall(trace: dict[str, Any]) -> None:
    """A commit's spans on one time line, with how long each took. What has no end lasts until now."""
    spans = trace["spans"]
    click.echo(f"trace {trace['trace_id']}")
    if not spans:
        return
    begin, now = _moment(spans[0]["start"]), datetime.now(UTC)  # noqa: TID251 - what goes on is shown as it is now
    whole = max((_end(spans[0], now) - begin).total_seconds(), 1e-6)
    depth: dict[str | None, int] = {None: -1}
    rows = []
    for span in spans:
        depth[span["span_id"]] = depth[span["parent_id"]] + 1
        start = (_moment(span["start"]) - begin).total_seconds()
        length = (_end(span, now) - begin).total_seconds() - start
        left = min(int(start / whole * _BAR), _BAR - 1)
        width = max(int(length / whole * _BAR), 1)
        bar = " " * left + ("━" * min(width, _BAR - left) if length > 0 else "╵")
        took = duration(length) if length > 0 else f"at {duration(start)}"
        name = "  " * depth[span["span_id"]] + span["name"]
        rows.append((name, bar, took if span["end"] else f"{took} so far"))
    wide = min(max(len(name) for name, _, _ in rows), _NAME)
    long = max(len(took) for _, _, took in rows)
    for name, bar, took in rows:
        click.echo(f"{name[:wide]:{wide}} {bar:{_BAR}} {took:>{long}}")


def _end(span: dict[str, Any], now: datetime) -> datetime:
    return _moment(span["end"]) if span["end"] else max(now, _moment(span["start"]))


def duration(seconds: float) -> str:
    """`0.4 ms`, `120 ms`, `3.2 s`, `4.0 min`, `2.1 h`, `3.0 d`."""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
