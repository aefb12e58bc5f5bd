"""Export of what was traced: one thread, a bounded queue, no back-pressure. The only home of OpenTelemetry's SDK.

Switched on by the standard environment variables. The SDK reads what they say of sampling and of the resource, and is imported
by the exporting thread, so that no start waits for it. Spans reach the wire without it (runtime.otlp), because its own way
costs a commit many times as much: docs/decisions/0006-tracing-by-hand.md.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from greenlight.events import ids
from greenlight.events.context import Context
from greenlight.lib.errors import ConfigurationError
from greenlight.telemetry import metrics
from greenlight.telemetry.otlp import Console, Destination, Otlp, Span, Verdict, wrong
from greenlight.telemetry.tracing import INTERNAL, Recording, Scope, Tracer, Waterfall

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.sampling import Sampler

RETRIES = (1.0, 2.0, 4.0)
"""Seconds before a batch is sent again that was not taken, where the one before it was."""

SEEN = 16_384
"""Span ids that are remembered, so that a redelivery adds no span a second time."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LIVE = ("webhooks", "board")
"""Services whose spans in the waterfall are told as they happen, with what is inside them."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Where spans go, and which."""

    destination: Destination
    sampler: Sampler


@dataclass(frozen=True, slots=True)
class Limits:
    """OTEL_BSP_MAX_QUEUE_SIZE and OTEL_BSP_MAX_EXPORT_BATCH_SIZE in spans, OTEL_BSP_SCHEDULE_DELAY in seconds here."""

    queue: int = 8192
    batch: int = 512
    delay: float = 5.0


def exporting(env: Mapping[str, str], service: str | None, log: logging.Logger) -> Exporting:
    """A tracer as the environment says. Raises ConfigurationError with everything that is wrong, a line each."""
    exporter = env.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    problems = []
    if exporter not in ("", "otlp", "console"):
        problems.append(f"OTEL_TRACES_EXPORTER is {exporter!r}; there are otlp, console and none")
    protocol = env.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or env.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in (None, "", "http/protobuf"):
        problems.append(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; only http/protobuf is spoken, which backends take on port 4318"
        )
    limits = _limits(env, problems)
    problems += wrong(env)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return Exporting(lambda: _backend(env, console=exporter == "console"), service, limits, log)


def _limits(env: Mapping[str, str], problems: list[str]) -> Limits:
    usual = Limits()

    def number(name: str, default: int) -> int:
        text = env.get(name) or str(default)
        if text.isascii() and text.isdecimal() and int(text):
            return int(text)
        problems.append(f"{name} is {text!r}; it must be a number over 0")
        return default

    return Limits(
        queue=number("OTEL_BSP_MAX_QUEUE_SIZE", usual.queue),
        batch=number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", usual.batch),
        delay=number("OTEL_BSP_SCHEDULE_DELAY", int(usual.delay * 1000)) / 1000,
    )


