"""What people ask for."""

from __future__ import annotations

from greenlight.ledger.rows import Attempt, Record, Request, Target


def asked(record: Record, target: Target) -> Request | None:
    """What a person asks for this commit in that target, if no deployment has served it yet.

    The last word counts: what was asked for before something else that was begun here since is no longer wanted.
    """
    key = f"{target.application}/{target.environment}"
    request = record.requests.get(key)
    if request is None or served(request, record.attempts.get(key)):
        return None
    return None if target.asked is not None and request.at < target.asked else request


def served(request: Request, attempt: Attempt | None) -> bool:
    """Whether the newest deployment of the commit was what was asked for, or came after it.

    One for that request that ended as superseded came to nothing, so what was asked for is still to be done.
    """
    if attempt is None:
        return False
    if attempt.request == request.fact:
        return attempt.outcome != "superseded"
    return attempt.started > request.at
