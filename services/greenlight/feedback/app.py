"""Handlers of feedback: what follows from an event is read in the ledger, and reported, however long that takes.

Nothing waits for feedback: its events are deliveries of the Broker's, or are due. What cannot be reported now is due again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from greenlight.events import Event, types
from greenlight.feedback.deps import Deps
from greenlight.feedback.due import look_due, report_again
from greenlight.feedback.looking import BUDGET, EVERY, look_at, plan
from greenlight.feedback.notify.message import trial
from greenlight.feedback.notify.senders import Undelivered
from greenlight.feedback.notifying import notified
from greenlight.feedback.reporting import reported
from greenlight.ledger.notifications import test_over, test_under_way, tested
from greenlight.ledger.port import Transaction
from greenlight.model import keys
from greenlight.model.rows import DUE_AFTER
from greenlight.service.handling import EventService, Handler
from greenlight.service.required import required_fields


def idle(event: Event, deps: Deps) -> bool:
    """Return whether an event is of no use to feedback: there is nothing to report."""
    return event.type != types.FEEDBACK_TEST and not deps.github.is_configured() and not deps.notifier.is_configured()


def on_commit_changed(event: Event, deps: Deps) -> Sequence[Event]:
    """Report of a commit, and of the one that its deployment replaced."""
    data = required_fields(event, "repo", "sha", optional=("deployment",))
    repo, sha = data["repo"], data["sha"]
    done = [(keys.report_due(repo, sha), event.id)] if event.type == types.FEEDBACK_DUE else []
    again = None
    plan(deps.pipeline(), deps)
    if not idle(event, deps) and deps.pipeline().knows(repo):
        for each in _replaced(data.get("deployment"), sha, deps):
            _due(repo, each, _reported_everywhere(repo, each, deps), deps)
        again = _reported_everywhere(repo, sha, deps)
    if again is None:
        deps.ledger.transact(Transaction(done=done)) if done else None
    elif not done or again > deps.clock.now() + DUE_AFTER:
        _due(repo, sha, again, deps)  # else it is due already, later each time
    return []


def on_due(event: Event, deps: Deps) -> Sequence[Event]:
    """Report of a commit again, or look at a repository: redeliver, read, and report what no event has led to."""
    data = required_fields(event, "repo", optional=("sha",))
    if "sha" in data:
        return on_commit_changed(event, deps)
    repo = data["repo"]
    if not deps.pipeline().knows(repo):
        deps.ledger.transact(Transaction(done=[(keys.look_due(repo), event.id)]))
        return []
    deps.ledger.transact(Transaction(due=[look_due(repo, deps.clock.now() + EVERY)]))  # first: a crash ends no looks
    if deps.github.is_configured():
        until = deps.clock.monotonic() + BUDGET
        for sha in look_at(repo, deps):
            if deps.clock.monotonic() < until:
                _due(repo, sha, _reported_everywhere(repo, sha, deps), deps)
    return []


def on_test_requested(event: Event, deps: Deps) -> Sequence[Event]:
    """Send a test message to destinations of notifications, and write down how each went.

    An event that no person's request is in the ledger for sends nothing, and neither does one that comes again afterwards.
    """
    test = required_fields(event, "test")["test"]
    request = test_under_way(deps.ledger, test)
    if request is None:
        return []
    asked = request.get("destination")
    addresses = deps.notifier.tried(asked)
    for name in sorted({asked} if asked is not None else set(deps.notifier.names())):
        if name not in {address.name for address in addresses}:
            why = f"there is no such destination in feedback.yaml, or no file notify-{name} in the secrets folder"
            tested(deps.ledger, test, name, why, deps.clock.now())
    for address in addresses:
        problem = None
        try:
            deps.notifier.attempt(trial(address.name, request["person"], test, deps.clock.now()), address)
        except Undelivered as reason:
            problem = str(reason)
        tested(deps.ledger, test, address.name, problem, deps.clock.now())
    test_over(deps.ledger, test, deps.clock.now())
    return []


def _reported_everywhere(repo: str, sha: str, deps: Deps) -> datetime | None:
    """Report of a commit wherever it is to be; return when to try again, None for never."""
    times = [reported(repo, sha, deps) if deps.github.is_configured() else None]
    times += [notified(repo, sha, deps) if deps.notifier.is_configured() else None]
    return min((time for time in times if time is not None), default=None)


def _due(repo: str, sha: str, again: datetime | None, deps: Deps) -> None:
    if again is not None:
        deps.ledger.transact(Transaction(due=[report_again(repo, sha, again)]))


def _replaced(deployment: str | None, sha: str, deps: Deps) -> Sequence[str]:
    """Return the commit that ran before a deployment."""
    row = deps.ledger.deployment(deployment) if deployment is not None else None
    return [row.previous] if row is not None and row.previous is not None and row.previous != sha else []


HANDLERS: Mapping[str, Handler[Deps]] = {
    types.COMMIT_RECORDED: on_commit_changed,
    types.PROMOTION_READY: on_commit_changed,
    types.DEPLOYMENT_APPLIED: on_commit_changed,
    **dict.fromkeys(types.ENDS, on_commit_changed),
    types.FEEDBACK_DUE: on_due,
    types.FEEDBACK_TEST: on_test_requested,
}


def create_service(deps: Deps) -> EventService[Deps]:
    """Return feedback as a service."""
    return EventService("feedback", HANDLERS, deps)
