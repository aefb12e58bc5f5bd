"""Errors in OpenTelemetry's standard variables, found at start and reported together.

The SDK reads them itself. It would warn of most mistakes, one by one, and go on as if nothing had been set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from greenlight.lib.errors import ConfigurationError

_EXPORTERS = ("otlp", "console", "none")
_COMPRESSIONS = ("none", "gzip", "deflate")
_SAMPLERS = (
    *("always_on", "always_off", "traceidratio"),
    *("parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"),
)
_HEADER = re.compile(r"[ \t]*[!#-'*+\-.0-9A-Z^-z|~]+[ \t]*=[ \t!#-+\--:<-\[\]-~]*")
"""A pair that the SDK's parser takes. What it does not take it would write into the log, and headers are secrets."""


@dataclass(frozen=True, slots=True)
class Batching:
    """The sizes of queue and batch in spans, and the delay in milliseconds, by OpenTelemetry's OTEL_BSP_ variables."""

    queue: int = 2048
    batch: int = 512
    delay: int = 5000


def checked(env: Mapping[str, str]) -> Batching:
    """Return how spans are sent in batches. Raises ConfigurationError with everything that is wrong, a line each."""
    problems = _wrong_choices(env) + _wrong_exporter(env)
    batching = _batching(env, problems)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return batching


def _wrong_choices(env: Mapping[str, str]) -> list[str]:
    """Return an error for each variable that names an unknown exporter, sampler or protocol."""
    problems = []
    exporter = env.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter and exporter not in _EXPORTERS:
        problems.append(f"OTEL_TRACES_EXPORTER is {exporter!r}; it must be one of {', '.join(_EXPORTERS)}")
    protocol = _of(env, "PROTOCOL")
    if protocol and protocol != "http/protobuf":
        problems.append(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; only http/protobuf is supported; backends receive it on port 4318"
        )
    sampler = env.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    if sampler and sampler not in _SAMPLERS:
        problems.append(f"OTEL_TRACES_SAMPLER is {sampler!r}; it must be one of {', '.join(_SAMPLERS)}")
    ratio = env.get("OTEL_TRACES_SAMPLER_ARG", "")
    if ratio and sampler.endswith("traceidratio") and not (_number(ratio) and 0 <= float(ratio) <= 1):
        problems.append(f"OTEL_TRACES_SAMPLER_ARG is {ratio!r}; {sampler} takes a ratio from 0 to 1")
    if any("=" not in pair for pair in env.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",") if pair.strip()):
        problems.append("OTEL_RESOURCE_ATTRIBUTES is not a list of NAME=VALUE with commas between")
    return problems


def _wrong_exporter(env: Mapping[str, str]) -> list[str]:
    """Return an error for each value that the exporter could not use.

    Values of headers are secrets, and not repeated.
    """
    problems = []
    endpoint = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if endpoint and not _is_address(endpoint):
        problems.append("OTEL_EXPORTER_OTLP_ENDPOINT is not an http or https address, such as http://127.0.0.1:4318")
    if (_of(env, "COMPRESSION") or "none").strip().lower() not in _COMPRESSIONS:
        problems.append(f"OTEL_EXPORTER_OTLP_COMPRESSION is none of {', '.join(_COMPRESSIONS)}")
    timeout = _of(env, "TIMEOUT") or "10"
    if not (_number(timeout) and float(timeout) > 0):
        problems.append("OTEL_EXPORTER_OTLP_TIMEOUT is not a number of seconds")
    for name in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):
        file = _of(env, name)
        if file and not Path(file).is_file():
            problems.append(f"OTEL_EXPORTER_OTLP_{name} names {file}, which is not a file")
    if _of(env, "CLIENT_KEY") and not _of(env, "CLIENT_CERTIFICATE"):
        problems.append("OTEL_EXPORTER_OTLP_CLIENT_KEY needs OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE beside it")
    if not all(_is_header(pair) for pair in (_of(env, "HEADERS") or "").split(",") if pair.strip()):
        problems.append("OTEL_EXPORTER_OTLP_HEADERS is not a list of NAME=VALUE, percent-encoded, with commas between")
    return problems


def _batching(env: Mapping[str, str], problems: list[str]) -> Batching:
    def number(name: str, default: int) -> int:
        text = env.get(name) or str(default)
        if text.isascii() and text.isdecimal() and int(text):
            return int(text)
        problems.append(f"{name} is {text!r}; it must be a number over 0")
        return default

    usual = Batching()
    queue = number("OTEL_BSP_MAX_QUEUE_SIZE", usual.queue)
    batch = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", min(usual.batch, queue))
    if batch > queue:
        problems.append(f"OTEL_BSP_MAX_EXPORT_BATCH_SIZE is {batch}; it must not exceed the queue's size, {queue}")
    return Batching(queue, batch, number("OTEL_BSP_SCHEDULE_DELAY", usual.delay))


def _of(env: Mapping[str, str], name: str) -> str | None:
    """Return the value of the variable for traces, or else of the one for all signals."""
    return env.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or env.get(f"OTEL_EXPORTER_OTLP_{name}") or None


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_header(pair: str) -> bool:
    return _HEADER.fullmatch(pair) is not None and unquote(pair.partition("=")[2]).isprintable()


def _number(text: str) -> bool:
    return re.fullmatch(r"[0-9]+(\.[0-9]+)?", text.strip()) is not None
