"""The commands status, why, trace and journal: the state of commits."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from greenlight.cli import arguments as args
from greenlight.cli import render
from greenlight.cli.client import NO, Client, Failure
from greenlight.ledger.journal import Verdict, summary
from greenlight.ledger.journal import verify as recomputed
from greenlight.model.rows import Entry


@click.command()
@click.argument("repo", type=args.REPO, required=False)
@click.argument("sha", type=args.SHA, required=False)
@click.option("--watch", is_flag=True, help="Print again after every change, until Ctrl-C.")
@args.as_json
def status(repo: str | None, sha: str | None, watch: bool, as_json: bool) -> None:
    """Show the state of commits: of all, those of REPO, or the one with SHA.

    Example: greenlight status acme/shop 3f2a91c
    """
    client = Client()

    def look() -> dict[str, Any]:
        return client.get(f"/commits/{repo}/{sha}") if repo and sha else client.get("/commits", repo=repo)

    found = look()
    _status(found, as_json)
    if not as_json and not sha:
        _warn(client.get("/senders")["repositories"])
    try:
        while watch:
            time.sleep(1)  # noqa: TID251 - a person watches; the API has no stream yet
            before, found = found, look()
            if found != before:
                _status(found, as_json)
    except KeyboardInterrupt:
        return  # how a watch ends


def _status(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        render.document(found)
    elif "commits" not in found:
        render.commit(found)
    else:
        rows = [row for commit in found["commits"] for row in render.standings(commit)]
        render.table(("commit", "repository", "target", "stands"), rows)
        if not rows:
            render.line("no commit is known yet", err=True)
        if found["next"]:
            render.line(
                f"these are the newest {len(found['commits'])} commits; name REPO and SHA for an older one", err=True
            )


def _warn(repositories: list[dict[str, Any]]) -> None:
    """Warn of what keeps Greenlight from hearing of a configured repository's commits."""
    for it in repositories:
        if it["called"] != it["repo"]:
            render.line(f"{it['repo']} is called {it['called']} now: change `repo` in the pipeline file", err=True)
        elif it["silent_since"]:
            render.line(f"{it['repo']} has sent no push since {it['silent_since']}: see greenlight doctor", err=True)


@click.command()
@args.commit
@click.argument("application", type=args.NAME, required=False)
@click.argument("environment", type=args.NAME, required=False)
@args.as_json
def why(repo: str, sha: str, application: str | None, environment: str | None, as_json: bool) -> None:
    """Show what a commit waits for, and who can give it. Exit 1 while any of the chosen targets is not ready.

    Example: greenlight why acme/shop 3f2a91c shop production
    """
    found = Client().get(f"/commits/{repo}/{sha}")
    found["applications"] = _only(found["applications"], application, environment)
    if as_json:
        render.document(found)
    else:
        render.commit(found)
    decisions = [it["decision"] for app in found["applications"].values() for it in app["environments"].values()]
    sys.exit(0 if decisions and all(decision == "ready" for decision in decisions) else NO)


def _only(applications: dict[str, Any], application: str | None, environment: str | None) -> dict[str, Any]:
    if application is None:
        return applications
    if application not in applications:
        raise Failure(
            f"no application {application!r} ships this repository; there are {', '.join(applications) or 'none'}", NO
        )
    chosen = dict(applications[application])
    if environment is not None:
        if environment not in chosen["environments"]:
            raise Failure(
                f"{application} has no environment {environment!r}; it has {', '.join(chosen['environments'])}", NO
            )
        chosen["environments"] = {environment: chosen["environments"][environment]}
    return {application: chosen}


@click.command()
@args.commit
@args.as_json
def trace(repo: str, sha: str, as_json: bool) -> None:
    """Show a commit's waterfall, computed from the journal: what arrived, was waited for, and was deployed.

    Example: greenlight trace acme/shop 3f2a91c
    """
    found = Client().get(f"/commits/{repo}/{sha}/trace")
    if as_json:
        render.document(found)
    else:
        render.waterfall(found)


@click.command()
@args.commit
@click.option("--verify", is_flag=True, help="Compute the hash chain again; exit 1 if an entry does not fit.")
@args.as_json
def journal(repo: str, sha: str, verify: bool, as_json: bool) -> None:
    """Print a commit's facts and decisions, in order, each chained to the one before.

    Example: greenlight journal acme/shop 3f2a91c --verify
    """
    entries = _entries(Client(), f"/commits/{repo}/{sha}/journal")
    if as_json:
        render.document({"entries": entries})
    else:
        rows = [(str(it["seq"]), it["at"], it["type"], summary(it["payload"]), it["hash"][:12]) for it in entries]
        render.table(("seq", "at", "type", "content", "hash"), rows)
    if verify:
        verdict = _verdict(entries)
        if not verdict.holds:
            raise Failure(f"the chain breaks at entry {verdict.bad}: {verdict.reason}", NO)
        render.line(f"{verdict.entries} entries, the chain verifies; head {verdict.head}", err=True)


def _entries(client: Client, path: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = client.get(path, cursor=cursor)
        entries += page["entries"]
        cursor = page["next"]
        if cursor is None:
            return entries


def _verdict(entries: list[dict[str, Any]]) -> Verdict:
    """Compute the chain again, here, from the entries that the API returned, so that the server is not trusted."""
    return recomputed(Entry(stream="", **entry) for entry in entries)
