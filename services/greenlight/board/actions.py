"""Actions of people: each is a fact with its event, or a change of a target, written before it is acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from greenlight.board import domain, reading
from greenlight.board.notes import action_data, log_action, note_of, pausing, publish, raise_if_refused
from greenlight.board.waterfall import BOARD as SOURCE
from greenlight.events import Event, ids, types
from greenlight.events.recorded import look_again
from greenlight.ledger.port import Transaction
from greenlight.lib.errors import Rejected
from greenlight.model import keys
from greenlight.model.own_facts import expiry, no_expiry, request_entry, requested
from greenlight.model.policy import Policy
from greenlight.model.rows import DUE_AFTER, Cancellation, Due, Fact, Record, Request, Target
from greenlight.policy.decide import OVER
from greenlight.policy.requests import MOST, SERVED_WITHIN, newest_request, resumed, with_request, without
from greenlight.service.deps import Deps
from greenlight.service.people import Person
from greenlight.service.pushes import pushes_since
from greenlight.service.renames import carried_on, known_as
from greenlight.service.retry import until_settled
from greenlight.service.situations import situation
from greenlight.telemetry.tracing import current

KINDS = ("deploy", "retry", "rollback")
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Asked:
    """A person's request to a target, as it arrives."""

    application: str
    environment: str
    kind: str  # deploy, retry or rollback
    sha: str  # or a prefix; empty for a rollback to what ran before
    reason: str
    lasts: timedelta = SERVED_WITHIN
    pause: bool = False  # and pause the target


def request(asks: Asked, person: Person, deps: Deps) -> Request:
    """Request a deployment. Returns the request, which waits until it is served or ends otherwise.

    Gates stay as they are. Asking again for what is already the target's newest request is the same request. Raises
    Forbidden, Rejected.
    """
    policy = operated(asks.application, asks.environment, person, deps)
    if asks.kind not in KINDS or not asks.reason:
        raise Rejected(f"kind must be one of {', '.join(KINDS)}, and a reason must be given")

    def attempt() -> tuple[Request, Fact | None]:
        target = reading.target_of(asks.application, asks.environment, deps)
        now = deps.clock.now()
        record = _wanted(asks, policy, target, now, deps)
        newest = newest_request(target, now)
        if newest is not None and _same(newest, asks.kind, record.sha, person):
            return newest, None
        if len(target.requests) >= MOST:
            raise Rejected(f"{MOST} requests wait in {asks.application}/{asks.environment} already: cancel one first")
        at = max([now, *(time + MICROSECOND for time in _known_times(target, deps))])
        id = ids.derive(types.DEPLOYMENT_REQUESTED, asks.application, asks.environment, target.version, person.id)
        made = Request(asks.kind, record.sha, person.id, at, at + asks.lasts, id, asks.reason, tuple(person.groups))
        fact, due = requested(made, target, record, SOURCE)
        row, entries, events, dues = with_request(target, made), [], [fact.event], [due, expiry(target, made)]
        if asks.pause and target.paused is None:
            row, more = pausing(row, asks.reason, person, now)
            entries, events = [more.entry], [*events, more.event]
        deps.ledger.transact(Transaction(facts=[fact], targets=[row], entries=entries, emit=events, due=dues))
        publish(events, deps)
        return made, fact

    made, fact = until_settled(attempt)
    if fact is not None:
        current().arrival(fact.event, fact.repo, fact.sha, None, None)
        log_action(person, f"{types.DEPLOYMENT_REQUESTED} ({made.kind})", fact.repo, fact.sha, made.at, deps)
    return made


def _same(newest: Request, kind: str, sha: str, person: Person) -> bool:
    """Return whether a request asks for the same again, by the same person in the same groups."""
    asks = (newest.kind, newest.sha, newest.person, newest.groups)
    return asks == (kind, sha, person.id, tuple(person.groups))


