"""Export of spans, by OpenTelemetry's SDK and exporter. The only home of OpenTelemetry.

Scopes and journals become spans of the SDK under ids that are functions of their cause. The thread that traces only puts
them into a bounded queue; the SDK's thread sends them. The standard environment variables switch it on, and name a collector.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context as OtelContext
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.util.types import Attributes

from greenlight.events.context import Context
from greenlight.telemetry.batches import Batches
from greenlight.telemetry.environment import Batching, checked
from greenlight.telemetry.spans import MAX_TEXT, of_scope, of_waterfall, resource_of
from greenlight.telemetry.tracing import INTERNAL, Recording, Scope, Tracer, Waterfall

SEEN = 16_384
"""Span ids that are remembered, so that a redelivery adds no span a second time."""

_NOWHERE = OtelContext()
"""Below no span: where none is given, samplers look at the thread's current one."""

_LIVE = ("webhooks", "board")
"""Services whose spans in the waterfall are reported as they happen, with what is inside them."""


def exporting(service: str | None, log: logging.Logger) -> Exporting:
    """Return a tracer as the environment configures it.

    Raises ConfigurationError with everything that is wrong, a line each.
    """
    batching = checked(os.environ)
    return Exporting(_exporter(), service, log, batching)


def _exporter() -> SpanExporter:
    if os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stdout, formatter=lambda span: span.to_json(indent=None) + "\n")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


class Exporting(Tracer):
    """Tracing that is on.

    A span that finds no room in the queue, or that the backend refuses, is dropped and counted.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        service: str | None,
        log: logging.Logger,
        batching: Batching = Batching(),  # noqa: B008  frozen
        sampler: Sampler | None = None,
    ) -> None:
        self._service, self._log, self._limit = service, log.getChild("tracing"), batching.queue
        self._delay = batching.delay / 1000
        self._sampler = sampler or TracerProvider(shutdown_on_exit=False).sampler  # what the environment says
        self._processor = Batches(exporter, batching, self._log)
        self._waterfall: Waterfall | None = None
        self._began = datetime.now(UTC)
        self._lock = threading.Lock()
        self._touched: dict[tuple[str, str], None] = {}
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracing", daemon=True)
        self._sampled = lru_cache(4096)(self._ask)

    def scope(self, service: str, name: str, kind: str = INTERNAL) -> Scope:
        return Recording(self.ended, service, name, kind)

    def touched(self, repo: str, sha: str) -> None:
        with self._lock:
            if len(self._touched) < self._limit:
                self._touched[repo, sha] = None

    def instrument(self, app: Any) -> None:
        """Instrument a Flask app by OpenTelemetry; its spans leave as the others do. Their ids are random."""
        os.environ.setdefault(
            "OTEL_SEMCONV_STABILITY_OPT_IN", "http"
        )  # attributes that are stable, as those of our spans
        from opentelemetry.instrumentation.flask import FlaskInstrumentor

        provider = TracerProvider(
            sampler=_OfATrace(self._sampler),
            resource=resource_of(self._service or "greenlight"),
            span_limits=SpanLimits(max_span_attribute_length=MAX_TEXT),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._processor)
        FlaskInstrumentor.instrument_app(  # type: ignore[no-untyped-call]
            app, tracer_provider=provider, excluded_urls="/healthz$,/readyz$", enable_commenter=False
        )

    def below(self, traceparent: str | None) -> str | None:
        span = trace.get_current_span()
        if not span.is_recording():
            return traceparent
        context = span.get_span_context()
        return Context(f"{context.trace_id:032x}", f"{context.span_id:016x}").traceparent

    def start(self, waterfall: Waterfall | None) -> None:
        self._waterfall = waterfall
        self._thread.start()

    def stop(self, timeout: float) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def ended(self, scope: Recording) -> None:
        """Queue a scope's spans. Never waits for the export."""
        try:
            if self._sampled(scope.trace, scope.sampled):
                self._put(of_scope(scope), final=scope.error is None)
        except Exception:
            self._log.exception("internal error; spans are lost")

    def _put(self, spans: Iterable[ReadableSpan], *, final: bool = True) -> None:
        """Queue the spans that were not exported before. Not `final`: they may come again under the same id."""
        found = list(spans)
        with self._lock:
            fresh = [span for span in found if self._is_new(span, final)]
        for span in fresh:
            self._processor.on_end(span)

    def _is_new(self, span: ReadableSpan, final: bool) -> bool:
        assert span.context is not None
        id = span.context.span_id
        if id in self._seen:
            return False
        if final:
            self._seen[id] = None
            if len(self._seen) > SEEN:
                self._seen.popitem(last=False)
        return True

    def _ask(self, trace_id: str, sampled: bool | None) -> bool:
        """Return whether a trace is sampled, as a whole.

        It depends on the id, the same in every process, or on the third party whose trace it is.
        """
        id, parent = int(trace_id, 16), _NOWHERE
        if sampled is not None:
            remote = SpanContext(id, 1, True, TraceFlags(int(sampled)))
            parent = trace.set_span_in_context(NonRecordingSpan(remote))
        return self._sampler.should_sample(parent, id, "").decision is Decision.RECORD_AND_SAMPLE

    # In a thread of its own: what has ended in the journals, and the end.

    def _run(self) -> None:
        while not self._stopping.wait(self._delay):
            self._export_journals()
        self._export_journals()
        self._processor.shutdown()  # type: ignore[no-untyped-call]

    def _export_journals(self) -> None:
        with self._lock:
            touched, self._touched = self._touched, {}
        for repo, sha in touched:
            try:
                self._put(self._of_journal(repo, sha))
            except Exception:
                self._log.exception("internal error; spans are lost")
            if self._processor.half_full:
                self._processor.force_flush()  # this thread can wait

    def _of_journal(self, repo: str, sha: str) -> Iterable[ReadableSpan]:
        """Yield the spans that have ended in the commit's journals.

        They are the waterfall's, so that the two cannot differ. What had ended before this process began was
        exported by an earlier one.
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
            found = of_waterfall(span, repo, sha, end)
            assert found.context is not None
            if self._sampled(f"{found.context.trace_id:032x}", None):
                yield found

    def _ours(self, service: str) -> bool:
        if service in _LIVE:
            return False
        return self._service is None or self._service == ("recorder" if service == "greenlight" else service)


class _OfATrace(Sampler):
    """Sample the requests that are part of a trace, by the verdict for all spans of that trace.

    Others would each begin a trace of their own; and of what its sender does not record, nothing is recorded here.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: OtelContext | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        sent = trace.get_current_span(parent_context).get_span_context()
        if not sent.is_valid or not sent.trace_flags.sampled:
            return SamplingResult(Decision.DROP)
        return self._sampler.should_sample(_NOWHERE, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"OfATrace({self._sampler.get_description()})"
