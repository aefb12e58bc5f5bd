"""The command verify: the chain of a journal that was kept, without a server."""

from __future__ import annotations

import json
from typing import IO, Any

import click

from greenlight.cli import arguments as args
from greenlight.cli import render
from greenlight.cli.client import NO, USAGE, Failure
from greenlight.ledger.journal import verify as recomputed
from greenlight.model.rows import Entry

_MEMBERS = {"seq": int, "type": str, "at": str, "id": str, "payload": dict, "prev": str, "hash": str}


@click.command()
@click.argument("file", type=click.File("rb"))
@args.as_json
def verify(file: IO[bytes], as_json: bool) -> None:
    """Check the hash chain of a journal in FILE, as `greenlight journal --json` prints it; - is standard input.

    No server is asked. Exit 1 if an entry does not fit. Compare the head with one that you kept elsewhere: without it, nobody
    sees that the last entries are missing, or that all were written anew.

    Example: greenlight journal acme/shop 3f2a91c --json | greenlight verify -
    """
    verdict = recomputed(_entries(file))
    if as_json:
        render.document({"holds": verdict.holds, "entries": verdict.entries, "head": verdict.head})
    if not verdict.holds:
        raise Failure(f"the chain breaks at entry {verdict.bad}: {verdict.reason}", NO)
    if not as_json:
        render.line(f"{verdict.entries} entries, the chain verifies; head {verdict.head}")


def _entries(file: IO[bytes]) -> list[Entry]:
    """Return the entries that a file holds. Raises Failure if it is no journal."""
    try:
        rows: list[dict[str, Any]] = json.loads(file.read())["entries"]
        entries = [Entry(stream="", **row) for row in rows]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        entries = []
    if not entries or not all(
        isinstance(getattr(each, name), kind) for each in entries for name, kind in _MEMBERS.items()
    ):
        raise Failure(f"{file.name}: is no journal: give it what `greenlight journal REPO SHA --json` prints", USAGE)
    return entries
