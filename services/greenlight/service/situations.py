"""The situation that a decision is made in, read from the ledger."""

from __future__ import annotations

from datetime import datetime

from greenlight.ledger.port import Ledger
from greenlight.model.policy import Policy, Situation
from greenlight.model.rows import Record, Target
from greenlight.policy.history import History
from greenlight.service.pushes import pushes_since


def target_of(policy: Policy, environment: str, ledger: Ledger) -> Target:
    """Return the target of an environment, as it is stored or as it begins."""
    return policy.target(environment, ledger.target(policy.name, environment))


def situation(
    policy: Policy, record: Record, target: Target, ledger: Ledger, now: datetime, *, pushes: History | None = None
) -> Situation:
    """Return the situation of a commit in a target of the policy, with every push since what the target runs.

    `pushes` are those, where they were read already.
    """
    environment = policy.environments[target.environment]
    pushes = pushes_since(ledger, target) if pushes is None else pushes
    return Situation(policy, environment, record, target, pushes, now)
