"""The builder of Greenlight's events: the same attributes in all of a kind, so that any Trigger can match them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from greenlight.events import ids
from greenlight.events.event import Event
from greenlight.events.schemas import dataschema

_FACT, _TRUE = "fact", "true"
"""The attribute by which the recorder's Trigger selects facts, whatever their type is called. Its value is a string, as
every value is on the way in binary mode."""


def about_commit(
    type: str,
    *,
    id: str,
    source: str,
    time: datetime,
    repo: str,
    sha: str,
    data: Mapping[str, Any],
    attributes: Mapping[str, str | None] | None = None,
    subject: str | None = None,
    partitionkey: str | None = None,
    traceparent: str | None = None,
) -> Event:
    """Build an event about a commit. `data` comes beside `repo` and `sha`, `attributes` beside those of every event.

    Events of one `partitionkey` stay in order: the repository's, unless another is given. `traceparent` is that of the
    step that sends the event, unless another is given.
    """
    return Event.of(
        type,
        id=id,
        source=source,
        time=time,
        subject=subject,
        dataschema=dataschema(type),
        data={"repo": repo, "sha": sha, **data},
        extensions={
            "repo": repo,
            "commit": sha,
            **(attributes or {}),
            "partitionkey": partitionkey or repo,
            "traceparent": traceparent or ids.traceparent(repo, sha, id, "send event"),
        },
    )


def as_fact(event: Event) -> Event:
    """Return the event with the attribute that every fact's event carries."""
    return replace(event, extensions=MappingProxyType({**event.extensions, _FACT: _TRUE}))


def is_fact(event: Event) -> bool:
    """Return whether the event carries the attribute of facts.

    Anybody may set it: only the ledger knows what is a fact.
    """
    return event.extensions.get(_FACT) == _TRUE


def about_target(
    type: str,
    *,
    id: str,
    source: str,
    time: datetime,
    repo: str,
    application: str,
    environment: str,
    partitionkey: str,
    data: Mapping[str, Any],
) -> Event:
    """Build an event about a target and no commit, so that it belongs to no commit's trace."""
    return Event.of(
        type,
        id=id,
        source=source,
        time=time,
        dataschema=dataschema(type),
        data=data,
        extensions={"repo": repo, "application": application, "environment": environment, "partitionkey": partitionkey},
    )
