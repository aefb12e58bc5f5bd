"""Results of checks, statuses and workflows, read from GitHub in the form of the webhooks that report them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from greenlight.events import moment
from greenlight.feedback.github.client import Client
from greenlight.feedback.github.errors import Refused

LATE = timedelta(minutes=2)
"""How old a result must be: the webhook of a newer one is on its way."""

Webhook = tuple[str, dict[str, Any]]
"""The name of an event, and its payload as far as Greenlight reads it."""


def results(repo: str, sha: str, kinds: Sequence[str], client: Client, token: str, now: datetime) -> Iterator[Webhook]:
    """Yield the results of a commit that gates of these kinds wait for. Raises GitHubUnavailable, Refused."""
    path = f"/repos/{quote(repo)}"
    if "github-check" in kinds:
        yield from _checks(repo, sha, client, token, now)
    if "github-status" in kinds:
        for status in client.get(f"{path}/commits/{sha}/statuses", token, per_page=100).value:
            if _is_late(status.get("created_at"), now):
                yield "status", {**_about(repo, status.get("target_url")), **status, "sha": sha, "branches": []}
    if "github-workflow" in kinds:
        for run in _workflow_runs(repo, sha, client, token):
            if run.get("status") == "completed" and _is_late(run.get("updated_at"), now):
                about = _about(repo, run.get("html_url"))
                yield "workflow_run", {**about, "action": "completed", "workflow_run": run}


def _checks(repo: str, sha: str, client: Client, token: str, now: datetime) -> Iterator[Webhook]:
    path = f"/repos/{quote(repo)}/commits/{sha}"
    runs = client.get(f"{path}/check-runs", token, per_page=100).value["check_runs"]
    runs = [run for run in runs if run.get("status") == "completed" and _is_late(run.get("completed_at"), now)]
    branches = _branches(path, client, token) if runs else {}
    foreign = _suites_of_forks(repo, sha, client, token) if runs else set()
    for run in runs:
        suite = run.get("check_suite") or {}
        if suite.get("id") in foreign:
            continue
        whole = {**run, "check_suite": {**suite, "head_branch": branches.get(suite.get("id", 0))}}
        yield "check_run", {**_about(repo, run.get("html_url")), "action": "completed", "check_run": whole}


def _branches(path: str, client: Client, token: str) -> dict[int, str | None]:
    """Return the branch of each check suite, which a list of checks leaves out."""
    try:
        suites = client.get(f"{path}/check-suites", token, per_page=100).value["check_suites"]
    except Refused:
        return {}
    return {int(suite["id"]): suite.get("head_branch") for suite in suites}


def _workflow_runs(repo: str, sha: str, client: Client, token: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = client.get(
        f"/repos/{quote(repo)}/actions/runs", token, head_sha=sha, per_page=100
    ).value["workflow_runs"]
    return runs


def _suites_of_forks(repo: str, sha: str, client: Client, token: str) -> set[Any]:
    """Return the ids of check suites of runs for a fork, whose branch may have the name of a shipped one."""
    try:
        runs = _workflow_runs(repo, sha, client, token)
    except Refused:
        return set()
    names = {run.get("check_suite_id"): (run.get("head_repository") or {}).get("full_name") for run in runs}
    return {suite for suite, name in names.items() if str(name).lower() != repo.lower()}


def _about(repo: str, page: Any) -> dict[str, Any]:
    """Return the repository as a webhook names it; `page`: an address of the same GitHub."""
    return {"repository": {"full_name": repo, **({"html_url": page} if isinstance(page, str) else {})}}


def _is_late(at: Any, now: datetime) -> bool:
    return isinstance(at, str) and now - moment(at.upper()) >= LATE
