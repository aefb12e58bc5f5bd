"""How events go out: the rows A, D, B and L of Knative's data-plane contract, its table of answers, and its own tests."""

from __future__ import annotations

import base64
import math

from contract.broker.cases import (
    FAST,
    GONE,
    at_least,
    binary,
    case,
    less,
    reply,
    sink,
    starting,
    structured,
)
from support.backends import Answer, Case, Like, Send

ONE: dict[str, dict[str, object]] = {"one": {}}
"""One Trigger; its subscriber is called one."""

OK = Answer(202)

NO_REASON = {"dead.ce-knativeerrordest": None, "dead.ce-knativeerrorcode": None, "dead.ce-knativeerrordata": None}

BROKERS_ADDRESS = Like("the Broker's address", lambda text: "/one" not in text and text.startswith("http"))


def failing(times: int, status: int = 503) -> list[Answer]:
    return [*([Answer(status)] * times), OK]


def encoded(body: bytes) -> str:
    return base64.b64encode(body).decode()


def decoded_starting(text: str) -> Like:
    return Like(f"base64 of {text}…", lambda value: base64.b64decode(value).decode().startswith(text))


def waiting(*seconds: float) -> Like:
    """So long between the calls, and not about double that."""
    return Like(
        f"waits of {seconds} s",
        lambda gaps: (
            all(gap >= wait for gap, wait in zip(gaps, seconds, strict=True))
            and math.fsum(gaps) < 1.8 * math.fsum(seconds)
        ),
    )


def to(name: str, **delivery: object) -> dict[str, dict[str, object]]:
    """One Trigger; whatever it cannot deliver goes to the sink called dead."""
    return {name: {"delivery": sink("dead", **delivery)}}


def answering(*types: str) -> dict[str, dict[str, object]]:
    """Triggers on single types, called by the last word of theirs."""
    return {type.rpartition(".")[2]: {"filters": [{"exact": {"type": type}}]} for type in types}


FAN_OUT: list[Case] = [
    case(
        "A2+L10-a-failing-trigger-is-not-the-producers-business",
        binary(),
        {"one": {"delivery": {"retry": 0}}},
        {"status": 202, "one": 1},
        answers={"one": Answer(400)},
        knative={"status": 500},
        difference="acknowledgement",
    ),
    case(
        "I10+A2-the-producer-does-not-wait",
        binary(),
        {"one": {}},
        {"status": 202, "one": 1, "took": less(4)},
        answers={"one": Answer(delay=4)},
        knative={"took": at_least(4)},
        difference="acknowledgement",
    ),
    case(
        "A3-the-producer-goes-away",
        Send(binary().headers, b"{}", until="one"),
        to("one", retry=3, backoffPolicy="exponential", backoffDelay="PT0.2S"),
        {"one": 4, "dead": 1},
        answers={"one": [Answer(503, delay=0.3)]},
        knative={"one": less(4), "dead": 0},
        difference="acknowledgement",
        linger=3.0,
    ),
    case(
        "A4-asynchronous",
        binary(),
        {"one": {}},
        {"status": 202, "one": 1, "took": less(4)},
        answers={"one": Answer(delay=4)},
        annotations={"messaging.knative.dev/async-handler": "true"},
        wait={"one": 1},
    ),
    case(
        "A5-a-repeating-producer",
        [binary(), binary()],
        {"one": {"delivery": {"retry": 0}}, "two": {}},
        {"one": 2, "two": 2, "status": [202, 202]},
        answers={"one": [Answer(400), OK]},
        knative={"status": [500, 202]},
        difference="acknowledgement",
    ),
    case(
        "A6-two-triggers-of-one-subscriber",
        binary(b'{"kept": "as it is"}'),
        {"one": {}, "two": {"subscriber": {"uri": "${one}"}}},
        {"status": 202, "one": 2, "one.body": b'{"kept": "as it is"}'},
    ),
    case("A7-once-each", binary(), {"one": {}, "two": {}, "three": {}}, {"one": 1, "two": 1, "three": 1}),
    case(
        "A8-a-retried-event-delays-no-other",
        [Send(binary(id="${case}-slow").headers, b"{}", until="one"), binary(id="${case}-quick")],
        to("one", retry=1, backoffPolicy="exponential", backoffDelay="PT2S"),
        {"one.ids": Like("the quick one before the slow one's retry", lambda ids: ids.index(ids[0], 1) > 1)},
        answers={"one": [Answer(503), OK]},
        annotations={"messaging.knative.dev/async-handler": "true"},
        wait={"one": 3},
    ),
    case("D7-a-repeated-event-is-delivered-again", [binary(), binary()], ONE, {"status": [202, 202], "one": 2}),
]

