"""Facts that are made here: what a person says of a commit, or the policy in a person's place. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from greenlight.events import Event, ids
from greenlight.events.schemas import dataschema
from greenlight.ledger.rows import PATIENCE, Due, Fact, Record


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
    """The fact, and when its event is due again. `about` is what the event tells of it besides the commit.

    `details`, where given, is what the ledger keeps of it instead: also what no event may carry.
    """
    ref = next(iter(sorted(record.pushes)), None)
    event = Event.of(
        type,
        id=id,
        source=source,
        time=now,
        subject=record.sha,
        dataschema=dataschema(type),
        data={"repo": record.repo, "sha": record.sha, **({"ref": ref} if ref else {}), **about},
        extensions={
            "repo": record.repo,
            "commit": record.sha,
            "gate": about.get("gate"),
            "application": about["application"],
            "environment": about.get("environment"),
            "partitionkey": record.repo,
            "traceparent": ids.traceparent(record.repo, record.sha, id, "receive"),
        },
    )
    kept = dict(about if details is None else details)
    fact = Fact(event=event, repo=record.repo, sha=record.sha, at=now, accepted=now, details=kept)
    return fact, Due(f"fact/{id}", now + PATIENCE, event)
