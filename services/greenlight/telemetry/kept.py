"""Scopes as bytes, to be kept beside the ledger, and the spans that are made of them again when they are read.

What can be computed later is not stored: a scope has the names and times of its steps, and their ids follow from these.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from greenlight.events import ids, rfc3339
from greenlight.telemetry.tracing import MAX_STEPS, OUTPUT, Recording, step_ids

VERSION = 1
"""The first element of what is stored. Another one is not read."""

TEXT = 256
"""Characters of an attribute's value that are kept."""

PRINTED = 4096
"""Characters of a command's output that are kept: its end."""

WHOLE = 4 << 20
"""Bytes that one stored text may unfold to."""

_NOT_KEPT = frozenset({
    "repo", "commit", "url.path", "http.request.method",
    "cloudevents.event_source", "cloudevents.event_subject", "cloudevents.event_spec_version",
})  # fmt: skip
"""Attributes that are the same for all spans of a commit or a service, or come from outside."""

_encode = json.JSONEncoder(separators=(",", ":")).encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHORT = {"cloudevents.event_id": "event", "cloudevents.event_type": "type", "http.response.status_code": "status"}


def text_of(scope: Recording) -> bytes:
    """Return a scope as JSON, of the deployer's only what a deployment consists of.

    As bytes, because what waits must be nothing that the garbage collector looks at.
    """
    found = _scope(scope)
    try:
        return orjson.dumps(found)
    except orjson.JSONEncodeError:  # half a surrogate pair, or a number of more than 64 bits
        return _encode(found).encode()


def packed(texts: Sequence[bytes]) -> bytes:
    """Return the texts of scopes of one trace, packed."""
    return zlib.compress(b"[%d,%b]" % (VERSION, b",".join(texts)), 1)


def unpacked(body: bytes) -> Iterator[dict[str, Any]]:
    """Yield the spans of what `packed` returned, as the API shows them; nothing where it cannot be read."""
    try:
        version, *scopes = json.loads(zlib.decompressobj().decompress(body, WHOLE))
        found = [span for scope in scopes for span in _spans(*scope)] if version == VERSION else []
    except (zlib.error, ValueError, TypeError, IndexError, OverflowError):  # a detail: the journal is what must hold
        return
    yield from found


def count(scope: Recording) -> int:
    """Return the spans of a scope."""
    return len(scope.steps) + 1


def _scope(scope: Recording) -> list[Any]:
    steps = [step for step in scope.steps if step.key is not None] if scope.service == "deployer" else scope.steps
    places = {id(step): n for n, step in enumerate(steps)}
    return [
        *(scope.service, None if scope.service == "deployer" else scope.name, scope.key, scope.step, scope.cause),
        *(scope.start // 1000, scope.end // 1000, _attributes(scope.attributes, scope.error)),
        [
            [
                *(step.name, step.key, step.parent, places.get(id(step.outer))),
                *(step.start // 1000, (step.end or scope.end) // 1000),
                _attributes(step.attributes, step.error) if step.attributes or step.error else None,
            ]
            for step in steps
        ],
    ]


def _attributes(attributes: Mapping[str, Any], error: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in attributes.items():
        if name not in _NOT_KEPT:
            if isinstance(value, str):
                found[_SHORT.get(name, name)] = value[-PRINTED:] if name == OUTPUT else value[:TEXT]
            elif isinstance(value, (int, float)):
                found[_SHORT.get(name, name)] = value
    if error is not None:
        found["error"] = error
    return found


def _spans(
    service: str, name: str | None, key: str, step: str, cause: str | None, start: int, end: int, about: Any, steps: Any
) -> Iterator[dict[str, Any]]:
    above = cause  # of a scope that is not kept itself
    if name is not None:
        above = ids.span_id(key, step)
        yield _span(above, cause, name, service, start, end, about)
    made = list(step_ids(service, key, [(one[0], one[1]) for one in steps[:MAX_STEPS]]))
    for id, (title, _, parent, outer, began, ended, more) in zip(made, steps, strict=False):
        yield _span(id, parent or (above if outer is None else made[outer]), title, service, began, ended, more)


def _span(id: str, parent: str | None, name: str, service: str, start: int, end: int, about: Any) -> dict[str, Any]:
    return {
        "span_id": id,
        "parent_id": parent,
        "name": str(name),
        "service": str(service),
        "start": _time(start),
        "end": _time(max(start, end)),
        "attributes": dict(about or {}),
    }


def _time(micros: int) -> str:
    return rfc3339(_EPOCH + timedelta(microseconds=micros))
