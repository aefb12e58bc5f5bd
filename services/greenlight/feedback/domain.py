"""The report of a commit: a verdict for each application, and the state of each deployment. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greenlight.model.policy import Decision, GateState, Policy, Situation
from greenlight.model.rows import Attempt, Record
from greenlight.policy.gates.votes import VotesGate

Cases = Mapping[str, tuple[Situation, Decision]]
"""By environment: the situation of a commit in its target, and the decision."""

FAILED, RUNNING, WAITS, ASKS, OVER, DONE, APART = "failed", "running", "waits", "asks", "over", "done", "apart"
"""How a commit stands in an environment: something has to be mended; its deployment is under way or next; it waits for a
program; for people (or for what only they end, such as a pause); it was overtaken; it was deployed; it is no candidate."""

_WORST = (FAILED, RUNNING, WAITS, ASKS, OVER, DONE, APART)
"""Of the standings in several environments, the one that the application has."""

LONGEST = 200
"""Characters of a verdict."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The standing of a commit in one environment."""

    environment: str
    kind: str
    text: str  # after the environment's name
    gates: Mapping[str, GateState]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on a commit, for one application."""

    application: str
    kind: str  # the worst of its standings
    title: str
    standings: tuple[Standing, ...]


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment of the commit, as it is to be shown."""

    id: str
    application: str
    environment: str
    state: str  # in_progress, success, failure, error or inactive, as GitHub calls them
    text: str


def report(policy: Policy, cases: Cases) -> Report:
    """Return the verdict on a commit."""
    standings = tuple(_standing(name, case, decision) for name, (case, decision) in cases.items())
    kinds = {standing.kind for standing in standings}
    kind = next((kind for kind in _WORST if kind in kinds), APART)
    if kinds == {APART}:
        title = f"not a candidate: {standings[0].text}" if standings else "not a candidate"
    else:
        title = "; ".join(f"{standing.environment}: {standing.text}" for standing in standings)
    return Report(policy.name, kind, shortened(title, LONGEST), standings)


def deployments(policy: Policy, record: Record, cases: Cases) -> Sequence[Deployed]:
    """Return the newest deployment of the commit to each environment."""
    found = []
    for name, (case, _) in cases.items():
        attempt = policy.attempt(record, name)
        if attempt is not None:
            found.append(Deployed(attempt.id, policy.name, name, _state(case, attempt), _text(attempt)))
    return found


def shortened(text: str, most: int) -> str:
    """Return at most `most` characters of a text."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _standing(name: str, case: Situation, decision: Decision) -> Standing:
    kind, text = _kind(case, decision)
    return Standing(name, kind, text, decision.gates, decision.reasons)


def _kind(case: Situation, decision: Decision) -> tuple[str, str]:
    attempt, why = case.attempt, decision.reasons[0] if decision.reasons else ""
    if case.under_way:
        return RUNNING, "is being deployed"
    if attempt is not None and decision.state in ("ready", "superseded") and decision.request is None:
        if attempt.outcome in ("failed", "error"):
            return FAILED, f"its deployment {_ended(attempt)}"
        if attempt.outcome == "succeeded" and (case.runs or decision.state == "superseded"):
            return DONE, "deployed" if case.runs else "deployed, and replaced since"
    if decision.state == "superseded":
        return OVER, f"overtaken: {why}"
    if decision.state == "ready":
        return RUNNING, "goes next" if not why else f"ready: {why}"
    if decision.push is None:
        return APART, why
    return _waiting(case, decision, why)


def _waiting(case: Situation, decision: Decision, why: str) -> tuple[str, str]:
    """Return how a commit stands that is blocked or waits."""
    bad = [name for name, gate in decision.gates.items() if gate.state in ("failed", "revoked")]
    if bad:
        return FAILED, why
    attempt = case.attempt
    if decision.state == "blocked":
        by_people = attempt is not None and (attempt.outcome == "canceled" or attempt.rolled_back is not None)
        return (ASKS if by_people else FAILED), why
    pending = {name for name, gate in decision.gates.items() if gate.state in ("pending", "expired")}
    of_programs = [name for name in pending if not isinstance(case.policy.gates[name], VotesGate)]
    if pending:
        names = ", ".join(name for name in decision.gates if name in pending)
        return (WAITS if of_programs else ASKS), f"waits for {names}"
    return ASKS, why


def _state(case: Situation, attempt: Attempt) -> str:
    """Return the state of a deployment. One that ran and does no more is inactive."""
    if attempt.outcome == "succeeded":
        return "success" if case.runs else "inactive"
    return {"running": "in_progress", "failed": "failure", "canceled": "failure", "error": "error"}.get(
        attempt.outcome, "inactive"
    )


def _text(attempt: Attempt) -> str:
    how = {"running": "is under way", "canceled": "was canceled"}.get(attempt.outcome, attempt.outcome)
    return f"{attempt.cause}: {how}" + (f": {attempt.reason}" if attempt.reason else "")


def _ended(attempt: Attempt) -> str:
    how = "ended in error" if attempt.outcome == "error" else attempt.outcome
    return f"{how}: {attempt.reason}" if attempt.reason else how
