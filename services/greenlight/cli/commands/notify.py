"""The command notify: tests of the destinations of notifications."""

from __future__ import annotations

import time
from typing import Any

import click

from greenlight.cli import arguments as args
from greenlight.cli import render
from greenlight.cli.client import NO, UNKNOWN, Client, Failure

LOOKS, PAUSE = 120, 0.5
"""How often the results are looked for, and seconds between two looks."""


@click.group()
def notify() -> None:
    """Send test messages to the destinations of notifications that config/feedback.yaml names."""


@notify.command("test")
@click.argument("destination", required=False)
@args.as_json
def test(destination: str | None, as_json: bool) -> None:
    """Send a test message to DESTINATION, or to all of them, and say how each went. Needs the token of an operator.

    Exit code 0: all have taken it; 1: one has not; 3: no result came.

    Example: greenlight notify test release-chat
    """
    client = Client()
    id = client.post("/notifications/tests", {"destination": destination} if destination else {})["id"]
    answer = _results(client, id)
    if as_json:
        render.document(answer)
    else:
        _print(answer["results"])
    if any(result["outcome"] != "sent" for result in answer["results"]) or not answer["results"]:
        raise click.exceptions.Exit(NO)


def _results(client: Client, id: str) -> dict[str, Any]:
    for _ in range(LOOKS):
        answer = client.get(f"/notifications/tests/{id}")
        if answer["over"]:
            return answer
        time.sleep(PAUSE)  # noqa: TID251 - the API has no way to wait for it
    raise Failure("no result came: does the service feedback run? Its log says more", UNKNOWN)


def _print(results: list[dict[str, Any]]) -> None:
    rows = [(result["destination"], result["outcome"], result["reason"] or "") for result in results]
    render.table(("destination", "outcome", "reason"), rows)
    if not rows:
        render.line("feedback.yaml names no destination", err=True)
