"""What people do: each action is a fact with its event, or a change of a target, written before it is acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from greenlight.board import domain, reading
from greenlight.board.waterfall import BOARD as SOURCE
from greenlight.events import Event, ids, rfc3339, types
from greenlight.events.recorded import resumed_key
from greenlight.events.schemas import dataschema
from greenlight.ledger.own import own_fact
from greenlight.ledger.port import Transaction
from greenlight.ledger.rows import PATIENCE, Due, NewEntry, Record, Target
from greenlight.ledger.use import pushes_since, until_settled
from greenlight.policy.model import Gate, Policy
from greenlight.runtime.deps import Deps
from greenlight.runtime.edge import sending
from greenlight.runtime.errors import Rejected
from greenlight.runtime.people import Person
from greenlight.runtime.tracing import current

KINDS = ("deploy", "retry", "rollback")


class Forbidden(Exception):
    """This person is known, and may not do that; the message says why."""


def approve(record: Record, application: str, gate: str, comment: str | None, person: Person, deps: Deps) -> str:
    """Approve a commit at a gate; the fact's id. Raises Forbidden where it could count in no environment.

    Approving again while one's approval stands is the same fact, if that one counts wherever a new one would.
    """
    policy, found = _gate(record, application, gate, deps)
    key = f"{application}/{gate}"
    places = []
    for environment in [name for name, env in policy.environments.items() if gate in env.require] or [""]:
        target = deps.ledger.target(application, environment) or Target(application, environment, policy.repo)
        places.append((target, pushes_since(deps.ledger, target)))
    refusals = [domain.may_approve(person, found, record, *place) for place in places]
    if None not in refusals:
        raise Forbidden("; ".join(dict.fromkeys(str(refusal) for refusal in refusals)))
    open_to = [place for place, refusal in zip(places, refusals, strict=True) if refusal is None]
    last, revoked = record.approvals.get(key, {}).get(person.id), record.revocations.get(key)
    if last is not None and last.granted and (revoked is None or revoked.at < last.at):
        expired = found.expires is not None and last.at + found.expires <= deps.clock.now()
        if not expired and all(domain.counts(last, found, record, *place) for place in open_to):
            return last.fact
    prior = max((fact for fact in (last, revoked) if fact is not None), key=lambda fact: fact.at, default=None)
    return _say(types.APPROVAL_GRANTED, record, application, gate, comment, person, prior.fact if prior else "", deps)


def revoke(record: Record, application: str, gate: str, reason: str | None, person: Person, deps: Deps) -> str:
    """Say that a gate does not hold for a commit; the fact's id."""
    policy, found = _gate(record, application, gate, deps)
    _allowed(domain.may_revoke(person, policy, found))
    if not reason:
        raise Rejected("a revocation needs a reason, as `comment`")
    key = f"{application}/{gate}"
    words = [*record.approvals.get(key, {}).values()]
    newest = max((word.at.timestamp() for word in words), default=0.0)
    last = record.revocations.get(key)
    prior = f"{last.fact if last else ''}/{newest}"
    return _say(types.APPROVAL_REVOKED, record, application, gate, reason, person, prior, deps)


def request(
    record: Record, application: str, environment: str, kind: str, reason: str | None, person: Person, deps: Deps
) -> str:
    """Ask for a deployment of a commit; the fact's id. Gates stay as they are: a request lifts none of them."""
    policy = reading.policy_of(application, deps)
    reading.target_of(application, environment, deps)
    _allowed(domain.may_operate(person, policy))
    if record.repo != policy.repo:
        raise reading.NotFound(f"{application} is made from {policy.repo}, not from {record.repo}")
    if kind not in KINDS or not reason:
        raise Rejected(f"kind must be one of {', '.join(KINDS)}, and a reason must be given")
    key = f"{application}/{environment}"
    attempt, earlier = record.attempts.get(key), record.requests.get(key)
    if kind == "retry" and (attempt is None or attempt.outcome not in ("failed", "error")):
        was = "it was never deployed there" if attempt is None else f"its last deployment there is {attempt.outcome}"
        raise Rejected(f"there is nothing to retry: {was}; use deploy")
    type = types.DEPLOYMENT_REQUESTED
    id = ids.derive(
        type,
        record.repo,
        record.sha,
        key,
        kind,
        person.id,
        attempt.id if attempt else "",
        earlier.fact if earlier else "",
    )
    about = {
        "application": application,
        "environment": environment,
        "kind": kind,
        "person": person.id,
        "reason": reason,
    }
    return _accept(type, id, record, about, about, deps)


