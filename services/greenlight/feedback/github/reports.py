"""Checks, statuses and deployments on GitHub, brought in step with what the ledger says of a commit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from greenlight.feedback.domain import APART, ASKS, DONE, FAILED, OVER, RUNNING, WAITS, Deployed, Report, shortened
from greenlight.feedback.github.client import Client
from greenlight.feedback.github.errors import Refused
from greenlight.feedback.markdown import summary
from greenlight.feedback.sent import Sent, SentBefore, unsent
from greenlight.lib.printable import printable

CHECK = "Greenlight: "
"""How the names of checks begin; webhooks/providers/github.py ignores what carries such a name."""

CONTEXT = "greenlight/"
"""How the contexts of statuses begin, which are ignored as well."""

# A check that is required by a branch protection must not keep a pull request open for ever. So what waits for people, whom
# nobody can hurry, is `neutral`, which GitHub takes as good enough to merge, and so is a commit of a branch that is not
# shipped, such as the head of a pull request. Only what a program will report, or a deployment, is `in_progress`.
_CHECKS: Mapping[str, tuple[str, str | None]] = {
    FAILED: ("completed", "failure"),
    RUNNING: ("in_progress", None),
    WAITS: ("in_progress", None),
    ASKS: ("completed", "neutral"),
    OVER: ("completed", "neutral"),
    DONE: ("completed", "success"),
    APART: ("completed", "neutral"),
}
# A status knows no `neutral`: a commit that is no candidate has nothing to wait for, and any other is pending.
_STATUSES = {FAILED: "failure", DONE: "success", APART: "success"}


@dataclass(frozen=True)
class Commit:
    """One commit on GitHub, and the means to report of it."""

    repo: str
    sha: str
    page: str | None  # the commit's page on the board
    client: Client
    token: Callable[[], str]
    before: SentBefore
    now: Callable[[], datetime]
    log: logging.Logger

    @property
    def path(self) -> str:
        """Return the path of the repository in the API."""
        return f"/repos/{quote(self.repo)}"

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send a POST about the repository. Raises GitHubUnavailable, Refused."""
        return self.client.post(f"{self.path}/{path}", self.token(), body)

    def keep(self, key: str, last: Sent) -> Sent:
        """Write down what was just sent."""
        return self.before.keep(key, last, self.now())


def check(report: Report, commit: Commit) -> None:
    """Send the check of an application, if it differs from the last one. Only an App can have checks.

    Raises GitHubUnavailable, Refused.
    """
    key = f"check/{report.application}"
    status, conclusion = _CHECKS[report.kind]
    name = CHECK + report.application
    body: dict[str, Any] = {
        "name": name,
        "external_id": report.application,
        "status": status,
        **({"conclusion": conclusion} if conclusion else {}),
        **({"details_url": commit.page} if commit.page else {}),
        "output": {"title": printable(report.title), "summary": summary(report)},
    }
    last = commit.before.of(key)
    new = unsent(last, body, status)
    if new is None:
        return
    number = last.number if last is not None else _check_there(name, commit)
    with _final(commit, key, new):
        if number is None or (last is not None and last.state == "completed" and status != "completed"):
            found = commit.post("check-runs", {**body, "head_sha": commit.sha})  # one that was completed does not go on
        else:
            found = commit.client.patch(f"{commit.path}/check-runs/{number}", commit.token(), body)
        commit.keep(key, replace(new, number=int(found["id"])))


def status(report: Report, commit: Commit) -> None:
    """Send the status of an application, if it differs from the last one: without an App there are no checks.

    Raises GitHubUnavailable, Refused.
    """
    key, state = f"status/{report.application}", _STATUSES.get(report.kind, "pending")
    body = {
        "state": state,
        "context": CONTEXT + report.application,
        "description": shortened(printable(report.title), 140),
        **({"target_url": commit.page} if commit.page else {}),
    }
    new = unsent(commit.before.of(key), body, state)
    if new is None:
        return
    with _final(commit, key, new):
        commit.post(f"statuses/{commit.sha}", body)
        commit.keep(key, new)


def deployments(found: Sequence[Deployed], commit: Commit, *, several: bool) -> None:
    """Send the states of a commit's deployments that differ; `several`: applications are made from it.

    An environment has the name that it has in the pipeline file, so that it is the one which the repository's settings
    know; where several applications have environments, the application's name comes before. Raises GitHubUnavailable,
    Refused.
    """
    for each in found:
        _deployment(each, commit, f"{each.application}/{each.environment}" if several else each.environment)
    newest = {each.id for each in found}
    for id, last in commit.before.under("deployed/").items():
        if id not in newest and last.number is not None and last.state == "success":
            _state(f"deployed/{id}", last, "inactive", "replaced by a later deployment of the commit", commit)


def _deployment(each: Deployed, commit: Commit, environment: str) -> None:
    key = f"deployed/{each.id}"
    last = commit.before.of(key)
    if last is None:
        if each.state == "inactive":
            return  # it is over, and was never reported
        last = Sent("", "", None)
        with _final(commit, key, last):
            number = _deployment_there(each.id, environment, commit)
            if number is None:
                body = {
                    "ref": commit.sha,
                    "task": "deploy",
                    "auto_merge": False,
                    "required_contexts": [],
                    "environment": environment,
                    "description": "by Greenlight",
                    "payload": {"greenlight": each.id, "application": each.application},
                }
                number = int(commit.post("deployments", body)["id"])
            last = commit.keep(key, replace(last, number=number))
    if last.number is not None:
        _state(key, last, each.state, each.text, commit)


def _state(key: str, last: Sent, state: str, text: str, commit: Commit) -> None:
    body = {
        "state": state,
        "description": shortened(printable(text), 140),
        "auto_inactive": False,  # said by ourselves: GitHub leaves environments out that it takes for production
        **({"log_url": commit.page, "environment_url": commit.page} if commit.page else {}),
    }
    new = unsent(last, body, state)
    if new is not None:
        with _final(commit, key, new):
            commit.post(f"deployments/{last.number}/statuses", body)
            commit.keep(key, new)


def _check_there(name: str, commit: Commit) -> int | None:
    """Return the id of a check that was made, and not written down, by a process that crashed."""
    path = f"{commit.path}/commits/{commit.sha}/check-runs"
    found = commit.client.get(path, commit.token(), check_name=name, filter="latest").value["check_runs"]
    mine = [int(run["id"]) for run in found if run.get("external_id") == name.removeprefix(CHECK)]
    return max(mine, default=None)


def _deployment_there(id: str, environment: str, commit: Commit) -> int | None:
    """Return the number of a deployment that was made, and not written down, by a process that crashed."""
    query: dict[str, str | int] = {"sha": commit.sha, "environment": environment, "per_page": 100}
    for each in commit.client.get(f"{commit.path}/deployments", commit.token(), **query).value:
        payload = each.get("payload")
        if isinstance(payload, dict) and payload.get("greenlight") == id:
            return int(each["id"])
    return None


@contextmanager
def _final(commit: Commit, key: str, last: Sent) -> Iterator[None]:
    """Write a refusal down where the commit, or what is said of it, is at fault, so that the same is not sent again."""
    try:
        yield
    except Refused as problem:
        if problem.status != 422:
            raise
        commit.log.error("%s %s: %s is not reported: %s", commit.repo, commit.sha[:7], key, problem)
        commit.keep(key, last)
