"""The commands why, trace and journal: one commit."""

from __future__ import annotations

import sys
from typing import Any

import click

from greenlight.cli import arguments as args
from greenlight.cli import render, waiting
from greenlight.cli.client import NO, Client, Failure
from greenlight.ledger.journal import Verdict, summary
from greenlight.ledger.journal import verify as recomputed
from greenlight.model.rows import Entry
from greenlight.policy.shape import closest


@click.command(cls=args.OfCommitOrHead)
@args.commit
@click.argument("application", type=args.NAME, required=False)
@click.argument("environment", type=args.NAME, required=False)
@args.as_json
def why(repo: str, sha: str, application: str | None, environment: str | None, as_json: bool) -> None:
    """Show what a commit waits for, and who can give it.

    Exit 0 if every target that is shown is ready, 4 while one still waits, 1 if one can no longer come unless a person
    acts.

    Example: greenlight why acme/shop 3f2a91c shop production
    """
    found = Client().get(f"/commits/{repo}/{sha}")
    found["applications"] = _only(found["applications"], application, environment)
    if as_json:
        render.document(found)
    else:
        render.commit(found)
    shown = [standing for app in found["applications"].values() for standing in app["environments"].values()]
    sys.exit(waiting.worst([waiting.code_of(standing) for standing in shown]) if shown else NO)


def _only(applications: dict[str, Any], application: str | None, environment: str | None) -> dict[str, Any]:
    if application is None:
        return applications
    if application not in applications:
        raise Failure(
            f"no application {application!r} ships this repository; {closest(application, list(applications))}", NO
        )
    chosen = dict(applications[application])
    if environment is not None:
        if environment not in chosen["environments"]:
            raise Failure(
                f"{application} has no environment {environment!r}; {closest(environment, list(chosen['environments']))}",
                NO,
            )
        chosen["environments"] = {environment: chosen["environments"][environment]}
    return {application: chosen}


@click.command(cls=args.OfCommitOrHead)
@args.commit
@args.as_json
def trace(repo: str, sha: str, as_json: bool) -> None:
    """Show a commit's waterfall: what arrived, was waited for, was deployed, and each step of it that was kept.

    Example: greenlight trace acme/shop 3f2a91c
    """
    found = Client().get(f"/commits/{repo}/{sha}/trace")
    if as_json:
        render.document(found)
    else:
        render.waterfall(found)


@click.command(cls=args.OfCommitOrHead)
@args.commit
@click.option("--verify", is_flag=True, help="Compute the hash chain again; exit 1 if an entry does not fit.")
@args.as_json
def journal(repo: str, sha: str, verify: bool, as_json: bool) -> None:
    """Print a commit's facts and decisions, in order, each chained to the one before.

    Example: greenlight journal acme/shop 3f2a91c --verify
    """
    entries, _ = Client().rows(f"/commits/{repo}/{sha}/journal", "entries", page=1000)
    if as_json:
        render.document({"entries": entries})
    else:
        rows = [
            (str(entry["seq"]), entry["at"], entry["type"], summary(entry["payload"]), entry["hash"][:12])
            for entry in entries
        ]
        render.table(("seq", "at", "type", "content", "hash"), rows)
    if verify:
        verdict = _verdict(entries)
        if not verdict.holds:
            raise Failure(f"the chain breaks at entry {verdict.bad}: {verdict.reason}", NO)
        render.line(f"{verdict.entries} entries, the chain verifies; head {verdict.head}", err=True)


def _verdict(entries: list[dict[str, Any]]) -> Verdict:
    """Compute the chain again, here, from the entries that the API returned, so that the server is not trusted."""
    return recomputed(Entry(stream="", **entry) for entry in entries)
