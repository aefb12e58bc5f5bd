"""The state of a commit in each environment of an application, and what it waits for there, in words. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from greenlight.model.policy import Decision, GateState, Policy, Situation
from greenlight.policy.conditions import not_held, not_paused, not_replaced
from greenlight.policy.decide import GREEN, OVER, decide, earlier_environments, pushed_again
from greenlight.policy.freezes import frozen
from greenlight.policy.gates.approval import Approval
from greenlight.policy.situation import served

WORDS: Mapping[str, str] = {
    "running": "Deploys",
    "succeeded": "Runs",
    "done": "Ran",
    "failed": "Failed",
    "error": "Error",
    "canceled": "Canceled",
    "blocked": "Blocked",
    "revoked": "Revoked",
    "paused": "Paused",
    "frozen": "Frozen",
    "pending": "Waits",
    "superseded": "Superseded",
    "none": "Not yet",
}
"""The states of a commit in an environment, with the word for each."""

OPEN = ("running", "failed", "error", "canceled", "blocked", "revoked", "paused", "frozen", "pending", "none")
"""The states of a commit that has not arrived in an environment and was not overtaken there."""


@dataclass(frozen=True, slots=True)
class Missing:
    """An approval that is missing."""

    gate: str
    groups: tuple[str, ...]
    count: int  # how many more people
    given: int = 0  # how many have given it
    revoked: bool = False  # it was given, and taken back
    note: str = ""  # what became of earlier ones

    @property
    def who(self) -> str:
        """Return who can give it: "anyone of legal", "2 of release", "1 more of release"."""
        groups = " or ".join(self.groups)
        if self.given:
            return f"{self.count} more of {groups}"
        return f"anyone of {groups}" if self.count == 1 else f"{self.count} of {groups}"


def people(missing: Sequence[Missing], mine: Collection[str] = ()) -> str:
    """Return who has to approve, those first who read it: "you or anyone of legal, and 2 of release".

    `mine` are the gates at which the reader may approve.
    """
    parts = []
    for approval in sorted(missing, key=lambda each: each.gate not in mine):
        groups = " or ".join(approval.groups)
        yours = {1: f"you or anyone of {groups}"}.get(approval.count, f"you and {approval.count - 1} more of {groups}")
        who = yours if approval.gate in mine else approval.who
        parts.append(f"a new approval by {who}" if approval.revoked else who)
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"


@dataclass(frozen=True, slots=True)
class Need:
    """The next thing that a commit needs in an environment."""

    state: str  # a key of WORDS
    who: str  # the person, group or machine that has to act
    why: str = ""
    missing: tuple[Missing, ...] = ()  # approvals
    people: bool = False  # whether `who` names the people who can give the approvals

    def what(self, mine: Collection[str] = ()) -> str:
        """Return who or what has to act, to a reader who may approve at the gates `mine`."""
        return people(self.missing, mine) if self.people else self.who


@dataclass(frozen=True, slots=True)
class Stop:
    """A commit in one environment."""

    case: Situation
    decision: Decision
    state: str  # a key of WORDS
    need: Need | None  # None: nothing more is to come, or it is not its turn

    @property
    def environment(self) -> str:
        """Return the environment's name."""
        return self.case.environment.name

    @property
    def held(self) -> str | None:
        """Return what holds the commit back, or None."""
        return not_held(self.case, self.decision.push) if self.decision.push is not None else None

    @property
    def word(self) -> str:
        """Return the word for its state."""
        return WORDS[self.state]


def stops(cases: Iterable[Situation]) -> Sequence[Stop]:
    """Return where a commit stands in some environments of an application, given in the file's order.

    What was overtaken in an earlier environment does not come to a later one any more.
    """
    found: dict[str, Stop] = {}
    for case in cases:
        stop = _stop(case)
        before = [found[name].state for name in case.environment.after if name in found]
        if stop.state == "none" and "superseded" in before:
            stop = replace(stop, state="superseded", need=None)
        found[case.environment.name] = stop
    return list(found.values())


def between_tries(case: Situation) -> bool:
    """Return whether the commit's deployment under way waits for its next try: nothing is being done at the moment."""
    return case.under_way and case.target.lease is None


def first_waiting(places: Sequence[Stop]) -> Stop | None:
    """Return the first environment in which a commit waits for something; None: nothing more is to come."""
    return next((stop for stop in places if stop.need is not None), None)


def revoked(gates: Mapping[str, GateState]) -> Sequence[str]:
    """Return each gate that was revoked, with the reason: what runs stays, and this must not be overlooked."""
    return [f"{name} was {gate.reason}" for name, gate in gates.items() if gate.state == "revoked"]


def _stop(case: Situation) -> Stop:
    decision = decide(case)
    state = _state(case, decision)
    return Stop(case, decision, state, _need(case, decision, state))


