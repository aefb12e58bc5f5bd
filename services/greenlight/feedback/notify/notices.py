"""Notices: the states of a commit that people are notified of, once each. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from greenlight.feedback.domain import ASKS, FAILED, Cases, Standing, report
from greenlight.model.policy import Policy, Situation
from greenlight.policy.conditions import not_frozen, not_manual, not_paused
from greenlight.policy.gates.approval import Approval
from greenlight.policy.gates.votes import VotesGate

WAITING, BLOCKED = "waiting", "blocked"
ENDED = ("succeeded", "failed", "error", "canceled")
OUTCOMES = (WAITING, BLOCKED, *ENDED)
"""The outcomes that a route may name."""

RECENT = timedelta(days=1)
"""How long after the end of a deployment people are still notified."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A state of a commit in one environment."""

    repo: str
    sha: str
    application: str
    environment: str
    outcome: str
    key: str  # the same for the same state, whenever it is looked at
    reason: str
    who: str = ""  # who must act, for people; empty: no person


def notices(policy: Policy, cases: Cases, now: datetime) -> Iterator[Notice]:
    """Yield what is to be said of a commit now, whether it was said already or not."""
    for standing in report(policy, cases).standings:
        case, decision = cases[standing.environment]
        ended = _ended(case, now)
        if ended is not None:
            yield ended
        if standing.kind == FAILED:
            bad = sorted(name for name, gate in standing.gates.items() if gate.state in ("failed", "revoked"))
            if bad:
                yield _notice(case, BLOCKED, f"blocked {' '.join(bad)}", "; ".join(standing.reasons), _operators(case))
        elif standing.kind == ASKS and decision.push is not None:
            yield from _waiting(case, standing)


def _waiting(case: Situation, standing: Standing) -> Iterator[Notice]:
    """Yield that a commit waits for people; not for the end of a pause or of a freeze window, which its makers know of."""
    pending = [name for name, gate in standing.gates.items() if gate.state in ("pending", "expired")]
    if pending:
        who = [_voters(case, name) for name in pending]
        yield _notice(
            case, WAITING, f"waiting {' '.join(sorted(pending))}", "; ".join(standing.reasons), "; ".join(who)
        )
        return
    push = next(iter(case.record.pushes.values()), None)
    if push is None or not_manual(case, push) is None or not_paused(case, push) or not_frozen(case, push):
        return
    if case.attempt is None:
        yield _notice(case, WAITING, "waiting to be deployed", "; ".join(standing.reasons), _operators(case))


def _ended(case: Situation, now: datetime) -> Notice | None:
    attempt = case.attempt
    if attempt is None or attempt.outcome not in ENDED or attempt.ended is None or now - attempt.ended > RECENT:
        return None
    who = "" if attempt.outcome == "succeeded" else _operators(case)
    reason = attempt.reason or ("" if attempt.outcome != "succeeded" else f"deployed ({attempt.cause})")
    return _notice(case, attempt.outcome, f"deployment {attempt.id} {attempt.outcome}", reason, who)


def _notice(case: Situation, outcome: str, key: str, reason: str, who: str) -> Notice:
    where = (case.record.repo, case.record.sha, case.policy.name, case.environment.name)
    return Notice(*where, outcome, key, reason, who)


def _voters(case: Situation, name: str) -> str:
    gate = case.policy.gates[name]
    if isinstance(gate, Approval):
        return f"{name}: {', '.join(gate.groups)}"
    return f"{name}: reviewers on GitHub" if isinstance(gate, VotesGate) else name


def _operators(case: Situation) -> str:
    return f"operators: {', '.join(case.policy.operators)}" if case.policy.operators else ""
