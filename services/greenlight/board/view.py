"""What people and programs see of a commit or a target: computed now, from rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from greenlight.events import ids, rfc3339
from greenlight.ledger.rows import Attempt, Deployment, Push, Record, Target
from greenlight.policy.decide import decide, gate_state
from greenlight.policy.model import Decision, GateState, Policy
from greenlight.policy.requests import asked
from greenlight.policy.signals import age

Targets = Mapping[tuple[str, str], tuple[Target, Sequence[Push]]]
"""By (application, environment): the target, and the repository's pushes since what it runs."""


def commit(record: Record, policies: Sequence[Policy], targets: Targets, now: datetime) -> dict[str, Any]:
    """A commit as the API shows it. Public contract."""
    return {
        "repo": record.repo,
        "sha": record.sha,
        "refs": sorted(record.pushes),
        "trace_id": ids.trace_id(record.repo, record.sha),
        "artifacts": {name: digests[0] for name, digests in record.artifacts.items() if len(digests) == 1},
        "signals": {key: _signal(by_ref) for key, by_ref in sorted(record.signals.items())},
        "applications": {policy.name: application(record, policy, targets, now) for policy in policies},
    }


def application(record: Record, policy: Policy, targets: Targets, now: datetime) -> dict[str, Any]:
    """Gates and environments of one application, for one commit."""
    return {
        "gates": {name: _gate(gate) for name, gate in gates(record, policy, targets, now).items()},
        "environments": {name: environment(record, policy, name, targets, now) for name in policy.environments},
    }


def gates(record: Record, policy: Policy, targets: Targets, now: datetime) -> dict[str, GateState]:
    """Every gate's state, as the first environment that requires it sees it."""
    found = {}
    for name, gate in policy.gates.items():
        wants = [env for env in policy.environments.values() if name in env.require]
        environment = wants[0].name if wants else next(iter(policy.environments))
        target, pushes = targets[policy.name, environment]
        found[name] = gate_state(policy, gate, record, pushes, target, now)
    return found


def environment(record: Record, policy: Policy, name: str, targets: Targets, now: datetime) -> dict[str, Any]:
    """The decision for one environment, why, and the newest deployment there."""
    key = f"{policy.name}/{name}"
    target, pushes = targets[policy.name, name]
    decision = decide(policy, name, record, target, pushes, now, asked=asked(record, target))
    return {
        "decision": decision.state,
        "reasons": [*decision.reasons, *_too_late(decision)],
        "requires": list(policy.environments[name].require),
        "deployment": _attempt(record.attempts.get(key)),
    }


def unreadable(why: str) -> dict[str, Any]:
    """What is shown of an environment of which the ledger cannot read what a decision takes: nothing is deployed there."""
    return {"decision": "blocked", "reasons": [why], "requires": [], "deployment": None}


def _too_late(decision: Decision) -> list[str]:
    """What was taken back after the commit had been deployed: it stays deployed, and whoever looks must see it."""
    if decision.state != "ready":
        return []
    gates = decision.gates.items()
    return [f"too late: {name} was {gate.reason}" for name, gate in gates if gate.state == "revoked"]


def target(row: Target, deployments: Sequence[Deployment]) -> dict[str, Any]:
    """A target as the API shows it."""
    return {
        "application": row.application,
        "environment": row.environment,
        "repo": row.repo,
        "running": {"sha": row.running.sha, "since": rfc3339(row.running.since)} if row.running else None,
        "wanted": {"sha": row.wanted.sha, "promotion": row.wanted.id} if row.wanted else None,
        "deployment": row.deployment,
        "paused": row.paused,
        "fence": row.fence,
        "history": list(row.history),
        "deployments": [deployment(each) for each in deployments],
    }


def deployment(row: Deployment) -> dict[str, Any]:
    """A deployment as the API shows it."""
    return {
        "id": row.id,
        "sha": row.sha,
        "n": row.n,
        "cause": row.cause,
        "outcome": row.outcome,
        "reason": row.reason,
        "started": rfc3339(row.started),
        "ended": rfc3339(row.ended) if row.ended else None,
        "tries": row.tries,
        "fence": row.fence,
        "output": row.output,
    }


def _signal(by_ref: Mapping[str, Any]) -> dict[str, Any]:
    newest = max(by_ref.values(), key=age)
    return {"outcome": newest.outcome, "at": rfc3339(newest.at), "evidence": newest.evidence}


def _gate(gate: GateState) -> dict[str, Any]:
    return {
        "state": gate.state,
        "at": rfc3339(gate.at) if gate.at else None,
        "by": list(gate.by),
        "evidence": gate.evidence,
        "reason": gate.reason,
    }


def _attempt(attempt: Attempt | None) -> dict[str, Any] | None:
    if attempt is None:
        return None
    return {
        "id": attempt.id,
        "outcome": attempt.outcome,
        "cause": attempt.cause,
        "reason": attempt.reason,
        "started": rfc3339(attempt.started),
        "ended": rfc3339(attempt.ended) if attempt.ended else None,
    }
