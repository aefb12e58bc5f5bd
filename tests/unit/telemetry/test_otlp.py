"""Spans on the wire: what our encoder writes is what OpenTelemetry's own reads and would have written; the environment."""

from __future__ import annotations

import gzip
import logging
import subprocess
import sys
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace.status import Status, StatusCode

from greenlight.events.context import Context
from greenlight.lib.errors import ConfigurationError
from greenlight.telemetry.otlp import Encoder, Otlp, Span, Verdict
from greenlight.telemetry.setup import tracer_of
from greenlight.telemetry.tracing import OFF
from support.tracing import otlp_backend

LOG = logging.getLogger("greenlight.tests")


def resource(service: str) -> dict[str, Any]:
    return {"service.name": service, "service.namespace": "greenlight"}


def hexes(digits: int) -> st.SearchStrategy[str]:
    return st.integers(1, 16**digits - 1).map(lambda number: f"{number:0{digits}x}")


places = st.builds(Context, hexes(32), hexes(16))
texts = st.text(max_size=300)
values = st.one_of(
    st.text(max_size=256),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.lists(st.text(max_size=20), min_size=1, max_size=4).map(tuple),
)
spans = st.builds(
    Span,
    service=st.sampled_from(["webhooks", "recorder"]),
    name=texts,
    trace=hexes(32),
    span=hexes(16),
    parent=st.none() | hexes(16),
    kind=st.sampled_from(["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]),
    start=st.integers(0, 2**63),
    end=st.integers(2**63, 2**64 - 1),
    attributes=st.dictionaries(texts, values, max_size=5),
    links=st.lists(places, max_size=2).map(tuple),
    error=st.none() | st.text(min_size=1, max_size=300),
)


def by_the_sdk(found: list[Span]) -> ExportTraceServiceRequest:
    def context(trace_id: str, span_id: str) -> trace.SpanContext:
        return trace.SpanContext(int(trace_id, 16), int(span_id, 16), False, trace.TraceFlags(1))

    return encode_spans(
        [
            ReadableSpan(
                name=span.name,
                context=context(span.trace, span.span),
                parent=context(span.trace, span.parent) if span.parent else None,
                resource=Resource(resource(span.service)),
                attributes=dict(span.attributes),
                links=[trace.Link(context(link.trace, link.span)) for link in span.links],
                kind=trace.SpanKind[span.kind],
                status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
                start_time=span.start,
                end_time=span.end,
                instrumentation_scope=InstrumentationScope(f"greenlight.{span.service}", ""),
            )
            for span in found
        ]
    )


@given(st.lists(spans, max_size=4))
def test_the_wire_is_what_the_sdk_writes(found: list[Span]) -> None:
    """Read back, message by message; only the flags say more: that it was sampled."""
    ours = ExportTraceServiceRequest.FromString(Encoder(resource).encode(found))
    for span in (span for part in ours.resource_spans for scope in part.scope_spans for span in scope.spans):
        assert span.flags == 0x101
        span.flags = 0x100
        span.status.SetInParent()  # which the SDK writes also where it says nothing
        for link in span.links:
            link.flags = 0x100
    assert ours == by_the_sdk(found)


def test_what_is_no_attribute_is_left_out_and_what_is_long_is_cut() -> None:
    """Bounded, whatever a sender calls its events."""
    span = Span("s", "n", "1" * 32, "2" * 16, None, "SERVER", 1, 2, {"long": "x" * 5000, "none": None, "map": {}})
    ours = ExportTraceServiceRequest.FromString(Encoder(resource).encode([span]))
    attributes = ours.resource_spans[0].scope_spans[0].spans[0].attributes
    assert [(pair.key, len(pair.value.string_value)) for pair in attributes] == [("long", 256)]


@pytest.mark.parametrize(
    ("env", "path", "unpack"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, "/v1/traces", bytes),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "/collect/"}, "/collect/v1/traces", bytes),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "/as/it/is"}, "/as/it/is", bytes),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}, "/v1/traces", gzip.decompress),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "deflate"},
            "/v1/traces",
            zlib.decompress,
        ),
    ],
)
def test_the_standard_variables_say_where_and_how(env: dict[str, str], path: str, unpack: Any) -> None:
    """Address, path, compression, and headers, which are percent-encoded."""
    span = Span("s", "n", "1" * 32, "2" * 16, None, "SERVER", 1, 2, {})
    with otlp_backend() as backend:
        full = {name: backend.url + value if name.endswith("ENDPOINT") else value for name, value in env.items()}
        otlp = Otlp({**full, "OTEL_EXPORTER_OTLP_HEADERS": "x-team=a%20b,api-key=c=d"}, resource)
        assert otlp.export([span]) is Verdict.TAKEN
        otlp.close()
    (headers,) = backend.headers
    assert (headers[":path"], headers["x-team"], headers["api-key"]) == (path, "a b", "c=d")
    assert headers["content-type"] == "application/x-protobuf"
    assert unpack(backend.bodies[0]) == Encoder(resource).encode([span])


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(200, Verdict.TAKEN), (429, Verdict.LATER), (503, Verdict.LATER), (400, Verdict.REFUSED), (302, Verdict.REFUSED)],
)
def test_an_answer_says_whether_trying_again_helps(status: int, verdict: Verdict) -> None:
    """The retryable codes of OTLP over HTTP."""
    with otlp_backend(status) as backend:
        otlp = Otlp({"OTEL_EXPORTER_OTLP_ENDPOINT": backend.url}, resource)
        assert otlp.export([Span("s", "n", "1" * 32, "2" * 16, None, "SERVER", 1, 2, {})]) is verdict
        otlp.close()
    assert Otlp({"OTEL_EXPORTER_OTLP_ENDPOINT": backend.url}, resource).export([]) is Verdict.LATER


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_traced_unless_somebody_says_where_to(env: dict[str, str]) -> None:
    """Then there is nothing: no queue, no thread."""
    assert tracer_of(env, None, LOG) is OFF


def test_what_is_wrong_is_said_together_and_no_secret_with_it() -> None:
    """Every variable that cannot be meant so, a line each."""
    env = {
        "OTEL_TRACES_EXPORTER": "zipkin",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "brotli",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "soon",
        "OTEL_EXPORTER_OTLP_HEADERS": "canary-secret",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "/not/there",
        "OTEL_BSP_MAX_QUEUE_SIZE": "-1",
    }
    with pytest.raises(ConfigurationError) as refused:
        tracer_of(env, None, LOG)
    lines = str(refused.value).splitlines()
    assert len(lines) == len(env)
    assert all(any(name in line for line in lines) for name in env)
    assert "canary-secret" not in str(refused.value)


def test_without_tracing_nothing_of_opentelemetry_is_imported() -> None:
    """The start of whoever does not trace is not longer by it."""
    code = (
        "import os, sys, logging\n"
        "from greenlight.entrypoints import broker, serve, up\n"
        "from greenlight.telemetry.setup import tracer_of\n"
        "tracer_of({}, None, logging.getLogger())\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry') or 'otlp' in name]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
