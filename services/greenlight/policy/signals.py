"""The names of signals: what webhooks file a fact under, and what a gate looks for. Both sides go through here.

A key is `KIND#SOURCE:NAME`: what kind of word it is, what the provider's ids say of who said it, and the display name that
a gate looks for. A kind whose names are unique by themselves has no SOURCE; nor have the keys of ledgers before 0.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from greenlight.model.policy import Gate, Pipeline
from greenlight.model.rows import Order, Run, Signal

_RANK = {"passed": 0, "failed": 2}
"""Of two facts that a provider's order cannot tell apart, the worse one stands."""

OUTDATED = "outdated"
"""The outcome of an approval of an earlier commit of a pull request than the one that was merged: it is no vote."""

SAID = "said"
"""The outcome of an event that is neither passed nor failed by itself: a gate's `where` tells what it means."""

S = TypeVar("S")

_KINDS = {
    kind: kind.replace("-", ".") for kind in ("github-check", "github-status", "github-workflow", "github-review")
}
"""What the keys begin with that a kind of gate listens to, where that is not the kind's own name."""

_TIME = "time"


def circleci_workflow(name: str, project: str = "") -> str:
    """The signal of a CircleCI workflow, in the project with that id."""
    return _key("circleci.workflow", project.lower(), name)


def circleci_job(name: str, project: str = "", workflow: str = "") -> str:
    """The signal of a CircleCI job, in that workflow of the project with that id."""
    return _key("circleci.job", f"{project.lower()}/{quote(workflow, '')}" if project else "", name)


def github_check(name: str, app: str, suite: int | None = None) -> str:
    """The signal of a GitHub check run; `app` is the slug of the app that made it, which holds no slash."""
    return _key("github.check", "" if suite is None else str(suite), f"{app}/{name}")


def github_status(context: str) -> str:
    """The signal of a GitHub commit status."""
    return f"github.status:{context}"


def github_workflow(name: str, workflow: int | None = None, event: str = "", path: str = "") -> str:
    """The signal of a GitHub Actions workflow with that id, for the runs that `event` starts; `path` is its file."""
    source = "" if workflow is None else f"{workflow}/{event}/{quote(path, safe='/')}"
    return _key("github.workflow", source, name)


def github_review(login: str) -> str:
    """The signal of one reviewer's word on a commit; a login is the same in any case."""
    return f"github.review:{login.lower()}"


def is_review(key: str) -> bool:
    """Whether a signal is a reviewer's word."""
    return _parts(key)[0] == "github.review"


def reviewer(key: str) -> str:
    """The login whose review a signal is."""
    return key.partition(":")[2]


def webhook(name: str) -> str:
    """The signal of a scanner that posts to /webhooks/gates/NAME, where its words are ordered by its own count of runs."""
    return f"webhook:{name}"


def by_time(key: str) -> str | None:
    """The signal where the words of the same scanner are ordered by time; None: `key` is no scanner's."""
    kind, _, name = key.partition(":")
    return f"{kind}#{_TIME}:{name}" if kind == "webhook" else None


def event(type: str, sender: str) -> str:
    """The signal of a CloudEvent type from one sender, whose name holds no slash."""
    return f"event:{sender}/{type}"


def heard(gate: Gate, signals: Mapping[str, S]) -> dict[str, S]:
    """Those of the signals that speak to a gate; what cannot is passed over by its first letters, as there may be thousands."""
    kind = _KINDS.get(gate.kind, gate.kind)
    return {key: signals[key] for key in signals if key.startswith(kind) and matches(gate, key)}


def matches(gate: Gate, key: str) -> bool:
    """Whether a fact filed under the signal `key` speaks to `gate`; an approval gate has no signal."""
    kind, source, name = _parts(key)
    wants = gate.wants
    match gate.kind:
        case "circleci":
            wanted = ("circleci.workflow", wants["workflow"]) if "workflow" in wants else ("circleci.job", wants["job"])
            return (kind, name) == wanted and wants.get("project") in (None, source.partition("/")[0])
        case "github-check":
            return kind == "github.check" and _owned(name, wants.get("app"), wants["name"])
        case "github-status":
            return key == github_status(wants["context"])
        case "github-workflow":
            return kind == "github.workflow" and _runs(source, name, wants)
        case "github-review":
            return kind == "github.review"
        case "webhook":
            return kind == "webhook" and name == wants["name"]
        case "event":
            return kind == "event" and _owned(name, wants.get("sender"), wants["type"])
    return False


