"""The services' edge reads and writes by the CloudEvents SDK what the strict codec would: nothing is invented, nothing lost."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import assume, example, given
from hypothesis import strategies as st

from greenlight.events import Event
from greenlight.events.http import NotAnEvent, from_http, to_binary
from greenlight.lib.errors import UnsupportedMedia
from greenlight.service import wire

BINARY = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/tests", "ce-type": "com.example.a"}
FIELDS: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/tests", "type": "com.example.a"}
STRUCTURED = {"content-type": "application/cloudevents+json"}
DOCUMENT = json.dumps(FIELDS).encode()


def said(read: Callable[[], Event]) -> Event | type[Exception]:
    """The event, or the kind of refusal; any other exception is a failure of the test."""
    try:
        return read()
    except (NotAnEvent, UnsupportedMedia) as refused:
        return type(refused)


def both(headers: Mapping[str, str], body: bytes) -> tuple[Event | type[Exception], Event | type[Exception]]:
    """What the edge makes of a message, and what the strict codec does."""
    return said(lambda: wire.read(headers.items(), body)), said(lambda: from_http(headers, body))


LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\x00"), max_size=12)
WIRE = st.one_of(
    LATIN,
    st.text(string.ascii_letters, min_size=1, max_size=8),
    st.text(max_size=8).map(lambda text: text.encode("utf-8", "replace").decode("latin-1")),
    st.sampled_from(
        ["", "%ff", "%C3%28", "%E2%82%AC", "100%", "a%2520b", '"quoted \\"x"', '"open', "a,b", "/s?a=b,c", "x" * 9000]
    ),
    st.sampled_from(
        ["2026-01-01T00:00:00Z", "2026-01-01T00:00:60Z", "2026-W01-1", "2026-01-01T00:00:00.123456789+01:00", "1.0"]
    ),
    st.sampled_from(["true", "-5", "https://example.com/schema", "null", "1.0, 1.0"]),
)
NAMES = st.sampled_from(
    [
        f"ce-{name}"
        for name in ("specversion", "id", "source", "type", "time", "subject", "dataschema", "datacontenttype")
    ]
    + ["ce-", "ce-ext", "ce-data", "ce-Ext2", "ce-data_base64", "ce-a-b", "ce-" + "n" * 70, "traceparent", "X-Ce-Id"]
)
MEDIA = (
    st.sampled_from(
        ["application/json", "Application/JSON", "application/json ; charset=utf-8", "application/vnd.foo_bar+json"]
    )
    | st.sampled_from(
        ["text/plain", "text/json", "no media type", "", "application/octet-stream", "application/cloudevents+json"]
    )
    | st.sampled_from(
        ["Application/CloudEvents+JSON; charset=utf-8", "application/cloudevents-batch+json", "application/cloudevents"]
    )
)
BODIES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"", b"{}", b'{"a": 1}', b"[]", b'"x"', b"null", b"{broken", b"NaN", b"\xff", DOCUMENT]),
)


@given(
    st.dictionaries(NAMES, WIRE, max_size=4),
    st.sets(st.sampled_from(sorted(BINARY)), max_size=1),
    st.none() | MEDIA,
    BODIES,
)
@example({}, {"ce-id"}, None, b"")
@example({"ce-time": "2026-01-01T00:00:60Z"}, set(), None, b"")
@example({"ce-ext": "%ff"}, set(), None, b"")
@example({"ce-ext": "a%2520b"}, set(), None, b"")
@example({"ce-datacontenttype": "text/plain"}, set(), None, b"a")
@example({"ce-ext": "caf\u00c3\u00a9"}, set(), "application/json", b"[1, {}]")
def test_a_binary_message_is_read_as_the_strict_codec_does(
    more: dict[str, str], without: set[str], media: str | None, body: bytes
) -> None:
    """The same event to the last byte, or the same refusal."""
    headers = {name: value for name, value in BINARY.items() if name not in without} | more
    if media is not None:
        headers["content-type"] = media
    edge, strict = both(headers, body)
    assert edge == strict


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
    | st.sampled_from(
        ["1.0", "/s", "text/plain", "application/json", "2026-01-01T00:00:60Z", "aGk=", "aGk", "https://x/"]
    ),
    lambda item: st.lists(item, max_size=3) | st.dictionaries(st.text("ab\u00e9", max_size=3), item, max_size=3),
    max_leaves=6,
)
MEMBERS = st.sampled_from(
    [*FIELDS, "time", "subject", "dataschema", "datacontenttype", "data", "data_base64", "ext", "Ext", "", "a_b"]
)


@given(
    st.dictionaries(MEMBERS, VALUES, max_size=4),
    st.sets(st.sampled_from(sorted(FIELDS)), max_size=1),
    st.dictionaries(st.sampled_from(["ce-foo", "ce-id", "ce-specversion"]), LATIN, max_size=1),
)
@example({}, {"id"}, {})
@example({"time": None, "subject": None, "ext": None}, set(), {})
@example({"data": [1, {"a": True}], "time": "2026-01-01T00:00:00.123456789Z"}, set(), {})
@example({"data": "", "data_base64": "aGk="}, set(), {})
@example({"data_base64": "aG!k="}, set(), {})
@example({"data": "plain", "datacontenttype": "text/plain"}, set(), {"ce-foo": "stray"})
def test_a_structured_message_is_read_as_the_strict_codec_does(
    more: dict[str, Any], without: set[str], stray: dict[str, str]
) -> None:
    """Null means absent, `ce-` headers mean nothing, and what is missing stays missing."""
    fields = {name: value for name, value in FIELDS.items() if name not in without} | more
    edge, strict = both({**STRUCTURED, **stray}, json.dumps(fields).encode())
    assert edge == strict


@given(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from(
            [
                b"[]", b'"x"', b"{", b"null", b"\xef\xbb\xbf" + DOCUMENT, DOCUMENT.replace(b'"1"', b"NaN"),
                DOCUMENT.replace(b"{", b'{"id": "2",', 1), b'{"a":' * 200 + b"1" + b"}" * 200,
                DOCUMENT[:-1] + b',"data":1e999}',
            ]
        ),
    )
)  # fmt: skip
def test_a_body_that_is_no_document_is_refused_as_the_strict_codec_does(body: bytes) -> None:
    """With one of two errors, whatever the SDK would raise."""
    edge, strict = both(STRUCTURED, body)
    assert edge == strict


SAFE = st.text("abc-._~/:", min_size=1, max_size=10)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=10)
EVENTS = st.builds(
    Event,
    id=SAFE,
    source=SAFE,
    type=SAFE,
    subject=st.none() | TEXT,
    time=st.none() | st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01t00:00:60.000000001+05:00"]),
    datacontenttype=st.none() | st.sampled_from(["application/json", "text/plain; charset=utf-8"]),
    dataschema=st.none() | st.just("https://example.com/schema"),
    extensions=st.dictionaries(
        st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=5).filter(
            lambda name: name not in ("data", "id", "type", "time")
        ),
        TEXT | st.integers(-(2**31), 2**31 - 1) | st.booleans(),
        max_size=3,
    ),
    data=st.none() | st.binary(max_size=12),
)


@given(EVENTS)
@example(Event("1", "/s", "t", extensions={"flag": True, "n": -5}, data=b"[1, 2]"))
@example(Event("1", "/s", "t", subject='a b%\u20ac\U0001f600"'))
@example(Event("1", "/s", "t", subject="a\nb"))
def test_what_is_written_is_what_the_strict_codec_writes(event: Event) -> None:
    """Header by header, byte by byte; and it is read as what it was."""
    try:
        expected = to_binary(event)
    except NotAnEvent:
        with pytest.raises(NotAnEvent):
            wire.write(event)
        return
    headers, body = wire.write(event)
    assert ({name.lower(): value for name, value in headers.items()}, body) == expected
    assume(event.data != b"")  # HTTP knows no difference between no data and none
    assert wire.read(headers.items(), body) == from_http(*expected)


@pytest.mark.parametrize("name", ["id", "source", "type", "specversion"])
@pytest.mark.parametrize("value", [None, ""])
def test_what_lacks_an_attribute_never_gets_to_the_sdk(
    name: str, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it can make nothing up, in either mode."""

    def never(*_: Any) -> Any:
        raise AssertionError("the SDK was asked")

    monkeypatch.setattr(wire, "from_binary", never)
    monkeypatch.setattr(wire, "from_structured", never)
    headers = {key: text for key, text in BINARY.items() if key != f"ce-{name}"}
    fields = {key: text for key, text in FIELDS.items() if key != name}
    if value is not None:
        headers[f"ce-{name}"] = fields[name] = value
    for message in ((headers, b""), (STRUCTURED, json.dumps(fields).encode())):
        with pytest.raises(NotAnEvent, match=name):
            wire.read(message[0].items(), message[1])


