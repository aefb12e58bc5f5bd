"""CloudEvents over HTTP as services read and write them, by the CloudEvents SDK. The SDK's only home.

The SDK (2.2) makes up an id, a time and a specversion that are missing, goes by any `ce-` header for the mode, takes text apart
that is no UTF-8, parses times and data so that their own text is lost, and raises errors of four families. So what it would
make up, misread or lose is refused or set aside before it gets to see the message: docs/decisions/0020-the-sdk-at-the-edge.md.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, from_binary, from_structured, to_binary
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from greenlight.events import Event, attributes
from greenlight.events.http import STRUCTURED, NotAnEvent, document, from_attributes, header_text
from greenlight.lib.errors import UnsupportedMedia

REQUIRED = ("specversion", *attributes.REQUIRED)
"""Attributes without which no message gets to the SDK."""

_ERRORS = (CloudEventValidationError, ValueError, TypeError, AttributeError)
"""What the SDK raises for what it does not take."""


class _Bytes(JSONFormat):
    """The SDK's JSON format, but in binary mode the data are the bytes that came."""

    def read_data(self, body: bytes, datacontenttype: str | None) -> bytes | None:
        return body or None


_FORMAT = _Bytes()


def read(headers: Iterable[tuple[str, str]], body: bytes) -> Event:
    """Return the one event in an HTTP message. The content type alone decides between the modes.

    Raises NotAnEvent (400) and UnsupportedMedia (415), nothing else.
    """
    fields = _once(headers)
    media = fields.get("content-type", "").partition(";")[0].strip().lower()
    if not media.startswith("application/cloudevents"):
        return _binary(fields, body)
    if media != STRUCTURED:
        raise UnsupportedMedia(f"content type {media!r}: send one event, as {STRUCTURED} or in binary mode")
    return _structured(document(body))


def write(event: Event) -> tuple[dict[str, str], bytes]:
    """Return headers and body in binary mode: the data's exact bytes.

    Raises NotAnEvent for what no header can carry.
    """
    values = {"specversion": "1.0"}
    for name in (*attributes.REQUIRED, *attributes.OPTIONAL):
        value = getattr(event, name)
        if value is not None:
            values[name] = value
    values |= {name: _canonical(value) for name, value in event.extensions.items()}
    if event.data is not None:
        values.setdefault("datacontenttype", "application/json")
    for name, value in values.items():
        if attributes.has_control(value):
            raise NotAnEvent(f"{name} holds a control character, which no event may carry")
    time = values.pop("time", None)
    try:
        message = to_binary(CloudEvent(dict(values), event.data), _FORMAT)
    except _ERRORS as error:
        raise NotAnEvent(f"the event cannot be written: {type(error).__name__}") from None
    headers = {name: value for name, value in message.headers.items() if name != "ce-time"}  # which the SDK made up
    return headers if time is None else {**headers, "ce-time": time}, message.body


def _once(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the event's headers, by lower-case name. A header that is given twice is refused."""
    fields: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        if key != "content-type" and not key.startswith("ce-"):
            continue
        if key in fields:
            raise NotAnEvent(f"the header {key} is given twice")
        if value or key != "content-type":
            fields[key] = value
    return fields


def _binary(fields: Mapping[str, str], body: bytes) -> Event:
    found = {
        name.removeprefix("ce-"): header_text(name, value) for name, value in fields.items() if name != "content-type"
    }
    if not found:
        raise NotAnEvent("no ce- headers, and the content type is not a CloudEvents one")
    if "datacontenttype" in found:
        raise NotAnEvent("ce-datacontenttype is not allowed: in binary mode, Content-Type is the data's type")
    _all_there(found)
    time = found.pop("time", None)
    try:
        headers = {f"ce-{name}": quote(value) for name, value in found.items()}
        if "content-type" in fields:
            headers["content-type"] = fields["content-type"]
        event = from_binary(HTTPMessage(headers, body), _FORMAT, CloudEvent)
    except _ERRORS as error:
        raise NotAnEvent(f"the event is not readable: {type(error).__name__}") from None
    return _checked(event, time)


def _structured(fields: Mapping[str, Any]) -> Event:
    found = {name: value for name, value in fields.items() if value is not None}  # null means absent
    _all_there(found)
    if "data_base64" in found:
        _check_base64(found)
    time = found.pop("time", None)
    try:
        body = json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
        event = from_structured(HTTPMessage({"content-type": STRUCTURED}, body), _FORMAT, CloudEvent)
    except _ERRORS as error:
        raise NotAnEvent(f"the event is not readable: {type(error).__name__}") from None
    return _checked(event, time)


def _all_there(found: Mapping[str, Any]) -> None:
    """Refuse an event without a required attribute, which the SDK would invent."""
    if found.get("specversion") != "1.0":
        raise NotAnEvent("specversion is missing or not 1.0")
    for name in REQUIRED:
        if not isinstance(found.get(name), str) or not found[name]:
            raise NotAnEvent(f"{name} is missing, or not a non-empty string")


def _check_base64(found: Mapping[str, Any]) -> None:
    """Refuse malformed base64, which the SDK decodes in part.

    Beside `data` it is an extension, and the SDK refuses its name.
    """
    if not isinstance(found["data_base64"], str):
        raise NotAnEvent("data_base64 is not a string")
    try:
        base64.b64decode(found["data_base64"], validate=True)
    except (binascii.Error, ValueError):
        raise NotAnEvent("data_base64 is not base64") from None


def _checked(event: BaseCloudEvent, time: Any) -> Event:
    """Return the event that the SDK read, with the time that came instead of an invented one.

    Every attribute is checked.
    """
    found = {**event.get_attributes(), "time": time}
    if time is None:
        del found["time"]
    return from_attributes(found, _data_of(event))


def _data_of(event: BaseCloudEvent) -> bytes | None:
    """Return the data's bytes; JSON from a structured event is written again."""
    data: Any = event.get_data()
    content = event.get_datacontenttype()
    if data is None or isinstance(data, bytes):
        return data
    if isinstance(data, str) and isinstance(content, str) and not attributes.is_json(content):
        return data.encode()
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _canonical(value: attributes.AttributeValue) -> str:
    """Return an extension's value in the specification's form; the SDK would write Python's True."""
    return str(value).lower() if isinstance(value, bool) else str(value)
