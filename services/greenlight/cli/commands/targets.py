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
        render.table(("target", "runs", "since", "behind", "state"), [_row(target) for target in found])


def _only(targets: list[dict[str, Any]], field: str, name: str | None) -> list[dict[str, Any]]:
    """Return the targets with that name. Raises Failure if there is none."""
    found = [target for target in targets if name in (None, target[field])]
    if not found and name is not None:
        names = list(dict.fromkeys(target[field] for target in targets))
        raise Failure(f"no {field} {name!r}; {closest(name, names)}", NO)
    return found


def _row(target: dict[str, Any]) -> tuple[render.Cell, ...]:
    runs, behind = target["running"], target["behind"]
    return (
        f"{target['application']}/{target['environment']}",
        runs["sha"][:7] if runs else "-",
        runs["since"] if runs else "-",
        "-" if behind is None else str(behind),
        _state(target),
    )


def _state(target: dict[str, Any]) -> list[str | render.Word]:
    """Return what is going on in a target, as the parts of a line."""
    parts: list[str | render.Word] = []
    for word, more in (
        ("unreadable", target.get("unreadable")),
        ("running", target["deployment"] and f"deployment {target['deployment'][:7]}"),
        ("canceling", target["canceling"] and f"by {target['canceling']}"),
        ("paused", target["paused"] and f"by {target['paused']}"),
        ("frozen", target["frozen"] and target["frozen"].removeprefix("frozen ")),
        *(("planned", render.freeze(each)) for each in target["freezes"] if not each["begun"]),
        ("held", target["held"] and f"by {target['held']['person']}'s {render.request(target['held'])}"),
        *(("requested", f"{_asks(each)}") for each in target["requests"]),
    ):
        if more:
            parts += [", ", render.state(word), f" {more}"]
    return parts[1:]


def _asks(request: dict[str, Any]) -> str:
    return f"{render.request(request)} by {request['person']}, until {request['until']}"
