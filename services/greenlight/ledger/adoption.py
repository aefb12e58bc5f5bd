"""An edited pipeline file takes effect on what is waiting already."""

from __future__ import annotations

from collections.abc import Sequence

from greenlight.events import Event
from greenlight.events.recorded import look_again
from greenlight.ledger.port import Ledger, Transaction
from greenlight.ledger.rows import PATIENCE, Due
from greenlight.policy.model import Pipeline
from greenlight.runtime.clock import Clock

OPEN = ("ready", "waiting", "blocked")
"""Decisions that may still become a deployment."""


def adopt(pipeline: Pipeline, ledger: Ledger, clock: Clock) -> Sequence[Event]:
    """Keep the policies' texts under their digests, and have what they may decide otherwise decided again.

    What was emitted for that. To do it again, in another process or after a crash, changes nothing that is decided by then.
    """
    now = clock.now()
    emitted: list[Event] = []
    for policy in pipeline.applications.values():
        ledger.keep_policy(policy.digest, policy.text)
        rows = [row for name in policy.environments for row in ledger.decisions(policy.name, name, OPEN)]
        stale = sorted({(row.repo, row.sha) for row in rows if row.policy != policy.digest})
        due = []
        for repo, sha in stale:
            why = f"policy/{policy.digest}/{repo}/{sha}"
            due.append(Due(why, now + PATIENCE, look_again(repo, sha, why, now)))
        if due:
            ledger.transact(Transaction(emit=[each.event for each in due], due=due))
            emitted += [each.event for each in due]
    return emitted
