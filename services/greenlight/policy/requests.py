"""What people ask for."""

from __future__ import annotations

from greenlight.ledger.rows import Record, Request


def asked(record: Record, key: str) -> Request | None:
    """What a person asks for this commit in the target `APP/ENV`, if no deployment has served it yet."""
    request, attempt = record.requests.get(key), record.attempts.get(key)
    if request is None or (attempt is not None and (attempt.request == request.fact or attempt.started > request.at)):
        return None
    return request
