"""The handling of an event, however it came: the handler of its type, the emitted events, and the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from greenlight.events import Event, types
from greenlight.events.build import is_fact
from greenlight.ledger.overlay import GivenUp
from greenlight.ledger.port import Unreadable
from greenlight.lib.errors import Problem, phrase, problem_json
from greenlight.service.deps import Deps
from greenlight.service.health import DOWN
from greenlight.service.reading import reading_of
from greenlight.telemetry import metrics
from greenlight.telemetry.tracing import CONSUMER, PRODUCER, Scope, Step, step

D = TypeVar("D", bound=Deps)

Handler = Callable[[Event, D], Sequence[Event]]
"""From one event to the events that its own ledger transaction emitted."""

HandlerOf = Callable[[Event], Handler[D] | None]
"""From an event to its handler; None: the service does not handle such events."""

MAX_EVENT = 1 << 20
"""Bytes of one event's data: what Kafka's data plane takes; CloudEvents promises 64 KiB."""

MAX_REFUSAL = 768
"""Bytes of an answer that refuses an event. One more ends the dispatcher of Knative's in-memory channel, with all that it
carries, where the Trigger has a dead-letter sink (seen on Eventing 1.23)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an event, as a status of HTTP.

    200 with the one event that follows, `reply`; 202: done, nothing to do, not for this service, or set aside, because a row
    cannot be read; with a `problem` (RFC 9457, as JSON) 400 not an event, 413 too big, 415 not understood, 422 can never
    succeed, 500 an error of the service, 503 a dependency is down. Knative retries 404, 408, 409, 429 and 5xx only.
    """

    status: int
    reply: Event | None = None
    problem: str = ""


class TooLarge(Problem):
    """The event is larger than any broker promises to carry."""

    status = 413


class EventService(Generic[D]):
    """One service: a function from an event to an outcome. service/edge.py serves it over HTTP."""

    def __init__(
        self, name: str, handlers: Mapping[str, Handler[D]], deps: D, more: Mapping[str, HandlerOf[D]] | None = None
    ) -> None:
        """Hand each event that comes to `/` to the handler of its type, and events to the paths of `more` to theirs."""
        self.name, self.deps = name, deps
        self.paths: Mapping[str, HandlerOf[D]] = {"/": partial(_handler_of, handlers), **(more or {})}
        self._log = deps.log.getChild(name)

    def handle(self, event: Event, path: str = "/", traceparent: str | None = None) -> Outcome:
        """Handle an event that came to `path`, with this W3C header beside it. Never raises. Raises KeyError for no path."""
        handler_of = self.paths[path]
        with self.deps.tracer.scope(self.name, "read event", CONSUMER) as scope:
            try:
                outcome = self._handled(event, handler_of, traceparent, scope)
            except Unreadable as problem:
                # Sent again, it would find the same row. It stays due, so that it comes once the row is mended.
                self._log.warning("set aside: %s", problem)
                scope.failed(type(problem).__name__)
                return self._done("set aside")
            except Exception as problem:
                outcome = self.refused(problem)
                scope.failed(type(problem).__name__)
            scope.note("http.response.status_code", outcome.status)
        return outcome

    def refused(self, problem: Exception) -> Outcome:
        """Return the outcome of an event that could not be read or handled: the status of its exception."""
        if isinstance(problem, GivenUp):
            self._log.debug("left to the Broker: %s", problem)
            return Outcome(problem.status, problem=problem_json(problem.status, _brief(str(problem))))
        if isinstance(problem, Problem):
            metrics.handled(self.name, DOWN if problem.status == 503 else phrase(problem.status).lower())
            self._log.warning("refused with %d: %s", problem.status, problem)
            return Outcome(problem.status, problem=problem_json(problem.status, _brief(str(problem))))
        metrics.handled(self.name, "error")
        self._log.error("internal error", exc_info=problem)
        return Outcome(500, problem=problem_json(500, "the service's log has the details"))

    def _handled(self, event: Event, handler_of: HandlerOf[D], traceparent: str | None, scope: Scope) -> Outcome:
        if event.data is not None and len(event.data) > MAX_EVENT:
            raise TooLarge(f"an event has at most {MAX_EVENT} bytes of data")
        handler = handler_of(event)
        if handler is None:
            return self._done("not for this service")
        scope.event(event, traceparent)
        with session(event, self.deps):
            reply = self._send(handler(event, self.deps))
        return self._done("done") if reply is None else self._replied(reply)

    def _send(self, events: Sequence[Event]) -> Event | None:
        """Publish the events; each is a step, whose span is the one that the event's own traceparent may name."""
        with ExitStack() as steps:
            for event in events:
                steps.enter_context(sending(event))
            return self.deps.publisher.settle(events)

    def _done(self, outcome: str) -> Outcome:
        metrics.handled(self.name, outcome)
        return Outcome(202)

    def _replied(self, event: Event) -> Outcome:
        metrics.handled(self.name, "replied")
        return Outcome(200, event)


def session(event: Event, deps: Deps) -> AbstractContextManager[None]:
    """Begin the ledger's session in which an event is handled, and answered with what follows."""
    if event.type == types.PING:  # about no commit; and what it emits is not the answer
        return nullcontext()
    return deps.ledger.session(reading_of(event, deps.pipeline()))


def sending(event: Event) -> Step:
    """Return the step of sending one of Greenlight's events."""
    return step("send event", kind=PRODUCER, key=event.id, **{"cloudevents.event_type": event.type})


def _handler_of(handlers: Mapping[str, Handler[D]], event: Event) -> Handler[D] | None:
    return handlers.get(event.type) or (handlers.get(types.FACT) if is_fact(event) else None)


def _brief(detail: str) -> str:
    """Cut a refusal so that the answer stays within MAX_REFUSAL; the log has all of it."""
    room = MAX_REFUSAL - 128  # for what problem_json puts around it
    while len(json.dumps(detail, ensure_ascii=False).encode()) > room:
        detail = detail[: len(detail) * 3 // 4] + "…"
    return detail
