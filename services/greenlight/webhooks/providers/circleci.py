"""CircleCI: payloads of GitHub OAuth projects (`pipeline.vcs`) and of GitHub App ones (`trigger_parameters`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from greenlight.events import ids
from greenlight.lib import signing
from greenlight.lib.errors import Rejected
from greenlight.model.policy import Pipeline
from greenlight.model.rows import Fact
from greenlight.policy import signals
from greenlight.service.secrets import Files, Secret
from greenlight.webhooks.facts import fact, json_object
from greenlight.webhooks.provider import (
    REPO,
    SHA,
    Delivery,
    Ignored,
    Place,
    Provider,
    counted,
    get,
    keyed,
    micros,
    need,
    time_at,
)

_WORDS = {
    "success": ("success", "passed"),
    "failed": ("failure", "failed"),
    "error": ("error", "error"),
    "canceled": ("canceled", "canceled"),
    "unauthorized": ("unauthorized", "unauthorized"),
}
"""CircleCI's status: the end of the event's type, and what it says to a gate."""


class CircleCI(Provider):
    """`POST /webhooks/circleci`. The body's `type` counts: the header is not signed."""

    label = "circleci"
    files = Files("circleci")
    types = ("com.circleci.",)

    def pointed(self, place: Place) -> str:
        return (
            f"Point CircleCI at it: project settings, webhooks: {place.url}, workflow-completed and job-completed, the "
            f"secret in {place.secret}"
        )

    def verify(self, delivery: Delivery, secrets: Sequence[Secret]) -> Sequence[Secret]:
        return signing.check_circleci(delivery.headers.get("circleci-signature"), delivery.body, keyed(secrets))

    def fact(self, delivery: Delivery, pipeline: Pipeline) -> Fact | Ignored:
        payload = json_object(delivery)
        kind = {"workflow-completed": "workflow", "job-completed": "job"}.get(str(get(payload, "type")))
        if kind is None:
            return Ignored("only workflow-completed and job-completed report on a commit")
        if get(payload, "pipeline") is None:
            return Ignored("a test ping: it names no commit")
        return _fact(payload, kind, pipeline, delivery)


def _fact(payload: dict[str, Any], kind: str, pipeline: Pipeline, delivery: Delivery) -> Fact | Ignored:
    status = need(payload, f"{kind}.status", str)
    if status not in _WORDS:
        raise Rejected(f"{kind}.status is {status[:32]!r}; CircleCI knows {', '.join(_WORDS)}")
    word, outcome = _WORDS[status]
    sha, refs = _commit(payload)
    repo, foreign = _repository(payload, pipeline)
    if sha is None:
        return Ignored("it names no commit")
    if repo is None:
        return Ignored("it names no repository; give the application `circleci: {project: UUID}` in the pipeline file")
    happened = time_at(payload, "happened_at")
    if happened is None:
        raise Rejected("happened_at is missing")
    type = f"com.circleci.{'build' if kind == 'workflow' else 'job'}{word}"
    id = ids.derive(type, repo, need(payload, "id", str))
    name, url = need(payload, f"{kind}.name", str), get(payload, "workflow.url")
    project, workflow = _text(payload, "project.id"), _text(payload, "workflow.name")
    key = (
        signals.circleci_workflow(name, project)
        if kind == "workflow"
        else signals.circleci_job(name, project, workflow)
    )
    number = need(payload, "pipeline.number", int)
    return fact(
        delivery,
        type,
        id=id,
        source=f"https://circleci.com/{repo}",
        repo=repo,
        sha=sha,
        moment=happened,
        refs=refs,
        subject=str(get(payload, f"{kind}.id")),
        more={"signal": key, "outcome": outcome, "evidence": url, "pipeline": number},
        signal=key,
        outcome=outcome,
        order=(number, micros(counted(happened, delivery.now))),
        evidence=url,
        details={"pipeline": number},
        foreign=foreign,
    )


def _commit(payload: dict[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """Return the sha and the ref that were built."""
    vcs, git = get(payload, "pipeline.vcs"), _trigger(payload, "git")
    if isinstance(vcs, dict):
        sha, branch, tag = get(vcs, "revision"), get(vcs, "branch"), get(vcs, "tag")
    else:
        sha = (
            get(git, "checkout_sha")
            or _trigger(payload, "github_app.commit_sha")
            or _trigger(payload, "gitlab.checkout_sha")
        )
        branch, tag = get(git, "branch") or _trigger(payload, "gitlab.branch"), get(git, "tag")
    sha = sha or None  # what is not set comes as an empty string
    if sha is not None and (not isinstance(sha, str) or not SHA.fullmatch(sha) or not sha.strip("0")):
        raise Rejected("the commit is not a sha: 40 or 64 lower-case hex digits")
    if isinstance(tag, str) and tag:
        return sha, (f"refs/tags/{tag}",)
    return sha, (f"refs/heads/{branch}",) if isinstance(branch, str) and branch else ()


def _repository(payload: dict[str, Any], pipeline: Pipeline) -> tuple[str | None, bool]:
    """Return the repository that was built for, and whether the commit came from another one (a fork's pull request).

    A project that the pipeline file names stands for its repository: what its addresses say beside that (a group within a
    group at GitLab) need not be OWNER/NAME.
    """
    vcs = get(payload, "pipeline.vcs")
    known = signals.repo_of_circleci_project(pipeline, _text(payload, "project.id"))
    if isinstance(vcs, dict):
        found = [get(vcs, "target_repository_url"), get(vcs, "origin_repository_url")]
    else:
        found = [_trigger(payload, path) for path in ("git.checkout_url", "github_app.repo_url")]
    named = [repo for url in found if (repo := _of_url(url, lenient=known is not None)) is not None]
    repo = next(iter(named), None) if isinstance(vcs, dict) and named else known or next(iter(named), None)
    return repo, any(other != repo for other in named)


def _text(payload: Any, path: str) -> str:
    """Return the text at `a.b.c`; empty where there is none."""
    value = get(payload, path)
    return value if isinstance(value, str) else ""


def _trigger(payload: dict[str, Any], path: str) -> Any:
    parameters = get(payload, "pipeline.trigger_parameters") or get(payload, "trigger_parameters")
    return get(parameters, path)


def _of_url(url: Any, *, lenient: bool) -> str | None:
    """Return `owner/name` of https://HOST/owner/name(.git) or git@HOST:owner/name.git.

    Raises Rejected for others, unless lenient.
    """
    if not isinstance(url, str) or not url:
        return None
    try:
        path = urlsplit(url).path if "://" in url else url.partition(":")[2]
    except ValueError:
        raise Rejected("the repository's address is no URL") from None
    name = path.strip("/").removesuffix(".git").lower()
    if REPO.fullmatch(name):
        return name
    if lenient:
        return None
    raise Rejected(
        f"the repository's address {url[:200]!r} is not OWNER/NAME; give the application `circleci: {{project: UUID}}`"
    )
