"""The command status: where commits stand."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from greenlight.cli import arguments as args
from greenlight.cli import render
from greenlight.cli.client import Client
from greenlight.cli.waiting import with_retries

PAGE = 200
"""Commits of a page of the API, of which a filter may leave out any."""

LOOKED_AT = 2000
"""Commits that are looked through for those that a filter finds, unless all are asked for."""

DECISIONS = ("ready", "waiting", "blocked", "superseded")
OUTCOMES = ("running", "succeeded", "failed", "error", "canceled")


@click.command(cls=args.OfCommit)
@click.argument("repo", type=args.REPO, required=False)
@click.argument("sha", type=args.SHA, required=False)
@click.option("--application", type=args.NAME, help="Show this application only.")
@click.option("--environment", type=args.NAME, help="Show this environment only.")
@click.option("--state", type=click.Choice([*DECISIONS, *OUTCOMES]), help="Show commits with this decision or outcome.")
@click.option(
    "--author",
    metavar="TEXT",
    help="Show commits of authors whose name contains the text, or by login or address.",
)
@click.option("--watch", is_flag=True, help="Show again after every change, until Ctrl-C; in place on a terminal.")
@args.limit(50)
@args.as_json
def status(
    repo: str | None,
    sha: str | None,
    application: str | None,
    environment: str | None,
    state: str | None,
    author: str | None,
    watch: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show the state of commits: of all, those of REPO, or the one with SHA.

    Example: greenlight status acme/shop --environment production --state waiting
    """
    client = Client()
    asked = {
        "repo": repo,
        "application": application,
        "environment": environment,
        "author": author,
        "decision": state if state in DECISIONS else None,
        "outcome": state if state in OUTCOMES else None,
    }
    limited = click.get_current_context().get_parameter_source("limit") is ParameterSource.COMMANDLINE
    if sha is not None and (limited or any(asked[name] for name in asked if name != "repo")):
        raise click.UsageError("filters and --limit choose among commits: leave out SHA")

    def look() -> dict[str, Any]:
        return client.get(f"/commits/{repo}/{sha}") if repo and sha else _newest(client, asked, limit)

    found = look()

    def changed() -> bool:
        nonlocal found
        time.sleep(1)  # noqa: TID251 - a person watches; the API has no stream yet
        before, found = found, with_retries(look)
        return found != before

    def draw() -> None:
        _show(found, asked, limit, as_json=as_json)

    if not as_json and not sha:
        _warn(client.get("/senders")["repositories"])
    if not watch:
        draw()
        return
    try:
        render.redrawn(draw, changed)
    except KeyboardInterrupt:
        return  # how a watch ends


def _newest(client: Client, asked: Mapping[str, str | None], limit: int | None) -> dict[str, Any]:
    """Return the newest `limit` commits that the filters find, None: all, in the form of one page."""
    if not any(asked[name] for name in ("decision", "outcome", "author")):
        commits, following = client.rows("/commits", "commits", asked, limit=limit, page=PAGE)
    else:
        commits, following = _filtered(client, asked, limit)
    return {"commits": commits, "next": following}


def _filtered(
    client: Client, asked: Mapping[str, str | None], limit: int | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return commits from pages that may lack some, and the cursor of what follows the last one.

    A page with more than are still wanted is asked for again, shorter: a cursor stands only at the end of a page.
    """
    found: list[dict[str, Any]] = []
    cursor, size, looked_at = None, PAGE, 0
    while limit is None or (len(found) < limit and looked_at < LOOKED_AT):
        page = client.get("/commits", **asked, cursor=cursor, limit=str(size))
        if limit is not None and len(found) + len(page["commits"]) > limit:
            size //= 2
            continue
        looked_at += size
        found += page["commits"]
        cursor = page["next"]
        if cursor is None:
            break
    return found, cursor


def _show(found: dict[str, Any], asked: Mapping[str, str | None], limit: int | None, *, as_json: bool) -> None:
    if as_json:
        render.document(found)
    elif "commits" not in found:
        render.commit(found)
    else:
        rows = [row for commit in found["commits"] for row in render.standings(_chosen(commit, asked))]
        render.table(("commit", "repository", "target", "stands"), rows)
        filtered = any(value for name, value in asked.items() if name != "repo")
        if found["next"] and limit is not None and len(found["commits"]) < limit:
            render.line(f"only the newest {LOOKED_AT} commits were looked at; --limit all looks at all", err=True)
        elif found["next"]:
            render.newest(len(found["commits"]), "commits")
        elif not rows:
            render.line("no such commit is known" if filtered else "no commit is known yet", err=True)


def _chosen(commit: dict[str, Any], asked: Mapping[str, str | None]) -> dict[str, Any]:
    """Return a commit with only the targets that the filters ask for."""
    applications = {}
    for name, application in commit["applications"].items():
        environments = {
            environment: standing
            for environment, standing in application["environments"].items()
            if asked["application"] in (None, name)
            and asked["environment"] in (None, environment)
            and asked["decision"] in (None, standing["decision"])
            and asked["outcome"] in (None, (standing["deployment"] or {}).get("outcome"))
        }
        if environments:
            applications[name] = {**application, "environments": environments}
    return {**commit, "applications": applications}


def _warn(repositories: list[dict[str, Any]]) -> None:
    """Warn of what keeps Greenlight from hearing of a configured repository's commits."""
    for repository in repositories:
        repo, called, silent_since = repository["repo"], repository["called"], repository["silent_since"]
        if called != repo:
            render.line(f"{repo} is called {called} now: change `repo` in the pipeline file", err=True)
        elif silent_since:
            render.line(f"{repo} has sent no push since {silent_since}: see greenlight doctor", err=True)
        for lost in repository.get("lost_pushes", ()):
            render.line(f"{lost['text']}: see greenlight doctor", err=True)
        if repository.get("found_by_asking"):
            found = f"{repository['found_by_asking']} facts of the last 7 days were found only by asking GitHub"
            render.line(f"the webhook of {repo} is broken: {found}", err=True)
