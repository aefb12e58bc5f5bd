"""Tracing, as services use it: a scope for what is being handled, and steps within it.

Nothing here knows OpenTelemetry. A scope is one span, and its steps are spans below it. They are named while it is
open: most of a request has happened before anybody knows which commit it is about. Its ids are functions of the event
that it is about (events.ids), so that a redelivery has the same ones. A scope without a name leaves no trace, and
where tracing is off nothing is kept at all.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar, Token
from datetime import datetime
from types import TracebackType
from typing import Any

from greenlight.events import Event, ids
from greenlight.events.context import Context, parse

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"
"""Kinds of spans, as OpenTelemetry names them."""

MAX_STEPS = 64
"""Steps that one scope keeps; a push may have hundreds of candidates decided again, which are other commits' business."""

OUTPUT = "output"
"""The attribute with what a command printed: it is kept beside the ledger, and never exported."""

Waterfall = Callable[[str, str], Sequence[Mapping[str, Any]]]
"""The spans of a commit (repo, sha) as its journals have them; see board.waterfall."""

_current: ContextVar[Recording | None] = ContextVar("scope", default=None)


class Step:
    """A part of a scope, as a context manager. This one is used outside of any scope: it keeps nothing."""

    __slots__ = ()

    def note(self, **attributes: Any) -> None:
        """Add attributes to the step."""

    def expected(self) -> None:
        """Mark the exception that ends the step as no error: for example, another writer was faster."""

    def __enter__(self) -> Step:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass


class Scope:
    """One span with its steps, as a context manager. This one is used while tracing is off: it keeps nothing."""

    __slots__ = ()

    traceparent: str | None = None
    """What tells the next hop of this span; None while it has no name, or where it is not to be recorded."""

    def arrival(
        self, event: Event, repo: str, sha: str, signal: str | None, outcome: str | None, links: Sequence[Context] = ()
    ) -> None:
        """Mark the scope as the arrival of a fact: a child of its commit.

        `links`: places in traces of the sender's own.
        """

    def event(self, event: Event, header: str | None) -> None:
        """Mark the scope as a service's handling of this event.

        It is a child of the request's `header`, or of the event's cause.
        """

    def hop(self, event: Event, header: str | None, step: str) -> None:
        """Mark the scope as a hop of any event: a child of its request or its cause; without either, nothing."""

    def note(self, key: str, value: Any) -> None:
        """Add attributes to the scope."""

    def failed(self, kind: str) -> None:
        """Note that the scope ended with an error of that kind. Never a message, which may contain anything."""

    def __enter__(self) -> Scope:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass


NO_SCOPE, NO_STEP = Scope(), Step()


def step(
    name: str, *, kind: str = INTERNAL, key: str | None = None, parent: str | None = None, **attributes: Any
) -> Step:
    """Return a step of this thread's scope. `key`: the event whose step it is, if not the scope's; `parent`: a span."""
    scope = _current.get()
    return NO_STEP if scope is None else _Recorded(scope, name, kind, key, parent, attributes)


def past(name: str, start: datetime, end: datetime, *, key: str, parent: str, **attributes: Any) -> None:
    """Add to this thread's scope a step that is over, as `step` would have; `duration_ms` becomes one of its attributes."""
    scope = _current.get()
    if scope is not None and len(scope.steps) < MAX_STEPS:
        length = round((end - start).total_seconds() * 1000, 1)
        done = _Recorded(scope, name, INTERNAL, key, parent, {"duration_ms": length, **attributes})
        done.start, done.end = (round(time.timestamp() * 1_000_000) * 1000 for time in (start, end))
        scope.steps.append(done)


def step_ids(service: str, event: str, steps: Iterable[tuple[str, str | None]]) -> Iterator[str]:
    """Yield the span id of each step (name, key) of a scope about `event`: of steps that are called alike, by their place."""
    times: Counter[tuple[str, str | None]] = Counter()
    for name, key in steps:
        times[name, key] += 1
        nth = name if times[name, key] == 1 else f"{name} {times[name, key]}"
        yield ids.span_id(key, nth) if key else ids.span_id(event, f"{service}: {nth}")


def current() -> Scope:
    """Return this thread's scope, to name it where its name is known; one that keeps nothing if there is none."""
    return _current.get() or NO_SCOPE


def receive_name(type: str, signal: str | None) -> str:
    """Return the name of the span of a fact's arrival, here and in the waterfall."""
    return f"receive {type} {(signal or '').partition(':')[2]}".rstrip()


class Tracer:
    """The receiver of scopes. This one is tracing that is off."""

    def scope(self, service: str, name: str, kind: str = INTERNAL) -> Scope:
        """Return a scope as a context manager."""
        return NO_SCOPE

    def ended(self, scope: Recording) -> None:
        """Take a scope that has ended, in the thread that it was of. Never raises, and never waits."""

    def touched(self, repo: str, sha: str) -> None:
        """Note that a journal has news about that commit."""

    def instrument(self, app: Any) -> None:
        """Have a Flask app make a span of each request that is part of a trace."""

    def below(self, traceparent: str | None) -> str | None:
        """Return the parent of a request's spans: the span that its app made, if there is one, else its traceparent."""
        return traceparent

    def start(self, waterfall: Waterfall | None) -> None:
        """Begin to export; with `waterfall`, also the spans that end in the journals of touched commits."""

    def stop(self, timeout: float) -> None:
        """Export what is left, for at most `timeout` seconds."""