def operated(application: str, environment: str, person: Person, deps: Deps) -> Policy:
    """Return the application, if this person may operate it. Its target continues the one under its former name.

    Raises Forbidden; NotFound; Rejected while a deployment under the former name is under way.
    """
    policy = reading.policy_of(application, deps)
    raise_if_refused(domain.may_operate(person, policy))
    reading.target_of(application, environment, deps)
    if not carried_on(policy, environment, deps.pipeline(), deps.ledger, deps.clock.now()):
        name = known_as(policy, environment, deps.pipeline(), deps.ledger)
        raise Rejected(
            f"a deployment to {name}/{environment}, its former name, is still under way: try again when it has ended"
        )
    return policy


def _known_times(target: Target, deps: Deps) -> Iterator[datetime]:
    """Yield the times of known requests and pushes: a new request comes after them, even if a clock is wrong."""
    yield from (request.at for request in (*target.requests, target.held) if request is not None)
    yield from (push.arrived for push in pushes_since(deps.ledger, target))


def _wanted(asks: Asked, policy: Policy, target: Target, now: datetime, deps: Deps) -> Record:
    """Return the record of the requested commit.

    Raises Rejected, with what would be right, where it cannot be deployed.
    """
    where, key = f"{asks.application}/{asks.environment}", asks.environment
    if asks.kind == "rollback":
        return _way_back(asks, policy, target, now, deps)
    record = reading.record_of(policy.repo, asks.sha, deps)
    attempt = policy.attempt(record, key)
    if asks.kind == "retry" and (attempt is None or attempt.outcome not in OVER):
        was = "it was never deployed there" if attempt is None else f"its last deployment there is {attempt.outcome}"
        raise Rejected(f"there is nothing to retry in {where}: {was}; use deploy")
    never = domain.never_shipped(policy, record)
    if never is not None:
        raise Rejected(never)
    return record


def _way_back(asks: Asked, policy: Policy, target: Target, now: datetime, deps: Deps) -> Record:
    """Return the commit that a rollback leads to: the one that is named, else the newest other that succeeded there.

    What was rolled back from is left out, until it succeeds there again; so is what was deployed last. Gates count as they
    are now, ages as they were at the last success.
    """
    where = f"{asks.application}/{asks.environment}"
    if asks.sha:
        record = reading.record_of(policy.repo, asks.sha, deps)
        attempt = policy.attempt(record, asks.environment)
        if attempt is None or attempt.succeeded_at is None:
            raise Rejected(f"{record.sha[:7]} never succeeded in {where}: roll back to one that did, or use deploy")
    else:
        left = target.last or (target.running.sha if target.running else "")
        records = (deps.ledger.record(policy.repo, sha) for sha in target.history if sha != left)
        found = (record for record in records if record is not None and not _was_left(policy, record, asks.environment))
        way = next(found, None)
        if way is None:
            raise Rejected(
                f"nothing else has succeeded in {where} that was not rolled back from: name a commit with `--to`"
            )
        record = way
    case = situation(policy, record, target, deps.ledger, now)
    closed = domain.closed_to_rollback(case)
    if closed:
        name, why = closed
        raise Rejected(
            f"{record.sha[:7]} cannot be rolled back to: {name}: {why}; an operator may pass it with "
            f"`greenlight override {record.repo} {record.sha[:7]} {where.replace('/', ' ')} {name} --reason TEXT`"
        )
    if kept := domain.kept_from_rollback(case):
        raise Rejected(f"{record.sha[:7]} cannot be rolled back to: {'; '.join(kept)}; name another commit with `--to`")
    return record


def _was_left(policy: Policy, record: Record, environment: str) -> bool:
    attempt = policy.attempt(record, environment)
    return attempt is not None and attempt.rolled_back is not None


def cancel_request(application: str, environment: str, reason: str | None, person: Person, deps: Deps) -> Request:
    """Withdraw the target's newest request, and return it. Raises Forbidden, Rejected where none waits."""
    operated(application, environment, person, deps)
    if not reason:
        raise Rejected("a cancellation needs a reason")

    def attempt() -> Request:
        target, now = reading.target_of(application, environment, deps), deps.clock.now()
        request = newest_request(target, now)
        if request is None:
            raise Rejected(f"no request waits in {application}/{environment}")
        key = keys.canceled_request_due(request.fact)
        again = look_again(target.repo, request.sha, key, now, target=(application, environment))
        entry = request_entry("request.canceled", target, request, now, person.id, reason)
        wanted = target.wanted if target.wanted is None or target.wanted.request != request.fact else None
        deps.ledger.transact(
            Transaction(
                targets=[replace(without(target, [request]), wanted=wanted)],
                entries=[entry],
                emit=[again],
                due=[Due(key, now + DUE_AFTER, again)],
                done=[no_expiry(target, request)],
            )
        )
        publish([again], deps)
        log_action(person, "request.canceled", target.repo, request.sha, now, deps)
        return request

    return until_settled(attempt)


