"""How handlers use the port: read, decide, write; again if somebody else was faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from greenlight.ledger.port import Conflict, Ledger, Unavailable
from greenlight.ledger.rows import Push, Target
from greenlight.policy.lineage import shipped
from greenlight.policy.model import Policy

T = TypeVar("T")


def until_settled(attempt: Callable[[], T], *, tries: int = 20) -> T:
    """The result of `attempt`, which reads, computes and transacts; run again on Conflict.

    Every Conflict means that another writer got through, so somebody always makes progress. Raises Unavailable when it was
    never us: the event is delivered again later.
    """
    for _ in range(tries):
        try:
            return attempt()
        except Conflict:
            continue
    raise Unavailable(f"{tries} other writers were faster on the same rows; the delivery will be tried again")


def pushes_since(ledger: Ledger, target: Target, policy: Policy | None) -> Sequence[Push]:
    """The pushes since what the target runs, that one included: what `decide` compares candidates and authors by.

    Only those to refs that the application ships, so that no number of others pushes one of them out of sight; all where
    the application is not in the pipeline any more.
    """
    runs = target.running.push if target.running else None
    return ledger.pushes(
        target.repo,
        since=runs.pushed_at if runs else None,
        of=lambda ref: policy is None or shipped(policy, ref),
    )
