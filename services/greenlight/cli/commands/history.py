"""The command history: the deployments of a target."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from greenlight.cli import arguments as args
from greenlight.cli import render
from greenlight.cli.client import Client
from greenlight.telemetry.layout import duration


@click.command()
@args.target
@args.limit(20)
@args.as_json
def history(application: str, environment: str, limit: int | None, as_json: bool) -> None:
    """Show the newest deployments to a target: what, why, by whom, how it ended and how long it took.

    Example: greenlight history shop production --limit all
    """
    found, following = Client().rows(f"/targets/{application}/{environment}/deployments", "deployments", limit=limit)
    if as_json:
        render.document({"deployments": found, "next": following})
        return
    head = ("started", "deployment", "commit", "cause", "by", "outcome", "took", "reason")
    render.table(head, [_row(deployment) for deployment in found])
    if following:
        render.newest(len(found), "deployments")
    if not found:
        render.line(f"nothing has been deployed to {application}/{environment} yet", err=True)


def _row(deployment: dict[str, Any]) -> tuple[render.Cell, ...]:
    asked = deployment["requested"] or {}
    return (
        deployment["started"],
        deployment["id"][:12],
        deployment["sha"][:7],
        deployment["cause"],
        asked.get("person") or "-",
        [render.state(deployment["outcome"])],
        _took(deployment["started"], deployment["ended"]),
        "; ".join(filter(None, (deployment["reason"], asked.get("reason")))),
    )


def _took(started: str, ended: str | None) -> str:
    if ended is None:
        return "-"
    return duration((datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds())
