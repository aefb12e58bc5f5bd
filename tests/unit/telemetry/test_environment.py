"""OpenTelemetry's variables: when they switch tracing on, and what is refused at start."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.util.re import parse_env_headers

from greenlight.lib.errors import ConfigurationError
from greenlight.telemetry.environment import Batching, checked
from greenlight.telemetry.setup import tracer_of
from greenlight.telemetry.tracing import OFF

LOG = logging.getLogger("greenlight.tests")
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_traced_unless_somebody_says_where_to(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there is nothing: no queue, no thread."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert tracer_of(None, LOG) is OFF


WRONG = {
    "OTEL_TRACES_EXPORTER": "zipkin",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "brotli",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "soon",
    "OTEL_EXPORTER_OTLP_HEADERS": "canary-secret",
    "OTEL_EXPORTER_OTLP_CERTIFICATE": "/not/there",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY": __file__,
    "OTEL_RESOURCE_ATTRIBUTES": "team",
    "OTEL_TRACES_SAMPLER": "sometimes",
    "OTEL_BSP_MAX_QUEUE_SIZE": "-1",
    "OTEL_BSP_SCHEDULE_DELAY": "0",
}


def test_what_is_wrong_is_said_together_and_no_secret_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable that cannot be meant so, a line each; gRPC with the port that is spoken instead."""
    for name, value in WRONG.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refused:
        tracer_of(None, LOG)
    lines = str(refused.value).splitlines()
    assert len(lines) == len(WRONG)
    assert all(any(line.startswith(name) for line in lines) for name in WRONG)
    assert "canary-secret" not in str(refused.value)
    (grpc,) = (line for line in lines if "grpc" in line)
    assert "http/protobuf" in grpc
    assert "4318" in grpc


@pytest.mark.parametrize(
    ("env", "refused"),
    [
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1.5"}, "OTEL_TRACES_SAMPLER_ARG"),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, None),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "10", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "11"}, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%0Ab"}, "OTEL_EXPORTER_OTLP_HEADERS"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "x-key=Bearer a%20b==, other="}, None),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "0"}, "OTEL_EXPORTER_OTLP_TIMEOUT"),
        ({"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "2.5"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ],
)
def test_values_are_looked_at(env: dict[str, str], refused: str | None) -> None:
    """What the SDK would pass over with a warning stops the start; what it takes is taken."""
    if refused is None:
        checked(env)
    else:
        with pytest.raises(ConfigurationError, match=refused):
            checked(env)


def test_batches_are_as_the_specification_says_unless_told_otherwise() -> None:
    """A batch is no larger than a small queue; an empty variable is one that is not set."""
    assert checked({"OTEL_BSP_SCHEDULE_DELAY": ""}) == Batching(queue=2048, batch=512, delay=5000)
    assert checked({"OTEL_BSP_MAX_QUEUE_SIZE": "100"}) == Batching(queue=100, batch=100, delay=5000)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12))
def test_headers_that_are_taken_are_read_by_the_sdk(pair: str) -> None:
    """What it does not read it would write into the log."""
    try:
        checked({"OTEL_EXPORTER_OTLP_HEADERS": f"a=b,{pair}"})
    except ConfigurationError:
        return
    pairs = [part for part in pair.split(",") if part.strip()]
    read = parse_env_headers(f"a=b,{pair}", liberal=True)
    assert {part.partition("=")[0].strip().lower() for part in pairs} <= {name.lower() for name in read} | {
        part.partition("=")[0].strip().lower() for part in pairs if "%" in part.partition("=")[0]
    }


def test_without_tracing_nothing_of_opentelemetry_is_imported(tmp_path: Path) -> None:
    """The start of whoever does not trace is not longer by it."""
    code = (
        "import os, sys, logging\n"
        "from greenlight.entrypoints import broker, serve, up\n"
        "from greenlight.telemetry.setup import tracer_of\n"
        "tracer_of(None, logging.getLogger())\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry') or 'protobuf' in name]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)}, cwd=tmp_path)