OFF = Tracer()


class Recording(Scope):
    """A scope that is kept. The exporter does everything that costs time."""

    __slots__ = (
        "_keep",
        "_token",
        "attributes",
        "cause",
        "context",
        "end",
        "error",
        "key",
        "kind",
        "links",
        "name",
        "open",
        "parent",
        "sampled",
        "service",
        "start",
        "step",
        "steps",
        "trace",
        "traceparent",
    )

    def __init__(self, keep: Callable[[Recording], None], service: str, name: str, kind: str) -> None:
        self._keep, self.service, self.name, self.kind = keep, service, name, kind
        self.key = self.step = self.trace = ""
        self.parent: str | None = None
        self.cause: str | None = None  # the parent, as far as Greenlight's own events name it: no hop of a broker
        self.sampled: bool | None = None  # what a third party decided about its trace; None: it is for us to decide
        self.traceparent = None
        self.attributes: dict[str, Any] = {}
        self.links: Sequence[Context] = ()
        self.steps: list[_Recorded] = []
        self.open: _Recorded | None = None
        self.error: str | None = None
        self.start = self.end = 0  # nanoseconds since 1970
        self._token: Token[Recording | None] | None = None

    def arrival(
        self, event: Event, repo: str, sha: str, signal: str | None, outcome: str | None, links: Sequence[Context] = ()
    ) -> None:
        self.name, self.key, self.step = receive_name(event.type, signal), event.id, "receive"
        self.trace, self.parent = ids.trace_id(repo, sha), ids.root_span_id(repo, sha)
        self.cause = self.parent
        self.links = links
        self._about(event)
        about = {
            "repo": repo,
            "commit": sha,
            "gate": event.extensions.get("gate"),
            "signal": signal,
            "outcome": outcome,
        }
        self.attributes |= {name: value for name, value in about.items() if value is not None}

    def event(self, event: Event, header: str | None) -> None:
        named = event.extensions.get("traceparent")
        sent = parse(named)
        if sent is None or "commit" not in event.extensions:
            return  # an event of a third party
        brought = sent if header == named else parse(header)
        self.key, self.step, self.trace = event.id, f"{self.service}: {self.name}", sent.trace
        self.parent = brought.span if brought is not None and brought.trace == sent.trace else sent.span
        self.cause = sent.span
        self._about(event)
        for name in ("repo", "commit", "application", "environment", "gate", "outcome"):
            value = event.extensions.get(name)
            if value is not None:
                self.attributes[name] = value

    def hop(self, event: Event, header: str | None, step: str) -> None:
        brought = parse(header)
        context = brought or parse(event.extensions.get("traceparent"))
        if context is None or not context.sampled:
            return
        self.key, self.step = f"{event.source}\n{event.id}", step
        self.trace, self.parent = context.trace, context.span
        self.sampled = None if brought is None else True
        self.traceparent = Context(self.trace, ids.span_id(self.key, step)).traceparent
        self._about(event)

    def note(self, key: str, value: Any) -> None:
        self.attributes[key] = value

    def failed(self, kind: str) -> None:
        self.error = kind

    def _about(self, event: Event) -> None:
        self.attributes["cloudevents.event_id"] = event.id
        self.attributes["cloudevents.event_source"] = event.source
        self.attributes["cloudevents.event_type"] = event.type
        self.attributes["cloudevents.event_spec_version"] = "1.0"
        if event.subject is not None:
            self.attributes["cloudevents.event_subject"] = event.subject

    def __enter__(self) -> Recording:
        self._token = _current.set(self)
        self.start = time.time_ns()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end = time.time_ns()
        assert self._token is not None
        _current.reset(self._token)
        if kind is not None:
            self.error = kind.__name__
        if self.key:
            self._keep(self)
        self.steps.clear()  # a step names its scope: without this, both would be left to the garbage collector


class _Recorded(Step):
    """A step that is kept, below the step that was open when it began."""

    __slots__ = ("_scope", "attributes", "end", "error", "key", "kind", "name", "ok", "outer", "parent", "start")

    def __init__(
        self, scope: Recording, name: str, kind: str, key: str | None, parent: str | None, attributes: dict[str, Any]
    ) -> None:
        self._scope, self.name, self.kind, self.key, self.parent = scope, name, kind, key, parent
        self.attributes = attributes
        self.outer: _Recorded | None = None
        self.error: str | None = None
        self.ok = False
        self.start = self.end = 0

    def note(self, **attributes: Any) -> None:
        self.attributes.update(attributes)

    def expected(self) -> None:
        self.ok = True

    def __enter__(self) -> _Recorded:
        scope = self._scope
        if len(scope.steps) < MAX_STEPS:
            scope.steps.append(self)
        self.outer, scope.open = scope.open, self
        self.start = time.time_ns()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end = time.time_ns()
        self._scope.open = self.outer
        if kind is not None and not self.ok:
            self.error = kind.__name__
