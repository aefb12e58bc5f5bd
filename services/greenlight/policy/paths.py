"""Which pushes may have changed what an application is made from, and so make a commit its candidate."""

from __future__ import annotations

from collections.abc import Sequence

from greenlight.ledger.rows import Push, Record
from greenlight.policy.lineage import MAX_NAME, like, order, shipped, superseded_by_force
from greenlight.policy.model import Policy


def candidate(policy: Policy, record: Record, lineage: Sequence[Push], *, asked: bool = False) -> Push | None:
    """The newest push that makes the commit a candidate of the application, one that was not undone if there is any.

    None: no push that touches `paths`, which a person who asks may waive, put the commit at the head of a shipped ref.
    """
    seen = order(push for ref, push in record.pushes.items() if shipped(policy, ref))
    pool = [push for push in seen if touches(policy, push)] or (seen if asked else [])
    standing = [push for push in pool if not superseded_by_force(lineage, push)]
    return next(reversed(standing or pool), None)


def touches(policy: Policy, push: Push) -> bool:
    """Whether the push may have changed what the application is made from."""
    if not policy.paths or push.paths is None:
        return True
    return any(len(path) > MAX_NAME or any(like(pattern, path) for pattern in policy.paths) for path in push.paths)