TO_SUBSCRIBERS: list[Case] = [
    case(
        "D1+D2+D3+D4-a-binary-post",
        binary(b'{"a":1}', subject="s", time="2026-01-01T00:00:00Z", dataschema="https://example.com/s", count="5"),
        {"one": {"subscriber": {"uri": "${one}/deep?x=1"}}},
        {
            "one.method": "POST",
            "one.path": Like("…/deep?x=1", lambda path: path.endswith("/deep?x=1")),
            "one.prefer": "reply",
            "one.kn-namespace": starting("parity"),
            "one.ce-knativebrokerttl": None,
            "one.ce-specversion": "1.0",
            "one.ce-id": "D1+D2+D3+D4-a-binary-post",
            "one.ce-source": "/test",
            "one.ce-type": "test.happened",
            "one.ce-subject": "s",
            "one.ce-time": "2026-01-01T00:00:00Z",
            "one.ce-dataschema": "https://example.com/s",
            "one.ce-count": "5",
            "one.content-type": "application/json",
            "one.body": b'{"a":1}',
        },
    ),
    case(
        "D5-trace-context",
        Send(
            {
                **binary().headers,
                "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                "tracestate": "vendor=value",
                "baggage": "user=1",
            }
        ),
        ONE,
        {
            "one.traceparent": Like(
                "the same trace",
                lambda text: text.startswith("00-0af7651916cd43dd8448eb211c80319c-") and text[-2:] == "01",
            ),
            "one.tracestate": "vendor=value",
            "one.baggage": "user=1",
            "one.ce-traceparent": None,
        },
    ),
    case("D5-a-malformed-one", Send({**binary().headers, "traceparent": "00-1-2-01"}), ONE, {"one.traceparent": None}),
    case("D5-none", binary(), ONE, {"one.traceparent": None}),
    case(
        "D5-as-attributes",
        binary(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ONE,
        {"one.ce-traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    ),
    case(
        "D6-extensions-become-text",
        structured(count=5, flag=True, text="x"),
        ONE,
        {"one.ce-count": "5", "one.ce-flag": "true", "one.ce-text": "x"},
    ),
    case(
        "D6-time-as-it-was-sent",
        binary(time="2026-01-01T01:00:00.1000+01:00"),
        ONE,
        {"one.ce-time": "2026-01-01T01:00:00.1000+01:00"},
        knative={"one.ce-time": "2026-01-01T00:00:00.1Z"},
        difference="time",
    ),
    case(
        "D6-what-a-header-cannot-hold",
        structured(subject="grün %"),
        ONE,
        {"one.ce-subject": "gr%C3%BCn%20%25"},
        knative={"one.ce-subject": "grün %".encode().decode("latin-1")},
        difference="percent-encoding",
    ),
    case(
        "D6-percent-encoded",
        binary(subject="a%20b"),
        ONE,
        {"one.ce-subject": "a%20b"},
    ),
    case(
        "D6-unnecessarily-percent-encoded",
        binary(subject="%61"),
        ONE,
        {"one.ce-subject": "a"},
        knative={"one.ce-subject": "%61"},
        difference="percent-encoding",
    ),
    case(
        "D6-source-with-a-space",
        structured(source="/a b"),
        ONE,
        {"status": 400, "one": 0},
        knative={"status": 202, "one": 1},
        difference="malformed-attributes",
    ),
    case(
        "D8-no-handshake-with-subscribers",
        binary(),
        ONE,
        {"methods": Like("without OPTIONS", lambda methods: "POST" in methods and "OPTIONS" not in methods)},
    ),
    case(
        "D9-no-timeout-unless-asked-for",
        binary(),
        {"one": {}},
        {"status": 202, "one": 1},
        answers={"one": Answer(delay=3)},
    ),
    case(
        "D1+B10-format-json",
        binary(b'{"a": 1}', count="5"),
        {"one": {"delivery": {"format": "json"}}},
        {
            "one.content-type": "application/cloudevents+json",
            "one.json": Like("the event", lambda it: it["data"] == {"a": 1} and it["count"] == "5"),
            "one.prefer": "reply",
        },
    ),
    case(
        "D1+B10-format-json-of-bytes",
        binary(b"\x00\xff", content="image/png"),
        {"one": {"delivery": {"format": "json"}}},
        {"one.json": Like("the bytes as base64", lambda it: it["data_base64"] == "AP8=")},
        knative={"one.json": "no JSON"},
        difference="format-json",
    ),
    case(
        "D1+B10-format-json-of-another-json-type",
        binary(b'{"a": 1}', content="application/vnd.x+json"),
        {"one": {"delivery": {"format": "json"}}},
        {"one.json": Like("the data as JSON", lambda it: it["data"] == {"a": 1})},
        knative={"one.json": Like("the data as a text", lambda it: it["data"] == '{"a": 1}')},
        difference="format-json",
    ),
    case(
        "D1+B10-format-json-of-what-only-claims-to-be",
        binary(b"{"),
        {"one": {"delivery": {"format": "json"}}},
        {"one": 1},
        knative={"one": 0},
        difference="format-json",
    ),
    case(
        "D1+B10-format-json-keeps-no-types",
        structured(count=5),
        {"one": {"delivery": {"format": "json"}}},
        {"one.json": Like("a number", lambda it: it["count"] == 5)},
        knative={"one.json": Like("a text", lambda it: it["count"] == "5")},
        difference="format-json",
    ),
    case(
        "B10-a-brokers-format-is-not-used",
        binary(),
        {"one": {}},
        {"one.content-type": "application/json"},
        broker={"delivery": {"format": "json", "retry": 0}},
    ),
    case(
        "B10-dead-letters-are-binary",
        binary(),
        {"one": {"delivery": sink("dead", format="json")}},
        {"one.content-type": "application/cloudevents+json", "dead.content-type": "application/json", "dead": 1},
        answers={"one": Answer(400)},
    ),
    *(
        case(f"6-a-long-message-of-{size}", binary(b"x" * size, content="text/plain"), ONE, {"one.body": b"x" * size})
        for size in (36 * 1024, 300_000)
    ),
]

ANSWERS: list[Case] = [
    *(
        case(
            f"2.4-{status}-is-delivered",
            binary(),
            to("one", **FAST),
            {"status": 202, "one": 1, "dead": 0},
            answers={"one": Answer(status)},
        )
        for status in (200, 201, 202, 204, 206)
    ),
    *(
        case(
            f"2.4+B1-{status}-is-tried-again",
            binary(),
            to("one", **FAST),
            {"one": 2, "dead": 0},
            answers={"one": failing(1, status)},
        )
        for status in (404, 408, 409, 429, 500, 502, 503, 504, 599)
    ),
    *(
        case(
            f"2.4+L3-{status}-is-dead-at-once",
            binary(),
            to("one", **FAST),
            {
                "status": 202,
                "one": 1,
                "dead": 1,
                "dead.ce-knativeerrorcode": str(status),
                "dead.ce-knativeerrordata": encoded(b"no"),
            },
            answers={"one": Answer(status, body=b"no")},
        )
        for status in (400, 401, 403, 405, 410, 413, 415, 422, 451)
    ),
    *(
        case(
            f"2.4+L6-{name}-that-is-no-event-is-tried-again",
            binary(),
            to("one", **FAST),
            {
                "status": 202,
                "one": 3,
                "dead": 1,
                "dead.ce-knativeerrorcode": "502",
                "dead.ce-knativeerrordata": encoded(body),
            },
            answers={"one": Answer(status, {"content-type": content}, body)},
            knative={"dead.ce-knativeerrorcode": None, "dead.ce-knativeerrordata": None},
            difference="reasons",
        )
        for name, status, content, body in (
            ("text", 200, "text/plain", b"ok"),
            ("json", 201, "application/json", b"{}"),
            ("html", 202, "text/html", b"<html>"),
        )
    ),
    case(
        "2.4-a-redirection",
        binary(),
        to("one", **FAST),
        {"one": 1, "two": 0, "dead": 1},
        answers={"one": Answer(302, {"location": "${two}"})},
        knative={"two": 1, "dead": 0},
        difference="redirections",
    ),
    case(
        "2.4-a-redirection-that-keeps-the-method",
        binary(),
        to("one", **FAST),
        {"one": 1, "two": 0, "dead": 1},
        answers={"one": Answer(307, {"location": "${two}"})},
        knative={"two": 1, "dead": 0},
        difference="redirections",
    ),
    case(
        "2.4-a-redirection-to-nowhere",
        binary(),
        to("one", **FAST),
        {"one": 1, "dead": 1, "dead.ce-knativeerrorcode": "300"},
        answers={"one": Answer(300)},
    ),
    case(
        "2.4+L6-not-modified",
        binary(),
        to("one", **FAST),
        {"one": 1, "dead": 1, "dead.ce-knativeerrorcode": "304"},
        answers={"one": Answer(304)},
        knative={"dead.ce-knativeerrorcode": None},
        difference="reasons",
    ),
    case(
        "2.4-provisional-answers-are-passed-over",
        [binary(), binary(id="${case}-second")],
        to("one", **FAST),
        {"one": 2, "dead": 0},
        answers={"one": Answer(202, before=(102, 103))},
    ),
    case(
        "2.4-no-server-listens",
        binary(),
        {"one": {"subscriber": {"uri": GONE}, "delivery": sink("dead", **FAST)}},
        {
            "status": 202,
            "dead": 1,
            "dead.ce-knativeerrordest": GONE,
            "dead.ce-knativeerrorcode": "500",
            "dead.ce-knativeerrordata": decoded_starting("dispatch error: "),
        },
    ),
    case(
        "2.4-no-answer-at-all",
        binary(),
        to("one", **FAST),
        # A request on a connection that was open from before may be sent once more: it may have been closed meanwhile.
        {"one": at_least(3), "dead": 1},
        answers={"one": Answer(how="none")},
    ),
    case(
        "2.4-no-answer-at-first",
        binary(),
        to("one", **FAST),
        {"one": 2, "dead": 0},
        answers={"one": [Answer(how="none"), OK]},
    ),
    case(
        "2.4-an-answer-cut-off-is-tried-again",
        binary(),
        to("one", **FAST),
        {"one": 2, "dead": 0},
        answers={"one": [Answer(body=b"half", how="cut"), OK]},
    ),
]

TWICE = {
    "one": {"filters": [{"exact": {"type": "test.happened"}}]},
    "two": {"filters": [{"exact": {"type": "test.answered"}}]},
}
"""The first answers with an event that the second gets."""

DYING = {**TWICE, "one": {**TWICE["one"], "delivery": sink("dead", **FAST)}}

REPLIES: list[Case] = [
    *(
        case(
            f"2.4-{status}-with-an-event-is-a-reply",
            binary(),
            TWICE,
            {"status": 202, "one": 1, "two": 1, "two.ce-source": "/reply"},
            answers={"one": reply(status=status)},
        )
        for status in (200, 201, 204, 206)
    ),
    case(
        "2.4-202-with-an-event",
        binary(),
        TWICE,
        {"status": 202, "one": 1, "two": 0},
        answers={"one": reply(status=202)},
        knative={"two": 1},
        difference="reply-202",
    ),
    case(
        "2.4-a-structured-reply",
        binary(),
        TWICE,
        {"two": 1, "two.json": {"b": 2}, "two.ce-id": "structured-reply"},
        answers={
            "one": Answer(
                200,
                {"content-type": "application/cloudevents+json"},
                b'{"specversion":"1.0","id":"structured-reply","source":"/r","type":"test.answered",'
                b'"case":"${case}","datacontenttype":"application/json","data":{"b":2}}',
            )
        },
    ),
    case(
        "2.4+6-a-reply-goes-to-every-trigger-also-its-own",
        binary(knativebrokerttl="3"),
        {"one": {"filters": []}, "two": {"filters": []}},
        {"one": 2, "two": 2},
        answers={"one": [reply(), OK]},
    ),
    case(
        "I12+2.4-a-loop-ends-when-the-hops-do",
        binary(knativebrokerttl="5"),
        {"one": {"filters": [], "delivery": sink("dead")}},
        {"one": 4, "dead": 1, "dead.ce-knativeerrorcode": "400", "dead.ce-knativeerrordest": BROKERS_ADDRESS},
        answers={"one": reply()},
    ),
    case(
        "I12-a-reply-has-the-hops-of-what-it-answers",
        binary(knativebrokerttl="9"),
        {**TWICE, "two": {**TWICE["two"], "delivery": sink("dead")}},
        {"two": 1, "dead.ce-knativebrokerttl": "7"},
        answers={"one": reply(knativebrokerttl="200"), "two": Answer(400)},
    ),
    case(
        "I13+2.4-headers-of-a-reply",
        Send({**binary().headers, "knative-sent": "1"}),
        TWICE,
        {"two.knative-answered": "2", "two.server": None, "two.x-other": None},
        answers={"one": Answer(200, {**reply().headers, "Knative-Answered": "2", "X-Other": "3"})},
    ),
    case(
        "6-a-long-reply",
        binary(),
        TWICE,
        {"two.body": b"y" * 36_864},
        answers={"one": reply(body=b"y" * 36_864, content="text/plain")},
    ),
    case(
        "6-a-transformation",
        binary(b'{"a":1}', subject="s"),
        TWICE,
        {
            "two.ce-type": "test.answered",
            "two.body": b'{"b":2}',
            "two.ce-subject": None,
            "two.content-type": "application/json",
        },
        answers={"one": reply(body=b'{"b":2}', content="application/json")},
    ),
    *(
        case(
            f"2.4-a-reply-{name}",
            binary(),
            DYING,
            {
                "one": 3,
                "two": 0,
                "dead": 1,
                "dead.ce-knativeerrorcode": "502",
                "dead.ce-knativeerrordest": Like("of the subscriber", lambda it: it.endswith("/one")),
            },
            answers={"one": answer},
            knative={"one": 1, "dead.ce-knativeerrorcode": "400", "dead.ce-knativeerrordest": BROKERS_ADDRESS},
            difference="malformed-replies",
        )
        for name, answer in (
            ("without-id", reply(id=None)),
            ("without-source", reply(source=None)),
            ("without-type", reply(type=None)),
            ("with-a-bad-media-type", reply(body=b"x", content="no media type")),
            ("with-a-relative-dataschema", reply(dataschema="relative")),
        )
    ),
    *(
        case(
            f"2.4+L6-a-reply-{name}",
            binary(),
            DYING,
            {"one": 3, "two": 0, "dead": 1, "dead.ce-knativeerrorcode": "502"},
            answers={"one": answer},
            knative={"dead.ce-knativeerrorcode": None},
            difference="reasons",
        )
        for name, answer in (
            ("with-an-empty-id", reply(id="")),
            ("with-a-bad-time", reply(time="yesterday")),
            ("with-an-unknown-version-and-a-body", reply(specversion="9", body=b"x")),
            ("that-is-no-json", Answer(200, {"content-type": "application/cloudevents+json"}, b"{")),
            ("that-is-a-batch", Answer(200, {"content-type": "application/cloudevents-batch+json"}, b"[]")),
        )
    ),
    case(
        "2.4-a-reply-of-an-unknown-version-without-a-body",
        binary(),
        DYING,
        {"one": 3, "two": 0, "dead": 1},
        answers={"one": reply(specversion="9")},
        knative={"one": 1, "dead": 0},
        difference="malformed-replies",
    ),
    case(
        "2.4-headers-of-an-event-without-a-version-are-none",
        binary(),
        DYING,
        {"one": 1, "two": 0, "dead": 0},
        answers={"one": reply(specversion=None)},
    ),
    case(
        "2.4-a-reply-that-its-trigger-fails-on",
        binary(),
        {**DYING, "two": {**TWICE["two"], "delivery": {"retry": 0}}},
        {"one": 1, "two": 1, "dead": 0},
        answers={"one": reply(), "two": Answer(400)},
        knative={"two": 3, "dead": 1},
        difference="failing-replies",
    ),
]

RETRIES: list[Case] = [
    case(
        "B1+B2-exponential",
        binary(),
        to("one", retry=3, backoffPolicy="exponential", backoffDelay="PT0.5S"),
        {"one": 4, "one.gaps": waiting(0.5, 1, 2)},
        answers={"one": Answer(503)},
    ),
    case(
        "B1+B3-linear",
        binary(),
        to("one", retry=3, backoffPolicy="linear", backoffDelay="PT1S"),
        {"one": 4, "one.gaps": waiting(0, 1, 2)},
        answers={"one": Answer(503)},
    ),
    *(
        case(
            f"B4-{name}-alone-means-no-wait",
            binary(),
            to("one", retry=2, **{name: text}),
            {"one": 3, "dead": 1, "one.gaps": Like("no waits", lambda gaps: max(gaps) < 5)},
            answers={"one": Answer(503)},
        )
        for name, text in (("backoffPolicy", "exponential"), ("backoffDelay", "PT5S"))
    ),
    case(
        "B1-no-delivery-of-its-own-and-none-of-the-brokers",
        binary(),
        {"one": {}},
        {"one": 1},
        answers={"one": Answer(503)},
        broker={"delivery": {"retry": 0}},
    ),
    case(
        "B1+L1-without-retry-there-is-one-attempt",
        binary(),
        to("one"),
        {"status": 202, "one": 1, "dead": 1},
        answers={"one": Answer(503)},
    ),
    case(
        "B5-a-broker-that-says-nothing-tries-again",
        binary(),
        {"one": {}},
        {
            "status": 202,
            "one": 4,
            "one.gaps": Like("≥ 0.2, 0.4, 0.8 s", lambda gaps: gaps[0] >= 0.2 and gaps[1] >= 0.4 and gaps[2] >= 0.8),
        },
        answers={"one": failing(3)},
    ),
    case(
        "B6-a-timeout-is-tried-again",
        binary(),
        to("one", retry=1, timeout="PT0.5S"),
        {"one": 2, "dead": 0},
        answers={"one": [Answer(delay=3), OK]},
    ),
    case(
        "B6+L6-a-timeout-that-stays",
        binary(),
        to("one", retry=1, timeout="PT0.5S"),
        {
            "status": 202,
            "one": 2,
            "dead": 1,
            "dead.ce-knativeerrorcode": "500",
            "dead.ce-knativeerrordest": Like("of the subscriber", lambda it: it.endswith("/one")),
        },
        answers={"one": Answer(delay=3)},
        knative={"dead.ce-knativeerrorcode": None, "dead.ce-knativeerrordest": None},
        difference="reasons",
    ),
    case(
        "B7-retry-after-is-not-heeded",
        binary(),
        to("one", **FAST),
        {"one": 2, "dead": 0, "one.gaps": Like("no hour", lambda gaps: gaps[0] < 60)},
        answers={"one": [Answer(429, {"retry-after": "3600"}), OK]},
    ),
    case(
        "B8-all-digits-of-a-duration",
        binary(),
        to("one", retry=5, backoffPolicy="exponential", backoffDelay="PT0.09S"),
        {"one": 6, "one.gaps": Like("2.79 s together", lambda gaps: math.fsum(gaps) >= 2.78)},
        answers={"one": Answer(503)},
        knative={"one.gaps": Like("no waits", lambda gaps: math.fsum(gaps) < 2.78)},
        difference="durations",
    ),
    case(
        "B8-a-comma",
        binary(),
        to("one", retry=1, backoffPolicy="exponential", backoffDelay="PT0,3S"),
        {"one": 2, "one.gaps": Like("≥ 0.3 s", lambda gaps: gaps[0] >= 0.3)},
        answers={"one": Answer(503)},
    ),
    *(
        case(
            f"B9-a-triggers-{name}-replaces-all-but-the-sink",
            binary(),
            {"one": {"delivery": delivery}},
            {
                "status": 202,
                "one": calls,
                "dead": 1,
                "one.gaps": Like("no waits", lambda gaps: max(gaps, default=0) < 5),
            },
            answers={"one": Answer(503)},
            broker={"delivery": sink("dead", retry=2, backoffPolicy="exponential", backoffDelay="PT5S")},
        )
        for name, delivery, calls in (
            ("retry", {"retry": 1}, 2),
            ("nothing", {}, 1),
            ("format", {"format": "json"}, 1),
            ("timeout", {"timeout": "PT5S"}, 1),
        )
    ),
    case(
        "B9-a-trigger-without-delivery-has-the-brokers",
        binary(),
        {"one": {}},
        {"status": 202, "one": 3, "dead": 1},
        answers={"one": Answer(503)},
        broker={"delivery": sink("dead", **FAST)},
    ),
]

DEAD: list[Case] = [
    case(
        "L1-the-sink-is-tried-again-too",
        binary(),
        to("one", **FAST),
        {"status": 202, "one": 3, "dead": 2},
        answers={"one": Answer(503), "dead": failing(1)},
    ),
    case(
        "L1-a-dead-sink-is-not-the-producers-business",
        binary(),
        to("one"),
        {"status": 202, "one": 1, "dead": 1},
        answers={"one": Answer(400), "dead": Answer(400)},
        knative={"status": 500},
        difference="acknowledgement",
    ),
    case(
        "L3+L8+D3-a-dead-letter",
        binary(b'{"kept":1}', subject="s"),
        to("one"),
        {
            "status": 202,
            "dead": 1,
            "dead.method": "POST",
            "dead.kn-namespace": starting("parity"),
            "dead.prefer": None,
            "dead.body": b'{"kept":1}',
            "dead.ce-subject": "s",
            "dead.ce-id": "L3+L8+D3-a-dead-letter",
            "dead.ce-knativeerrordest": Like("of the subscriber", lambda it: it.endswith("/one")),
            "dead.ce-knativeerrorcode": "422",
            "dead.ce-knativeerrordata": encoded(b"why not"),
            "dead.ce-knativebrokerttl": "255",
            "dead.ce-knativearrivaltime": starting("20"),
        },
        answers={"one": Answer(422, body=b"why not")},
    ),
    case(
        "L3-an-answer-without-a-body",
        binary(),
        to("one"),
        {"dead.ce-knativeerrorcode": "422", "dead.ce-knativeerrordata": ""},
        answers={"one": Answer(422)},
    ),
    case(
        "L3-the-last-answer-counts",
        binary(),
        to("one", retry=1),
        {"one": 2, "dead.ce-knativeerrorcode": "422", "dead.ce-knativeerrordata": encoded(b"b")},
        answers={"one": [Answer(503, body=b"a"), Answer(422, body=b"b")]},
    ),
    case(
        "L4-768-bytes-of-an-answer",
        binary(),
        to("one"),
        {"dead.ce-knativeerrordata": encoded(b"y" * 768)},
        answers={"one": Answer(422, body=b"y" * 768)},
    ),
    case(
        "L5-no-server-listens",
        binary(),
        {"one": {"subscriber": {"uri": GONE}, "delivery": sink("dead")}},
        {"dead.ce-knativeerrordata": decoded_starting("dispatch error: "), "dead.ce-knativeerrorcode": "500"},
    ),
    case(
        "L7-reasons-of-an-earlier-death",
        binary(knativeerrordest="http://stale/", knativeerrorcode="418", knativeerrordata="c3RhbGU="),
        to("one"),
        {
            "dead.ce-knativeerrorcode": "422",
            "dead.ce-knativeerrordest": Like("of the subscriber", lambda it: it.endswith("/one")),
        },
        answers={"one": Answer(422)},
        knative={"dead.ce-knativeerrorcode": "418", "dead.ce-knativeerrordest": "http://stale/"},
        difference="stale-reasons",
    ),
    case(
        "L9-a-sinks-reply-goes-nowhere",
        binary(),
        {**TWICE, "one": {**TWICE["one"], "delivery": sink("dead")}},
        {"dead": 1, "two": 0},
        answers={"one": Answer(400), "dead": reply()},
    ),
    case(
        "L9-a-sink-may-answer-anything-with-2xx",
        binary(),
        to("one", **FAST),
        {"status": 202, "dead": 1},
        answers={"one": Answer(400), "dead": Answer(200, {"content-type": "text/plain"}, b"ok")},
    ),
    case(
        "L10-dead-lettered-is-accepted", binary(), to("one"), {"status": 202, "dead": 1}, answers={"one": Answer(400)}
    ),
]

FAIL_3, FAIL_4 = failing(3), failing(4)
RETRY_3 = {"retry": 3, "backoffPolicy": "linear", "backoffDelay": "PT0.1S"}

THEIR_OWN: list[Case] = [
    # Conformance of the control plane, delivery spec: dlq-test-0 to 4.
    case("6-dlq-0-no-delivery-is-one-attempt", binary(), to("one"), {"one": 1}, answers={"one": failing(1)}),
    case(
        "6-dlq-1-the-brokers-retries-suffice",
        binary(),
        {"one": {}},
        {"one": 4, "dead": 0},
        answers={"one": FAIL_3},
        broker={"delivery": sink("dead", **RETRY_3)},
    ),
    case(
        "6-dlq-1-the-brokers-retries-do-not-suffice",
        binary(),
        {"one": {}},
        {"one": 4, "dead": 1},
        answers={"one": FAIL_4},
        broker={"delivery": sink("dead", **RETRY_3)},
    ),
    case(
        "6-dlq-2-the-triggers-retries-suffice",
        binary(),
        to("one", **RETRY_3),
        {"one": 4, "dead": 0},
        answers={"one": FAIL_3},
        broker={"delivery": {"retry": 0}},
    ),
    case(
        "6-dlq-2-the-triggers-retries-do-not-suffice",
        binary(),
        to("one", **RETRY_3),
        {"one": 4, "dead": 1},
        answers={"one": FAIL_4},
        broker={"delivery": {"retry": 0}},
    ),
    case(
        "6-dlq-3-the-trigger-wins",
        binary(),
        to("one", **RETRY_3),
        {"one": 4, "dead": 0},
        answers={"one": FAIL_3},
        broker={"delivery": {"retry": 1}},
    ),
    case(
        "6-dlq-4-of-two-sinks-the-triggers",
        binary(),
        to("one", **RETRY_3),
        {"one": 4, "dead": 1, "other": 0},
        answers={"one": FAIL_4},
        broker={"delivery": sink("other", retry=1)},
    ),
    # Redelivery: Fibonacci drops, and the first five.
    case(
        "6-redelivery-the-first-five-are-dropped",
        binary(),
        to("one", retry=5, backoffPolicy="linear", backoffDelay="PT0.1S"),
        {"one": 6, "dead": 0, "one.kn-namespace": starting("parity")},
        answers={"one": failing(5, 409)},
    ),
    case(
        "6-redelivery-fibonacci",
        [binary(id=f"${{case}}-{number}") for number in range(5)],
        to("one", retry=5, backoffPolicy="linear", backoffDelay="PT0.1S"),
        {"one": Like("each id is taken once", lambda count: count >= 5), "dead": 0},
        answers={"one": [Answer(409 if number in (1, 2, 3, 5, 8) else 202) for number in range(1, 12)]},
    ),
    # A sink that takes the first events, and a Trigger's own beside a good Trigger.
    case(
        "6-the-first-two-die-the-third-lives",
        [binary(id=f"${{case}}-{number}") for number in range(3)],
        to("one"),
        {"status": [202, 202, 202], "one": 3, "dead": 2},
        answers={"one": [Answer(400), Answer(400), OK]},
    ),
    case(
        "6-a-bad-trigger-does-not-touch-a-good-one",
        binary(),
        {**to("one"), "two": {}},
        {"status": 202, "one": 1, "two": 1, "dead": 1},
        answers={"one": Answer(400)},
    ),
    case(
        "6-of-two-sinks-the-triggers",
        binary(),
        to("one"),
        {"dead": 1, "other": 0},
        answers={"one": Answer(400)},
        broker={"delivery": sink("other")},
    ),
    case(
        "6-the-brokers-sink-where-the-trigger-has-none",
        binary(),
        {"one": {"delivery": {"retry": 0}}},
        {"dead": 1},
        answers={"one": Answer(400)},
        broker={"delivery": sink("dead")},
    ),
    # Event routing: routing-test-0 to 6.
    case("6-routing-0-no-filter", binary(), {"one": {"filters": []}}, {"one": 1}),
    case("6-routing-1-no-match", binary(), {"one": {"filter": {"attributes": {"type": "other"}}}}, {"one": 0}),
    case("6-routing-2-a-match", binary(), {"one": {"filter": {"attributes": {"type": "test.happened"}}}}, {"one": 1}),
    case(
        "6-routing-3-two-match",
        binary(),
        {name: {"filter": {"attributes": {"type": "test.happened"}}} for name in ("one", "two")},
        {"one": 1, "two": 1},
    ),
    case(
        "6-routing-4-one-of-two",
        binary(),
        {
            "one": {"filter": {"attributes": {"type": "test.happened"}}},
            "two": {"filter": {"attributes": {"type": "other"}}},
        },
        {"one": 1, "two": 0},
    ),
    case("6-routing-5-a-reply-matches-the-second", binary(), TWICE, {"one": 1, "two": 1}, answers={"one": reply()}),
    case(
        "6-routing-6-two-without-filters",
        binary(),
        {"one": {"filters": []}, "two": {"filters": []}},
        {"one": 1, "two": 1},
    ),
]

CASES = [*FAN_OUT, *TO_SUBSCRIBERS, *ANSWERS, *REPLIES, *RETRIES, *DEAD, *THEIR_OWN]
