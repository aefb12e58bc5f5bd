"""Consequences of a situation before anything is decided: the request that is served, and the push that was tried."""

from __future__ import annotations

from greenlight.model.policy import Situation
from greenlight.model.rows import Push, Request
from greenlight.policy.lineage import newest_tried
from greenlight.policy.requests import newest_request


def served(case: Situation) -> Request | None:
    """Return the request that the target serves next, if it is for this commit."""
    first = newest_request(case.target, case.now)
    return first if first is not None and first.sha == case.record.sha else None


def tried(case: Situation) -> Push | None:
    """Return the newest push that was tried in the target."""
    return newest_tried(case.policy, case.target, case.pushes)
