"""The codec: CloudEvents 1.0 over HTTP, binary and structured, both ways, by the specification.

Strict where an SDK is helpful: nothing that is missing is invented, because a made-up id defeats every repetition check, and a
made-up time is a forged fact. Sources: CloudEvents 1.0.2, its HTTP protocol binding and its JSON event format.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote_to_bytes

from greenlight.events import attributes
from greenlight.events.attributes import AttributeValue
from greenlight.events.event import NO_EXTENSIONS, Event
from greenlight.lib import strictjson
from greenlight.lib.errors import Malformed, UnsupportedMedia

STRUCTURED = "application/cloudevents+json"
MAX_EXTENSIONS = 64
MAX_VALUE = 8192
"""Characters of one attribute: more than any header that servers take by default leaves room for."""

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class NotAnEvent(Malformed):
    """The request is not a CloudEvent 1.0. The message names the attribute, never the data."""


def from_http(headers: Headers, body: bytes) -> Event:
    """Return the one event in an HTTP message.

    The content type alone decides between the modes (HTTP binding, section 3). Raises NotAnEvent (400) and
    UnsupportedMedia (415), nothing else.
    """
    fields = lowered(headers)
    media = fields.get("content-type", "").partition(";")[0].strip().lower()
    if not media.startswith("application/cloudevents"):
        return from_attributes(_binary_attributes(fields), body or None)
    if media != STRUCTURED:
        raise UnsupportedMedia(f"content type {media!r}: send one event, as {STRUCTURED} or in binary mode")
    return from_document(document(body))


def lowered(headers: Headers) -> dict[str, str]:
    """Return headers by lower-case name; lines of one name are joined by a comma, as in HTTP."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    fields: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        fields[key] = f"{fields[key]}, {value}" if key in fields else value
    return fields


