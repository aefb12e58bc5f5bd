"""Who made a commit: whom a gate with `not: author` leaves out."""

from __future__ import annotations

from collections.abc import Sequence

from greenlight.ledger.rows import Push, Record
from greenlight.policy.lineage import newer, order, shipped
from greenlight.policy.model import Policy


def authors(policy: Policy, record: Record, lineage: Sequence[Push], since: Push | None) -> frozenset[str]:
    """Identities of who made or pushed any commit of the pushes after `since` up to the record's commit."""
    own = order(push for ref, push in record.pushes.items() if shipped(policy, ref))
    last = own[-1] if own else None
    between = [
        push
        for push in lineage
        if shipped(policy, push.ref)
        and (since is None or newer(push, since, lineage))
        and (last is None or not newer(push, last, lineage))
    ]
    return frozenset({*record.people, *(person for push in (*own, *between) for person in push.people)})
