"""The codec against the specification, row by row where the SDK departs from it, and against the SDK where they agree."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event, from_structured_event, to_binary_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from greenlight.events import Event
from greenlight.events.attributes import is_time
from greenlight.events.http import NotAnEvent, from_http, to_binary, to_structured
from greenlight.events.legacy import from_http_any, honeycomb_trace
from greenlight.lib.errors import UnsupportedMedia

BINARY = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/tests", "ce-type": "com.example.a"}
FIELDS: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/tests", "type": "com.example.a"}
JSON = {"content-type": "application/cloudevents+json"}


def structured(**fields: Any) -> Event:
    return from_http(JSON, json.dumps({**FIELDS, **fields}).encode())


def without(mapping: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key != name}


# Where the SDK (2.2.0) departs from the specification.


@pytest.mark.parametrize("name", ["id", "source", "type", "specversion"])
def test_row_34_what_is_required_is_not_invented(name: str) -> None:
    """A missing attribute is refused in both modes: a made-up id defeats every repetition check."""
    with pytest.raises(NotAnEvent, match=name):
        from_http(without(BINARY, f"ce-{name}"), b"")
    for fields in (without(FIELDS, name), {**FIELDS, name: None}, {**FIELDS, name: ""}, {**FIELDS, name: 5}):
        with pytest.raises(NotAnEvent, match=name):
            from_http(JSON, json.dumps(fields).encode())


def test_no_time_stays_no_time() -> None:
    """The time of receipt would be a forged fact."""
    assert from_http(BINARY, b"").time is None


def test_the_content_type_alone_decides_on_the_mode() -> None:
    """A structured event with a stray ce- header is structured; plain JSON without ce- headers is no event."""
    body = json.dumps(FIELDS).encode()
    assert from_http({**JSON, "ce-foo": "stray"}, body).extensions == {}
    with pytest.raises(NotAnEvent, match="no ce- headers"):
        from_http({"content-type": "application/json"}, body)


@pytest.mark.parametrize(
    "media",
    [
        "application/CloudEvents+JSON",
        "application/cloudevents+json; charset=utf-8",
        "APPLICATION/cloudevents+json ;a=b",
    ],
)
def test_media_types_are_compared_without_case_and_parameters(media: str) -> None:
    """As RFC 2046 has them."""
    assert from_http({"Content-Type": media}, json.dumps(FIELDS).encode()).id == "1"


@pytest.mark.parametrize(
    "media", ["application/cloudevents-batch+json", "application/cloudevents+avro", "application/cloudevents"]
)
def test_batches_and_other_formats_are_refused_as_such(media: str) -> None:
    """415, not an error of ours."""
    with pytest.raises(UnsupportedMedia):
        from_http({"content-type": media}, b"[]")


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ('"quoted \\"x"', 'quoted "x'),
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("a%2520b", "a%20b"),
        ("100%", "100%"),
        ("plain", "plain"),
    ],
)
def test_header_values_are_unquoted_then_percent_decoded_once(sent: str, read: str) -> None:
    """HTTP binding, section 3.1.3.2; the Euro example is the specification's own."""
    assert from_http({**BINARY, "ce-ext": sent}, b"").extensions["ext"] == read


@pytest.mark.parametrize("value", ["%ff", "%C3%28", '"open', '"a"b"'])
def test_what_does_not_decode_is_refused(value: str) -> None:
    """Invalid UTF-8 and broken quotes are never replaced."""
    with pytest.raises(NotAnEvent, match="ext"):
        from_http({**BINARY, "ce-ext": value}, b"")


@pytest.mark.parametrize(
    "media", ["Application/JSON", "application/json ; charset=utf-8", "application/vnd.foo_bar+json"]
)
def test_json_is_recognised_whatever_its_spelling(media: str) -> None:
    """And its bytes stay as they were."""
    event = from_http({**BINARY, "content-type": media}, b'{"a": 1}')
    assert (event.data, event.json()) == (b'{"a": 1}', {"a": 1})
    assert json.loads(to_structured(event)[1])["data"] == {"a": 1}


def test_data_that_only_claims_to_be_json_is_kept_as_bytes() -> None:
    """Binary mode does not look into data; structured mode carries it as base64."""
    event = from_http({**BINARY, "content-type": "application/json"}, b"{broken")
    assert from_http(*to_structured(event)).data == b"{broken"
    with pytest.raises(json.JSONDecodeError):
        event.json()


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"1", b"null", b"", b"{", b"\xff", b'{"id": NaN}', b"[" * 100_000])
def test_a_structured_body_that_is_no_object_is_refused(body: bytes) -> None:
    """With our own error, whatever it is."""
    with pytest.raises(NotAnEvent):
        from_http(JSON, body)


