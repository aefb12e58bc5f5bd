"""Handlers of feedback: what follows from an event is read in the ledger, and reported, however long that takes.

Nothing waits for feedback: its events are deliveries of the Broker's, or are due. What cannot be reported now is due again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from greenlight.events import Event, types
from greenlight.feedback import domain
from greenlight.feedback.due import report_again
from greenlight.feedback.github import reports
from greenlight.feedback.github.errors import Away, Refused
from greenlight.feedback.github.hub import Hub
from greenlight.feedback.sent import SentBefore
from greenlight.ledger.port import Transaction, Unreadable
from greenlight.lib.errors import ConfigurationError
from greenlight.model.policy import Policy
from greenlight.model.rows import PATIENCE, Record
from greenlight.policy.decide import decide
from greenlight.service.deps import Deps as BaseDeps
from greenlight.service.handling import EventService, Handler
from greenlight.service.required import required_fields
from greenlight.service.situations import situation, target_of
from greenlight.telemetry import metrics

ROUNDS = 3
"""How often a commit is looked at again after something was sent, because meanwhile more may have happened."""

REFUSED = PATIENCE * 20
"""When to try again what GitHub has refused: somebody may have mended the cause."""


@dataclass(frozen=True, kw_only=True)
class Deps(BaseDeps):
    """The dependencies of feedback alone."""

    hub: Hub


def on_commit_changed(event: Event, deps: Deps) -> Sequence[Event]:
    """Report of a commit, and of the one that its deployment replaced."""
    data = required_fields(event, "repo", "sha", optional=("deployment", "due"))
    repo, sha = data["repo"], data["sha"]
    done = [(data["due"], event.id)] if event.type == types.FEEDBACK_DUE and "due" in data else []
    if not deps.hub.there() or not deps.pipeline().knows(repo):
        deps.ledger.transact(Transaction(done=done)) if done else None
        return []
    shas = [sha, *_replaced(data.get("deployment"), sha, deps)]
    for each in shas:
        again = _reported(repo, each, deps)
        if again is None:
            continue
        if each == sha and done and again <= deps.clock.now() + PATIENCE:
            done = []  # it is due again already, each time later
        else:
            done = [] if each == sha else done
            deps.ledger.transact(Transaction(due=[report_again(repo, each, again)]))
    if done:
        deps.ledger.transact(Transaction(done=done))
    return []


def _replaced(deployment: str | None, sha: str, deps: Deps) -> Sequence[str]:
    """Return the commit that ran before a deployment."""
    row = deps.ledger.deployment(deployment) if deployment is not None else None
    return [row.previous] if row is not None and row.previous is not None and row.previous != sha else []


def _reported(repo: str, sha: str, deps: Deps) -> datetime | None:
    """Report what has changed of a commit, until nothing has; return when to try again, None for never."""
    log = deps.log.getChild("feedback")
    try:
        with deps.hub.alone(repo, sha):
            for _ in range(ROUNDS):
                if not _in_step(repo, sha, deps):
                    metrics.FEEDBACK.labels("in step").inc()
                    return None
        return deps.clock.now() + PATIENCE
    except Away as problem:
        metrics.FEEDBACK.labels("away").inc()
        log.info("%s %s is reported later: %s", repo, sha[:7], problem)
        return max(problem.again, deps.clock.now() + PATIENCE)
    except (Refused, ConfigurationError) as problem:
        metrics.FEEDBACK.labels("refused").inc()
        log.error("%s %s is not reported: %s", repo, sha[:7], problem)
        if isinstance(problem, Refused) and problem.status == 401:
            deps.hub.forget(repo)
        return deps.clock.now() + REFUSED


def _in_step(repo: str, sha: str, deps: Deps) -> bool:
    """Report what has changed of a commit; return whether something was sent. Raises Away, Refused, ConfigurationError."""
    record = deps.ledger.record(repo, sha)
    if record is None:
        return False
    commit = deps.hub.commit(repo, sha, SentBefore(deps.ledger, repo, sha), deps.clock.now)
    before = commit.before.count
    policies = deps.pipeline().of(repo)
    deployed: list[domain.Deployed] = []
    for policy in policies:
        cases = _cases(policy, record, deps)
        if cases:
            (reports.check if deps.hub.is_app else reports.status)(domain.report(policy, cases), commit)
            deployed += domain.deployments(policy, record, cases)
    reports.deployments(deployed, commit, several=len(policies) > 1)
    return commit.before.count > before


def _cases(policy: Policy, record: Record, deps: Deps) -> domain.Cases:
    """Return the commit in every target of an application that can be read."""
    found = {}
    for name in policy.environments:
        with suppress(Unreadable):
            target = target_of(policy, name, deps.ledger)
            case = situation(policy, record, target, deps.ledger, deps.clock.now())
            found[name] = case, decide(case)
    return found


HANDLERS: Mapping[str, Handler[Deps]] = {
    types.COMMIT_RECORDED: on_commit_changed,
    types.PROMOTION_READY: on_commit_changed,
    types.DEPLOYMENT_APPLIED: on_commit_changed,
    **dict.fromkeys(types.ENDS, on_commit_changed),
    types.FEEDBACK_DUE: on_commit_changed,
}


def create_service(deps: Deps) -> EventService[Deps]:
    """Return feedback as a service."""
    return EventService("feedback", HANDLERS, deps)
