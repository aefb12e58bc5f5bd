"""Spans that OpenTelemetry's SDK exports, made from scopes and journals. Their ids are functions of their cause."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_NAMESPACE, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from greenlight.events import ids
from greenlight.events.context import Context
from greenlight.telemetry.tracing import INTERNAL, OUTPUT, Recording, step_ids

MAX_TEXT = 256
"""Characters of an attribute's value."""

MAX_LIST = 16
"""Parts of an attribute that is a list."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_FINE = Status(StatusCode.UNSET)


@cache
def resource_of(service: str) -> Resource:
    """Return a service's resource: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, or else its own name."""
    given = Resource.create()
    if not str(given.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        return given
    return given.merge(Resource({SERVICE_NAME: service, SERVICE_NAMESPACE: "greenlight"}))


@cache
def _library(service: str) -> InstrumentationScope:
    return InstrumentationScope(f"greenlight.{service}")


def _span(
    service: str,
    name: str,
    context: SpanContext,
    parent: str | None,
    kind: str,
    start: int,
    end: int,
    attributes: Mapping[str, Any],
    links: Sequence[Context] = (),
    error: str | None = None,
) -> ReadableSpan:
    """Make a span that has ended. Ids are hex; times are nanoseconds since 1970; `error` is a kind, never a message."""
    return ReadableSpan(
        name=_text(name),
        context=context,
        parent=None if parent is None else SpanContext(context.trace_id, int(parent, 16), False, _SAMPLED),
        resource=resource_of(service),
        attributes=dict(_attributes(attributes)),
        links=[Link(_context(link.trace, link.span)) for link in links],
        kind=SpanKind[kind],
        instrumentation_scope=_library(service),
        status=_FINE if error is None else Status(StatusCode.ERROR, _text(error)),
        start_time=start,
        end_time=max(end, start),
    )


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), False, _SAMPLED)


def _attributes(attributes: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Yield the attributes whose value is a text, a number, a boolean or a list, cut to what a backend takes.

    What a command printed stays here.
    """
    for name, value in attributes.items():
        if name == OUTPUT:
            continue
        if isinstance(value, str):
            yield _text(name), _text(value)
        elif isinstance(value, (bool, float)) or (isinstance(value, int) and -(2**63) <= value < 2**63):
            yield _text(name), value
        elif isinstance(value, (list, tuple)):
            yield _text(name), tuple(_text(str(part)) for part in value[:MAX_LIST])


def _text(text: str) -> str:
    """Cut a text, and replace what UTF-8 cannot carry: one such character would lose a whole batch."""
    return text[:MAX_TEXT] if text.isascii() else text[:MAX_TEXT].encode("utf-8", "replace").decode()


def of_scope(scope: Recording) -> Iterable[ReadableSpan]:
    """Yield a scope's own span, then those of its steps."""
    own = ids.span_id(scope.key, scope.step)
    yield _span(
        scope.service, scope.name, _context(scope.trace, own), scope.parent, scope.kind, scope.start, scope.end,
        scope.attributes, scope.links, scope.error,
    )  # fmt: skip
    made: dict[int, str] = {}
    names = step_ids(scope.service, scope.key, [(step.name, step.key) for step in scope.steps])
    for step, span in zip(scope.steps, names, strict=True):
        made[id(step)] = span
        parent = step.parent or (own if step.outer is None else made.get(id(step.outer), own))
        yield _span(
            scope.service, step.name, _context(scope.trace, span), parent, step.kind, step.start, step.end or scope.end,
            step.attributes, (), step.error,
        )  # fmt: skip


def of_waterfall(span: Mapping[str, Any], repo: str, sha: str, end: str) -> ReadableSpan:
    """Return one span of a waterfall. A retry or rollback is a trace of its own, and links to the commit's."""
    commit = ids.trace_id(repo, sha)
    attributes = {"repo": repo, "commit": sha, **span["attributes"]}
    trace_id = attributes.pop("trace_id", commit)
    apart = trace_id != commit and span["parent_id"] == ids.root_span_id(repo, sha)
    return _span(
        span["service"],
        span["name"],
        _context(trace_id, span["span_id"]),
        None if apart else span["parent_id"],
        INTERNAL,
        _nanoseconds(span["start"]),
        _nanoseconds(end),
        attributes,
        (Context(commit, span["parent_id"]),) if apart else (),
        attributes["outcome"] if attributes.get("outcome") in ("failed", "error") else None,
    )


def _nanoseconds(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1) * 1000