def set_paused(application: str, environment: str, paused: bool, reason: str | None, person: Person, deps: Deps) -> str:
    """Hold a target, or let it go on; the event's id."""
    _allowed(domain.may_operate(person, reading.policy_of(application, deps)))
    if paused and not reason:
        raise Rejected("a pause needs a reason")

    def attempt() -> str:
        target = reading.target_of(application, environment, deps)
        now, type = deps.clock.now(), types.TARGET_PAUSED if paused else types.TARGET_RESUMED
        id = ids.derive(type, application, environment, target.version)
        if (target.paused is not None) == paused:
            return id
        data = {
            "application": application,
            "environment": environment,
            "repo": target.repo,
            "person": person.id,
            "reason": reason,
        }
        event = Event.of(
            type,
            id=id,
            source=SOURCE,
            time=now,
            dataschema=dataschema(type),
            data=data,
            extensions={
                "repo": target.repo,
                "application": application,
                "environment": environment,
                "partitionkey": f"{application}/{environment}",
            },
        )
        text = f"{person.id}: {reason}" if paused else None
        due = [] if paused else [Due(resumed_key(application, environment), now + PATIENCE, event)]
        entry = NewEntry(f"target/{application}/{environment}", type, now, id, data, target.repo, "")
        deps.ledger.transact(
            Transaction(targets=[replace(target, paused=text)], entries=[entry], emit=[event], due=due)
        )
        deps.publisher.publish([event])
        return id

    return until_settled(attempt)


def discards(person: Person, policies: Sequence[Policy]) -> Callable[[Event], str]:
    """Who discards a dead letter with some event: the person's id. What is returned raises Forbidden."""

    def judge(event: Event) -> str:
        _allowed(domain.may_discard(person, policies, event.extensions))
        return person.id

    return judge


def erase_author(logins: Sequence[str], emails: Sequence[str], person: Person, deps: Deps) -> int:
    """Erase the titles and the name of everything whose author has one of these logins or addresses; how many commits.

    Raises Forbidden, Rejected. Journals stay as they are: they name nobody.
    """
    _allowed(domain.may_erase(person, list(deps.pipeline().applications.values())))
    named = [*(("github", login) for login in logins), *(("email", email) for email in emails)]
    if not any(value.strip() for _, value in named):
        raise Rejected("name whom to erase: `github` and `emails` are lists of logins and addresses")
    erased = deps.ledger.erase_titles({ids.identity(kind, value) for kind, value in named if value.strip()})
    deps.log.getChild("board").info("%s erased the titles and the author of %d commits", person.id, erased)
    return erased


def _gate(record: Record, application: str, gate: str, deps: Deps) -> tuple[Policy, Gate]:
    policy = reading.policy_of(application, deps)
    if policy.repo != record.repo:
        raise reading.NotFound(f"{application} is made from {policy.repo}, not from {record.repo}")
    if gate not in policy.gates:
        raise reading.NotFound(f"{application} has no gate {gate!r}; it has {', '.join(policy.gates)}")
    return policy, policy.gates[gate]


def _allowed(refusal: str | None) -> None:
    if refusal is not None:
        raise Forbidden(refusal)


def _say(
    type: str, record: Record, application: str, gate: str, comment: str | None, person: Person, prior: str, deps: Deps
) -> str:
    """An approval or revocation: its id is a function of the word that it follows, so that a repetition is the same."""
    id = ids.derive(type, record.repo, record.sha, application, gate, person.id, prior)
    about = {"application": application, "gate": gate, "person": person.id, "comment": comment}
    details = {**about, "groups": list(person.groups), "identities": list(person.identities)}
    return _accept(type, id, record, about, details, deps)


def _accept(
    type: str, id: str, record: Record, about: Mapping[str, Any], details: Mapping[str, Any], deps: Deps
) -> str:
    now = deps.clock.now()
    fact, due = own_fact(type, id, SOURCE, record, about, now, details=details)
    event = fact.event
    current().arrival(event, record.repo, record.sha, None, None)
    if deps.ledger.accept(fact, None, due):
        with sending(event):
            deps.publisher.publish([event])
        deps.log.getChild("board").info(
            "%s %s of %s@%s at %s", about["person"], type, record.repo, record.sha[:7], rfc3339(now)
        )
    return id