@pytest.mark.parametrize("name", ["ce-id", "ce-source", "ce-ext", "content-type"])
def test_a_header_that_is_there_twice_is_refused(name: str) -> None:
    """Whichever of the two was meant."""
    headers = [*BINARY.items(), (name, "/a"), (name.title(), "/a")]
    with pytest.raises(NotAnEvent, match="twice"):
        wire.read(headers, b"")


def test_whatever_else_the_sdk_raises_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """An AttributeError of its own would be a 500, which Knative sends again."""

    def broken(*_: Any) -> Any:
        raise AttributeError("'list' object has no attribute 'get'")

    monkeypatch.setattr(wire, "from_binary", broken)
    with pytest.raises(NotAnEvent, match="AttributeError"):
        wire.read(BINARY.items(), b"")


def _sdk(headers: Mapping[str, str], body: bytes = b"") -> Any:
    return from_http_event(HTTPMessage(dict(headers), body))


def test_the_sdk_still_departs_from_the_specification() -> None:
    """docs/decisions/0020-the-sdk-at-the-edge.md has these as a table. One that fails here is a precondition that may go."""
    without_id = {name: value for name, value in BINARY.items() if name != "ce-id"}
    assert _sdk(without_id).get_id() != _sdk(without_id).get_id()
    assert _sdk(BINARY).get_time() is not None
    assert _sdk({name: value for name, value in BINARY.items() if name != "ce-specversion"}).get_specversion() == "1.0"
    assert _sdk({"content-type": "application/json"}, DOCUMENT).get_id() == "1"
    with pytest.raises(Exception, match="source"):
        _sdk({**STRUCTURED, "ce-foo": "stray"}, DOCUMENT)
    assert _sdk({**BINARY, "ce-ext": '"quoted"'}).get_extension("ext") == '"quoted"'
    assert _sdk({**BINARY, "ce-ext": "%ff"}).get_extension("ext") == "\ufffd"
    assert _sdk({**BINARY, "ce-time": "2026-01-01T00:00:00.123456789Z"}).get_time().microsecond == 123456
    assert json.dumps(_sdk({**BINARY, "content-type": "application/json"}, b'{"a":1}').get_data()) != '{"a":1}'
    assert _sdk(STRUCTURED, json.dumps({**FIELDS, "data_base64": "aG!k="}).encode()).get_data() == b"hi"
    assert to_binary_event(CloudEvent({**FIELDS, "flag": True})).headers["ce-flag"] == "True"


@pytest.mark.parametrize(
    ("headers", "body", "leaks"),
    [
        (STRUCTURED, b"{", ValueError),
        (STRUCTURED, json.dumps({**FIELDS, "time": None}).encode(), TypeError),
        (STRUCTURED, b"[]", AttributeError),
        ({**BINARY, "ce-time": "2026-01-01T00:00:60Z"}, b"", ValueError),
    ],
)
def test_the_sdk_still_leaks_errors_of_python(headers: dict[str, str], body: bytes, leaks: type[Exception]) -> None:
    """Besides its own, which is no ValueError."""
    with pytest.raises(leaks):
        _sdk(headers, body)