@pytest.mark.parametrize("name", ["time", "subject", "datacontenttype", "dataschema", "foo", "data", "data_base64"])
def test_null_means_absent(name: str) -> None:
    """JSON event format, section 2.2."""
    assert structured(**{name: None}) == structured()


@pytest.mark.parametrize(
    "fields",
    [
        {"data": 1, "data_base64": "AA=="},
        {"data_base64": "not base64!"},
        {"data_base64": 5},
        {"time": "yesterday"},
        {"time": "2026-W10-1T00:00:00Z"},
        {"time": "2026-02-30T00:00:00Z"},
        {"time": "2026-01-01T00:00:00"},
        {"time": "2026-01-01 00:00:00Z"},
        {"source": "not a uri"},
        {"dataschema": "relative/path"},
        {"datacontenttype": "text"},
        {"datacontenttype": "text/plain\r\nX-Evil: 1"},
        {"specversion": "0.2"},
        {"specversion": "1.0.2"},
        {"promotionId": "x"},
        {"with-dash": "x"},
        {"name\n": "x"},
        {"ext": 1.5},
        {"ext": []},
        {"ext": {}},
        {"ext": 2**31},
        {"ext": "a\x00b"},
        {"ext": "line\nbreak"},
        {"subject": ""},
        {"subject": "x" * 65_536},
        {f"e{n}": "x" for n in range(100)},
    ],
    ids=str,
)
def test_row_34_what_the_specification_forbids_is_refused(fields: dict[str, Any]) -> None:
    """In our words, and without a default."""
    with pytest.raises(NotAnEvent):
        structured(**fields)


@pytest.mark.parametrize(
    "time",
    ["1990-12-31T23:59:60Z", "2026-01-01T00:00:00.123456789Z", "2026-01-01t00:00:00z", "2026-01-01T00:00:00+02:00"],
)
def test_times_are_kept_as_they_were_sent(time: str) -> None:
    """Leap seconds are right (RFC 3339, section 5.7), and a nanosecond cut off is another time."""
    assert structured(time=time).time == time
    assert from_http(*to_binary(structured(time=time))).time == time


def test_extensions_keep_their_types_and_are_written_canonically() -> None:
    """A Boolean is `true`, an Integer its decimal digits."""
    event = structured(flag=True, count=7, word="x")
    assert event.extensions == {"flag": True, "count": 7, "word": "x"}
    headers, _ = to_binary(event)
    assert (headers["ce-flag"], headers["ce-count"]) == ("true", "7")
    assert from_http(*to_structured(event)) == event


def test_an_integer_is_its_digits_in_a_header_and_an_integer_in_a_document() -> None:
    """A header has no type; its digits are the same in every mode, so that a filter on them passes either."""
    event = structured(count=7)
    again = from_http(*to_binary(event))
    assert again.extensions == {"count": "7"}
    assert to_binary(again) == to_binary(event)


@pytest.mark.parametrize(
    ("name", "text"),
    [("dssematerial", "AAEC/+8="), ("expirytime", "2026-01-01T00:00:00.123456789Z"), ("link", "../a?b#c")],
)
def test_binary_timestamp_and_uri_extensions_keep_the_text_that_they_are_on_the_wire(name: str, text: str) -> None:
    """Base64, RFC 3339, a URI-reference: whoever knows the extension reads it; nobody else spoils it."""
    event = structured(**{name: text})
    assert event.extensions[name] == text
    assert to_binary(event)[0][f"ce-{name}"] == text
    assert from_http(*to_binary(event)) == from_http(*to_structured(event)) == event


@pytest.mark.parametrize("data", ['[1, {"a": true}]', "true", '"hi"', "5", "null"])
def test_json_data_is_json_in_both_modes(data: str) -> None:
    """Lists, booleans and strings are not Python's idea of text."""
    event = Event(id="1", source="/s", type="t", datacontenttype="application/json", data=data.encode())
    assert to_binary(event)[1] == data.encode()
    body = json.loads(to_structured(event)[1])
    assert body["data"] == json.loads(data)


def test_nan_is_never_written() -> None:
    """It is not JSON: data that has it stays bytes."""
    event = Event(id="1", source="/s", type="t", datacontenttype="application/json", data=b'{"a": NaN}')
    assert "data_base64" in json.loads(to_structured(event)[1])


