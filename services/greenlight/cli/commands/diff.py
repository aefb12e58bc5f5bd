"""The command diff: the commits that a deployment would bring."""

from __future__ import annotations

import click

from greenlight.cli import arguments as args
from greenlight.cli import render
from greenlight.cli.client import Client


@click.command()
@args.target
@click.argument("sha", type=args.SHA, required=False)
@args.as_json
def diff(application: str, environment: str, sha: str | None, as_json: bool) -> None:
    """Show the commits between what a target runs and the commit with SHA; without SHA, the newest commit.

    Example: greenlight diff shop production
    """
    found = Client().get(f"/targets/{application}/{environment}/diff", sha=sha)
    if as_json:
        render.document(found)
        return
    where = f"{application}/{environment}"
    rows = [(commit["sha"][:7], commit["author"] or "-", commit["title"] or "-") for commit in found["commits"]]
    render.table(("commit", "author", "title"), rows)
    if not rows:
        is_there = found["to"] is not None
        render.line(f"{where} runs {found['to'][:7]}" if is_there else "no commit was pushed yet", err=True)
    if found["back"]:
        render.line(f"{found['to'][:7]} is older: these commits of {where} would be taken back", err=True)
    if not found["complete"]:
        known = (
            f"the stored pushes do not lead back to {found['from'][:7]}"
            if found["from"]
            else f"nothing runs in {where}"
        )
        render.line(f"{known}: there may be more commits", err=True)
    if found["compare"]:
        render.line(found["compare"])
