"""The rights of people. Pure, and the one place that decides them: every route asks here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from greenlight.model.policy import Gate, GateState, Policy, Situation
from greenlight.model.rows import Approval as Vote
from greenlight.model.rows import Record, Request
from greenlight.policy.authors import authors
from greenlight.policy.decide import GREEN, decide, required_gates
from greenlight.policy.gates.approval import Approval
from greenlight.policy.paths import candidate
from greenlight.policy.requests import SERVED_WITHIN, with_request
from greenlight.service.people import NAME_THEM, Person


def may_approve(person: Person, gate: Gate, case: Situation) -> str | None:
    """Return why this person's approval of this commit at this gate could not count in this target; None: it could."""
    if not isinstance(gate, Approval):
        return f"{gate.name} is not an approval: {gate.kind} decides it"
    refusal = _in_groups(person, gate)
    if refusal is not None:
        return refusal
    if not gate.not_author:
        return None
    why = authors(case.record, case.target, case.pushes).left_out(person.id, person.identities)
    if why is None:
        return None
    return f"{why}; {gate.name} needs somebody else's approval" if person.identities else f"{why}; {NAME_THEM}"


def stands(vote: Vote, gate: Gate, case: Situation) -> bool:
    """Return whether an approval that was given can count in this target, and has not expired."""
    if not isinstance(gate, Approval) or (gate.expires is not None and vote.at + gate.expires <= case.now):
        return False
    return gate.left_out(vote, gate.makers(case)) is None


def may_revoke(person: Person, policy: Policy, gate: Gate) -> str | None:
    """Return why this person may not revoke a gate; None: go ahead.

    Who may approve a gate may revoke it. A gate that is no approval may be revoked by operators, and by all who may approve
    any gate.
    """
    if isinstance(gate, Approval):
        return _in_groups(person, gate)
    approvals = [each for each in policy.gates.values() if isinstance(each, Approval)]
    if any(_in_groups(person, each) is None for each in approvals) or (policy.operators and _operates(person, policy)):
        return None
    return f"{person.id} may approve no gate of {policy.name}, so may revoke none"


def may_operate(person: Person, policy: Policy) -> str | None:
    """Return why this person may not deploy, retry, roll back, pause, freeze, cancel or override; None: go ahead."""
    if not policy.operators:
        return f"nobody operates {policy.name}: name groups as its `operators:` in the pipeline file"
    if _operates(person, policy):
        return None
    return f"{person.id} is in none of {', '.join(policy.operators)}, who operate {policy.name}"


def may_discard(person: Person, policies: Sequence[Policy], about: Mapping[str, object]) -> str | None:
    """Return why this person may not discard a dead letter, given all policies and its event's attributes.

    None: go ahead. It takes an operator of the application that the event belongs to, by its attributes `application` or
    `repo`; where it belongs to none, of any application.
    """
    named = [policy for policy in policies if policy.name == about.get("application")]
    named = named or [policy for policy in policies if policy.repo == about.get("repo")] or list(policies)
    if any(policy.operators and may_operate(person, policy) is None for policy in named):
        return None
    names = ", ".join(policy.name for policy in named)
    if not any(policy.operators for policy in named):
        return f"nobody operates {names}: name groups as `operators:` in the pipeline file"
    return f"{person.id} does not operate {names}, and the event of this dead letter belongs to it"


def may_test_destinations(person: Person, policies: Sequence[Policy]) -> str | None:
    """Return why this person may not test destinations of notifications; None: go ahead. It takes any operator."""
    if any(policy.operators and may_operate(person, policy) is None for policy in policies):
        return None
    return f"{person.id} operates no application: only operators may test destinations"


def may_erase(person: Person, policies: Sequence[Policy]) -> str | None:
    """Return why this person may not erase titles and names of authors; None: go ahead, as any operator may."""
    if any(policy.operators and may_operate(person, policy) is None for policy in policies):
        return None
    return f"{person.id} operates no application: name a group of theirs as `operators:` in the pipeline file"


def may_override(person: Person, case: Situation) -> str | None:
    """Return why this person may not pass a gate of this commit in this environment; None: go ahead.

    An operator may, unless `not: author` leaves them out of a gate that the environment requires.
    """
    refusal = may_operate(person, case.policy)
    if refusal is not None:
        return refusal
    if not case.leaves_authors_out:
        return None
    return authors(case.record, case.target, case.pushes).left_out(person.id, person.identities)


def closed_to_rollback(case: Situation) -> tuple[str, str] | None:
    """Return the first gate that does not let a rollback to that commit through, with its reason; None: all do.

    Ages count as they were when it last succeeded there.
    """
    states = gates_for("rollback", case)
    return next(((name, gate.reason) for name, gate in states.items() if gate.state not in GREEN), None)


def gates_for(kind: str, case: Situation) -> Mapping[str, GateState]:
    """Return the gates of a commit as a request of that kind counts them."""
    return required_gates(case, at_last_success=kind == "rollback")


def kept_from_rollback(case: Situation) -> Sequence[str]:
    """Return why a rollback to that commit could not begin even if nothing paused or froze the target; empty: it could.

    Asked for now, it would wait for something that nobody is about to bring.
    """
    asks = Request("rollback", case.record.sha, "", case.now, case.now + SERVED_WITHIN, "")
    own = decide(replace(case, target=with_request(case.target, asks))).own
    return () if own.state == "ready" else own.reasons


def never_shipped(policy: Policy, record: Record) -> str | None:
    """Return why no request can deploy a commit: it was never the head of a shipped ref; None: it was."""
    if candidate(policy, record, (), asked=True) is not None:
        return None
    refs = ", ".join((*policy.branches, *policy.tags))
    return (
        f"{record.sha[:7]} was not seen as the head of a ref that {policy.name} ships ({refs}): push it to one, or have "
        "its provider deliver the push again"
    )


def _in_groups(person: Person, gate: Approval) -> str | None:
    if set(gate.groups) & set(person.groups):
        return None
    return f"{person.id} is not in {' or '.join(gate.groups)}, who decide on {gate.name}"


def _operates(person: Person, policy: Policy) -> bool:
    return bool(set(policy.operators) & set(person.groups))
