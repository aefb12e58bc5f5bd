"""Handlers of the promoter: a changed record is decided for each target, and promotion.ready is emitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from greenlight.events import Event, types
from greenlight.events.recorded import ends_what_is_due, look_again
from greenlight.ledger.port import Transaction, Unreadable
from greenlight.model import keys
from greenlight.model.policy import Policy
from greenlight.model.rows import DUE_AFTER, POLICY, Deployment, Due, Push, Record
from greenlight.policy.requests import newest_request
from greenlight.promoter import domain
from greenlight.promoter.deciding import Deciding
from greenlight.promoter.selection import decided_since, newest_first
from greenlight.service.candidates import candidates, newer_is_ready
from greenlight.service.deps import Deps
from greenlight.service.handling import EventService, Handler
from greenlight.service.moves import carry_records
from greenlight.service.pushes import pushes_since, read_for_all
from greenlight.service.renames import carried_on, heir_of
from greenlight.service.required import required_fields
from greenlight.service.retry import until_settled
from greenlight.service.situations import situation, target_of
from greenlight.telemetry.tracing import step

AT_ONCE = 6
"""Targets that one transaction decides. Each is at most 13 items of the 100 that DynamoDB's transactions hold."""


def on_commit_recorded(event: Event, deps: Deps) -> Sequence[Event]:
    """Decide the commit for every target of its repository.

    What a push changes for other commits is computed when they are looked at; only a late push has those decided again
    that were decided without it. The event is done only when everything is written: until then it is due, and comes again
    if it gets lost.
    """
    data = required_fields(event, "repo", "sha", optional=("fact", "due", "application", "environment"))
    repo, sha = data["repo"], data["sha"]
    deps = Deciding.about(repo, deps)
    policies = deps.pipeline().of(repo)
    targets = [(policy, environment) for policy in policies for environment in policy.environments]
    due = dict.fromkeys([keys.record_due(repo, sha), *([data["due"]] if "due" in data else [])])
    done = [(key, event.id) for key in due] if ends_what_is_due(event, data) else []
    fact = deps.ledger.fact(data["fact"]) if "fact" in data else None
    push = fact.push if fact is not None else None
    events: list[Event] = []
    for policy, environment in targets:
        with suppress(Unreadable):  # other targets are decided all the same; `_decide_commit` reports the row
            events += _decide_all(policy, environment, deps)
            events += _decide_newer(push, policy, environment, deps) if push is not None else []
            if data.get("application") in policy.names and data.get("environment") == environment:
                events += _decide_next(policy, environment, deps)
    return events + _decide_commit(repo, sha, targets, done, deps)


def on_deployment_ended(event: Event, deps: Deps) -> Sequence[Event]:
    """Decide the next commit of a target that has become free, and this commit for the environments that come after.

    Where it failed and nothing newer is ready, the policy may say to go back to what ran.
    """
    data = required_fields(event, "deployment")
    deployment = deps.ledger.deployment(data["deployment"])
    done = [(keys.deployment_due(data["deployment"]), event.id)]
    if deployment is None or deployment.outcome == "running":
        return []  # nobody has written that end, so what is due for the deployment stays due
    deps, policy = Deciding.of(deployment.application, deployment.repo, deps)
    if policy is None:  # unless an edit took back that it got that name
        gone = (deployment.application, deployment.environment, deployment.repo)
        policy = heir_of(*gone, deps.pipeline(), deps.ledger)
    if policy is None:
        deps.transact(Transaction(done=done))
        return []
    if policy.repo != deployment.repo:  # its application is made from another repository since it began
        events = []
        if deployment.environment in policy.environments:
            carry_records(policy, deployment.environment, deps.ledger, deps.clock.now())
            events += _decide_next(policy, deployment.environment, deps)
        deps.transact(Transaction(done=done))
        return events
    following = [
        (policy, name)
        for name, environment in policy.environments.items()
        if deployment.environment in environment.after
    ]
    here = [(policy, deployment.environment)] if deployment.environment in policy.environments else []
    events = []
    if here:
        events += _decide_all(policy, deployment.environment, deps)
        read_for_all(deps.ledger, [target_of(*target, deps.ledger) for target in (*here, *following)])
        events += _decide_commit(deployment.repo, deployment.sha, here, [], deps)
        for sha in _left_by(deployment, deps):
            events += _decide_commit(deployment.repo, sha, [*here, *following], [], deps)
        events += _decide_next(policy, deployment.environment, deps)
        events += _request_rollback(policy, deployment, deps)
    return events + _decide_commit(deployment.repo, deployment.sha, following, done, deps)


def _left_by(deployment: Deployment, deps: Deciding) -> Sequence[str]:
    """Return the commits that a rollback has left: what ran, and what was tried last."""
    if deployment.cause != "rollback":
        return []
    where = (deployment.application, deployment.environment)
    last = [earlier.sha for earlier in deps.ledger.deployments(*where, limit=1, before=deployment)]
    return sorted({sha for sha in (deployment.previous, *last) if sha} - {deployment.sha})


