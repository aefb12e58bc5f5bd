"""The queue between the code that traces and the backend: OpenTelemetry's batch processor, with its losses counted."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from urllib.parse import urlsplit

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from greenlight.telemetry import metrics
from greenlight.telemetry.environment import Batching


class Batches(BatchSpanProcessor):
    """Count the spans that find no room. The SDK's processor drops the oldest silently; this one drops the newest."""

    def __init__(self, exporter: SpanExporter, batching: Batching, log: logging.Logger) -> None:
        self._counted = _Counted(exporter, batching.queue, log)
        super().__init__(self._counted, batching.queue, batching.delay, batching.batch)

    @property
    def half_full(self) -> bool:
        return self._counted.half_full

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled and self._counted.admits():
            super().on_end(span)


class _Counted(SpanExporter):
    """An exporter that counts the spans sent, taken and lost, and logs when that changes."""

    def __init__(self, exporter: SpanExporter, limit: int, log: logging.Logger) -> None:
        self._exporter, self._limit, self._log = exporter, limit, log
        self._lock, self._waiting, self._taken = threading.Lock(), 0, True
        self._messages = _FirstMessage(log)
        logging.getLogger(type(exporter).__module__).addFilter(self._messages)

    @property
    def half_full(self) -> bool:
        return self._waiting > self._limit // 2

    def admits(self) -> bool:
        """Return whether the queue has room for one more span, and count that span as on its way."""
        with self._lock:
            room = self._waiting < self._limit
            self._waiting += room
        if not room:
            metrics.SPANS.labels("dropped").inc()
        return room

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with self._lock:
            self._waiting -= len(spans)
        try:
            result = self._exporter.export(spans)
        except Exception as problem:
            self._messages.report(f"the exporter raised {type(problem).__name__}")
            result = SpanExportResult.FAILURE
        taken = result is SpanExportResult.SUCCESS
        metrics.SPANS.labels("exported" if taken else "dropped").inc(len(spans))
        if taken:
            self._messages.reset()
        if taken != self._taken:
            self._log.warning(
                "spans are exported again"
                if taken
                else "the backend at OTEL_EXPORTER_OTLP_ENDPOINT accepts no spans; until it does, they are dropped and "
                "counted in greenlight_spans_total"
            )
            self._taken = taken
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()
        logging.getLogger(type(self._exporter).__module__).removeFilter(self._messages)


class _FirstMessage(logging.Filter):
    """Keep of the exporter's log messages the first until a batch is taken, without the path of the endpoint."""

    def __init__(self, log: logging.Logger) -> None:
        super().__init__()
        self._log, self._reported = log, False
        endpoint = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        path = urlsplit(endpoint or "")._replace(scheme="", netloc="").geturl()
        self._path = path.rstrip("/")

    def filter(self, record: logging.LogRecord) -> bool:
        self.report(record.getMessage())
        return False

    def report(self, text: str) -> None:
        if not self._reported:
            self._reported = True
            self._log.warning("%s", text.replace(self._path, "/…") if self._path else text)

    def reset(self) -> None:
        self._reported = False
