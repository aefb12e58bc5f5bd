"""How events come in: the rows I of Knative's data-plane contract."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import replace

from contract.broker.cases import binary, case, sink, structured
from support.backends import Answer, Case, Like, Send

ONE: dict[str, dict[str, object]] = {"one": {}}
"""One Trigger; its subscriber is called one."""

TAKEN = {"status": 202, "one": 1}
REFUSED = {"status": 400, "one": 0}

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

MEBIBYTE = 1 << 20

PACKED = gzip.compress(b'{"whole": "body"}', mtime=0)

CASES: list[Case] = [
    # I1, I8, I9: modes.
    *(
        case(
            f"I1+I8-binary-{name}",
            binary(body, content=content),
            ONE,
            {**TAKEN, "answer.body": b"", "one.body": body, "one.content-type": content},
        )
        for name, content, body in (
            ("json", "application/json", b'{"a": 1}'),
            ("text", "text/plain", "grün\n".encode()),
            ("xml", "application/xml", b"<a/>"),
            ("bytes", "application/octet-stream", b"\x00\xff"),
            ("parameters", "text/plain; charset=utf-8", b"x"),
        )
    ),
    case("I1-binary-without-data", binary(b"", content=None), ONE, {**TAKEN, "one.body": b""}),
    case(
        "I1-structured",
        structured(datacontenttype="application/json", data={"a": 1}),
        ONE,
        {**TAKEN, "answer.body": b"", "one.json": {"a": 1}, "one.content-type": "application/json"},
    ),
    case(
        "I1-structured-with-parameters",
        Send({"content-type": "application/cloudevents+json; charset=utf-8"}, structured(data=1).body),
        ONE,
        {**TAKEN, "one.json": 1},
    ),
    case(
        "I1-structured-text",
        structured(datacontenttype="text/plain", data="grün"),
        ONE,
        {**TAKEN, "one.body": "grün".encode(), "one.content-type": "text/plain"},
    ),
    case(
        "I1-structured-bytes",
        structured(datacontenttype="image/png", data_base64="AP8="),
        ONE,
        {**TAKEN, "one.body": b"\x00\xff", "one.content-type": "image/png"},
    ),
    case(
        "I1-structured-without-data",
        structured(),
        ONE,
        {**TAKEN, "one.body": b"", "one.content-type": None},
    ),
    case(
        "I1-structured-json-of-another-media-type",
        structured(datacontenttype="application/vnd.x+json", data={"a": 1}),
        ONE,
        {**TAKEN, "one": 1},
        knative={"status": 400, "one": 0},
        difference="structured-data",
    ),
    case(
        "I1-structured-without-datacontenttype",
        structured(data={"a": 1}),
        ONE,
        {**TAKEN, "one.json": {"a": 1}, "one.content-type": "application/json"},
        knative={"one.content-type": None},
        difference="structured-data",
    ),
    case(
        "I7-structured-bytes-after-a-space",
        structured(raw=', "data_base64": "AP8="'),
        ONE,
        {**TAKEN, "one.body": b"\x00\xff"},
        knative={"status": 400, "one": 0, "one.body": "not called"},
        difference="structured-data",
    ),
    case(
        "I7-structured-bytes-that-are-a-number",
        structured(data_base64=5),
        ONE,
        REFUSED,
        knative=TAKEN,
        difference="structured-data",
    ),
    *(
        case(
            f"I9-batch-of-{len(events)}",
            Send({"content-type": "application/cloudevents-batch+json"}, json.dumps(events).encode()),
            ONE,
            REFUSED,
        )
        for events in (
            [],
            [{"specversion": "1.0", "id": "a", "source": "/a", "type": "a", "case": "${case}", "set": "${set}"}],
            [
                {"specversion": "1.0", "id": str(n), "source": "/a", "type": "a", "case": "${case}", "set": "${set}"}
                for n in (1, 2)
            ],
        )
    ),
    # I2, I3: versions.
    case(
        "I2-version-0.3",
        binary(specversion="0.3"),
        ONE,
        REFUSED,
        knative={**TAKEN},
        difference="version-0.3",
    ),
    case(
        "I2-version-0.3-structured",
        structured(specversion="0.3"),
        ONE,
        REFUSED,
        knative={**TAKEN},
        difference="version-0.3",
    ),
    *(
        case(f"I3-version-{name}", binary(specversion=version), ONE, REFUSED)
        for name, version in (("9000.1", "9000.1"), ("empty", ""), ("missing", None), ("0.2", "0.2"), ("1", "1"))
    ),
    case("I3-version-9000.1-structured", structured(specversion="9000.1"), ONE, REFUSED),
    # I4: addresses.
    case("I4-one-slash-may-follow", Send(binary().headers, b"{}", path="/"), ONE, TAKEN),
    *(
        case(f"I4-{name}", Send(binary().headers, b"{}", path=path), ONE, {"status": status, "one": 0})
        for name, path, status in (
            ("root", "//", 404),
            ("another-name", "x", 404),
            ("a-query", "?a=b", 404),
            ("a-query-after-a-slash", "/?a=b", 400),
            ("one-segment", "//x", 400),
            ("a-third-segment", "/x", 400),
            ("two-slashes", "//x/y//", 400),
            ("another-namespace", "//elsewhere/default", 404),
        )
    ),
    case(
        "I4-a-query-of-nothing",
        Send(binary().headers, b"{}", path="?"),
        ONE,
        {"status": 404, "one": 0},
    ),
    case("I4-nothing-is-decoded", Send(binary().headers, b"{}", path="%20"), ONE, {"status": 404, "one": 0}),
    case(
        "I4+I7-validated-before-the-name-is-looked-up",
        Send({}, b"{}", path="//elsewhere/default"),
        ONE,
        {"status": 400},
    ),
    # I5, I6, I15: methods.
    *(
        case(
            f"I5-{method}",
            Send(binary().headers, b"", method=method),
            ONE,
            {"status": 405, "one": 0},
        )
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH")
    ),
    case(
        "I6-the-web-hook-handshake",
        Send({"WebHook-Request-Origin": "example.com", "WebHook-Request-Rate": "100"}, b"", method="OPTIONS"),
        ONE,
        {
            "status": 200,
            "answer.allow": "POST, OPTIONS",
            "answer.webhook-allowed-origin": "*",
            "answer.webhook-allowed-rate": "*",
            "one": 0,
        },
    ),
    case("I6-of-any-path", Send({}, b"", method="OPTIONS", path="//any/where/at/all"), ONE, {"status": 200}),
    case(
        "I15-a-probe-of-any-path",
        Send({"user-agent": "kube-probe/1.34"}, b"", method="GET", path="//any"),
        ONE,
        {"status": 200},
    ),
    # I7: what is an event.
    *(
        case(f"I7-{name}-missing", binary(**{name: None}), ONE, REFUSED)  # type: ignore[arg-type]
        for name in ("id", "source", "type")
    ),
    *(
        case(f"I7-{name}-empty", binary(**{name: ""}), ONE, REFUSED)  # type: ignore[arg-type]
        for name in ("id", "source", "type")
    ),
    case("I7-no-event-at-all", Send({"content-type": "application/json"}, b"{}"), ONE, REFUSED),
    case("I7-neither-headers-nor-body", Send({}, b""), ONE, REFUSED),
    case("I7-bad-media-type", binary(content="no media type"), ONE, REFUSED),
    case("I7-relative-dataschema", binary(dataschema="schema"), ONE, REFUSED),
    case("I7-absolute-dataschema", binary(dataschema="https://example.com/s"), ONE, TAKEN),
    case("I7-bad-time", binary(time="yesterday"), ONE, REFUSED),
    case("I7-bad-time-structured", structured(time="yesterday"), ONE, REFUSED),
    *(
        case(
            f"I7-empty-{name}-{mode.__name__}",
            mode(**{name: ""}),
            ONE,
            REFUSED,
            knative={**TAKEN},
            difference="malformed-attributes",
        )
        for name, mode in (
            ("subject", binary),
            ("subject", structured),
            ("dataschema", binary),
            ("dataschema", structured),
            ("time", structured),
        )
    ),
    case("I7-empty-time-binary", binary(time=""), ONE, REFUSED),
    case(
        "I7-blank-subject-structured",
        structured(subject=" "),
        ONE,
        {**TAKEN},
        knative=REFUSED,
        difference="malformed-attributes",
    ),
    *(
        case(f"I7-structured-{name}", Send({"content-type": "application/cloudevents+json"}, body), ONE, REFUSED)
        for name, body in (
            ("broken", b"{"),
            ("list", b"[]"),
            ("null", b"null"),
            ("nothing", b""),
            (
                "number-as-id",
                b'{"specversion": "1.0", "id": 5, "source": "/a", "type": "a", "case": "${case}", "set": "${set}"}',
            ),
            ("without-id", b'{"specversion": "1.0", "source": "/a", "type": "a", "case": "${case}", "set": "${set}"}'),
            ("without-type", b'{"specversion": "1.0", "source": "/a", "id": "a", "case": "${case}", "set": "${set}"}'),
            ("without-source", b'{"specversion": "1.0", "id": "1", "type": "a", "case": "${case}", "set": "${set}"}'),
        )
    ),
    case(
        "I7-structured-null-means-absent",
        structured(raw=', "subject": null'),
        ONE,
        {**TAKEN, "one.ce-subject": None},
    ),
    case(
        "I7-newline-in-an-attribute",
        structured(subject="a\nb"),
        ONE,
        REFUSED,
        knative={"status": 500},
        difference="malformed-attributes",
    ),
    case(
        "I7-upper-case-name",
        structured(Stage="dev"),
        ONE,
        REFUSED,
        knative={**TAKEN},
        difference="malformed-attributes",
    ),
    case(
        "I7-float-extension",
        structured(weight=3.5),
        ONE,
        REFUSED,
        knative={**TAKEN},
        difference="malformed-attributes",
    ),
    case(
        "I7-header-without-a-name",
        Send({**binary().headers, "ce-": "x"}, b"{}"),
        ONE,
        REFUSED,
        knative={"status": 0},
        difference="malformed-attributes",
    ),
    *(
        case(
            f"I7-time-{name}",
            binary(time=text),
            ONE,
            {**TAKEN, "one.ce-time": text},
            knative={"status": 400, "one": 0, "one.ce-time": "not called"},
            difference="time",
        )
        for name, text in (("lower-case", "2026-01-01t00:00:00z"), ("leap-second", "2016-12-31T23:59:60Z"))
    ),
    case(
        "I7-time-with-a-comma",
        binary(time="2026-01-01T00:00:00,5Z"),
        ONE,
        REFUSED,
        knative={**TAKEN},
        difference="time",
    ),
    # I11, I12: attributes that the Broker adds.
    case(
        "I11-an-arrival-time",
        binary(),
        ONE,
        {"one.ce-knativearrivaltime": Like("RFC 3339 in UTC", lambda text: bool(RFC_3339.fullmatch(text)))},
    ),
    case(
        "I11-the-senders-own-is-replaced",
        binary(knativearrivaltime="2001-01-01T00:00:00Z"),
        ONE,
        {"one.ce-knativearrivaltime": Like("not of 2001", lambda text: not text.startswith("2001"))},
    ),
    *(case(f"I12-hops-{ttl}", binary(knativebrokerttl=ttl), ONE, {**REFUSED}) for ttl in ("1", "0", "-3")),
    *(
        case(
            f"I12-hops-{name}",
            binary(knativebrokerttl=ttl),
            {"one": {"delivery": sink("dead")}},
            {"status": 202, "one.ce-knativebrokerttl": None, "dead.ce-knativebrokerttl": left},
            answers={"one": Answer(400)},
        )
        for name, ttl, left in (
            ("absent", None, "255"),
            ("7", "7", "6"),
            ("2", "2", "1"),
            ("256", "256", "255"),
            ("1000", "1000", "999"),
            ("fraction", "3.5", "2"),
            ("word", "word", "255"),
            ("true", "true", "255"),
            ("too-big", "99999999999", "255"),
        )
    ),
    case(
        "I12-hops-structured-number",
        structured(knativebrokerttl=7),
        {"one": {"delivery": sink("dead")}},
        {"status": 202, "dead.ce-knativebrokerttl": "6"},
        answers={"one": Answer(400)},
    ),
    # I13: headers that travel.
    case(
        "I13-headers-that-travel",
        Send(
            {
                **binary().headers,
                "Knative-Anything": "1",
                "X-B3-TraceId": "2",
                "X-Request-Id": "3",
                "Retry-After": "4",
                "Cookie": "secret",
                "Authorization": "Bearer secret",
                "X-Other": "5",
                "Prefer": "something",
                "User-Agent": "producer",
            },
            b"{}",
        ),
        ONE,
        {
            **TAKEN,
            "one.knative-anything": "1",
            "one.x-b3-traceid": "2",
            "one.x-request-id": "3",
            "one.retry-after": "4",
            "one.cookie": None,
            "one.authorization": None,
            "one.x-other": None,
            "one.prefer": "reply",
            "one.user-agent": Like("not the producer's", lambda text: text != "producer"),
        },
    ),
    # I14: sizes.
    case("I14-one-mebibyte", binary(b"x" * MEBIBYTE, content="text/plain"), ONE, TAKEN),
    case(
        "I14-more",
        binary(b"x" * (MEBIBYTE + 1), content="text/plain"),
        ONE,
        {"status": 413, "one": 0},
        knative=TAKEN,
        difference="size",
    ),
    case(
        "I14-more-in-chunks",
        replace(binary(b"x" * (MEBIBYTE + 1), content="text/plain"), chunked=True),
        ONE,
        {"status": 413, "one": 0},
        knative=TAKEN,
        difference="size",
    ),
    case(
        "I14-packed",
        Send({**binary().headers, "content-encoding": "gzip"}, PACKED),
        ONE,
        {"status": 415, "answer.accept-encoding": "identity", "one": 0, "one.body": "not called"},
        knative={**TAKEN, "answer.accept-encoding": None, "one.body": PACKED},
        difference="content-coding",
    ),
    case(
        "I14-identity",
        Send({**binary().headers, "content-encoding": "identity"}, b"{}"),
        ONE,
        {**TAKEN, "one.body": b"{}"},
    ),
    case(
        "I14-chunked",
        Send(binary().headers, b'{"whole": "body"}', chunked=True),
        ONE,
        {**TAKEN, "one.body": b'{"whole": "body"}'},
    ),
]
