"""Any CloudEvent of a sender: `POST /webhooks/events/SENDER`, of 1.0, 0.3 or 0.2, Standard Webhooks headers."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from greenlight.events import Event, ids, types
from greenlight.events.attributes import safe
from greenlight.events.context import parse
from greenlight.events.http import NotAnEvent
from greenlight.events.legacy import from_http_any
from greenlight.lib.errors import Malformed, Rejected
from greenlight.lib.strictjson import BadJson, loads
from greenlight.model.policy import Pipeline
from greenlight.model.rows import Fact
from greenlight.policy import signals
from greenlight.policy.gates.event import Event as EventGate
from greenlight.service.secrets import Files, Secret
from greenlight.webhooks.facts import MAX_DATA, fact
from greenlight.webhooks.provider import (
    Delivery,
    Ignored,
    Place,
    Provider,
    artifacts_at,
    counted,
    evidence_of,
    get,
    in_body,
    micros,
    need,
    repo_of,
    sha_at,
    shown,
    time_at,
)
from greenlight.webhooks.providers.gates import sent_at, standard

MOST_FIELDS, MOST_CHARACTERS = 64, 256
"""Of an event's data, what a gate can compare: so many fields, and texts of that length."""

_OURS = re.compile(r"fact|repo|commit|branch|gate|outcome|application|environment|partitionkey|traceparent|knative.*")
"""Attributes that Triggers match and the Broker counts by: a sender does not speak in them."""


class Events(Provider):
    """CloudEvents of a sender: a secret `events-SENDER` is valid for that sender's events only."""

    label = "events"
    files = Files("events", "SENDER", standard=True)
    only_json = False

    def pointed(self, place: Place) -> str:
        return (
            f"Point the sender {place.name} at it: {place.url}, CloudEvents signed as Standard Webhooks say, the secret in "
            f"{place.secret}"
        )

    def verify(self, delivery: Delivery, secrets: Sequence[Secret]) -> Sequence[Secret]:
        return standard(delivery, secrets)

    def fact(self, delivery: Delivery, pipeline: Pipeline) -> Fact | Ignored:
        try:
            sent = from_http_any(delivery.headers, delivery.body)
        except NotAnEvent as problem:
            raise Malformed(str(problem)) from None
        if sent.type.startswith(types.RESERVED_PREFIXES):
            raise Rejected(f"the type {sent.type[:64]!r} is accepted on its own route only")
        return _fact(sent, _data(sent, delivery), delivery, pipeline)


def _data(sent: Event, delivery: Delivery) -> dict[str, Any]:
    """Return the event's data. Raises Malformed (400) if the body should be JSON and is not, Rejected (422)."""
    if sent.data is None:
        raise Rejected("data is missing")
    try:
        data = loads(sent.data)
    except BadJson as problem:
        raise (Malformed if sent.data == delivery.body else Rejected)(f"data: {problem}") from None
    if not isinstance(data, dict):
        raise Rejected("data is not a JSON object with repo and sha")
    return data


def _fact(sent: Event, data: dict[str, Any], delivery: Delivery, pipeline: Pipeline) -> Fact:
    sender, now = delivery.name, delivery.now
    repo, sha = repo_of(need(data, "repo", str)), sha_at(data, "sha")
    ref = get(data, "ref")
    if ref is not None and not isinstance(ref, str):
        raise Rejected("data.ref is not a string")
    given = time_at({"time": sent.time}, "time")
    signed = given or sent_at(delivery)
    content = json.dumps([str(shown(given)), data], sort_keys=True)  # a sender may use an id again for another report
    id = ids.derive(sent.type, repo, sha, sender, sent.source, sent.id, content)
    traced = parse(sent.extensions.get("traceparent")) is not None
    size = len(sent.data or b"")
    rest = {"body": in_body(delivery, size)} if size > MAX_DATA else {}
    evidence, first = get(data, "evidence"), _asked_for(pipeline, repo)
    made = fact(
        delivery,
        sent.type,
        id=id,
        source=sent.source,
        repo=repo,
        sha=sha,
        moment=given,
        signed=signed,
        refs=(ref,) if ref else (),
        more=rest,
        signal=signals.event(sent.type, sender),
        order=(micros(counted(signed, now)),),
        evidence=evidence_of(evidence, delivery) if isinstance(evidence, (str, dict)) else None,
        artifacts=artifacts_at(data, "artifacts"),
        details={"data": _compared(data, first), **({"traceparent": sent.extensions["traceparent"]} if traced else {})},
    )
    return replace(made, event=_passed_on(sent, made.event, sender, cut=bool(rest)))


def _passed_on(sent: Event, made: Event, sender: str, *, cut: bool) -> Event:
    """Return the sender's event with Greenlight's id and attributes.

    With `cut`, Greenlight's data replaces its own.
    """
    kept = {name: value for name, value in sent.extensions.items() if safe(value) and not _OURS.fullmatch(name)}
    data: dict[str, Any] = (
        {"data": made.data, "datacontenttype": made.datacontenttype, "dataschema": None} if cut else {}
    )
    return replace(
        sent,
        id=made.id,
        subject=sent.subject if sent.subject and safe(sent.subject) else None,
        source=sent.source if safe(sent.source) else f"events/{sender}",
        time=sent.time or made.time,
        extensions=MappingProxyType({**kept, **made.extensions}),
        **data,
    )


def _asked_for(pipeline: Pipeline, repo: str) -> Collection[str]:
    """Return the fields of data that gates of a repository compare."""
    gates = (gate for policy in pipeline.of(repo) for gate in policy.gates.values())
    return {name for gate in gates if isinstance(gate, EventGate) for name in gate.where or ()}


def _compared(data: dict[str, Any], first: Collection[str]) -> dict[str, Any]:
    """Return the fields of data that a gate's `where` compares, those `first` that gates ask for now.

    A list or an object, or a long text, equals nothing that a gate may ask for, and is kept as a list of what it is. The
    stored body has all of it.
    """
    names = sorted(data, key=lambda name: name not in first)[:MOST_FIELDS]
    return {name: data[name] if _is_plain(data[name]) else [_described(data[name])] for name in names}


def _is_plain(value: Any) -> bool:
    return not isinstance(value, (list, dict)) and len(str(value)) <= MOST_CHARACTERS


def _described(value: Any) -> str:
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "an object"
    return f"{len(str(value))} characters long"
