"""Looks at a repository on GitHub every few minutes: what no webhook has brought, and what no report has said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from greenlight.feedback.deps import Deps
from greenlight.feedback.due import look_due
from greenlight.feedback.github.errors import UNEXPECTED, GitHubUnavailable, Refused
from greenlight.feedback.heads import unheard
from greenlight.feedback.situations import cases_of
from greenlight.ledger.found import first_compared, note_found, note_lost
from greenlight.ledger.port import Transaction, Unreadable
from greenlight.lib.errors import ConfigurationError, Unavailable
from greenlight.model.policy import Pipeline
from greenlight.model.rows import Record
from greenlight.policy.lineage import Lineage
from greenlight.policy.refs import BRANCH, shipped
from greenlight.telemetry import metrics

EVERY = timedelta(minutes=5)
"""Between two looks."""

NEWEST = 30
"""Commits of a repository that are looked at, those with the newest facts."""

BUDGET = 15.0
"""Seconds after which a look asks for nothing more: less than its Trigger waits."""

READ = ("github-check", "github-status", "github-workflow")
"""Kinds of gates whose results can be read from GitHub."""


def plan(pipeline: Pipeline, deps: Deps) -> None:
    """Have every repository looked at now, as after an outage, if there is a right on GitHub."""
    for repo in sorted({policy.repo for policy in pipeline.applications.values()}):
        if deps.github.is_configured() and deps.github.is_first_look(repo):
            deps.ledger.transact(Transaction(due=[look_due(repo, deps.clock.now())]))


def look_at(repo: str, deps: Deps) -> Sequence[str]:
    """Ask for webhooks that were missed, and read what is waited for; return the commits that may have to be reported."""
    log, until = deps.log.getChild("feedback"), deps.clock.monotonic() + BUDGET
    records = deps.ledger.records(repo=repo, limit=NEWEST).records
    try:
        again = deps.github.redeliver(repo, with_app=repo == _first(deps.pipeline()), now=deps.clock.now())
        if again:
            metrics.REDELIVERED.labels(repo).inc(again)
            log.warning("%s: %d webhooks did not arrive, and were asked for again", repo, again)
        if not deps.github.is_scarce():
            _compare_heads(repo, deps)
        for record in records:
            if deps.clock.monotonic() < until and not deps.github.is_scarce():
                _read(record, deps)
    except GitHubUnavailable as problem:
        log.info("%s is looked at later: %s", repo, problem)
    except (Refused, ConfigurationError, *UNEXPECTED) as problem:
        log.error("%s cannot be looked at: %s: %s", repo, type(problem).__name__, problem)
    return [record.sha for record in records]


def _read(record: Record, deps: Deps) -> None:
    """Read the results that a commit waits for, and accept those that no webhook has brought."""
    kinds = sorted(set(_waited_for(record, deps)))
    for name, payload in deps.github.results(record.repo, record.sha, kinds, deps.clock.now()) if kinds else ():
        fact = deps.accept(name, payload)
        if fact is not None:
            metrics.FOUND.labels(record.repo).inc()
            note_found(deps.ledger, record.repo, fact.id, fact.type, deps.clock.now())
            deps.log.getChild("feedback").error(
                "%s: no webhook brought %s of %s: look at the webhook in GitHub's settings",
                *(record.repo, fact.type, record.sha[:7]),
            )


def _compare_heads(repo: str, deps: Deps) -> None:
    """Write down the shipped branches whose head no webhook reported.

    They are not accepted as pushes: the API lacks the time that identifies a push (docs/decisions/0031).
    """
    policies = deps.pipeline().of(repo)
    log = deps.log.getChild("feedback")
    try:
        heads = deps.github.heads(repo, [pattern for policy in policies for pattern in policy.branches])
        moves = deps.github.moves(repo)
    except Refused as problem:
        if deps.github.is_new_problem(f"heads of {repo}", str(problem)):
            log.error("the heads of %s cannot be read, so no lost push is found: %s", repo, problem)
        return
    try:
        pushes = Lineage.of(deps.ledger.pushes(repo, of=lambda ref: ref.startswith(BRANCH), limit=None))
    except Unreadable:
        return  # the ledger reports it
    now = deps.clock.now()
    since = min([first_compared(deps.ledger, repo) or now, *(push.arrived for push in pushes)])
    lost = unheard(heads, moves, pushes, lambda ref: any(shipped(policy, ref) for policy in policies), since, now)
    metrics.LOST.labels(repo).set(len(lost))
    for push in note_lost(deps.ledger, repo, lost, now):
        log.error("%s", push.text)


def _waited_for(record: Record, deps: Deps) -> Iterator[str]:
    """Yield the kinds of gates that can be read from GitHub and keep a candidate waiting."""
    for policy in deps.pipeline().of(record.repo):
        try:
            cases = cases_of(policy, record, deps)
        except Unavailable:
            continue
        for _, decision in cases.values():
            if decision.push is None or decision.state not in ("waiting", "blocked"):
                continue
            for name, gate in decision.gates.items():
                if gate.state in ("pending", "expired") and policy.gates[name].kind in READ:
                    yield policy.gates[name].kind


def _first(pipeline: Pipeline) -> str:
    """Return the repository whose looks read the App's list, which is one for all."""
    return min(policy.repo for policy in pipeline.applications.values())