def on_target_resumed(event: Event, deps: Deps) -> Sequence[Event]:
    """Decide what a target does next, after a person has resumed it or ended a freeze."""
    data = required_fields(event, "application", "environment")
    application, environment = data["application"], data["environment"]
    done = [(keys.resumption_due(application, environment), event.id)]
    target = deps.ledger.target(application, environment)
    if target is None:
        deps.ledger.transact(Transaction(done=done))
        return []
    deps, policy = Deciding.of(application, target.repo, deps)
    events: list[Event] = []
    if policy is not None and policy.name == application and environment in policy.environments:
        events += _decide_all(policy, environment, deps)
        events += _decide_next(policy, environment, deps)
    deps.transact(Transaction(done=done))
    return events


def _request_rollback(policy: Policy, deployment: Deployment, deps: Deciding) -> list[Event]:
    """Request a rollback, as a person would: from here on it is a deployment like any other."""

    def attempt() -> list[Event]:
        target = deps.ledger.target(policy.name, deployment.environment)
        sha = domain.automatic_rollback(policy, deployment, target) if target is not None else None
        record = deps.ledger.record(deployment.repo, sha) if sha is not None else None
        if target is None or record is None:
            return []
        fact, due, asked = domain.rollback_requested(deployment, target, record, deps.clock.now())
        if deps.ledger.fact(fact.id) is not None:
            return []  # it was asked for before, and is due
        deps.transact(Transaction(facts=[fact], targets=[asked], emit=[fact.event], due=[due]))
        return [fact.event]

    return until_settled(attempt)


def _decide_newer(push: Push, policy: Policy, environment: str, deps: Deciding) -> list[Event]:
    """Decide again the newer candidates that were decided before a late push: it may add changed paths and authors.

    Where pushes are decided in their order there are none, however many are on their way.
    """
    newer_ones = list(decided_since(push, policy, environment, deps))
    if not newer_ones:
        return []
    with step("check for promotion", application=policy.name, environment=environment, candidates="newer"):
        for row in newer_ones:
            _decide_or_later(row.repo, row.sha, policy, environment, deps, promote=False)
    return _decide_next(policy, environment, deps)


def _decide_all(policy: Policy, environment: str, deps: Deciding) -> list[Event]:
    """Decide every candidate of a target, newest first, if that was not done yet under this policy.

    Nothing is promoted before all are decided. A crash in between leaves the target as it was, and this is done again.
    """
    target = target_of(policy, environment, deps.ledger)
    if target.policy == policy.digest:
        return []
    if not carried_on(policy, environment, deps.pipeline(), deps.ledger, deps.clock.now()):
        return []
    carry_records(policy, environment, deps.ledger, deps.clock.now())
    target = target_of(policy, environment, deps.ledger)
    pushes = pushes_since(deps.ledger, target)
    with step("check for promotion", application=policy.name, environment=environment, candidates="all"):
        for sha in candidates(policy, environment, target, pushes, deps.ledger):
            _decide_or_later(policy.repo, sha, policy, environment, deps, promote=False)

    def attempt() -> None:
        row = target_of(policy, environment, deps.ledger)
        if row.policy != policy.digest:
            deps.transact(Transaction(targets=[replace(row, policy=policy.digest)]))

    until_settled(attempt)
    return _decide_next(policy, environment, deps)


def _decide_next(policy: Policy, environment: str, deps: Deciding) -> list[Event]:
    """Decide a free target's newest request, else its newest candidate that may go out by itself; return the events.

    The policy's own request, to go back to what ran, comes last: it is for where no newer candidate is ready.
    """
    _expire_requests(policy, environment, deps)
    target = target_of(policy, environment, deps.ledger)
    request = newest_request(target, deps.clock.now())
    by_policy = request is not None and request.person == POLICY
    events: list[Event] = []
    with step("check for promotion", application=policy.name, environment=environment, candidates="next"):
        if request is not None and not by_policy:
            events += _decide_together(policy.repo, request.sha, [(policy, environment)], [], deps)
        for row in () if events else newest_first(policy, environment, target, deps):
            events += _decide_or_later(row.repo, row.sha, policy, environment, deps)
            if events:
                break
        if request is not None and by_policy and not events:
            events += _decide_together(policy.repo, request.sha, [(policy, environment)], [], deps)
    return events


def _decide_or_later(
    repo: str, sha: str, policy: Policy, environment: str, deps: Deciding, *, promote: bool = True
) -> list[Event]:
    """Decide one commit for one target; one that cannot be read is due again, and keeps no other from being decided."""
    try:
        return _decide_together(repo, sha, [(policy, environment)], [], deps, promote=promote)
    except Unreadable:
        key, now = keys.decision_due(policy.name, environment, repo, sha), deps.clock.now()
        later = Due(key, now + DUE_AFTER, look_again(repo, sha, key, now))
        until_settled(lambda: deps.transact(Transaction(due=[later])))
        return []


