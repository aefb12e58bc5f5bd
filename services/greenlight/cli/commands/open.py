"""The command open: a page of the board in a browser."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping

import click

from greenlight.cli import arguments as args
from greenlight.cli import render
from greenlight.cli.client import Client


@click.command("open", cls=args.OfCommit)
@click.argument("repo", type=args.REPO, required=False)
@click.argument("sha", type=args.SHA, required=False)
def open_page(repo: str | None, sha: str | None) -> None:
    """Print the address of the board, or of a commit's page, and open it in a browser if there is a display.

    Example: greenlight open acme/shop 3f2a91c
    """
    if repo is not None and sha is None:
        raise click.UsageError("name a SHA as well")
    client = Client()
    address = f"{client.url}/"
    if repo is not None:
        found = client.get(f"/commits/{repo}/{sha}")
        address = f"{client.url}/commits/{found['repo']}/{found['sha']}"
    render.line(address)
    if _has_display(os.environ):
        webbrowser.open(address)


def _has_display(env: Mapping[str, str]) -> bool:
    """Return whether a browser would open a window, and not take over the terminal."""
    return sys.platform in ("darwin", "win32") or bool(env.get("DISPLAY") or env.get("WAYLAND_DISPLAY"))
