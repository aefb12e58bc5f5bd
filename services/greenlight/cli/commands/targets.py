"""The command targets: what runs in each environment."""

from __future__ import annotations

from typing import Any

import click

from greenlight.cli import arguments as args
from greenlight.cli import render
from greenlight.cli.client import NO, Client, Failure
from greenlight.policy.shape import closest


@click.command()
@click.argument("application", type=args.NAME, required=False)
@click.argument("environment", type=args.NAME, required=False)
@args.as_json
def targets(application: str | None, environment: str | None, as_json: bool) -> None:
    """Show what runs in each environment, since when, how many commits it is behind, and what is going on there.

    Example: greenlight targets shop
    """
    found = Client().get("/targets", behind="true")["targets"]
    found = _only(found, "application", application)
    found = _only(found, "environment", environment)
    if as_json:
        render.document({"targets": found})
    else:
        render.table(("target", "runs", "since", "behind", "state"), [_row(it) for it in found])


def _only(targets: list[dict[str, Any]], field: str, name: str | None) -> list[dict[str, Any]]:
    """Return the targets with that name. Raises Failure if there is none."""
    found = [it for it in targets if name in (None, it[field])]
    if not found and name is not None:
        raise Failure(f"no {field} {name!r}; {closest(name, list(dict.fromkeys(it[field] for it in targets)))}", NO)
    return found


def _row(it: dict[str, Any]) -> tuple[render.Cell, ...]:
    runs, behind = it["running"], it["behind"]
    return (
        f"{it['application']}/{it['environment']}",
        runs["sha"][:7] if runs else "-",
        runs["since"] if runs else "-",
        "-" if behind is None else str(behind),
        _state(it),
    )


def _state(it: dict[str, Any]) -> list[str | render.Word]:
    """Return what is going on in a target, as the parts of a line."""
    parts: list[str | render.Word] = []
    for word, more in (
        ("unreadable", it.get("unreadable")),
        ("running", it["deployment"] and f"deployment {it['deployment'][:7]}"),
        ("canceling", it["canceling"] and f"by {it['canceling']}"),
        ("paused", it["paused"] and f"by {it['paused']}"),
        ("frozen", it["frozen"] and it["frozen"].removeprefix("frozen ")),
        *(("planned", render.freeze(each)) for each in it["freezes"] if not each["begun"]),
        ("held", it["held"] and f"by {it['held']['person']}'s {render.request(it['held'])}"),
        *(("requested", f"{_asks(each)}") for each in it["requests"]),
    ):
        if more:
            parts += [", ", render.state(word), f" {more}"]
    return parts[1:]


def _asks(request: dict[str, Any]) -> str:
    return f"{render.request(request)} by {request['person']}, until {request['until']}"
