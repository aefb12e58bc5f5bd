"""Requests of people to a target: each has a beginning and an end (docs/policy.md). Pure.

    asked ──▶ waiting ──▶ served      its deployment begins
                  ├─────▶ overtaken   a later request's deployment begins, or that of a candidate pushed after it
                  ├─────▶ canceled    a person withdraws it
                  └─────▶ expired     4 h have passed, or what `--for` says; time in which the target is paused does not count

A target serves its newest request before any candidate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from greenlight.model.policy import Policy
from greenlight.model.rows import POLICY, Push, Request, Target
from greenlight.policy.lineage import newer
from greenlight.policy.paths import brought_after
from greenlight.policy.refs import shipped

SERVED_WITHIN = timedelta(hours=4)
"""How long a request waits, unless the person says otherwise."""

MOST = 20
"""Requests that may wait in one target."""


def waiting_requests(target: Target, now: datetime) -> Sequence[Request]:
    """Return the requests that wait, newest first."""
    return [request for request in reversed(target.requests) if not expired(request, target, now)]


def newest_request(target: Target, now: datetime) -> Request | None:
    """Return the request that the target serves next, or None."""
    return next(iter(waiting_requests(target, now)), None)


def expired(request: Request, target: Target, now: datetime) -> bool:
    """Return whether the request has waited too long; while the target is paused its time stands still."""
    return request.until <= (now if target.paused is None else target.paused_at or request.at)


def with_request(target: Target, request: Request) -> Target:
    """Return the target with one more request."""
    return replace(target, requests=(*target.requests, request))


def without(target: Target, ended: Iterable[Request]) -> Target:
    """Return the target without requests that have ended."""
    facts = {request.fact for request in ended}
    return replace(target, requests=tuple(request for request in target.requests if request.fact not in facts))


def paused(target: Target, why: str, now: datetime) -> Target:
    """Return the target, paused by a person."""
    return replace(target, paused=why, paused_at=now)


def resumed(target: Target, now: datetime) -> Target:
    """Return the target, resumed: the time in which it was paused does not count for what waits."""
    since = target.paused_at or now
    later = [
        replace(request, until=request.until + max(now - max(since, request.at), timedelta(0)))
        for request in target.requests
    ]
    return replace(target, paused=None, paused_at=None, requests=tuple(later))


def goes_through_a_pause(request: Request | None) -> bool:
    """Return whether a paused target serves the request all the same: a person's rollback."""
    return request is not None and request.kind == "rollback" and request.person != POLICY


def begun(policy: Policy, target: Target, request: Request | None, push: Push | None, pushes: Sequence[Push]) -> Target:
    """Return the target once a deployment begins: requests that have ended by it are gone, and a new hold may begin.

    `request` is what the deployment serves, `push` is what made its commit a candidate. The policy's own request ends none
    of a person.
    """
    if request is not None and request.person != POLICY:
        ended = [other for other in target.requests if other.at <= request.at]
    elif request is not None:
        ended = []  # what people asked for is still to come
    else:
        ended = [
            other for other in target.requests if push is not None and brought_after(policy, push, other.at, pushes)
        ]
    ended += [other for other in target.requests if other.person == POLICY]  # it was about what came before this one
    return replace(without(target, ended), held=_held(policy, target, request, push, pushes))


def _held(
    policy: Policy, target: Target, request: Request | None, push: Push | None, pushes: Sequence[Push]
) -> Request | None:
    """Return the request that holds candidates back after this deployment has begun.

    A person's rollback does, and a deployment of a commit that has newer candidates which were not pushed after the request;
    a retry and the policy's rollback change nothing. A candidate that goes out by itself was pushed after whatever was held.
    """
    if request is None:
        return None
    if request.kind == "retry" or request.person == POLICY:
        return target.held
    if request.kind == "rollback" or push is None:
        return request
    ahead = (other for other in pushes if shipped(policy, other.ref) and not other.deleted)
    kept = (other for other in ahead if newer(other, push, pushes))
    return request if any(not brought_after(policy, other, request.at, pushes) for other in kept) else None
