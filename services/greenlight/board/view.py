"""The view of a commit or a target for people and programs: computed now, from rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from greenlight.board.brings import Brings
from greenlight.board.stops import between_tries, revoked
from greenlight.events import ids, rfc3339
from greenlight.model.policy import Decision, GateState, Policy, Situation
from greenlight.model.rows import Attempt, Deployment, Record, Request, Target
from greenlight.policy.artifacts import digests
from greenlight.policy.decide import awaited, decide, unwell
from greenlight.policy.freezes import lasting
from greenlight.policy.requests import newest_request, waiting_requests
from greenlight.policy.signals import age
from greenlight.policy.situation import served

Situations = Mapping[tuple[str, str], Situation]
"""By (application, environment): the situation of some commit of the repository in that target."""


def commit(record: Record, policies: Sequence[Policy], situations: Situations) -> dict[str, Any]:
    """Return a commit as the API shows it. Public contract."""
    return {
        "repo": record.repo,
        "sha": record.sha,
        "refs": sorted(record.pushes),
        "trace_id": ids.trace_id(record.repo, record.sha),
        "artifacts": _artifacts(record, policies),
        "signals": {key: _signal(by_ref) for key, by_ref in sorted(record.signals.items())},
        "applications": {policy.name: application(record, policy, situations) for policy in policies},
    }


def _artifacts(record: Record, policies: Sequence[Policy]) -> dict[str, str]:
    """Return the artifacts of which the applications know one digest."""
    known: dict[str, set[str]] = {}
    for named in [digests(policy, record) for policy in policies] or [record.artifacts]:
        for name, found in named.items():
            known.setdefault(name, set()).update(found)
    return {name: min(found) for name, found in known.items() if len(found) == 1}


def application(record: Record, policy: Policy, situations: Situations) -> dict[str, Any]:
    """Return gates and environments of one application, for one commit."""
    cases = {name: situations[policy.name, name].of(record) for name in policy.environments}
    decisions = {name: decide(case) for name, case in cases.items()}
    return {
        "gates": states(gates(policy, cases, decisions)),
        "environments": {
            name: {**environment(cases[name], decision), "needs_person": _needs_person(name, cases, decisions)}
            for name, decision in decisions.items()
        },
    }


def _needs_person(name: str, cases: Mapping[str, Situation], decisions: Mapping[str, Decision]) -> bool:
    """Return whether a deployment can no longer come unless a person acts, here or in an environment before."""
    if decisions[name].needs_person or unwell(cases[name], decisions[name].push):
        return True
    return any(_needs_person(earlier, cases, decisions) for earlier in awaited(cases[name]) if earlier in cases)


WORST = ("failed", "revoked", "expired", "pending", "overridden", "passed")
"""Of a gate's states in several environments, the one that the application shows."""


def gates(policy: Policy, cases: Mapping[str, Situation], decisions: Mapping[str, Decision]) -> dict[str, GateState]:
    """Return every gate's state: the worst in the environments that require it, else that in the first environment."""
    found = {}
    for name, gate in policy.gates.items():
        states = [decision.gates[name] for decision in decisions.values() if name in decision.gates]
        states = states or [gate.state(next(iter(cases.values())))]
        found[name] = min(states, key=lambda state: WORST.index(state.state))
    return found


def environment(case: Situation, decision: Decision) -> dict[str, Any]:
    """Return the decision for one environment, its reasons, the person's request, and the newest deployment there."""
    requested = served(case)
    return {
        "decision": decision.state,
        "reasons": [*decision.reasons, *_between_tries(case), *unwell(case, decision.push), *_too_late(decision)],
        "requires": list(case.environment.require),
        "gates": states(decision.gates),
        "freezes": freezes(case.target, case.now),
        "requested": request(requested) if requested is not None else None,
        "deployment": _attempt(case.attempt),
    }


def brings(found: Brings) -> dict[str, Any]:
    """Return the commits that would go out together, newest first, each with the gates that say no to it."""
    return {
        "commits": [
            {
                "sha": included.commit.sha,
                "title": included.commit.title or None,
                "author": included.commit.author or None,
                "red": states(included.gates),
                **({"unreadable": included.unreadable} if included.unreadable else {}),
            }
            for included in found.commits
        ],
        "more": found.more,
    }


def request(row: Request) -> dict[str, Any]:
    """Return a request as the API shows it."""
    return {
        "id": row.fact,
        "kind": row.kind,
        "sha": row.sha,
        "person": row.person,
        "reason": row.reason,
        "at": rfc3339(row.at),
        "until": rfc3339(row.until),
    }


def freezes(row: Target, now: datetime) -> list[dict[str, Any]]:
    """Return people's freezes of a target as the API shows them: those that hold and those that are planned."""
    return [
        {
            "id": freeze.id,
            "person": freeze.person,
            "reason": freeze.reason,
            "at": rfc3339(freeze.at),
            "from": rfc3339(freeze.begins),
            "until": rfc3339(freeze.until),
            "except": list(freeze.excepted),
            "begun": freeze.begun(now),
        }
        for freeze in lasting(row, now)
    ]


def unreadable(why: str) -> dict[str, Any]:
    """Return the view of an environment whose rows cannot be read, so that nothing is decided or deployed there."""
    return {"decision": "blocked", "reasons": [why], "needs_person": True, "requires": [], "deployment": None}


def _between_tries(case: Situation) -> list[str]:
    """Return that the deployment under way waits for its next try: nothing is being done at the moment."""
    if not between_tries(case):
        return []
    where = f"{case.policy.name} {case.environment.name}"
    return [f"tried again by itself after an error; `greenlight cancel {where} --deployment --reason TEXT` ends it"]


def _too_late(decision: Decision) -> list[str]:
    """Return a reason for each gate that was revoked after the deployment.

    The commit stays deployed, and readers must see it.
    """
    if decision.state != "ready":
        return []
    return [f"too late: {reason}" for reason in revoked(decision.gates)]


def target(row: Target, deployments: Sequence[Deployment], now: datetime, frozen: str | None) -> dict[str, Any]:
    """Return a target as the API shows it; `frozen` is until when nothing goes out by itself, and why."""
    first = newest_request(row, now)
    waiting = [*reversed(waiting_requests(row, now))]
    return {
        "application": row.application,
        "environment": row.environment,
        "repo": row.repo,
        "running": {"sha": row.running.sha, "since": rfc3339(row.running.since)} if row.running else None,
        "wanted": {"sha": row.wanted.sha, "promotion": row.wanted.id} if row.wanted else None,
        "deployment": row.deployment,
        "paused": row.paused,
        "frozen": frozen,
        "freezes": freezes(row, now),
        "requested": request(first) if first is not None else None,
        "requests": [request(each) for each in waiting],
        "held": request(row.held) if row.held is not None else None,
        "canceling": row.cancel.person if row.cancel is not None else None,
        "fence": row.fence,
        "history": list(row.history),
        "deployments": [deployment(each) for each in deployments],
    }


def deployment(row: Deployment) -> dict[str, Any]:
    """Return a deployment as the API shows it."""
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


def states(gates: Mapping[str, GateState]) -> dict[str, Any]:
    """Return the states of gates, by name, as the API shows them."""
    return {
        name: {
            "state": gate.state,
            "at": rfc3339(gate.at) if gate.at else None,
            "by": list(gate.by),
            "evidence": gate.evidence,
            "reason": gate.reason,
        }
        for name, gate in gates.items()
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
