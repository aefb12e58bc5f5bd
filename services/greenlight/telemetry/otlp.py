"""OTLP over HTTP: finished spans as the protobuf that every tracing backend takes, written straight to bytes.

Rules: opentelemetry-proto 1 (`trace/v1/trace.proto`, `common/v1/common.proto`), and what the specification of the exporter says
of its environment variables. The tests' oracle is the SDK's own encoder; docs/decisions/0006-tracing-by-hand.md says why it is
not used here.
"""

from __future__ import annotations

import enum
import gzip
import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import urllib3

from greenlight.events.context import Context

MAX_TEXT = 256
"""Characters of an attribute's value."""

MAX_LIST = 16

_KINDS = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
_AGAIN = frozenset((429, 502, 503, 504))
"""Answers after which sending again may help (OTLP/HTTP, retryable response codes)."""


@dataclass(slots=True)
class Span:
    """A span that has ended. Ids are hex; times are nanoseconds since 1970; `error` is a kind of error, never a message."""

    service: str
    name: str
    trace: str
    span: str
    parent: str | None
    kind: str
    start: int
    end: int
    attributes: Mapping[str, Any]
    links: Sequence[Context] = ()
    error: str | None = None
    sampled: bool | None = None  # what a stranger decided about its trace
    final: bool = True  # not so for what ended with an error: the next try has the same id


class Verdict(enum.Enum):
    """What became of a batch."""

    TAKEN = 1
    LATER = 2  # sending it again may help
    REFUSED = 3


class Destination(Protocol):
    """Takes batches of spans; called by one thread."""

    def export(self, spans: Sequence[Span]) -> Verdict: ...

    def close(self) -> None: ...


Resource = Callable[[str], Mapping[str, Any]]
"""The attributes of a service's resource."""


class Otlp:
    """A backend, or a collector before it, named by OTEL_EXPORTER_OTLP_ENDPOINT; see docs/tracing.md for what else is read."""

    def __init__(self, env: Mapping[str, str], resource: Resource) -> None:
        url = _endpoint(env)
        self._target = urlsplit(url).path or "/"
        self._encoder = Encoder(resource)
        self._compress = _COMPRESSIONS[(_of(env, "COMPRESSION") or "none").lower()]
        self._headers = {"Content-Type": "application/x-protobuf", "User-Agent": "greenlight", **_headers(env)}
        if self._compress is not None:
            self._headers["Content-Encoding"] = (_of(env, "COMPRESSION") or "").lower()
        certificates = {
            option: _of(env, name)
            for option, name in (
                ("ca_certs", "CERTIFICATE"),
                ("cert_file", "CLIENT_CERTIFICATE"),
                ("key_file", "CLIENT_KEY"),
            )
            if _of(env, name) and url.startswith("https:")
        }
        self._pool = urllib3.connection_from_url(url, maxsize=1, retries=False, timeout=_timeout(env), **certificates)

    def export(self, spans: Sequence[Span]) -> Verdict:
        body = self._encoder.encode(spans)
        if self._compress is not None:
            body = self._compress(body)
        try:
            answer = self._pool.urlopen("POST", self._target, body=body, headers=self._headers, redirect=False)
        except urllib3.exceptions.HTTPError:
            return Verdict.LATER
        if 200 <= answer.status < 300:
            return Verdict.TAKEN
        return Verdict.LATER if answer.status in _AGAIN else Verdict.REFUSED

    def close(self) -> None:
        self._pool.close()


class Console:
    """A line of JSON a span, on stdout: to see what there is."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    def export(self, spans: Sequence[Span]) -> Verdict:
        for span in spans:
            line = {
                "trace_id": span.trace,
                "span_id": span.span,
                "parent_id": span.parent,
                "name": span.name,
                "service": self._resource(span.service).get("service.name", span.service),
                "kind": span.kind,
                "start": span.start,
                "end": span.end,
                "attributes": dict(kept(span.attributes)),
                "links": [link.traceparent for link in span.links],
                "error": span.error,
            }
            sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        return Verdict.TAKEN

    def close(self) -> None:
        """Nothing is held."""


# The environment.


def wrong(env: Mapping[str, str]) -> list[str]:
    """What is wrong with the exporter's variables, a line each. Values of headers are never repeated: they are secrets."""
    problems = []
    parts = urlsplit(_endpoint(env))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        problems.append("OTEL_EXPORTER_OTLP_ENDPOINT is not an http or https address, such as http://127.0.0.1:4318")
    if (_of(env, "COMPRESSION") or "none").lower() not in _COMPRESSIONS:
        problems.append("OTEL_EXPORTER_OTLP_COMPRESSION is none of none, gzip and deflate")
    if not (_of(env, "TIMEOUT") or "10").replace(".", "", 1).isdecimal():
        problems.append("OTEL_EXPORTER_OTLP_TIMEOUT is not a number of seconds")
    for name in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):
        file = _of(env, name)
        if file and not Path(file).is_file():
            problems.append(f"OTEL_EXPORTER_OTLP_{name} names {file}, which is not a file")
    if any("=" not in pair for pair in _pairs(env)):
        problems.append("OTEL_EXPORTER_OTLP_HEADERS is not a list of NAME=VALUE with commas between")
    return problems


