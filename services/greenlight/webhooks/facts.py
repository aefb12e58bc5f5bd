"""The one builder of facts from webhooks, and the reader of their JSON bodies: the same for every provider."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from greenlight.events import ids
from greenlight.events.build import about_commit, as_fact
from greenlight.lib.errors import Malformed, Rejected
from greenlight.lib.strictjson import BadJson, loads
from greenlight.model.rows import Fact
from greenlight.webhooks.provider import Delivery, ahead, counted

MAX_DATA = 64 << 10
"""Bytes of an event's data: what every intermediary must carry (CloudEvents 1.0, size limits)."""


def json_object(delivery: Delivery) -> dict[str, Any]:
    """Return the body, which must be a JSON object. Raises Malformed."""
    try:
        payload = loads(delivery.body)
    except BadJson as problem:
        raise Malformed(str(problem)) from None
    if not isinstance(payload, dict):
        raise Malformed("the body is not a JSON object")
    return payload


def fact(
    delivery: Delivery,
    type: str,
    *,
    id: str,
    source: str,
    repo: str,
    sha: str,
    moment: datetime | None,
    signed: datetime | None = None,
    refs: tuple[str, ...] = (),
    subject: str | None = None,
    more: Mapping[str, Any] | None = None,
    gate: str | None = None,
    outcome: str | None = None,
    details: Mapping[str, Any] | None = None,
    **known: Any,
) -> Fact:
    """Build the fact that a delivery reports, with its event.

    `moment` is the time that the body gives, None for none; `signed` another time of the sender's that stands in for it;
    `more` what the event's data has beside the commit and its ref; `known` further fields of the fact. Raises Rejected for
    data that is too large for every Broker.
    """
    now = delivery.now
    at = counted(moment, now) or now
    ref = refs[0] if refs else None
    event = about_commit(
        type,
        id=id,
        source=source,
        time=at,
        repo=repo,
        sha=sha,
        data={**({"ref": ref} if ref else {}), **(more or {})},
        attributes={"branch": ref.removeprefix("refs/heads/") if ref else None, "gate": gate, "outcome": outcome},
        subject=subject,
        traceparent=ids.traceparent(repo, sha, id, "receive"),
    )
    if len(event.data or b"") > MAX_DATA:
        raise Rejected(f"what it says of the commit takes more than {MAX_DATA} bytes")
    return Fact(
        event=as_fact(event),
        repo=repo,
        sha=sha,
        at=at,
        accepted=now,
        body=delivery.digest,
        refs=refs,
        outcome=outcome,
        details={**(details or {}), **ahead(moment or signed, now)},
        **known,
    )