def document(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a structured event."""
    try:
        value = strictjson.loads(body)
    except strictjson.BadJson as error:
        raise NotAnEvent(f"the event is not readable: {error}") from None
    if not isinstance(value, dict):
        raise NotAnEvent("the event is not a JSON object")
    return value


def from_document(fields: Mapping[str, Any]) -> Event:
    """Return the event of a structured JSON object; null means absent (JSON event format, section 2.2)."""
    found = {name: value for name, value in fields.items() if value is not None and name not in ("data", "data_base64")}
    return from_attributes(found, _document_data(fields))


def from_attributes(found: Mapping[str, Any], data: bytes | None) -> Event:
    """Check every attribute and build the event."""
    if found.get("specversion") != "1.0":
        raise NotAnEvent("specversion is missing or not 1.0")
    if len(found) > MAX_EXTENSIONS + len(attributes.CONTEXT):
        raise NotAnEvent(f"more than {MAX_EXTENSIONS} extension attributes")
    extensions: dict[str, AttributeValue] = {}
    for name, value in found.items():
        if name not in attributes.CONTEXT:
            extensions[name] = _extension(name, value)
    return Event(
        id=_identifier(found, "id"),
        source=_checked(found, "source", attributes.is_uri_reference, "a URI-reference"),
        type=_identifier(found, "type"),
        subject=_optional(found, "subject"),
        time=_optional(found, "time", attributes.is_time, "an RFC 3339 time"),
        datacontenttype=_optional(found, "datacontenttype", attributes.is_media_type, "a media type"),
        dataschema=_optional(found, "dataschema", attributes.is_absolute_uri, "an absolute URI"),
        extensions=MappingProxyType(extensions) if extensions else NO_EXTENSIONS,
        data=data,
    )


def to_binary(event: Event) -> tuple[dict[str, str], bytes]:
    """Return headers and body in binary mode: the data's exact bytes.

    Raises NotAnEvent for what no header can carry.
    """
    headers = {"ce-specversion": "1.0"}
    for name, value in _attributes_of(event):
        if name == "datacontenttype":
            headers["content-type"] = _plain(name, str(value))
        else:
            headers[f"ce-{name}"] = _encoded(name, value)
    if event.data is not None and event.datacontenttype is None:
        headers["content-type"] = "application/json"
    return headers, event.data if event.data is not None else b""


def travels_whole(event: Event) -> bool:
    """Return whether binary mode keeps an event as it is: there every attribute is text, and all data has a type."""
    typed = event.datacontenttype is not None if event.data else event.data is None
    return typed and all(type(value) is str for value in event.extensions.values())


def trace_header(event: Event) -> dict[str, str]:
    """Return the HTTP header that repeats an event's traceparent, so that the next hop can join the trace."""
    text = event.extensions.get("traceparent")
    return {"traceparent": text} if isinstance(text, str) else {}


def to_structured(event: Event) -> tuple[dict[str, str], bytes]:
    """Return headers and body in structured mode. JSON data stands as JSON, anything else as base64."""
    fields: dict[str, Any] = {"specversion": "1.0"}
    for name, value in _attributes_of(event):
        if isinstance(value, str):
            _no_control(name, value)
        fields[name] = value
    if event.data is not None:
        fields |= _data_member(event)
    body = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return {"content-type": STRUCTURED}, body


def _binary_attributes(fields: Mapping[str, str]) -> dict[str, str]:
    found = {name[3:]: header_text(name, value) for name, value in fields.items() if name.startswith("ce-")}
    if not found:
        raise NotAnEvent("no ce- headers, and the content type is not a CloudEvents one")
    if "datacontenttype" in found:
        raise NotAnEvent("ce-datacontenttype is not allowed: in binary mode, Content-Type is the data's type")
    if fields.get("content-type"):
        found["datacontenttype"] = fields["content-type"]
    return found


def _document_data(fields: Mapping[str, Any]) -> bytes | None:
    encoded, data = fields.get("data_base64"), fields.get("data")
    if encoded is not None:
        if data is not None:
            raise NotAnEvent("data and data_base64 cannot both be given")
        if not isinstance(encoded, str):
            raise NotAnEvent("data_base64 is not a string")
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise NotAnEvent("data_base64 is not base64") from None
    if data is None:
        return None
    content = fields.get("datacontenttype")
    if isinstance(data, str) and isinstance(content, str) and not attributes.is_json(content):
        return data.encode()
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _identifier(found: Mapping[str, Any], name: str) -> str:
    """Check id or type: it has no comma, by which a server joins two header lines."""
    value = _required(found, name)
    if "," in value:
        raise NotAnEvent(f"{name} holds a comma: the header may have been sent twice")
    return value


def _checked(found: Mapping[str, Any], name: str, holds: Any, what: str) -> str:
    value = _required(found, name)
    if not holds(value):
        raise NotAnEvent(f"{name} is not {what}")
    return value


def _required(found: Mapping[str, Any], name: str) -> str:
    value = _optional(found, name)
    if value is None:
        raise NotAnEvent(f"{name} is missing")
    return value


def _optional(found: Mapping[str, Any], name: str, holds: Any = None, what: str = "") -> str | None:
    value = found.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise NotAnEvent(f"{name} is not a non-empty string")
    if not attributes.safe(value):
        if len(value) > MAX_VALUE:
            raise NotAnEvent(f"{name} is longer than {MAX_VALUE} characters")
        if attributes.has_control(value):
            raise NotAnEvent(f"{name} holds a control character")
    if holds is not None and not holds(value):
        raise NotAnEvent(f"{name} is not {what}")
    return value


def _extension(name: str, value: Any) -> AttributeValue:
    if not attributes.is_name(name):
        raise NotAnEvent("an extension's name is not lower-case letters and digits")
    if isinstance(value, bool) or (isinstance(value, str) and attributes.safe(value)):
        return value
    if isinstance(value, int) and -(2**31) <= value < 2**31:
        return value
    if not isinstance(value, str):
        raise NotAnEvent(f"{name} is not a string, a 32-bit integer or a boolean")
    if len(value) > MAX_VALUE or attributes.has_control(value):
        raise NotAnEvent(f"{name} is longer than {MAX_VALUE} characters, or holds a control character")
    return value


def _attributes_of(event: Event) -> Iterable[tuple[str, AttributeValue]]:
    for name in (*attributes.REQUIRED, *attributes.OPTIONAL):
        value = getattr(event, name)
        if value is not None:
            yield name, value
    yield from event.extensions.items()


def header_text(name: str, value: str) -> str:
    """Return a header's value by the HTTP binding's section 3.1.3.2: unquoted, then percent-decoded once, as UTF-8."""
    if value.isascii() and "%" not in value and not value.startswith('"'):
        return value
    if value.startswith('"'):
        value = _unquoted(name, value)
    try:
        raw = value.encode("latin-1")  # what servers hand over is bytes in disguise
        return (unquote_to_bytes(raw) if b"%" in raw else raw).decode("utf-8")
    except UnicodeEncodeError:
        return value
    except UnicodeDecodeError:
        raise NotAnEvent(f"{name} is not UTF-8") from None


def _unquoted(name: str, value: str) -> str:
    if len(value) < 2 or not value.endswith('"'):
        raise NotAnEvent(f"{name} begins with a quote that does not end")
    inner, plain = iter(value[1:-1]), []
    for character in inner:
        if character == '"':
            raise NotAnEvent(f"{name} has a quote within quotes")
        plain.append(next(inner, "\\") if character == "\\" else character)
    return "".join(plain)


def _encoded(name: str, value: AttributeValue) -> str:
    """Return a header's value, with space, quote, percent and all outside printable ASCII percent-encoded."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if attributes.safe(value):
        return value
    _no_control(name, value)
    return "".join(
        character if "!" <= character <= "~" and character not in '"%' else _percent(character) for character in value
    )


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def _plain(name: str, value: str) -> str:
    _no_control(name, value)
    return value


def _no_control(name: str, value: str) -> None:
    if attributes.has_control(value):
        raise NotAnEvent(f"{name} holds a control character, which no event may carry")


def _data_member(event: Event) -> dict[str, Any]:
    assert event.data is not None
    if attributes.is_json(event.datacontenttype):
        try:
            return {"data": strictjson.loads(event.data)}
        except strictjson.BadJson:
            pass  # bytes that only claim to be JSON travel as they are
    return {"data_base64": base64.b64encode(event.data).decode("ascii")}
