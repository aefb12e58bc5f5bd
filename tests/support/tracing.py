"""Tracing as tests see it: a destination that keeps every span, and a backend for OTLP."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtobufSpan
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from greenlight.events.context import Context
from greenlight.telemetry.environment import Batching
from greenlight.telemetry.exporting import Exporting
from support.timing import PATIENCE


@dataclass(frozen=True)
class Span:
    """An exported span, its ids as hex."""

    service: str
    name: str
    trace: str
    span: str
    parent: str | None
    kind: str
    start: int
    attributes: Mapping[str, Any]
    links: Sequence[Context]
    error: str | None

    @classmethod
    def of(cls, span: ReadableSpan) -> Span:
        assert span.context is not None
        assert span.start_time is not None
        return cls(
            str(span.resource.attributes["service.name"]),
            span.name,
            f"{span.context.trace_id:032x}",
            f"{span.context.span_id:016x}",
            f"{span.parent.span_id:016x}" if span.parent else None,
            span.kind.name,
            span.start_time,
            dict(span.attributes or {}),
            [Context(f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") for link in span.links],
            span.status.description,
        )


@dataclass
class Collected(SpanExporter):
    """Every span in the order of export, and the tracer that made them. Look at them once the tracer has stopped."""

    sampler: Sampler = ALWAYS_ON
    service: str | None = None
    spans: list[Span] = field(default_factory=list)

    def __post_init__(self) -> None:
        log = logging.getLogger("greenlight.tests")
        self.tracer = Exporting(self, self.service, log, Batching(queue=100_000), self.sampler)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans.extend(Span.of(span) for span in spans)
        return SpanExportResult.SUCCESS

    def by_id(self) -> dict[str, Span]:
        return {span.span: span for span in self.spans}

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


@dataclass
class OtlpBackend:
    """Take OTLP over HTTP, and answer with `status`."""

    status: int = 200
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def requests(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(body) for body in self.bodies]

    def protobufs(self) -> list[ProtobufSpan]:
        """Return every span, in the order in which they came."""
        scopes = (scope for request in self.requests() for part in request.resource_spans for scope in part.scope_spans)
        return [span for scope in scopes for span in scope.spans]

    def spans(self) -> dict[str, tuple[str, str, str]]:
        """Return, by span id, trace id, name and service."""
        return {
            span.span_id.hex(): (span.trace_id.hex(), span.name, _service(part.resource))
            for request in self.requests()
            for part in request.resource_spans
            for scope in part.scope_spans
            for span in scope.spans
        }


def _service(resource: object) -> str:
    attributes = {pair.key: pair.value.string_value for pair in resource.attributes}  # type: ignore[attr-defined]
    return attributes["service.name"]


@contextlib.contextmanager
def otlp_backend(status: int = 200, hold: threading.Event | None = None) -> Iterator[OtlpBackend]:
    """Run a backend on this machine. It answers no request before `hold` is set."""
    backend = OtlpBackend(status)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            backend.headers.append({name.lower(): value for name, value in self.headers.items()} | {":path": self.path})
            backend.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            backend.came.set()
            if hold is not None:
                hold.wait(PATIENCE)
            self.send_response(backend.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    backend.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield backend
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