def _state(case: Situation, decision: Decision) -> str:
    attempt = case.attempt
    if case.under_way:
        return "running"
    if case.runs:
        return "succeeded"
    if attempt is not None and attempt.outcome in OVER and _stands(case, decision):
        return attempt.outcome
    if decision.state == "superseded":
        return "done" if attempt is not None and attempt.succeeded_at is not None else "superseded"
    if earlier_environments(case) and served(case) is None:
        return "none"
    if decision.state == "blocked":
        return "revoked" if any(gate.state == "revoked" for gate in decision.gates.values()) else "blocked"
    return _waits(case, decision)


def _stands(case: Situation, decision: Decision) -> bool:
    """Return whether the end of the last deployment is still what keeps the commit: no request, no new push."""
    return served(case) is None and (decision.push is None or not pushed_again(case, decision.push))


def _waits(case: Situation, decision: Decision) -> str:
    """Return how a commit waits: for its gates, or for a target that nothing goes out to now."""
    if all(gate.state in GREEN for gate in decision.gates.values()) and decision.push is not None:
        if not_paused(case, decision.push) is not None:
            return "paused"
        if frozen(case.environment, case.target, served(case), case.now) is not None:
            return "frozen"
    return "pending"


def _need(case: Situation, decision: Decision, state: str) -> Need | None:
    name = case.environment.name
    if state == "none" or state not in OPEN:
        return None
    if state == "running":
        return Need(state, f"its next try in {name}, after an error" if between_tries(case) else f"deploying to {name}")
    if state in OVER and case.attempt is not None:
        return Need(state, _ended(name, state), _joined(case.attempt.reason or "", _may(case.policy, "retry it")))
    if state == "paused":
        return Need(state, f"{name} is paused", f"by {case.target.paused}")
    if state == "frozen":
        return Need(state, f"{name} is frozen", str(frozen(case.environment, case.target, served(case), case.now)))
    return _blocked(case, decision) or _gates(case, decision) or _otherwise(case, decision)


def _ended(environment: str, state: str) -> str:
    how = {"failed": "failed", "error": "ended in error", "canceled": "was canceled"}[state]
    return f"its deployment to {environment} {how}"


def _may(policy: Policy, what: str) -> str:
    """Return who may do something, as people read it."""
    if not policy.operators:
        return f"nobody operates {policy.name}: name groups as its `operators:`"
    return f"anyone of {' or '.join(policy.operators)} may {what}"


def _blocked(case: Situation, decision: Decision) -> Need | None:
    for name, gate in decision.gates.items():
        if gate.state == "failed":
            return Need("blocked", f"{name} failed", _joined(gate.reason, "a later run or a newer commit ends it"))
    for name, gate in decision.gates.items():
        if gate.state == "revoked":
            kind = case.policy.gates[name]
            if isinstance(kind, Approval):
                missing = _missing(case, decision)
                return Need("revoked", people(missing), gate.reason, missing, True)
            return Need("revoked", f"a new run of {kind.subject}", gate.reason)
    return None


def _gates(case: Situation, decision: Decision) -> Need | None:
    """Return what the gates wait for: machines first, since people may act meanwhile."""
    machines = [
        name
        for name, gate in decision.gates.items()
        if gate.state in ("pending", "expired") and not isinstance(case.policy.gates[name], Approval)
    ]
    missing = _missing(case, decision)
    if machines:
        first, rest = machines[0], [*machines[1:], *([people(missing)] if missing else [])]
        why = decision.gates[first].reason if not rest else f"then {', '.join(rest)}"
        return Need("pending", case.policy.gates[first].subject, why, missing)
    if missing:
        why = _joined(*_overridden(decision), "everything else is green", *(each.note for each in missing))
        return Need("pending", people(missing), why, missing, True)
    return None


def _overridden(decision: Decision) -> Iterable[str]:
    """Yield each gate that a person passed in its place: it is green, and was not."""
    for name, gate in decision.gates.items():
        if gate.state == "overridden":
            yield f"{name} was overridden by {', '.join(gate.by)}"


def _missing(case: Situation, decision: Decision) -> tuple[Missing, ...]:
    found = []
    for name, gate in decision.gates.items():
        kind = case.policy.gates[name]
        if isinstance(kind, Approval) and gate.state not in GREEN:
            note = gate.reason.partition("; ")[2] if gate.state in ("pending", "expired") else ""
            count, taken = max(kind.count - len(gate.by), 1), gate.state == "revoked"
            found.append(Missing(name, kind.groups, count, 0 if taken else len(gate.by), taken, note))
    return tuple(found)


def _otherwise(case: Situation, decision: Decision) -> Need:
    if decision.state == "ready":
        return Need("pending", "goes out next", "; ".join(decision.reasons))
    if decision.push is not None and decision.reasons == (not_replaced(case, decision.push),):
        who = f"anyone of {' or '.join(case.policy.operators)}"
        return Need("pending", who, "it was deployed here, and another commit in its place since; a person deploys it")
    if case.environment.promote == "manual" and case.policy.operators and served(case) is None:
        why = _joined(*_overridden(decision), "everything is green; a person deploys it")
        return Need("pending", f"anyone of {' or '.join(case.policy.operators)}", why)
    first, *rest = decision.reasons or ("nothing is known that it waits for",)
    return Need("pending" if decision.state == "waiting" else "blocked", first, "; ".join(rest))


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)
