"""The situation of a commit in every target of an application, with the decision, as reports and notices need them."""

from __future__ import annotations

from contextlib import suppress

from greenlight.feedback.domain import Cases
from greenlight.ledger.port import Unreadable
from greenlight.model.policy import Policy
from greenlight.model.rows import Record
from greenlight.policy.decide import decide
from greenlight.service.deps import Deps
from greenlight.service.situations import situation, target_of


def cases_of(policy: Policy, record: Record, deps: Deps) -> Cases:
    """Return the commit in every target of an application that can be read."""
    found = {}
    for name in policy.environments:
        with suppress(Unreadable):
            target = target_of(policy, name, deps.ledger)
            case = situation(policy, record, target, deps.ledger, deps.clock.now())
            found[name] = case, decide(case)
    return found
