"""GitHub. Adding an event is one function, and its entry in EVENTS at the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from greenlight.events import ids
from greenlight.lib import signing
from greenlight.lib.errors import Malformed
from greenlight.model.policy import Pipeline
from greenlight.model.rows import Fact, Push
from greenlight.policy import signals
from greenlight.service.secrets import Files, Secret
from greenlight.webhooks.facts import fact, json_object
from greenlight.webhooks.provider import (
    WORD,
    Delivery,
    Ignored,
    Place,
    Provider,
    counted,
    get,
    integer,
    keyed,
    micros,
    need,
    sha_at,
    time_at,
    word_at,
)
from greenlight.webhooks.providers import commits, repositories

OWN = ("greenlight/", "Greenlight: ")
"""How the names of statuses and checks begin that Greenlight itself writes (feedback/): its own voice must not move it."""

_STAGES = {"queued": 0, "requested": 0, "waiting": 0, "pending": 0, "in_progress": 1, "completed": 2}
_INSIDERS = ("OWNER", "MEMBER", "COLLABORATOR")
"""Whose review may open a gate: on a public repository anybody can approve."""

_FILE = re.compile(r"(.*?\.ya?ml(?=@|$)|[^@]*)")
"""The file of a workflow, whose name may have an @, before the ref that it was read from."""

_VERDICTS = {"success": "passed", "failure": "failed"}
_REVIEWS = {"approved": "passed", "changes_requested": "failed", "dismissed": "dismissed"}
"""The verdicts of reviews. Anything else, such as a comment, replaces none of them."""


class GitHub(Provider):
    """`POST /webhooks/github`."""

    label = "github"
    files = Files("github")
    limit = 25 << 20  # GitHub sends no more
    types = ("com.github.",)

    def pointed(self, place: Place) -> str:
        return (
            f"Point GitHub at it: repository settings, webhooks: {place.url}, content type application/json, the secret in "
            f"{place.secret}"
        )

    def trial(self, place: Place, port: str) -> str:
        return (
            f"gh webhook forward --repo {place.repo} --events push,check_run,status,workflow_run "
            f'--url {port}{place.path} --secret "$(cat {place.secret})"'
        )

    def verify(self, delivery: Delivery, secrets: Sequence[Secret]) -> Sequence[Secret]:
        return signing.check_github(delivery.headers.get("x-hub-signature-256"), delivery.body, keyed(secrets))

    def fact(self, delivery: Delivery, pipeline: Pipeline) -> Fact | Ignored:
        name = delivery.headers.get("x-github-event", "")
        if not name or "," in name:
            raise Malformed("X-GitHub-Event is missing or given twice")
        payload = json_object(delivery)
        repo, read = get(payload, "repository.full_name"), EVENTS.get(name)
        if repo is None:
            return Ignored("it names no repository")
        found = read(payload, delivery) if read else Ignored(f"nothing follows from the event {name[:64]!r}")
        id = repositories.id_of(payload)
        if isinstance(found, Ignored):
            return replace(found, repo=str(repo).lower(), repository=id)
        return replace(found, repository=id)


def _push(payload: dict[str, Any], delivery: Delivery) -> Fact | Ignored:
    repo, ref = repositories.name(payload), need(payload, "ref", str)
    before, after = sha_at(payload, "before", none=True), sha_at(payload, "after", none=True)
    signed = repositories.pushed_at(payload)
    pushed_at = counted(signed, delivery.now) or signed
    deleted = not after.strip("0")
    if deleted and not before.strip("0"):
        return Ignored("it names no commit")
    # the `after` of an annotated tag is the tag object; the commit is what it points to
    commit = get(payload, "head_commit.id") if ref.startswith("refs/tags/") else None
    sha = before if deleted else (sha_at(payload, "head_commit.id") if commit else after)
    id = ids.derive("com.github.push", repo, ref, before, after, int(signed.timestamp()))
    tree = None if deleted else commits.tree(payload)
    push = Push(
        repo=repo,
        ref=ref,
        sha=after if deleted else sha,
        before=before if before.strip("0") else None,
        pushed_at=pushed_at,
        arrived=delivery.now,
        fact=id,
        forced=get(payload, "forced") is True,
        deleted=deleted,
        people=() if deleted else commits.people(payload),  # who deletes a ref makes no commit
        paths=commits.paths(payload),
        pushers=commits.pushers(payload),
        mergers=commits.mergers(payload),
        rebasers=commits.rebasers(payload),
        commits=commits.others(payload, sha),
        cut=commits.cut(payload),
        tree=tree,
    )
    details = {"before": before, "after": after, "forced": push.forced, "deleted": deleted}
    return fact(
        delivery,
        "com.github.push",
        id=id,
        source=repositories.source(payload, repo),
        repo=repo,
        sha=sha,
        moment=signed,
        refs=(ref,),
        subject=ref,
        more=details,
        details=details,
        push=push,
        titles=commits.titles(payload),
        tree=tree,
        people=tuple(one for one in push.people if one not in (*push.mergers, *push.rebasers)),
    )


def _check_run(payload: dict[str, Any], delivery: Delivery) -> Fact | Ignored:
    run = need(payload, "check_run", dict)
    name, app, suite = need(run, "name", str), get(run, "app.slug") or "", get(run, "check_suite.id")
    if name.startswith(OWN):
        return Ignored("Greenlight itself caused it")
    signal = signals.github_check(name, str(app), integer(suite))
    made = _run(payload, run, "check_run", signal, get(run, "check_suite.head_branch"), delivery)
    return made if get(payload, "action") in ("created", "completed") else _repeating(made)


def _check_suite(payload: dict[str, Any], delivery: Delivery) -> Fact | Ignored:
    suite = need(payload, "check_suite", dict)
    return _run(payload, suite, "check_suite", None, get(suite, "head_branch"), delivery)


def _run(
    payload: dict[str, Any], run: dict[str, Any], kind: str, signal: str | None, branch: Any, delivery: Delivery
) -> Fact:
    """Return a check run or suite: ordered by when it was completed, by its id, and by how far it is."""
    repo, sha, number = repositories.name(payload), sha_at(run, "head_sha"), need(run, "id", int)
    status, conclusion = str(get(run, "status")), get(run, "conclusion")
    moment = time_at(run, "completed_at") or time_at(run, "started_at") or time_at(run, "updated_at")
    type, since = f"com.github.{kind}.{word_at(payload, 'action')}", get(run, "completed_at") or get(run, "started_at")
    return _fact(
        payload,
        type,
        ids.derive(type, repo, number, status, str(conclusion), str(since)),
        sha,
        moment,
        delivery,
        subject=str(number),
        refs=(branch,) if isinstance(branch, str) and branch else (),
        signal=signal,
        outcome=_outcome(status, conclusion),
        order=(micros(counted(moment, delivery.now)), number, _STAGES.get(status, 0)),
        evidence=get(run, "html_url") or get(run, "url"),
    )


def _workflow_run(payload: dict[str, Any], delivery: Delivery) -> Fact | Ignored:
    run = need(payload, "workflow_run", dict)
    repo, number, attempt = repositories.name(payload), need(run, "run_number", int), need(run, "run_attempt", int)
    status, conclusion, branch = str(get(run, "status")), get(run, "conclusion"), get(run, "head_branch")
    type = f"com.github.workflow_run.{word_at(payload, 'action')}"
    head, workflow = get(run, "head_repository.full_name"), integer(get(run, "workflow_id"))
    suite, event = integer(get(run, "check_suite_id")), _event_of(run)
    known = workflow is not None and suite is not None
    name = get(payload, "workflow.name")  # the run's own may be one that `run-name` gave it
    return _fact(
        payload,
        type,
        ids.derive(type, repo, need(run, "id", int), attempt, status, str(conclusion)),
        sha_at(run, "head_sha"),
        time_at(run, "updated_at"),
        delivery,
        subject=str(get(run, "id")),
        refs=(branch,) if isinstance(branch, str) and branch else (),
        signal=signals.github_workflow(
            name if isinstance(name, str) and name else need(run, "name", str), workflow, event, _path_of(run)
        ),
        outcome=_outcome(status, conclusion),
        order=(number, attempt, _STAGES.get(status, 0)),
        evidence=get(run, "html_url"),
        foreign=not isinstance(head, str) or head.lower() != repo,  # a fork that is gone has no name
        details={"suite_of": {"suite": suite, "workflow": f"{workflow} ({event})", "number": number}} if known else {},
    )


def _status(payload: dict[str, Any], delivery: Delivery) -> Fact | Ignored:
    repo, sha, context = repositories.name(payload), sha_at(payload, "sha"), need(payload, "context", str)
    if context.startswith(OWN):
        return Ignored("Greenlight itself caused it")
    state, number = word_at(payload, "state"), need(payload, "id", int)
    created = time_at(payload, "created_at")
    branches = get(payload, "branches")
    names = [get(branch, "name") for branch in branches] if isinstance(branches, list) else []
    type = f"com.github.status.{state}"
    return _fact(
        payload,
        type,
        ids.derive(type, repo, number, context, sha),
        sha,
        created,
        delivery,
        subject=sha,
        refs=tuple(f"refs/heads/{name}" for name in names if isinstance(name, str)),
        signal=signals.github_status(context),
        outcome=_VERDICTS.get(state, state),
        order=(micros(counted(created, delivery.now)), number),
        evidence=get(payload, "target_url"),
    )


def _pull_request(payload: dict[str, Any], delivery: Delivery) -> Fact | Ignored:
    request, repo = need(payload, "pull_request", dict), repositories.name(payload)
    merged = get(request, "merged") is True and get(request, "merge_commit_sha") is not None
    sha = sha_at(request, "merge_commit_sha" if merged else "head.sha")
    head, author = get(request, "head.repo.full_name"), get(request, "user.login")
    type = f"com.github.pull_request.{word_at(payload, 'action')}"
    number = need(request, "number", int)
    details = {"number": number, "base": get(request, "base.ref"), "merged": merged}
    if merged:
        by = get(request, "merged_by.login")
        details |= {"merged_by": ids.identity("github", by) if isinstance(by, str) else None}
        details |= {"pull": number, "head": sha_at(request, "head.sha") if get(request, "head.sha") else None}
    return _fact(
        payload,
        type,
        ids.derive(type, repo, number, sha, str(get(request, "updated_at"))),
        sha,
        time_at(request, "updated_at"),
        delivery,
        subject=str(number),
        details=details,
        evidence=get(request, "html_url"),
        people=(ids.identity("github", author),) if merged and isinstance(author, str) else (),
        foreign=not merged and (not isinstance(head, str) or head.lower() != repo),
    )


def _pull_request_review(payload: dict[str, Any], delivery: Delivery) -> Fact | Ignored:
    review, repo = need(payload, "review", dict), repositories.name(payload)
    if get(review, "commit_id") is None:
        return Ignored("it names no commit")
    number, login, state = need(review, "id", int), need(review, "user.login", str), need(review, "state", str).lower()
    submitted, base = time_at(review, "submitted_at"), get(payload, "pull_request.base.ref")
    verdict, pull = _REVIEWS.get(state), integer(get(payload, "pull_request.number"))
    type = f"com.github.pull_request_review.{word_at(payload, 'action')}"
    made = _fact(
        payload,
        type,
        ids.derive(type, repo, number, state, str(get(review, "submitted_at"))),
        sha_at(review, "commit_id"),
        submitted,
        delivery,
        subject=str(number),
        refs=(f"refs/heads/{base}",) if isinstance(base, str) else (),
        signal=signals.github_review(login) if verdict else None,
        outcome=(verdict or state) if get(review, "author_association") in _INSIDERS else signals.OUTSIDER,
        order=(micros(counted(submitted, delivery.now)), number, 1 if state == "dismissed" else 0),
        evidence=get(review, "html_url"),
        details={"pull": pull} if verdict and pull is not None else {},
    )
    return _repeating(made) if get(payload, "action") == "edited" else made


def _repeating(made: Fact) -> Fact:
    """Return the fact as one that repeats an earlier result, and so is no failure that comes after an override.

    A person asked for another run of a check, say, or edited the text of a review.
    """
    return replace(made, details={**made.details, "repeats": True})


def _merge_group(payload: dict[str, Any], delivery: Delivery) -> Fact | Ignored:
    group, repo = need(payload, "merge_group", dict), repositories.name(payload)
    sha, ref = sha_at(group, "head_sha"), need(group, "head_ref", str)
    type = f"com.github.merge_group.{word_at(payload, 'action')}"
    id = ids.derive(type, repo, ref, sha, str(get(payload, "reason")))
    return _fact(
        payload, type, id, sha, None, delivery, subject=ref, refs=(ref,), details={"base": get(group, "base_ref")}
    )


def _repository(payload: dict[str, Any], delivery: Delivery) -> Fact | Ignored:
    """Read that a repository was renamed or transferred. GitHub sends this once; every later body has its id."""
    repo = repositories.name(payload)
    owner, _, name = repo.partition("/")
    by = "changes.owner.from"
    before = get(payload, f"{by}.user.login") or get(payload, f"{by}.organization.login") or owner
    former = f"{before}/{get(payload, 'changes.repository.name.from') or name}".lower()
    return Ignored("it names no commit", former=former if former != repo else None)


def _of_no_commit(payload: dict[str, Any], delivery: Delivery) -> Fact | Ignored:
    return Ignored("it names no commit; the push event of the same branch or tag does")


def _fact(
    payload: dict[str, Any],
    type: str,
    id: str,
    sha: str,
    moment: datetime | None,
    delivery: Delivery,
    *,
    subject: str | None = None,
    refs: tuple[str, ...] = (),
    **known: Any,
) -> Fact:
    """Build a fact about a commit; `moment` is the time that GitHub gave, None for none."""
    repo = repositories.name(payload)
    more = {name: known.get(name) for name in ("signal", "outcome", "evidence")}
    return fact(
        delivery,
        type,
        id=id,
        source=repositories.source(payload, repo),
        repo=repo,
        sha=sha,
        moment=moment,
        refs=refs,
        subject=subject,
        more={name: value for name, value in more.items() if value is not None},
        **known,
    )


def _outcome(status: str, conclusion: Any) -> str:
    """Return the outcome: only success passes, only failure fails, and any other word leaves the gate pending."""
    word = str(conclusion) if status == "completed" and conclusion else status
    return _VERDICTS.get(word, word) if word in ("success", "failure") else word


def _event_of(run: Any) -> str:
    """Return what started a workflow's run; empty if that is not known."""
    event = get(run, "event")
    return event if isinstance(event, str) and WORD.fullmatch(event) else ""


def _path_of(run: Any) -> str:
    """Return the file of a run's workflow, without the ref that it was read from; empty if that is not known."""
    path = get(run, "path")
    found = _FILE.match(path) if isinstance(path, str) else None
    return found[1] if found is not None else ""


EVENTS: Mapping[str, Callable[[dict[str, Any], Delivery], Fact | Ignored]] = {
    "push": _push,
    "create": _of_no_commit,
    "delete": _of_no_commit,
    "status": _status,
    "check_run": _check_run,
    "check_suite": _check_suite,
    "workflow_run": _workflow_run,
    "pull_request": _pull_request,
    "pull_request_review": _pull_request_review,
    "merge_group": _merge_group,
    "repository": _repository,
}
