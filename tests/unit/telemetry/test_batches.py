"""What leaves the process: by OpenTelemetry's exporter as its variables say; what nobody takes is counted, and said once."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from greenlight.events import Event, ids
from greenlight.telemetry import metrics
from greenlight.telemetry.environment import Batching
from greenlight.telemetry.exporting import Exporting
from greenlight.telemetry.setup import tracer_of
from greenlight.telemetry.tracing import Tracer
from support.timing import PATIENCE
from support.tracing import otlp_backend

LOG = logging.getLogger("greenlight.tests")
REPO, SHA = "acme/shop", "a" * 40


def handle(tracer: Tracer, id: str = "1", **attributes: Any) -> None:
    """One span under the id that its event gives it."""
    traceparent = ids.traceparent(REPO, SHA, id, "send event")
    event = Event(id, "/s", "t", extensions={"repo": REPO, "commit": SHA, "traceparent": traceparent})
    with tracer.scope("promoter", "read event") as scope:
        scope.event(event, None)
        for name, value in attributes.items():
            scope.note(name, value)


def count(outcome: str) -> float:
    return float(metrics.SPANS.labels(outcome)._value.get())


@pytest.mark.parametrize(
    ("env", "path", "unpack"),
    [
        ({"ENDPOINT": ""}, "/v1/traces", bytes),
        ({"ENDPOINT": "/collect/"}, "/collect/v1/traces", bytes),
        ({"TRACES_ENDPOINT": "/as/it/is"}, "/as/it/is", bytes),
        ({"ENDPOINT": "", "COMPRESSION": "gzip"}, "/v1/traces", gzip.decompress),
        ({"ENDPOINT": "", "TRACES_COMPRESSION": "deflate"}, "/v1/traces", zlib.decompress),
    ],
)
def test_the_standard_variables_say_where_and_how(
    env: dict[str, str], path: str, unpack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Address, path, compression, headers, which are percent-encoded; who it is; ids that are functions of the event."""
    with otlp_backend() as backend:
        for name, value in env.items():
            monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", backend.url + value if "ENDPOINT" in name else value)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=a%20b,api-key=c=d")
        tracer = tracer_of(None, LOG)
        tracer.start(None)
        handle(tracer)
        tracer.stop(PATIENCE)
    (headers,) = backend.headers
    assert (headers[":path"], headers["x-team"], headers["api-key"]) == (path, "a b", "c=d")
    assert headers["content-type"] == "application/x-protobuf"
    (part,) = ExportTraceServiceRequest.FromString(unpack(backend.bodies[0])).resource_spans
    who = {pair.key: pair.value.string_value for pair in part.resource.attributes}
    assert (who["service.name"], who["service.namespace"]) == ("promoter", "greenlight")
    (scope,) = part.scope_spans
    (span,) = scope.spans
    assert (scope.scope.name, span.name, span.span_id.hex()) == (
        "greenlight.promoter",
        "read event",
        ids.span_id("1", "promoter: read event"),
    )
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (
        ids.trace_id(REPO, SHA),
        ids.span_id("1", "send event"),
    )


def test_what_no_span_can_hold_is_cut_or_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded, whatever a sender calls its events; half a surrogate pair does not cost the batch."""
    with otlp_backend() as backend:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", backend.url)
        tracer = tracer_of(None, LOG)
        tracer.start(None)
        handle(tracer, long="x" * 5000, nothing=None, map={}, huge=2**80, half="a\ud800", parts=["b\udfff", 1])
        tracer.stop(PATIENCE)
    (request,) = backend.requests()
    (span,) = request.resource_spans[0].scope_spans[0].spans
    kept = {pair.key: pair.value for pair in span.attributes}
    assert len(kept["long"].string_value) == 256
    assert kept["half"].string_value == "a?"
    assert [value.string_value for value in kept["parts"].array_value.values] == ["b?", "1"]
    assert {"nothing", "map", "huge"} & set(kept) == set()


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "exported"), (400, "dropped"), (401, "dropped"), (503, "dropped")]
)
def test_what_is_not_taken_is_counted(status: int, outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal at once; an answer after which trying again may help within the timeout."""
    with otlp_backend(status) as backend:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", backend.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
        before = count(outcome)
        tracer = tracer_of(None, LOG)
        tracer.start(None)
        handle(tracer)
        tracer.stop(PATIENCE)
    assert count(outcome) == before + 1
    assert (len(backend.bodies) > 1) == (status == 503)


def test_the_log_says_once_that_spans_are_not_taken_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the exporter's first reason; the path of an address may be a key, so it is not in it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{nowhere}/canary-token")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=canary-key")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1.5")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    tracer = tracer_of(None, LOG)
    tracer.start(None)
    for n in range(3):
        handle(tracer, str(n))
    tracer.stop(PATIENCE)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "Connection refused" in said[0]
    assert "accepts no spans" in said[1]
    assert "canary" not in caplog.text


def test_a_collector_that_hangs_delays_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a request and does not answer: spans are put into the queue as ever, and a stop does not wait for it."""
    answer = threading.Event()
    with otlp_backend(hold=answer) as backend:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", backend.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", str(PATIENCE))
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
        tracer = tracer_of(None, LOG)
        assert isinstance(tracer, Exporting)
        tracer.start(None)
        handle(tracer)
        assert backend.came.wait(PATIENCE)
        before = count("dropped")
        for n in range(100):
            handle(tracer, f"more {n}")
        tracer.stop(0.1)
        assert tracer._thread.is_alive()  # it still waits for the answer
        assert count("dropped") == before + 90
        answer.set()
        tracer.stop(PATIENCE)
        assert not tracer._thread.is_alive()  # nor is a thread left that would trouble other tests
    assert len(backend.bodies) == 11


class Gate(SpanExporter):
    """Waits until it is opened."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        self.ids: list[int] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        assert self.open.wait(PATIENCE)
        self.ids += [span.context.span_id for span in spans if span.context]
        return SpanExportResult.SUCCESS


def test_a_full_queue_keeps_what_it_has_and_drops_what_comes() -> None:
    """In order, and each one is either exported or counted as dropped."""
    gate, before = Gate(), (count("exported"), count("dropped"))
    tracer = Exporting(gate, None, LOG, Batching(queue=4, batch=2, delay=600_000))
    tracer.start(None)
    handle(tracer, "0")
    handle(tracer, "1")
    assert gate.entered.wait(PATIENCE)
    for n in range(2, 9):
        handle(tracer, str(n))
    gate.open.set()
    tracer.stop(PATIENCE)
    assert gate.ids == [int(ids.span_id(str(n), "promoter: read event"), 16) for n in range(6)]
    assert (count("exported") - before[0], count("dropped") - before[1]) == (6, 3)


def test_an_exporter_that_raises_is_one_that_does_not_take(caplog: pytest.LogCaptureFixture) -> None:
    """Its message is not repeated: who knows what is in it."""

    class Broken(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            raise RuntimeError("canary")

    before = count("dropped")
    tracer = Exporting(Broken(), None, LOG)
    tracer.start(None)
    handle(tracer)
    tracer.stop(PATIENCE)
    assert count("dropped") == before + 1
    assert "RuntimeError" in caplog.text
    assert "canary" not in caplog.text


def test_the_console_gets_a_line_a_span(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON, as the SDK writes it."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    tracer = tracer_of(None, LOG)
    tracer.start(None)
    handle(tracer)
    tracer.stop(PATIENCE)
    (line,) = capsys.readouterr().out.splitlines()
    assert ids.trace_id(REPO, SHA) in line