def standing(words: Mapping[str, Signal], runs: Mapping[str, Run]) -> Mapping[str, Signal]:
    """Leave out of the newest words (by key) those that another one replaces; `runs` are GitHub's, by check suite.

    A check suite is replaced by a later one of the same workflow, where both are known to be. What an older ledger filed
    without a source is replaced by any newer word of that name. What a scanner said counts by its time; its highest run can
    only forbid beside that.
    """
    latest: dict[tuple[str, ...], str] = {}
    for key in words:
        one = _workflow(key, runs)
        if one not in latest or _number(key, runs) > _number(latest[one], runs):
            latest[one] = key
    kept = {key: words[key] for key in latest.values()}
    return {key: word for key, word in kept.items() if not _adds_nothing(key, word, kept)}


def origin(key: str, runs: Mapping[str, Run]) -> str:
    """Who said it, in words; empty where the kind and the name say all."""
    kind, source, name = _parts(key)
    if kind == "webhook":
        return "its latest report" if source else "its highest run"
    if kind == "event":
        return f"sender {name.partition('/')[0]}"
    if not source:
        return f"app {name.partition('/')[0]}" if kind == "github.check" else ""
    first, _, rest = source.partition("/")
    match kind:
        case "github.check":
            run = runs.get(source)
            return f"check suite {source}" + (f" of workflow {run.workflow}" if run else "")
        case "github.workflow":
            started, _, path = rest.partition("/")
            by = f" (started by {started})" if started else ""
            return f"{unquote(path) or 'workflow ' + first}{by}"
        case "circleci.job":
            return f"workflow {unquote(rest)} of project {first}"
    return f"project {first}"


def age(signal: Signal) -> tuple[Any, ...]:
    """What sorts the facts of one signal, oldest first: the provider's order, then failed after passed, then the id."""
    return (_sortable(signal.order), _RANK.get(signal.outcome, 1), signal.fact)


def repo_of_circleci_project(pipeline: Pipeline, project: str) -> str | None:
    """The repository (lower case) whose builds that CircleCI project makes; None if no application names it."""
    for policy in pipeline.applications.values():
        if policy.circleci_project is not None and policy.circleci_project == project.lower():
            return policy.repo
    return None


def _key(kind: str, source: str, name: str) -> str:
    return f"{kind}#{source}:{name}" if source else f"{kind}:{name}"


@lru_cache(maxsize=4096)
def _parts(key: str) -> tuple[str, str, str]:
    """Kind, source and name."""
    head, _, name = key.partition(":")
    kind, _, source = head.partition("#")
    return kind, source, name


def _owned(name: str, owner: str | None, wanted: str) -> bool:
    """Whether "OWNER/WANTED" is wanted; without an owner, anybody's is."""
    by, _, what = name.partition("/")
    return what == wanted and owner in (None, by)


def _runs(source: str, name: str, wants: Mapping[str, Any]) -> bool:
    """Whether a GitHub Actions workflow is the one that is wanted."""
    _, _, rest = source.partition("/")
    event, _, path = rest.partition("/")
    named = name == wants["name"] if "name" in wants else unquote(path) == wants["path"]
    return named and wants.get("event") in (None, event)


def _workflow(key: str, runs: Mapping[str, Run]) -> tuple[str, ...]:
    """What a later word replaces it for: the check's suite, or the workflow that is known to have made the suite."""
    kind, source, name = _parts(key)
    run = runs.get(source) if kind == "github.check" else None
    return (key,) if run is None else (name, run.workflow)


def _number(key: str, runs: Mapping[str, Run]) -> int:
    run = runs.get(_parts(key)[1])
    return 0 if run is None else run.number


def _adds_nothing(key: str, word: Signal, words: Mapping[str, Signal]) -> bool:
    kind, source, name = _parts(key)
    if kind == "webhook":
        latest = None if source else words.get(by_time(key) or "")
        return latest is not None and (word.outcome != "failed" or latest.fact == word.fact)
    if source or kind not in ("circleci.workflow", "circleci.job", "github.check", "github.workflow"):
        return False
    return any(_parts(other)[::2] == (kind, name) and it.at > word.at for other, it in words.items() if other != key)


def _sortable(order: Order) -> tuple[tuple[int, int, str], ...]:
    """A provider's order as something that always compares: position by position, numbers before words."""
    return tuple((0, part, "") if isinstance(part, int) else (1, 0, str(part)) for part in order)
