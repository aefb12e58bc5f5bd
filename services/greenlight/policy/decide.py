"""The decision: pure, total, and the same for the same record, target, policy, pushes and time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from greenlight.ledger.rows import Attempt, Push, Record, Request, Target
from greenlight.policy.gates import gate_state
from greenlight.policy.lineage import newer, newest_deployed, superseded_by_force
from greenlight.policy.model import Decision, Deploy, GateState, Policy
from greenlight.policy.paths import candidate
from greenlight.policy.requests import served

__all__ = ["decide", "gate_state"]

_ARTIFACT = re.compile(r"\$\{artifacts\.([a-z0-9_-]+)\}")


def decide(
    policy: Policy,
    environment: str,
    record: Record,
    target: Target | None,
    pushes: Sequence[Push],
    now: datetime,
    *,
    asked: Request | None = None,
) -> Decision:
    """Whether that commit may be deployed to that environment now, and if not, why.

    `pushes` are the repository's since what the target runs, that one included. `asked` is a person's request that no
    deployment has served yet: it lifts what speaks against an older, failed or rolled back commit, but never a gate.
    """
    attempt = record.attempts.get(f"{policy.name}/{environment}")
    request = asked if asked is not None and not served(asked, attempt) else None
    push = candidate(policy, record, pushes, target.running if target else None, asked=request is not None)
    ran = attempt.succeeded_at if request and attempt and request.kind == "rollback" else None
    gates = {
        name: gate_state(policy, policy.gates[name], record, pushes, target, ran or now)
        for name in policy.environments[environment].require
    }
    artifacts = {name: digests[0] for name, digests in sorted(record.artifacts.items()) if len(digests) == 1}
    state, reasons = _state(policy, environment, record, target, pushes, push, gates, request)
    over = state == "superseded" or ran is not None or (state == "ready" and _runs(target, record))
    ends = [gate.until for gate in gates.values() if gate.state == "passed" and gate.until is not None]
    return Decision(state, reasons, gates, None if over else min(ends, default=None), push, artifacts)


def _state(
    policy: Policy,
    environment: str,
    record: Record,
    target: Target | None,
    pushes: Sequence[Push],
    push: Push | None,
    gates: Mapping[str, GateState],
    request: Request | None,
) -> tuple[str, tuple[str, ...]]:
    if request is None and _runs(target, record):
        return "ready", ()
    if push is None:
        return "waiting", (_not_seen(policy, record),)
    attempt = record.attempts.get(f"{policy.name}/{environment}")
    superseded = _superseded(policy, record, target, pushes, push, attempt) if request is None else []
    if superseded:
        return "superseded", tuple(superseded)
    blocked = [
        *_said(gates, ("failed", "revoked")),
        *_ambiguous(record),
        *(_ended(record, target, pushes, push, attempt) if request is None else []),
    ]
    waiting = [
        *_after(policy, environment, record),
        *_said(gates, ("pending", "expired")),
        *_lacking(policy.environments[environment].deploy, record),
        *([f"paused by {target.paused}"] if target is not None and target.paused is not None else []),
    ]
    return "blocked" if blocked else "waiting" if waiting else "ready", (*blocked, *waiting)


def _runs(target: Target | None, record: Record) -> bool:
    return target is not None and target.running is not None and target.running.sha == record.sha


def _said(gates: Mapping[str, GateState], states: Sequence[str]) -> list[str]:
    return [f"{name}: {gate.reason}" for name, gate in gates.items() if gate.state in states]


def _not_seen(policy: Policy, record: Record) -> str:
    if candidate(policy, record, (), asked=True) is not None:
        return f"not touched: no push since what runs here changed anything in {', '.join(policy.paths)}"
    return f"not seen on a shipped ref ({', '.join((*policy.branches, *policy.tags))})"


def _superseded(
    policy: Policy,
    record: Record,
    target: Target | None,
    pushes: Sequence[Push],
    push: Push,
    attempt: Attempt | None,
) -> list[str]:
    """Why a newer commit took its place. What a person asked for is not superseded while it is being deployed."""
    if attempt is not None and attempt.outcome == "running" and attempt.request is not None:
        return []
    reasons = []
    newest = newest_deployed(policy, target, pushes) if target is not None else None
    if newest is not None and newest.sha != record.sha and newer(newest, push, pushes):
        reasons.append(f"the newer commit {newest.sha[:7]} was deployed here")
    if superseded_by_force(pushes, push):
        reasons.append(f"{push.ref} was deleted or forced to another commit afterwards")
    return reasons


def _ended(
    record: Record, target: Target | None, pushes: Sequence[Push], push: Push, attempt: Attempt | None
) -> list[str]:
    """Why the commit is not deployed again by itself after its deployment came to an end; a re-push is a new start."""
    if attempt is not None and attempt.outcome in ("failed", "error"):
        if _pushed_again(record, pushes, push, attempt):
            return []
        how = "failed" if attempt.outcome == "failed" else "ended in error"
        why = attempt.reason or "no reason was given"
        return [f"deployment {attempt.id} {how}: {why}; retry it or push a newer commit"]
    if target is None or target.running is None or target.newest is None or target.newest.sha != record.sha:
        return []
    if newer(push, target.newest, pushes) or (attempt is not None and attempt.outcome != "succeeded"):
        return []
    return [f"rolled back: {target.running.sha[:7]} was asked for instead; deploy it again or push a newer commit"]


def _pushed_again(record: Record, pushes: Sequence[Push], push: Push, attempt: Attempt) -> bool:
    known = [other for other in (*pushes, *record.pushes.values()) if other.fact == attempt.push]
    return not known or newer(push, known[0], pushes)


def _after(policy: Policy, environment: str, record: Record) -> list[str]:
    def succeeded(name: str) -> bool:
        attempt = record.attempts.get(f"{policy.name}/{name}")
        return attempt is not None and attempt.succeeded_at is not None

    names = policy.environments[environment].after
    return [f"waits until it has succeeded in {name}" for name in names if not succeeded(name)]


def _ambiguous(record: Record) -> list[str]:
    return [
        f"artifact {name} has {len(digests)} digests ({', '.join(digests[:3])}): nobody can tell which was checked; "
        "push a new commit"
        for name, digests in sorted(record.artifacts.items())
        if len(digests) > 1
    ]


def _lacking(deploy: Deploy, record: Record) -> list[str]:
    """Which digests the Helm values name that no fact has told yet."""
    if deploy.driver != "helm":
        return []
    texts = _texts(deploy.config.get("values", {}))
    names = sorted({name for text in texts for name in _ARTIFACT.findall(text)})
    return [f"no fact has told the digest of artifact {name} yet" for name in names if not record.artifacts.get(name)]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
