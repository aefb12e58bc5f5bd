"""The names of signals: what webhooks file a fact under, and what a gate looks for. Both sides go through here."""

from __future__ import annotations

from typing import Any

from greenlight.ledger.rows import Order, Signal
from greenlight.policy.model import Gate, Pipeline

_RANK = {"passed": 0, "failed": 2}
"""Of two facts that a provider's order cannot tell apart, the worse one stands."""

SAID = "said"
"""The outcome of an event that is neither passed nor failed by itself: a gate's `where` tells what it means."""


def circleci_workflow(name: str) -> str:
    """The signal of a CircleCI workflow."""
    return f"circleci.workflow:{name}"


def circleci_job(name: str) -> str:
    """The signal of a CircleCI job."""
    return f"circleci.job:{name}"


def github_check(name: str, app: str) -> str:
    """The signal of a GitHub check run; `app` is the slug of the app that made it, which holds no slash."""
    return f"github.check:{app}/{name}"


def github_status(context: str) -> str:
    """The signal of a GitHub commit status."""
    return f"github.status:{context}"


def github_workflow(name: str) -> str:
    """The signal of a GitHub Actions workflow run."""
    return f"github.workflow:{name}"


def github_review(login: str) -> str:
    """The signal of one reviewer's word on a commit; a login is the same in any case."""
    return f"github.review:{login.lower()}"


def reviewer(key: str) -> str:
    """The login whose review a signal is."""
    return key.partition(":")[2]


def webhook(name: str) -> str:
    """The signal of a scanner that posts to /webhooks/gates/NAME."""
    return f"webhook:{name}"


def event(type: str, sender: str) -> str:
    """The signal of a CloudEvent type from one sender, whose name holds no slash."""
    return f"event:{sender}/{type}"


def matches(gate: Gate, key: str) -> bool:
    """Whether a fact filed under the signal `key` speaks to `gate`; an approval gate has no signal."""
    kind, _, name = key.partition(":")
    wants = gate.wants
    match gate.kind:
        case "circleci":
            return key == (circleci_workflow(wants["workflow"]) if "workflow" in wants else circleci_job(wants["job"]))
        case "github-check":
            return kind == "github.check" and _owned(name, wants.get("app"), wants["name"])
        case "github-status":
            return key == github_status(wants["context"])
        case "github-workflow":
            return key == github_workflow(wants["name"])
        case "github-review":
            return kind == "github.review"
        case "webhook":
            return key == webhook(wants["name"])
        case "event":
            return kind == "event" and _owned(name, wants.get("sender"), wants["type"])
    return False


def _owned(name: str, owner: str | None, wanted: str) -> bool:
    """Whether "OWNER/WANTED" is wanted; without an owner, anybody's is."""
    by, _, what = name.partition("/")
    return what == wanted and owner in (None, by)


def age(signal: Signal) -> tuple[Any, ...]:
    """What sorts the facts of one signal, oldest first: the provider's order, then failed after passed, then the id."""
    return (_sortable(signal.order), _RANK.get(signal.outcome, 1), signal.fact)


def _sortable(order: Order) -> tuple[tuple[int, int, str], ...]:
    """A provider's order as something that always compares: position by position, numbers before words."""
    return tuple((0, part, "") if isinstance(part, int) else (1, 0, str(part)) for part in order)


def repo_of_circleci_project(pipeline: Pipeline, project: str) -> str | None:
    """The repository (lower case) whose builds that CircleCI project makes; None if no application names it."""
    for policy in pipeline.applications.values():
        if policy.circleci_project is not None and policy.circleci_project == project.lower():
            return policy.repo
    return None
