"""The command logs: the output of a deployment, also while it runs."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any

import click

from greenlight.cli import arguments as args
from greenlight.cli import render, waiting
from greenlight.cli.client import NO, WAITS, Client, Failure

PAUSE = 1.0
"""Seconds between two looks at an output that grows."""


@click.command()
@args.target
@click.option("-f", "--follow", is_flag=True, help="Print what comes until the deployment ends.")
@click.option("--deployment", metavar="ID", help="One of `greenlight history`; default: the newest.")
@args.as_json
def logs(application: str, environment: str, follow: bool, deployment: str | None, as_json: bool) -> None:
    """Print the output of the newest deployment to a target, or of another one. Only the end of a long output is kept.

    With -f the exit code is that of the deployment: 0 if it succeeded, else 1; 4 if Ctrl-C ended it before.

    Example: greenlight logs shop production -f
    """
    if follow and as_json:
        raise click.UsageError("--follow prints text: leave out --json")
    client = Client()
    id = _full_id(client, application, environment, deployment)
    if as_json:
        render.document(client.get(f"/deployments/{id}/log"))
    elif follow:
        try:
            _follow(client, id)
        except KeyboardInterrupt:
            sys.exit(WAITS)
        state = waiting.of_deployment(waiting.with_retries(partial(client.get, f"/deployments/{id}")))
        render.line(state.text, err=True)
        sys.exit(state.code)
    else:
        _Printer().show(client.get(f"/deployments/{id}/log"), last=True)


def _full_id(client: Client, application: str, environment: str, begin: str | None) -> str:
    """Return the id of the target's newest deployment, or of the one whose id begins so."""
    path = f"/targets/{application}/{environment}/deployments"
    deployments, _ = client.rows(path, "deployments", limit=None if begin else 1)
    found = [deployment["id"] for deployment in deployments if deployment["id"].startswith(begin or "")]
    if not deployments:
        raise Failure(f"nothing has been deployed to {application}/{environment} yet", NO)
    if not found:
        raise Failure(
            f"{application}/{environment} has no deployment {begin!r}: see `greenlight history --limit all`", NO
        )
    if begin is not None and len(found) > 1:
        raise Failure(f"{len(found)} deployments to {application}/{environment} begin with {begin!r}", NO)
    return str(found[0])


def _follow(client: Client, id: str) -> None:
    """Print the output of a deployment until it has ended."""
    printer, after = _Printer(), None
    while True:
        found = waiting.with_retries(partial(client.get, f"/deployments/{id}/log", after=after))
        printer.show(found, last=found["ended"] is not None)
        if found["ended"] is not None:
            return
        after = found["next"]
        time.sleep(PAUSE)  # noqa: TID251 - a person follows; the API has no stream


class _Printer:
    """Prints pieces of an output in whole lines."""

    def __init__(self) -> None:
        self._rest = ""

    def show(self, found: dict[str, Any], *, last: bool) -> None:
        """Print what came; a line without an end waits for more of it, unless this is the `last` piece."""
        if found["skipped"]:
            render.line(f"{found['skipped']} characters before this are no longer kept", err=True)
        *lines, self._rest = f"{self._rest}{found['text']}".split("\n")
        for line in lines:
            render.line(line)
        if last and self._rest:
            render.line(self._rest)