def cancel_deployment(application: str, environment: str, reason: str | None, person: Person, deps: Deps) -> str:
    """End the deployment that is under way, as `canceled`; return its id.

    Raises Forbidden, Rejected where there is none.
    """
    operated(application, environment, person, deps)
    if not reason:
        raise Rejected("a cancellation needs a reason")

    def attempt() -> str:
        target, now = reading.target_of(application, environment, deps), deps.clock.now()
        if target.deployment is None:
            raise Rejected(f"no deployment is under way in {application}/{environment}")
        if target.cancel is not None:
            return target.deployment
        deployment = deps.ledger.deployment(target.deployment)
        sha = deployment.sha if deployment is not None else ""
        data = {**action_data(target, person, reason), "deployment": target.deployment, "sha": sha}
        note = note_of(types.CANCEL_REQUESTED, ids.derive(types.CANCEL_REQUESTED, target.deployment), target, data, now)
        deps.ledger.transact(
            Transaction(
                targets=[replace(target, cancel=Cancellation(target.deployment, person.id, now, reason))],
                entries=[note.entry],
                emit=[note.event],
                due=[Due(keys.cancellation_due(target.deployment), now + DUE_AFTER, note.event)],
            )
        )
        publish([note.event], deps)
        log_action(person, types.CANCEL_REQUESTED, target.repo, sha, now, deps)
        return target.deployment

    return until_settled(attempt)


def set_paused(application: str, environment: str, paused: bool, reason: str | None, person: Person, deps: Deps) -> str:
    """Pause or resume a target; return the event's id."""
    operated(application, environment, person, deps)
    if paused and not reason:
        raise Rejected("a pause needs a reason")

    def attempt() -> str:
        target, now = reading.target_of(application, environment, deps), deps.clock.now()
        if (target.paused is not None) == paused:
            type = types.TARGET_PAUSED if paused else types.TARGET_RESUMED
            return ids.derive(type, application, environment, target.version)
        due: list[Due] = []
        if paused:
            row, note = pausing(target, reason or "", person, now)
        else:
            row = resumed(target, now)
            id = ids.derive(types.TARGET_RESUMED, application, environment, target.version)
            note = note_of(types.TARGET_RESUMED, id, target, action_data(target, person, reason), now)
            due = [Due(keys.resumption_due(application, environment), now + DUE_AFTER, note.event)]
            due += [expiry(row, request) for request in row.requests]
        deps.ledger.transact(Transaction(targets=[row], entries=[note.entry], emit=[note.event], due=due))
        publish([note.event], deps)
        return note.event.id

    return until_settled(attempt)


def discards(person: Person, policies: Sequence[Policy]) -> Callable[[Event], str]:
    """Return a function from a dead letter's event to the id of the person who discards it. It raises Forbidden."""

    def judge(event: Event) -> str:
        raise_if_refused(domain.may_discard(person, policies, event.extensions))
        return person.id

    return judge


def erase_author(logins: Sequence[str], emails: Sequence[str], person: Person, deps: Deps) -> int:
    """Erase the titles and the author's name of each commit by one of these logins or addresses.

    Returns how many commits. Raises Forbidden, Rejected. Journals stay as they are: they hold no names of authors.
    """
    raise_if_refused(domain.may_erase(person, list(deps.pipeline().applications.values())))
    named = [*(("github", login) for login in logins), *(("email", email) for email in emails)]
    if not any(value.strip() for _, value in named):
        raise Rejected("name whom to erase: `github` and `emails` are lists of logins and addresses")
    erased = deps.ledger.erase_titles({ids.identity(kind, value) for kind, value in named if value.strip()})
    deps.log.getChild("board").info("%s erased the titles and the author of %d commits", person.id, erased)
    return erased
