"""Facts that are made here, for people's actions and for the policy in a person's place. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from greenlight.events import ids, rfc3339, types
from greenlight.events.build import about_commit, as_fact
from greenlight.events.recorded import look_again
from greenlight.model import keys
from greenlight.model.rows import DUE_AFTER, Due, Fact, NewEntry, Record, Request, Target

_NEXT = timedelta(microseconds=1)
_NEVER = datetime.min.replace(tzinfo=UTC)


def own_fact(
    type: str,
    id: str,
    source: str,
    record: Record,
    about: Mapping[str, Any],
    now: datetime,
    *,
    details: Mapping[str, Any] | None = None,
) -> tuple[Fact, Due]:
    """Return the fact, and when its event is due again. `about` is the event's data besides the commit.

    `details`, where given, is what the ledger keeps of it instead: also what no event may carry. It happens after everything
    that the record knows, so that a clock that was set back voids nothing.
    """
    at = max(now, *(known + _NEXT for known in _times(record)))
    ref = next(iter(sorted(record.pushes)), None)
    event = as_fact(
        about_commit(
            type,
            id=id,
            source=source,
            time=at,
            repo=record.repo,
            sha=record.sha,
            data={**({"ref": ref} if ref else {}), **about},
            attributes={name: about.get(name) for name in ("gate", "application", "environment")},
            subject=record.sha,
            traceparent=ids.traceparent(record.repo, record.sha, id, "receive"),
        )
    )
    kept = dict(about if details is None else details)
    fact = Fact(event=event, repo=record.repo, sha=record.sha, at=at, accepted=now, details=kept)
    return fact, Due(keys.fact_due(id), now + DUE_AFTER, event)


def _times(record: Record) -> Iterator[datetime]:
    """Yield the times of the record's approvals, revocations, overrides, signals and deployments."""
    yield _NEVER
    yield from (word.at for words in record.approvals.values() for word in words.values())
    yield from (word.at for words in (record.revocations, record.overrides) for word in words.values())
    yield from (signal.at for by_ref in record.signals.values() for signal in by_ref.values())
    yield from (attempt.started for attempt in record.attempts.values())


def requested(request: Request, target: Target, record: Record, source: str) -> tuple[Fact, Due]:
    """Return the fact that a person requested a deployment of the record's commit to the target."""
    about = {
        "application": target.application,
        "environment": target.environment,
        "kind": request.kind,
        "person": request.person,
        "reason": request.reason,
    }
    return own_fact(types.DEPLOYMENT_REQUESTED, request.fact, source, record, about, request.at)


def request_entry(
    type: str, target: Target, request: Request, now: datetime, person: str | None = None, reason: str | None = None
) -> NewEntry:
    """Return the entry in the target's journal about a request.

    Its type is `deployment.requested`, or `request.expired` and so on.
    """
    payload = {
        "application": target.application,
        "environment": target.environment,
        "repo": target.repo,
        "sha": request.sha,
        "kind": request.kind,
        "person": person or request.person,
        "reason": reason or request.reason,
        "request": request.fact,
        "until": rfc3339(request.until),
    }
    return NewEntry(
        keys.target_stream(target.application, target.environment),
        type,
        now,
        ids.derive("entry", type, request.fact),
        {key: value for key, value in payload.items() if value is not None},
        target.repo,
        request.sha,
    )


def expiry(target: Target, request: Request) -> Due:
    """Return when the target is looked at for a request that has waited too long."""
    where = (target.application, target.environment)
    key = keys.request_due(*where, request.fact)
    return Due(key, request.until, look_again(target.repo, request.sha, key, request.until, target=where))


def no_expiry(target: Target, request: Request) -> tuple[str, str]:
    """Return what is no longer due once a request has ended."""
    due = expiry(target, request)
    return due.key, due.event.id
