"""The names of signals, under which webhooks file facts, and by which gates find them. Both sides use this file.

A key is `KIND#SOURCE:NAME`: the kind of signal, its source by the provider's ids, and the display name that
a gate looks for. A kind whose names are unique by themselves has no SOURCE; nor have the keys of ledgers before 0.2.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import quote

from greenlight.model.policy import Pipeline
from greenlight.model.rows import Order, Signal

_RANK = {"passed": 0, "failed": 2}
"""Of two facts with the same place in a provider's order, the worse one counts."""

OUTDATED = "outdated"
"""The outcome of an approval of an earlier commit of a pull request than the one that was merged: it is no vote."""

OUTSIDER = "outsider"
"""The outcome of a review by nobody of the repository: on a public one everybody can write reviews."""

REPORTED = "said"
"""The outcome of an event that is neither passed nor failed by itself: a gate's `where` judges it."""

_TIME = "time"


def circleci_workflow(name: str, project: str = "") -> str:
    """Return the signal of a CircleCI workflow, in the project with that id."""
    return _key("circleci.workflow", project.lower(), name)


def circleci_job(name: str, project: str = "", workflow: str = "") -> str:
    """Return the signal of a CircleCI job, in that workflow of the project with that id."""
    return _key("circleci.job", f"{project.lower()}/{quote(workflow, '')}" if project else "", name)


def github_check(name: str, app: str, suite: int | None = None) -> str:
    """Return the signal of a GitHub check run; `app` is the slug of the app that made it, which holds no slash."""
    return _key("github.check", "" if suite is None else str(suite), f"{app}/{name}")


def github_status(context: str) -> str:
    """Return the signal of a GitHub commit status."""
    return f"github.status:{context}"


def github_workflow(name: str, workflow: int | None = None, event: str = "", path: str = "") -> str:
    """Return the signal of a GitHub Actions workflow with that id, for the runs that `event` starts.

    `path` is its file.
    """
    source = "" if workflow is None else f"{workflow}/{event}/{quote(path, safe='/')}"
    return _key("github.workflow", source, name)


def github_review(login: str) -> str:
    """Return the signal of one reviewer's reviews of a commit; a login is the same in any case."""
    return f"github.review:{login.lower()}"


def is_review(key: str) -> bool:
    """Return whether a signal is a reviewer's."""
    return parts(key)[0] == "github.review"


def reviewer(key: str) -> str:
    """Return the login whose review a signal is."""
    return key.partition(":")[2]


def webhook(name: str) -> str:
    """Return the signal of a scanner that posts to /webhooks/gates/NAME, with reports ordered by its run numbers."""
    return f"webhook:{name}"


def by_time(key: str) -> str | None:
    """Return the signal where the reports of the same scanner are ordered by time; None: `key` is no scanner's."""
    kind, _, name = key.partition(":")
    return f"{kind}#{_TIME}:{name}" if kind == "webhook" else None


def event(type: str, sender: str) -> str:
    """Return the signal of a CloudEvent type from one sender, whose name holds no slash."""
    return f"event:{sender}/{type}"


def age(signal: Signal) -> tuple[Any, ...]:
    """Return the sort key of one signal's facts, oldest first.

    It is the provider's order, then failed after passed, then the id.
    """
    return (_sortable(signal.order), _RANK.get(signal.outcome, 1), signal.fact)


def repo_of_circleci_project(pipeline: Pipeline, project: str) -> str | None:
    """Return the repository (lower case) whose builds that CircleCI project makes; None if no application names it."""
    for policy in pipeline.applications.values():
        if policy.circleci_project is not None and policy.circleci_project == project.lower():
            return policy.repo
    return None


def _key(kind: str, source: str, name: str) -> str:
    return f"{kind}#{source}:{name}" if source else f"{kind}:{name}"


@lru_cache(maxsize=4096)
def parts(key: str) -> tuple[str, str, str]:
    """Return the kind, the source and the name that a key is made of."""
    head, _, name = key.partition(":")
    kind, _, source = head.partition("#")
    return kind, source, name


def owned(name: str, owner: str | None, wanted: str) -> bool:
    """Return whether "OWNER/WANTED" is wanted; without an owner, anybody's is."""
    by, _, what = name.partition("/")
    return what == wanted and owner in (None, by)


def _sortable(order: Order) -> tuple[tuple[int, int, str], ...]:
    """Return a provider's order in a form that always compares: position by position, numbers before words."""
    return tuple((0, part, "") if isinstance(part, int) else (1, 0, str(part)) for part in order)
