"""Votes of people on a commit: approvals, revocations, overrides. Each is a fact, written before it is acknowledged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from greenlight.board import domain, reading
from greenlight.board.notes import log_action, raise_if_refused
from greenlight.board.waterfall import BOARD as SOURCE
from greenlight.events import ids, types
from greenlight.lib.errors import Forbidden, NotFound, Rejected
from greenlight.model import keys
from greenlight.model.own_facts import own_fact
from greenlight.model.policy import Gate, Policy, Situation
from greenlight.model.rows import Record
from greenlight.policy.decide import gate_here
from greenlight.policy.gates.approval import newest_votes
from greenlight.policy.gates.kind import newest_revocation
from greenlight.policy.shape import closest
from greenlight.service.deps import Deps
from greenlight.service.handling import sending
from greenlight.service.people import Person
from greenlight.service.situations import situation, target_of
from greenlight.telemetry.tracing import current


def approve(record: Record, application: str, gate: str, comment: str | None, person: Person, deps: Deps) -> str:
    """Approve a commit at a gate; return the fact's id. Raises Forbidden where it could count in no environment.

    Approving again while one's approval stands is the same fact, if that one counts wherever a new one would.
    """
    policy, found = _gate(record, application, gate, deps)
    requiring = [name for name, env in policy.environments.items() if gate in env.require]
    cases = [
        _situation(record, policy, environment, deps) for environment in requiring or [next(iter(policy.environments))]
    ]
    refusals = [domain.may_approve(person, found, case) for case in cases]
    if None not in refusals:
        raise Forbidden("; ".join(dict.fromkeys(str(refusal) for refusal in refusals)))
    open_to = [case for case, refusal in zip(cases, refusals, strict=True) if refusal is None]
    last, revoked = newest_votes(policy, record, gate).get(person.id), newest_revocation(policy, record, gate)
    granted = last is not None and last.granted and (revoked is None or revoked.at < last.at)
    if last is not None and granted and all(domain.stands(last, found, case) for case in open_to):
        return last.fact
    prior = max((fact for fact in (last, revoked) if fact is not None), key=lambda fact: fact.at, default=None)
    before = prior.fact if prior is not None else ""
    return _accept_vote(types.APPROVAL_GRANTED, record, application, gate, comment, person, before, deps)


def revoke(record: Record, application: str, gate: str, reason: str | None, person: Person, deps: Deps) -> str:
    """Revoke a gate of a commit; return the fact's id."""
    policy, found = _gate(record, application, gate, deps)
    raise_if_refused(domain.may_revoke(person, policy, found))
    if not reason:
        raise Rejected("a revocation needs a reason, as `comment`")
    votes = newest_votes(policy, record, gate).values()
    newest = max((vote.at.timestamp() for vote in votes), default=0.0)
    last = newest_revocation(policy, record, gate)
    prior = f"{last.fact if last else ''}/{newest}"
    return _accept_vote(types.APPROVAL_REVOKED, record, application, gate, reason, person, prior, deps)


def override(
    record: Record, application: str, environment: str, gate: str, reason: str | None, person: Person, deps: Deps
) -> str:
    """Pass a gate for one commit in one environment; return the fact's id. Raises Forbidden, Rejected."""
    policy, found = _gate(record, application, gate, deps)
    reading.target_of(application, environment, deps)
    if gate not in policy.environments[environment].require:
        raise Rejected(f"{application}/{environment} does not require {gate}: there is nothing to override")
    case = _situation(record, policy, environment, deps)
    raise_if_refused(domain.may_override(person, case))
    if not reason:
        raise Rejected("an override needs a reason")
    last = record.overrides.get(keys.of(application, environment, gate))
    state = gate_here(case, found)
    if state.state == "overridden" and last is not None and last.person == person.id:
        return last.fact
    type, key = types.GATE_OVERRIDDEN, keys.of(application, environment)
    id = ids.derive(type, record.repo, record.sha, key, gate, person.id, last.fact if last else "", *state.facts)
    about = {
        "application": application,
        "environment": environment,
        "gate": gate,
        "person": person.id,
        "reason": reason,
    }
    return _accept(type, id, record, person, about, {**about, "identities": list(person.identities)}, deps)


def _gate(record: Record, application: str, gate: str, deps: Deps) -> tuple[Policy, Gate]:
    policy = reading.policy_of(application, deps)
    if policy.repo != record.repo:
        raise NotFound(f"{application} is made from {policy.repo}, not from {record.repo}")
    if gate not in policy.gates:
        raise NotFound(f"{application} has no gate {gate!r}; {closest(gate, list(policy.gates))}")
    return policy, policy.gates[gate]


def _accept_vote(
    type: str, record: Record, application: str, gate: str, comment: str | None, person: Person, prior: str, deps: Deps
) -> str:
    """Build an approval or a revocation.

    Its id is a function of the vote before it, so a repetition has the same id.
    """
    id = ids.derive(type, record.repo, record.sha, application, gate, person.id, prior)
    about = {"application": application, "gate": gate, "person": person.id, "comment": comment}
    details = {**about, "groups": list(person.groups), "identities": list(person.identities)}
    return _accept(type, id, record, person, about, details, deps)


def _accept(
    type: str,
    id: str,
    record: Record,
    person: Person,
    about: Mapping[str, Any],
    details: Mapping[str, Any],
    deps: Deps,
) -> str:
    """Store a vote as a fact, and publish its event; return its id. A repetition changes nothing."""
    now = deps.clock.now()
    fact, due = own_fact(type, id, SOURCE, record, about, now, details=details)
    event = fact.event
    current().arrival(event, record.repo, record.sha, None, None)
    if deps.ledger.accept(fact, None, due):
        with sending(event):
            deps.publisher.publish([event])
        log_action(person, type, record.repo, record.sha, now, deps)
    return id


def _situation(record: Record, policy: Policy, environment: str, deps: Deps) -> Situation:
    target = target_of(policy, environment, deps.ledger)
    return situation(policy, record, target, deps.ledger, deps.clock.now())