def test_data_that_is_not_json_travels_as_bytes() -> None:
    """Exactly."""
    event = Event(id="1", source="/s", type="t", datacontenttype="application/octet-stream", data=bytes(range(256)))
    assert from_http(*to_structured(event)) == event
    assert from_http(*to_binary(event)) == event


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "nul\x00", "\x1b[31m", "\ud800"])
@pytest.mark.parametrize("name", ["id", "source", "type", "subject", "datacontenttype", "ext"])
def test_row_36_control_characters_never_leave_us(name: str, value: str) -> None:
    """Neither as a header nor in a document."""
    known: dict[str, Any] = {"id": "1", "source": "/s", "type": "t"}
    event = Event(**{**known, "extensions": {"ext": value}} if name == "ext" else {**known, name: value})
    for write in (to_binary, to_structured):
        with pytest.raises(NotAnEvent):
            write(event)


@pytest.mark.parametrize("name", ["id", "type"])
def test_row_35_an_attribute_sent_twice_is_refused(name: str) -> None:
    """Servers join two lines by a comma, with or without a space; so does our own reading of a list."""
    for joined in ("a, promotion.ready", "a,promotion.ready"):
        with pytest.raises(NotAnEvent, match="twice"):
            from_http({**BINARY, f"ce-{name}": joined}, b"")
    twice = [*BINARY.items(), (f"CE-{name}", "again")]
    with pytest.raises(NotAnEvent, match="twice"):
        from_http(twice, b"")


def test_row_35_names_with_underscores_are_not_attributes() -> None:
    """ce_id is not ce-id."""
    with pytest.raises(NotAnEvent, match="id"):
        from_http({**without(BINARY, "ce-id"), "ce_id": "1"}, b"")


def test_duplicate_members_are_refused() -> None:
    """Two readers would see two events."""
    with pytest.raises(NotAnEvent, match="twice"):
        from_http(JSON, b'{"specversion":"1.0","id":"1","id":"2","source":"/s","type":"t"}')


# Where the SDK and the specification agree, the SDK is the oracle.

SAFE = st.text(string.ascii_letters + string.digits + "-._~/:", min_size=1, max_size=20)
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\x7f"), min_size=1, max_size=20)
NAMES = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=10).filter(
    lambda name: (
        name not in ("data", "id", "source", "type", "time", "subject", "specversion", "datacontenttype", "dataschema")
    )
)
EVENTS = st.builds(
    Event,
    id=SAFE,
    source=SAFE,
    type=SAFE,
    subject=st.none() | TEXT,
    time=st.none() | st.datetimes(min_value=datetime(1900, 1, 1)).map(lambda moment: moment.isoformat() + "Z"),
    datacontenttype=st.just("application/json"),
    extensions=st.dictionaries(NAMES, TEXT, max_size=4),
    data=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=("Cs",))),
        lambda item: st.lists(item, max_size=3) | st.dictionaries(st.text(max_size=5), item, max_size=3),
        max_leaves=5,
    )
    .filter(lambda value: isinstance(value, dict))
    .map(lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")),
)


def _same(ours: Event, theirs: CloudEvent) -> None:
    assert (ours.id, ours.source, ours.type, ours.subject) == (
        theirs.get_id(),
        theirs.get_source(),
        theirs.get_type(),
        theirs.get_subject(),
    )
    for name, value in ours.extensions.items():
        assert theirs.get_extension(name) == value
    assert theirs.get_data() == ours.json()


@given(EVENTS)
def test_the_sdk_reads_what_we_write(event: Event) -> None:
    """Binary and structured: the same attributes, the same data."""
    _same(event, from_binary_event(HTTPMessage(*to_binary(event))))
    _same(event, from_structured_event(HTTPMessage(*to_structured(event))))


@given(EVENTS)
def test_we_read_what_the_sdk_writes(event: Event) -> None:
    """The other way around, for what it can express."""
    attributes: dict[str, Any] = {"id": event.id, "source": event.source, "type": event.type, "specversion": "1.0"}
    attributes |= {"datacontenttype": "application/json", **event.extensions}
    if event.subject:
        attributes["subject"] = event.subject
    message = to_binary_event(CloudEvent(attributes, event.json()))
    ours = from_http(message.headers, message.body)
    assert (ours.id, ours.source, ours.type, ours.subject) == (event.id, event.source, event.type, event.subject)
    assert dict(ours.extensions) == dict(event.extensions)
    assert ours.json() == event.json()


@given(EVENTS)
def test_what_we_write_we_read(event: Event) -> None:
    """Equal in binary mode; equal but for the spelling of JSON in structured mode."""
    assert from_http(*to_binary(event)) == event
    again = from_http(*to_structured(event))
    assert again.json() == event.json()
    assert (again.id, again.time, dict(again.extensions)) == (event.id, event.time, dict(event.extensions))


