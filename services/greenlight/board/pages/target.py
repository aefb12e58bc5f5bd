"""The page of a target: what runs, what it lacks, who paused or froze it, and its deployments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from greenlight.board import domain, reading, usual
from greenlight.board.brings import Brings, brought
from greenlight.board.commits import Known, known
from greenlight.board.overview import Cell, overview
from greenlight.board.pages.commit import Action
from greenlight.board.pages.shown import MINUTE, SOON
from greenlight.board.sentences import Sentence, in_words
from greenlight.ledger.port import Unreadable
from greenlight.lib.errors import NotFound
from greenlight.model import keys
from greenlight.model.policy import Policy
from greenlight.model.rows import POLICY, Deployment, Target
from greenlight.policy.decide import OVER
from greenlight.policy.freezes import frozen, lasting
from greenlight.policy.requests import waiting_requests
from greenlight.service.deps import Deps
from greenlight.service.people import Person
from greenlight.service.situations import situation

BEHIND = 30
"""Commits that it lacks which are listed."""

SENTENCES, LOOKED_AT = 12, 100
"""Entries of its journal that are shown, and of how many they are chosen."""


@dataclass(frozen=True, slots=True)
class Past:
    """A deployment with its commit."""

    row: Deployment
    commit: Known

    @property
    def took(self) -> timedelta | None:
        """Return how long it took; None while it goes on."""
        return None if self.row.ended is None else self.row.ended - self.row.started


def values(application: str, environment: str, person: Person | None, deps: Deps) -> Mapping[str, Any]:
    """Return what the template needs. Raises NotFound."""
    row = reading.target_of(application, environment, deps)
    policy = reading.policy_of(application, deps)
    cell = _cell(application, environment, deps)
    now = deps.clock.now()
    past = _past(row, policy, deps)
    listed = cell.lacks[:BEHIND]
    titles = known(policy.repo, listed, deps)
    shut = frozen(policy.environments[environment], row, None, now)
    stream = keys.target_stream(row.application, row.environment)
    return {
        "cell": cell,
        "target": row,
        "policy": policy,
        "environment": policy.environments[environment],
        "past": past,
        "usually": usual.deployment(row, deps),
        "now": now,
        "behind": [titles[sha] for sha in listed],
        "more": len(cell.lacks) - len(listed),
        "shut": shut,
        "freezes": lasting(row, now),
        "requests": waiting_requests(row, now),
        "by_policy": POLICY,
        "sentences": _sentences(stream, policy, deps),
        "actions": [] if person is None else actions(cell, person),
        "refused": None if person is None else domain.may_operate(person, policy),
        "lasts": SOON if row.deployment else MINUTE,
    }


def _cell(application: str, environment: str, deps: Deps) -> Cell:
    seen = overview(deps, applications=[application])
    found = next((cell for cell in seen.every_cell if cell.target.environment == environment), None)
    if found is None:
        raise NotFound(f"{application}/{environment} is not in the pipeline file any more")
    return found


def _past(row: Target, policy: Policy, deps: Deps) -> Sequence[Past]:
    rows = reading.deployments_of(row, deps)
    titles = known(policy.repo, [row.sha for row in rows], deps)
    return [Past(row, titles[row.sha]) for row in rows]


def _sentences(stream: str, policy: Policy, deps: Deps) -> Sequence[Sentence]:
    """Return the last entries of the target's journal in words, with the titles of their commits."""
    entries = deps.ledger.newest_entries(stream, limit=LOOKED_AT)
    shas = {str(entry.payload["sha"]) for entry in entries if isinstance(entry.payload.get("sha"), str)}
    titles = {sha: one.called for sha, one in known(policy.repo, shas, deps).items()}
    return [sentence for sentence in in_words(entries, titles=titles) if not sentence.minor][:SENTENCES]


def actions(cell: Cell, person: Person) -> Sequence[Action]:
    """Return what an operator may do with the target; nothing for anybody else."""
    if domain.may_operate(person, cell.policy) is not None:
        return []
    base, found = f"/targets/{cell.name}", []
    if cell.target.deployment is not None:
        found.append(Action("End the deployment…", f"{base}/cancel"))
    elif cell.failed is not None:
        title = cell.failed[0].called
        name = title if len(title) <= 30 else f"{title[:29]}…"
        found.append(Action(f"Retry “{name}”…", f"{base}/retry?sha={cell.failed[0].sha}", cell.target.held is None))
    if len(cell.target.history) > 1 or (cell.target.history and cell.failed is not None):
        found.append(Action("Roll back…", f"{base}/rollback"))
    if cell.target.paused is None:
        found.append(Action("Pause…", f"{base}/pause"))
    else:
        found.append(Action("Resume…", f"{base}/resume", True))
    found.append(Action("Freeze…", f"{base}/freeze"))
    return found


def brought_by(row: Deployment, deps: Deps) -> Brings | None:
    """Return the commits that a deployment brought to its target, or took from it; None: they cannot be read."""
    try:
        record = deps.ledger.record(row.repo, row.sha)
        target = reading.target_of(row.application, row.environment, deps)
        policy = reading.policy_of(row.application, deps)
        if record is None:
            return None
        return brought(row, situation(policy, record, target, deps.ledger, deps.clock.now()), deps)
    except Unreadable:
        return None


def of_deployment(row: Deployment, person: Person | None, deps: Deps) -> Sequence[Action]:
    """Return what this person may do about a deployment: end it while it runs, or try it again after a failure."""
    policy = deps.pipeline().applications.get(row.application)
    if person is None or policy is None or domain.may_operate(person, policy) is not None:
        return []
    base = f"/targets/{row.application}/{row.environment}"
    if row.ended is None:
        return [Action("End it…", f"{base}/cancel")]
    return [Action("Retry…", f"{base}/retry?sha={row.sha}", True)] if row.outcome in OVER else []