def _backend(env: Mapping[str, str], *, console: bool) -> Backend:
    """What the environment says of sampling and resource, read by the SDK itself; and where spans go."""
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_NAMESPACE, Resource
    from opentelemetry.sdk.trace import TracerProvider

    given = Resource.create()
    named = not str(given.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service")

    def resource(service: str) -> Mapping[str, Any]:
        return (
            given.attributes if named else {**given.attributes, SERVICE_NAME: service, SERVICE_NAMESPACE: "greenlight"}
        )

    destination = Console(resource) if console else Otlp(env, resource)
    return Backend(destination, TracerProvider(shutdown_on_exit=False).sampler)


class Exporting(Tracer):
    """Tracing that is on. What is kept waits in a bounded queue; what does not fit, or nobody takes, is dropped and counted."""

    def __init__(self, build: Callable[[], Backend], service: str | None, limits: Limits, log: logging.Logger) -> None:
        self._build, self._service, self._limits, self._log = build, service, limits, log.getChild("tracing")
        self._waterfall: Waterfall | None = None
        self._began = datetime.now(UTC)
        self._lock = threading.Lock()
        self._queue: deque[Recording] = deque()
        self._waiting = 0
        self._touched: dict[tuple[str, str], None] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._taken = True
        self._thread = threading.Thread(target=self._run, name="tracing", daemon=True)

    def scope(self, service: str, name: str, kind: str = INTERNAL) -> Scope:
        return Recording(self._keep, service, name, kind)

    def touched(self, repo: str, sha: str) -> None:
        with self._lock:
            if len(self._touched) < self._limits.queue:
                self._touched[repo, sha] = None

    def start(self, waterfall: Waterfall | None) -> None:
        self._waterfall = waterfall
        self._thread.start()

    def stop(self, timeout: float) -> None:
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _keep(self, scope: Recording) -> None:
        """Never waits for the exporting thread: a lock around a few assignments is all that is shared."""
        size = 1 + len(scope.steps)
        with self._lock:
            full = self._waiting + size > self._limits.queue
            if not full:
                self._queue.append(scope)
                self._waiting += size
        if full:
            metrics.SPANS.labels("dropped").inc(size)
        elif self._waiting >= self._limits.batch and not self._wake.is_set():
            self._wake.set()

    # In the exporting thread.

    def _run(self) -> None:
        try:
            backend = self._build()
        except Exception:
            self._log.exception("tracing cannot begin, and stays off")
            self._limits = Limits(queue=0)
            return
        sampled = _Sampling(backend.sampler)
        while not self._stopping.is_set():
            self._wake.wait(self._limits.delay)
            self._wake.clear()
            self._flush(backend, sampled)
        self._flush(backend, sampled)
        backend.destination.close()

    def _flush(self, backend: Backend, sampled: _Sampling) -> None:
        with self._lock:
            scopes, self._queue, self._waiting = self._queue, deque(), 0
            touched, self._touched = self._touched, {}
        try:
            found = [span for scope in scopes for span in _of_scope(scope)]
            found += [span for repo, sha in touched for span in self._of_journal(repo, sha)]
            spans = [span for span in self._fresh(found) if sampled(span)]
        except Exception:
            self._log.exception("an error of ours; what was traced is lost")
            return
        for first in range(0, len(spans), self._limits.batch):
            self._export(backend, spans[first : first + self._limits.batch])

    def _export(self, backend: Backend, spans: Sequence[Span]) -> None:
        """Send a batch, a few times if that may help; then it is dropped, and counted."""
        verdict = backend.destination.export(spans)
        for pause in RETRIES if self._taken else ():
            if verdict is not Verdict.LATER or self._stopping.wait(pause):
                break
            verdict = backend.destination.export(spans)
        taken = verdict is Verdict.TAKEN
        metrics.SPANS.labels("exported" if taken else "dropped").inc(len(spans))
        if taken != self._taken:
            self._log.warning(
                "spans are exported again"
                if taken
                else "spans are not taken where OTEL_EXPORTER_OTLP_ENDPOINT says; until they are, they are dropped and "
                "counted in greenlight_spans_total"
            )
            self._taken = taken

    def _fresh(self, spans: Iterable[Span]) -> Iterable[Span]:
        """Those that were not exported before."""
        for span in spans:
            if span.span in self._seen:
                continue
            if span.final:
                self._seen[span.span] = None
                if len(self._seen) > SEEN:
                    self._seen.popitem(last=False)
            yield span

    def _of_journal(self, repo: str, sha: str) -> Iterable[Span]:
        """What has ended in the commit's journals: the waterfall itself, so that the two cannot differ.

        What had ended before this process began was for an earlier one to tell.
        """
        try:
            spans = self._waterfall(repo, sha) if self._waterfall else ()
        except Exception as problem:
            self._log.warning("the journals of %s@%s cannot be read: %s", repo, sha[:7], problem)
            return
        last = max((span["end"] or span["start"] for span in spans), default="")
        for span in spans:
            root = span["parent_id"] is None
            end = span["end"] or (last if root else None)
            if end is None or not self._ours(span["service"]):
                continue
            if datetime.fromisoformat(span["start"] if root else end) < self._began:
                continue
            yield _of_waterfall(span, repo, sha, end)

    def _ours(self, service: str) -> bool:
        if service in _LIVE:
            return False
        return self._service is None or self._service == ("recorder" if service == "greenlight" else service)


def _of_scope(scope: Recording) -> Iterable[Span]:
    """A scope's own span, then those of its steps."""
    own, final = ids.span_id(scope.key, scope.step), scope.error is None
    yield Span(
        scope.service, scope.name, scope.trace, own, scope.parent, scope.kind, scope.start, scope.end,
        scope.attributes, scope.links, scope.error, scope.sampled, final,
    )  # fmt: skip
    times: dict[tuple[str, str | None], int] = {}
    made: dict[int, str] = {}
    for step in scope.steps:
        nth = times[step.name, step.key] = times.get((step.name, step.key), 0) + 1
        name = step.name if nth == 1 else f"{step.name} {nth}"
        span = ids.span_id(step.key, name) if step.key else ids.span_id(scope.key, f"{scope.service}: {name}")
        made[id(step)] = span
        parent = step.parent or (own if step.outer is None else made.get(id(step.outer), own))
        yield Span(
            scope.service, step.name, scope.trace, span, parent, step.kind, step.start, step.end or scope.end,
            step.attributes, (), step.error, scope.sampled, final,
        )  # fmt: skip


def _of_waterfall(span: Mapping[str, Any], repo: str, sha: str, end: str) -> Span:
    """A retry or rollback is in a trace of its own, and links back to the commit's."""
    commit = ids.trace_id(repo, sha)
    attributes = {"repo": repo, "commit": sha, **span["attributes"]}
    trace = attributes.pop("trace_id", commit)
    apart = trace != commit and span["parent_id"] == ids.root_span_id(repo, sha)
    return Span(
        service=span["service"],
        name=span["name"],
        trace=trace,
        span=span["span_id"],
        parent=None if apart else span["parent_id"],
        kind=INTERNAL,
        start=_nanoseconds(span["start"]),
        end=_nanoseconds(end),
        attributes=attributes,
        links=(Context(commit, span["parent_id"]),) if apart else (),
        error=attributes["outcome"] if attributes.get("outcome") in ("failed", "error") else None,
    )


def _nanoseconds(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1) * 1000


class _Sampling:
    """One verdict for a trace: its id decides in every process alike, or else the stranger whose trace it is."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._verdicts: OrderedDict[tuple[str, bool | None], bool] = OrderedDict()

    def __call__(self, span: Span) -> bool:
        key = (span.trace, span.sampled)
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._verdicts[key] = self._ask(span)
            if len(self._verdicts) > SEEN:
                self._verdicts.popitem(last=False)
        return verdict

    def _ask(self, span: Span) -> bool:
        from opentelemetry import trace

        id, parent = int(span.trace, 16), None
        if span.sampled is not None:
            remote = trace.SpanContext(id, 1, True, trace.TraceFlags(int(span.sampled)))
            parent = trace.set_span_in_context(trace.NonRecordingSpan(remote))
        found = self._sampler.should_sample(parent, id, span.name, trace.SpanKind[span.kind])
        return found.decision.name == "RECORD_AND_SAMPLE"