@given(
    st.dictionaries(
        st.sampled_from([*BINARY, "ce-x", "ce-time", "content-type", "ce-"]) | st.text(max_size=8), st.text(max_size=40)
    ),
    st.binary(max_size=200) | st.sampled_from([json.dumps(FIELDS).encode()]),
)
def test_no_bytes_raise_anything_but_our_two_errors(headers: dict[str, str], body: bytes) -> None:
    """A stranger's bytes are refused, and never break us."""
    for read in (from_http, from_http_any):
        try:
            event = read(headers, body)
        except (NotAnEvent, UnsupportedMedia):
            continue
        assert event.id
        assert event.source
        assert event.type
        assert event.time is None or is_time(event.time)


# The forms of 2019.


def test_a_0_2_event_is_read_as_1_0() -> None:
    """contenttype, schemaurl, header values in JSON quotes, flattened maps: as the talk's wire had them."""
    headers = {
        "ce-specversion": '"0.2"',
        "ce-id": '"1234"',
        "ce-source": '"/circleci"',
        "ce-type": '"com.circleci.buildsuccess"',
        "ce-time": '"2019-05-22T10:00:00Z"',
        "ce-schemaurl": '"https://example.com/schema"',
        "ce-sampled-rate": '"5"',
        "Content-Type": "application/json",
    }
    event = from_http_any(headers, b'{"repo": "acme/shop"}')
    assert (event.id, event.source, event.type) == ("1234", "/circleci", "com.circleci.buildsuccess")
    assert (event.time, event.dataschema) == ("2019-05-22T10:00:00Z", "https://example.com/schema")
    assert event.extensions == {"sampledrate": "5"}
    assert event.json() == {"repo": "acme/shop"}


def test_a_0_2_document_is_read_as_1_0() -> None:
    """Structured mode of the same year."""
    fields = {**FIELDS, "specversion": "0.2", "contenttype": "application/json", "data": {"repo": "acme/shop"}}
    event = from_http_any(JSON, json.dumps(fields).encode())
    assert (event.datacontenttype, event.json()) == ("application/json", {"repo": "acme/shop"})


def test_dashes_and_maps_of_2019_are_attributes_of_1_0() -> None:
    """In either mode the same ones; data are left alone."""
    old = {
        **FIELDS,
        "specversion": "0.2",
        "honeycomb-trace": "1;a=b",
        "sampled": {"rate": "5"},
        "data": {"a-b": {"c": 1}},
    }
    event = from_http_any(JSON, json.dumps(old).encode())
    assert event.extensions == {"honeycombtrace": "1;a=b", "sampledrate": "5"}
    assert event.json() == {"a-b": {"c": 1}}
    headers = {**BINARY, "ce-specversion": "0.3", "ce-honeycomb-trace": "1;a=b", "ce-sampled-rate": "5"}
    assert from_http_any(headers, b"").extensions == event.extensions
    assert from_http_any({**headers, "ce-word": "%E2%82%AC"}, b"").extensions["word"] == "€"


def test_0_3_data_in_base64_are_decoded() -> None:
    """datacontentencoding is gone in 1.0: what it meant is not."""
    headers = {**BINARY, "ce-specversion": "0.3", "ce-datacontentencoding": "base64", "content-type": "text/plain"}
    assert from_http_any(headers, b"aGVsbG8=").data == b"hello"
    with pytest.raises(NotAnEvent, match="base64"):
        from_http_any(headers, b"!!")
    fields = {
        **FIELDS,
        "specversion": "0.3",
        "datacontentencoding": "base64",
        "datacontenttype": "text/plain",
        "data": "aGVsbG8=",
    }
    assert from_http_any(JSON, json.dumps(fields).encode()).data == b"hello"


def test_1_0_is_read_by_the_same_door() -> None:
    """One route takes all three."""
    assert from_http_any(BINARY, b"") == from_http(BINARY, b"")
    assert from_http_any(JSON, json.dumps(FIELDS).encode()) == structured()


@pytest.mark.parametrize(
    ("header", "read"),
    [
        ("1;dataset=x,trace_id=0af7651916cd43dd8448eb211c80319c,parent_id=b7ad6b7169203331,context=e30=", True),
        ("1;trace_id=0af76519-16cd-43dd-8448-eb211c80319c,parent_id=b7ad6b7169203331", True),
        ("2;trace_id=0af7651916cd43dd8448eb211c80319c,parent_id=b7ad6b7169203331", False),
        ("1;trace_id=short,parent_id=b7ad6b7169203331", False),
        ("", False),
        ("1;" + "=" * 9000, False),
    ],
)
def test_a_honeycomb_header_is_read_or_passed_over(header: str, read: bool) -> None:
    """Never an error: it is somebody's tracing."""
    expected = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331") if read else None
    assert honeycomb_trace(header) == expected
