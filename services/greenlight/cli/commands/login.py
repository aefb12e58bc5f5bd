"""The commands login and logout: a person's token for a board, kept for the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import click

from greenlight.cli import arguments as args
from greenlight.cli import credentials, render
from greenlight.cli.client import USAGE, Client, Failure, board_url
from greenlight.lib.foreground import is_loopback

url_option = click.option(
    "--url", metavar="URL", help="The board. Default: GREENLIGHT_URL, or the one on this machine."
)


@click.command()
@url_option
@args.as_json
def login(url: str | None, as_json: bool) -> None:
    """Keep your token for a board, so that every command sends it. It is read from the terminal, or from standard input.

    The token is checked first, and stored where only you can read it. GREENLIGHT_TOKEN, where it is set, is used before it.

    Example: greenlight login --url https://greenlight.acme.example
    """
    address = board_url(_env(url))
    parts = urlsplit(address)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise Failure(f"{address} is no https address: the token would cross the network in clear", USAGE)
    if sys.stdin.isatty():
        token = click.prompt("Token", hide_input=True, err=True)
    else:
        token = sys.stdin.readline(8192)
    token = token.strip()
    if not token:
        raise Failure("there is no token: an operator makes one with `greenlight people token ID`", USAGE)
    me = Client({**_env(url), "GREENLIGHT_TOKEN": token}).get("/people/me")
    with _readable():
        credentials.keep(address, token, os.environ)
    if as_json:
        render.document({"url": address, **me})
    else:
        render.line(f"logged in to {address} as {me['id']}; the token is in {credentials.file_of(os.environ)}")


@click.command()
@url_option
def logout(url: str | None) -> None:
    """Remove the token that `greenlight login` kept for a board. The token itself stays valid.

    Example: greenlight logout --url https://greenlight.acme.example
    """
    address = board_url(_env(url))
    with _readable():
        had = credentials.keep(address, None, os.environ)
    render.line(f"logged out of {address}" if had else f"there was no token for {address}")


def _env(url: str | None) -> dict[str, str]:
    """Return the environment, with another board if one is named."""
    return {**os.environ, **({"GREENLIGHT_URL": url} if url else {})}


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (credentials.ReadableByOthers, OSError, ValueError) as problem:
        raise Failure(f"tokens cannot be kept: {problem}", USAGE) from None