def _of(env: Mapping[str, str], name: str) -> str | None:
    """The variable for traces, or else the one for all signals."""
    return env.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or env.get(f"OTEL_EXPORTER_OTLP_{name}") or None


def _endpoint(env: Mapping[str, str]) -> str:
    """The one for traces is used as it is; the path of traces is added to the other."""
    own = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if own:
        return own
    return (env.get("OTEL_EXPORTER_OTLP_ENDPOINT") or "http://127.0.0.1:4318").rstrip("/") + "/v1/traces"


def _timeout(env: Mapping[str, str]) -> float:
    return float(_of(env, "TIMEOUT") or 10)


def _pairs(env: Mapping[str, str]) -> list[str]:
    return [pair for pair in (_of(env, "HEADERS") or "").split(",") if pair.strip()]


def _headers(env: Mapping[str, str]) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in _pairs(env))
    return {unquote(name).strip(): unquote(value).strip() for name, _, value in pairs}


_COMPRESSIONS: Mapping[str, Callable[[bytes], bytes] | None] = {
    "none": None,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}


# The wire. A field is its number and wire type, then its length or value.


def kept(attributes: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """What an attribute may be: a short text, a number, a boolean, or a list of short texts. The rest is left out."""
    for name, value in attributes.items():
        if isinstance(value, str):
            yield name, value[:MAX_TEXT]
        elif isinstance(value, (bool, int, float)):
            yield name, value
        elif isinstance(value, (list, tuple)):
            yield name, tuple(str(part)[:MAX_TEXT] for part in value[:MAX_LIST])


class Encoder:
    """Batches of spans as `ExportTraceServiceRequest`. What a service's resource is, is encoded once."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._heads: dict[str, tuple[bytes, bytes]] = {}

    def encode(self, spans: Iterable[Span]) -> bytes:
        by_service: dict[str, list[bytes]] = {}
        for span in spans:
            by_service.setdefault(span.service, []).append(_span(span))
        return b"".join(self._service(service, found) for service, found in by_service.items())

    def _service(self, service: str, spans: Sequence[bytes]) -> bytes:
        """One `ResourceSpans` with one `ScopeSpans`."""
        if service not in self._heads:
            described = b"".join(_field(b"\x0a", _attribute(*pair)) for pair in kept(self._resource(service)))
            scope = _field(b"\x0a", f"greenlight.{service}".encode())
            self._heads[service] = _field(b"\x0a", described), _field(b"\x0a", scope)
        resource, scope = self._heads[service]
        return _field(b"\x0a", resource + _field(b"\x12", scope + b"".join(_field(b"\x12", span) for span in spans)))


_FLAGS = b"\x85\x01" + struct.pack("<I", 0x101)  # sampled, and known not to be remote
_TIMES = struct.Struct("<cQcQ")


def _span(span: Span) -> bytes:
    name = span.name.encode("utf-8", "replace")
    parts = [
        b"\x0a\x10", bytes.fromhex(span.trace), b"\x12\x08", bytes.fromhex(span.span),
        b"\x2a", _varint(len(name)), name,
        b"\x30", _varint(_KINDS[span.kind]),
        _TIMES.pack(b"\x39", span.start, b"\x41", max(span.end, span.start)),
    ]  # fmt: skip
    if span.parent is not None:
        parts += (b"\x22\x08", bytes.fromhex(span.parent))
    for pair in kept(span.attributes):
        parts.append(_field(b"\x4a", _attribute(*pair)))
    for link in span.links:
        parts.append(_field(b"\x6a", b"\x0a\x10" + bytes.fromhex(link.trace) + b"\x12\x08" + bytes.fromhex(link.span)))
    if span.error is not None:
        parts.append(_field(b"\x7a", _field(b"\x12", span.error.encode("utf-8", "replace")) + b"\x18\x02"))
    parts.append(_FLAGS)
    return b"".join(parts)


@lru_cache(maxsize=4096, typed=True)
def _attribute(name: str, value: Any) -> bytes:
    """A `KeyValue`. Most come many times: the same repository, the same types of events."""
    return _field(b"\x0a", name.encode("utf-8", "replace")) + _field(b"\x12", _value(value))


def _value(value: Any) -> bytes:
    """An `AnyValue`."""
    if isinstance(value, str):
        return _field(b"\x0a", value.encode("utf-8", "replace"))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    if isinstance(value, float):
        return b"\x21" + struct.pack("<d", value)
    return _field(b"\x2a", b"".join(_field(b"\x0a", _value(part)) for part in value))


def _field(tag: bytes, body: bytes) -> bytes:
    return b"%b%b%b" % (tag, _varint(len(body)), body)


def _varint(number: int) -> bytes:
    if number < 128:
        return _SMALL[number]
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


_SMALL = [bytes([number]) for number in range(128)]