def _expire_requests(policy: Policy, environment: str, deps: Deciding) -> None:
    """End the requests that have waited too long."""

    def attempt() -> None:
        now = deps.clock.now()
        gone = domain.requests_expired(target_of(policy, environment, deps.ledger), now)
        if gone is not None:
            deps.transact(gone)

    until_settled(attempt)


def _decide_commit(
    repo: str, sha: str, targets: Sequence[tuple[Policy, str]], done: Sequence[tuple[str, str]], deps: Deciding
) -> list[Event]:
    """Decide the event's commit, AT_ONCE targets in a transaction; the last one marks the event as done.

    Where what a target takes cannot be read, the others are decided, and the event stays due for this one.
    """
    events: list[Event] = []
    with step("check for promotion"):
        while len(targets) > AT_ONCE:
            more, all_decided = _decide_readable(repo, sha, targets[:AT_ONCE], [], deps)
            events += more
            targets, done = targets[AT_ONCE:], done if all_decided else []
        return events + _decide_readable(repo, sha, targets, done, deps)[0]


def _decide_readable(
    repo: str, sha: str, targets: Sequence[tuple[Policy, str]], done: Sequence[tuple[str, str]], deps: Deciding
) -> tuple[list[Event], bool]:
    """Decide the commit for the targets that can be read; return the events, and whether these were all targets."""
    try:
        return _decide_together(repo, sha, targets, done, deps), True
    except Unreadable:
        if len(targets) < 2:
            raise
    events: list[Event] = []
    for target in targets:
        with suppress(Unreadable):
            events += _decide_together(repo, sha, [target], [], deps)
    return events, False


def _decide_together(
    repo: str,
    sha: str,
    targets: Sequence[tuple[Policy, str]],
    done: Sequence[tuple[str, str]],
    deps: Deciding,
    *,
    promote: bool = True,
) -> list[Event]:
    """Decide one commit for some targets in one transaction; return the events."""

    def attempt() -> list[domain.Outcome]:
        now = deps.clock.now()
        record = deps.ledger.record(repo, sha)
        if record is None:
            if done:
                deps.transact(Transaction(done=done))
            return []
        if len(targets) > 1:
            read_for_all(deps.ledger, [target_of(policy, environment, deps.ledger) for policy, environment in targets])
        outcomes = [_outcome(policy, environment, record, now, deps, promote) for policy, environment in targets]
        transaction = _transaction(record, outcomes, [] if any(outcome.behind for outcome in outcomes) else done)
        if transaction is not None:
            deps.transact(transaction)
        return outcomes

    outcomes = until_settled(attempt)
    events = [event for outcome in outcomes for event in outcome.events]
    behind = [target for target, outcome in zip(targets, outcomes, strict=False) if outcome.behind]
    for policy, environment in behind:  # a newer commit is ready, too: it is the one that goes out
        events += _decide_next(policy, environment, deps)
    if behind and done:
        deps.transact(Transaction(done=done))
    return events


def _outcome(
    policy: Policy, environment: str, record: Record, now: datetime, deps: Deciding, promote: bool
) -> domain.Outcome:
    target = target_of(policy, environment, deps.ledger)
    case = situation(policy, record, target, deps.ledger, now)
    last = deps.ledger.decision(policy.name, environment, record.repo, record.sha)
    outcome = domain.consider(case, last, promote=promote)
    automatic = outcome.target is not None and outcome.decision.request is None
    if automatic and target.wanted is None and newer_is_ready(case, outcome.decision.push, deps.ledger):
        return replace(domain.consider(case, last, promote=False), behind=True)
    if domain.may_replace_what_waits(outcome):
        waits = deps.ledger.deployment(target.deployment or "")
        return outcome if waits is None else domain.with_look_at(outcome, waits, now)
    return outcome


def _transaction(
    record: Record, outcomes: Sequence[domain.Outcome], done: Sequence[tuple[str, str]]
) -> Transaction | None:
    """Return the writes of the outcomes, conditional on the record and targets that were read; None if nothing changes.

    A target that was read as busy must still be: what frees it decides only the candidates that are written by then.
    """
    rows = [outcome.row for outcome in outcomes if outcome.row]
    targets = [outcome.target for outcome in outcomes if outcome.target]
    read = [outcome.read for outcome in outcomes if not outcome.target]
    due = [due for outcome in outcomes for due in outcome.due]
    emit = [event for outcome in outcomes for event in outcome.events]
    if not (rows or targets or due or done or emit):
        return None
    return Transaction(
        decisions=rows,
        targets=targets,
        unchanged=[record, *read] if rows or targets else [],
        entries=[entry for outcome in outcomes for entry in outcome.entries],
        emit=emit,
        due=due,
        done=done,
    )


HANDLERS: Mapping[str, Handler[Deps]] = {
    types.COMMIT_RECORDED: on_commit_recorded,
    **dict.fromkeys(types.ENDS, on_deployment_ended),
    **dict.fromkeys((types.TARGET_RESUMED, types.TARGET_UNFROZEN), on_target_resumed),
}


def create_service(deps: Deps) -> EventService[Deps]:
    """Return the promoter as a service."""
    return EventService("promoter", HANDLERS, deps)
