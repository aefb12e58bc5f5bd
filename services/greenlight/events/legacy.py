"""CloudEvents 0.2 (which the talk of 2019 used) and 0.3, read as 1.0."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from greenlight.events import attributes
from greenlight.events.event import Event
from greenlight.events.http import (
    STRUCTURED,
    Headers,
    NotAnEvent,
    document,
    from_attributes,
    from_document,
    from_http,
    header_text,
    lowered,
)

_RENAMED = {"contenttype": "datacontenttype", "schemaurl": "dataschema"}


def from_http_any(headers: Headers, body: bytes) -> Event:
    """Return the event in an HTTP message of CloudEvents 1.0, 0.3 or 0.2, as 1.0. Raises as from_http does."""
    fields = lowered(headers)
    media = fields.get("content-type", "").partition(";")[0].strip().lower()
    if media == STRUCTURED:
        found = document(body)
        version = found.get("specversion")
        return from_document(_modern(found)) if version in ("0.2", "0.3") else from_document(found)
    version = fields.get("ce-specversion", "").strip('"')
    if media.startswith("application/cloudevents") or version not in ("0.2", "0.3"):
        return from_http(fields, body)
    return _binary(fields, version, body)


def _binary(fields: Mapping[str, str], version: str, body: bytes) -> Event:
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if name.startswith("ce-"):
            # 0.2 flattened maps into ce-NAME-KEY and wrote values as JSON, so that strings came in quotes
            found[name[3:].replace("-", "")] = _json_text(value) if version == "0.2" else header_text(name, value)
    if fields.get("content-type"):
        found["datacontenttype"] = fields["content-type"]
    encoding = found.pop("datacontentencoding", None)
    found = _renamed(found)
    found["specversion"] = "1.0"
    return from_attributes(found, _decoded(body, encoding) or None)


def _modern(found: dict[str, Any]) -> dict[str, Any]:
    """Return a structured document of 0.2 or 0.3 as one of 1.0: only then are data that were text taken for base64."""
    fields = _renamed(_flat(found))
    fields["specversion"] = "1.0"
    if fields.pop("datacontentencoding", None) == "base64":
        fields["data_base64"] = fields.pop("data", None)
    content, data = fields.get("datacontenttype"), fields.get("data")
    if isinstance(data, str) and isinstance(content, str) and attributes.is_json(content):
        fields["data"] = _parsed(data)  # 0.x carried JSON data as a string, too
    return fields


def _flat(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return names without dashes, and each key of a map as an attribute of its own, as binary mode writes both."""
    fields: dict[str, Any] = {}
    for name, value in found.items():
        parts = value if isinstance(value, dict) and name != "data" else {"": value}
        fields |= {f"{name}{key}".replace("-", ""): part for key, part in parts.items()}
    return fields


def _renamed(found: Mapping[str, Any]) -> dict[str, Any]:
    return {_RENAMED.get(name, name): value for name, value in found.items()}


def _json_text(value: str) -> str:
    try:
        read = json.loads(value)
    except ValueError:
        return value
    return read if isinstance(read, str) else value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _decoded(body: bytes, encoding: Any) -> bytes:
    if encoding != "base64":
        return body
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise NotAnEvent("datacontentencoding is base64, and the body is not") from None


def honeycomb_trace(value: str) -> tuple[str, str] | None:
    """Return (trace id, parent span id) of an X-Honeycomb-Trace header, as 32 and 16 hex digits.

    None for anything else. Form: `1;dataset=NAME,trace_id=ID,parent_id=ID,context=BASE64` (honeycomb-beeline 3.6).
    """
    version, _, rest = value.partition(";")
    if version != "1" or len(value) > 8192:
        return None
    pairs = dict(part.partition("=")[::2] for part in rest.split(","))
    trace = unquote(pairs.get("trace_id", "")).replace("-", "").lower()
    parent = unquote(pairs.get("parent_id", "")).replace("-", "").lower()[:16]
    if _hex(trace, 32) and _hex(parent, 16):
        return trace, parent
    return None


def _hex(text: str, length: int) -> bool:
    return len(text) == length and all(character in "0123456789abcdef" for character in text)
