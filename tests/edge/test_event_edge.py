"""The edge of an event service: event in, status out. Every outcome that a handler can have."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from werkzeug.test import Client

from greenlight.broker.subscribers import LocalSubscriber, Message, WsgiSubscriber
from greenlight.entrypoints.compose import as_function
from greenlight.events import Event, ids
from greenlight.events.build import as_fact
from greenlight.events.http import from_http, to_binary, to_structured
from greenlight.ledger.port import Reading
from greenlight.lib.clock import SystemClock
from greenlight.lib.errors import ConfigurationError, Malformed, Misconfigured, Rejected, Unavailable
from greenlight.model.policy import Pipeline
from greenlight.reconciler import app as reconciler
from greenlight.service.deps import Deps
from greenlight.service.edge import event_app
from greenlight.service.handling import MAX_EVENT, EventService
from greenlight.telemetry import metrics
from greenlight.telemetry.tracing import OFF, Tracer, step
from support.timing import PATIENCE
from support.tracing import Collected


class Replies:
    """As in a cluster: one event is the reply, several are published."""

    def __init__(self) -> None:
        self.published: list[Event] = []

    def publish(self, events: Sequence[Event]) -> None:
        self.published += events

    def settle(self, events: Sequence[Event]) -> Event | None:
        if len(events) == 1:
            return events[0]
        self.publish(events)
        return None


class NoLedger:
    """A ledger that cannot be used."""

    def __init__(self, problem: Exception | None = None) -> None:
        self._problem = problem

    def session(self, reading: Reading) -> AbstractContextManager[None]:
        return nullcontext()

    def ready(self) -> None:
        if self._problem is not None:
            raise self._problem


def event(id: str = "1", type: str = "commit.recorded") -> Event:
    return Event.of(type, id=id, source="tests", time=datetime(2026, 1, 1, tzinfo=UTC), data={"repo": "a/b"})


def app(
    handler: Callable[[Event, Deps], Any],
    publisher: Replies | None = None,
    type: str = "commit.recorded",
    ledger: NoLedger | None = None,
    tracer: Tracer = OFF,
) -> Flask:
    return event_app(service(handler, publisher, type, ledger, tracer))


def service(
    handler: Callable[[Event, Deps], Any],
    publisher: Replies | None = None,
    type: str = "commit.recorded",
    ledger: NoLedger | None = None,
    tracer: Tracer = OFF,
) -> EventService[Deps]:
    deps = Deps(
        clock=SystemClock(),
        ledger=ledger or NoLedger(),  # type: ignore[arg-type]
        pipeline=lambda: Pipeline({}),
        publisher=publisher or Replies(),
        log=logging.getLogger("tests"),
        tracer=tracer,
    )
    return EventService("tests", {type: handler}, deps)


def client(
    handler: Callable[[Event, Deps], Any],
    publisher: Replies | None = None,
    type: str = "commit.recorded",
    ledger: NoLedger | None = None,
) -> Client:
    return Client(app(handler, publisher, type, ledger))


def post(client: Client, sent: Event, *, structured: bool = False) -> Any:
    headers, body = to_structured(sent) if structured else to_binary(sent)
    return client.post("/", data=body, headers=headers)


@pytest.mark.parametrize("structured", [False, True])
def test_one_event_is_the_reply(structured: bool) -> None:
    """200 with that CloudEvent, whichever mode the cause came in."""
    answer = post(client(lambda event, deps: [event_two]), event(), structured=structured)
    assert answer.status_code == 200
    assert from_http(answer.headers.items(), answer.get_data()) == event_two


event_two = event("2", "promotion.ready")


@pytest.mark.parametrize("text", ["x" * 5000, "ä€" * 900, '"' * 900, "\x00" * 900])
def test_a_refusal_is_short_enough_for_knatives_channel(text: str) -> None:
    """From 769 bytes on, one ends the dispatcher of its in-memory channel where there is a dead-letter sink."""

    def handler(event: Event, deps: Deps) -> Sequence[Event]:
        raise Unavailable(text)

    answer = post(client(handler), event())
    assert answer.status_code == 503
    assert len(answer.get_data()) <= 768
    assert answer.get_json()["detail"].startswith(text[:50])


@given(
    st.builds(
        Event,
        id=st.just("1"),
        source=st.just("/s"),
        type=st.just("commit.recorded"),
        subject=st.none() | st.just("a b%ü"),
        datacontenttype=st.none() | st.sampled_from(["application/json", "text/plain; charset=utf-8"]),
        extensions=st.dictionaries(
            st.sampled_from(["one", "two"]), st.text("a %ü", min_size=1) | st.integers(0, 9) | st.booleans()
        ),
        data=st.none() | st.binary(max_size=3),
    )
)
def test_within_a_process_an_event_is_read_as_over_http(sent: Event) -> None:
    """It is handed over as it is, or written and read where that would make a difference."""
    read: list[Event] = []
    it = service(lambda event, deps: read.append(event) or [])
    message = Message(sent, {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"})
    answers = [
        LocalSubscriber(as_function(it), "http://localhost/").deliver(message, None),
        WsgiSubscriber(event_app(it)).deliver(message, None),
    ]
    assert [answer.status for answer in answers] == [202, 202]
    handed, posted = read
    assert handed == posted


def test_none_is_an_empty_202_and_several_are_published() -> None:
    """A body that is no event would count as a failed delivery."""
    answer = post(client(lambda event, deps: []), event())
    assert (answer.status_code, answer.get_data()) == (202, b"")
    publisher = Replies()
    answer = post(client(lambda got, deps: [event_two, event("3")], publisher), event())
    assert (answer.status_code, answer.get_data()) == (202, b"")
    assert [published.id for published in publisher.published] == ["2", "3"]


def test_a_type_without_a_handler_is_not_for_us() -> None:
    """202, so that nobody sends it again."""
    answer = post(client(lambda event, deps: [event_two]), event(type="deployment.failed"))
    assert (answer.status_code, answer.get_data()) == (202, b"")


@pytest.mark.parametrize("structured", [False, True])
def test_the_handler_of_facts_gets_what_has_their_attribute(structured: bool) -> None:
    """Whatever its type is called, and in either mode; without the attribute, no type is a fact's."""
    seen: list[str] = []
    recorder = client(lambda event, deps: seen.append(event.id) or [], type="*")
    for type in ("com.github.push", "com.example.scan", "gate.passed", "target.paused"):
        for sent in (as_fact(event(f"fact {type}", type)), event(f"other {type}", type)):
            assert post(recorder, sent, structured=structured).status_code == 202
    assert seen == ["fact com.github.push", "fact com.example.scan", "fact gate.passed", "fact target.paused"]


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (Malformed("m"), 400),
        (Rejected("r"), 422),
        (Unavailable("u"), 503),
        (RuntimeError("a secret of ours"), 500),
    ],
)
def test_what_a_handler_raises_is_a_status(problem: Exception, status: int) -> None:
    """As problem+json; an error of ours shows nothing of itself."""

    def handler(event: Event, deps: Deps) -> Sequence[Event]:
        raise problem

    answer = post(client(handler), event())
    assert answer.status_code == status
    assert answer.mimetype == "application/problem+json"
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert b"a secret of ours" not in answer.get_data()


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"content-type": "application/json"}, b"{}", 400),
        ({"content-type": "application/cloudevents-batch+json"}, b"[]", 415),
        ({"content-type": "application/cloudevents+json"}, b"{", 400),
        ({"ce-id": "1"}, b"x" * (MAX_EVENT + 1), 413),
    ],
)
def test_what_is_no_event_never_reaches_the_handler(headers: dict[str, str], body: bytes, status: int) -> None:
    """400 not an event, 413 too big, 415 a batch."""
    called: list[Event] = []
    answer = client(lambda event, deps: called.append(event) or []).post("/", data=body, headers=headers)
    assert (answer.status_code, called) == (status, [])


@pytest.mark.parametrize(
    ("problem", "reason", "passes"),
    [
        (Unavailable("the disk is full"), "a dependency is down", True),
        (Unavailable("no answer from DynamoDB"), "a dependency is down", True),
        (Misconfigured("there is no table greenlight"), "misconfigured", False),
        (ConfigurationError("there is no such file"), "misconfigured", False),
    ],
)
def test_readiness_says_what_is_missing_and_whether_waiting_helps(
    problem: Exception, reason: str, passes: bool
) -> None:
    """Alive all the same: to be started again would not help either."""
    it = client(lambda event, deps: [], ledger=NoLedger(problem))
    assert it.get("/healthz").status_code == 200
    answer = it.get("/readyz")
    assert answer.status_code == 503
    assert (answer.get_json()["reason"], answer.get_json()["detail"]) == (reason, str(problem))
    assert ("Retry-After" in answer.headers) == passes


def test_only_events_are_taken_and_only_at_the_root() -> None:
    """Whoever opens it in a browser is told so."""
    it = client(lambda event, deps: [])
    assert (it.get("/").status_code, it.get("/").headers["Allow"]) == (405, "POST")
    assert (it.put("/readyz").status_code, "GET" in it.put("/readyz").headers["Allow"]) == (405, True)
    for answer in (it.get("/metrics"), it.post("/events", data=b"{}")):
        assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")
    head = it.head("/healthz")
    assert (head.status_code, head.get_data()) == (200, b"")


def test_a_dead_letter_is_told_and_counted_and_answered_empty(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it is: that it was not delivered is a hint, and the ledger is not asked."""
    deps = Deps(
        clock=SystemClock(),
        ledger=NoLedger(),  # type: ignore[arg-type]
        pipeline=lambda: Pipeline({}),
        publisher=Replies(),
        log=logging.getLogger("tests"),
    )
    sink = Client(event_app(reconciler.create_service(deps)))
    error = {"ce-knativeerrordest": "http://deployer.greenlight.svc.cluster.local", "ce-knativeerrorcode": "503"}
    lost = event("lost", "com.example.any")
    for it, kind in ((event("lost", "promotion.ready"), "promotion.ready"), (as_fact(lost), "fact"), (lost, "other")):
        headers, body = to_binary(it)
        labels = (kind, "503")
        before = metrics.DEAD_LETTERS.labels(*labels)._value.get()
        answer = sink.post(reconciler.DEAD_LETTERS, data=body, headers={**headers, **error})
        assert (answer.status_code, answer.get_data()) == (202, b"")
        assert metrics.DEAD_LETTERS.labels(*labels)._value.get() == before + 1
        assert "'lost' was not accepted by 'http://deployer." in caplog.records[-1].getMessage()


SENT = ids.traceparent("acme/shop", "a" * 40, "cause", "send event")
TRACE, CAUSE = ids.trace_id("acme/shop", "a" * 40), ids.span_id("cause", "send event")
COMMIT = {"repo": "acme/shop", "commit": "a" * 40, "traceparent": SENT}
HOP = f"00-{TRACE}-{'b' * 16}-01"


def traced(requests: Callable[[Client], Any], sampler: Sampler = ALWAYS_ON) -> Collected:
    """What is exported of requests to a service that traces, under the instrumentation of Flask."""
    collected = Collected(sampler=sampler, service="tests")

    def handler(event: Event, deps: Deps) -> Sequence[Event]:
        with step("check for promotion"):
            return []

    collected.tracer.start(None)
    requests(Client(app(handler, tracer=collected.tracer)))
    collected.tracer.stop(PATIENCE)
    return collected


def deliver(client: Client, header: str | None, attribute: str | None = SENT) -> None:
    about = {name: value for name, value in (COMMIT | {"traceparent": attribute}).items() if value}
    headers, body = to_binary(replace(event(), extensions=about))
    headers |= {"traceparent": header} if header else {}
    assert client.post("/", data=body, headers=headers).status_code == 202


def test_a_request_is_a_span_of_the_instrumentations_and_ours_are_below_it() -> None:
    """Its parent is the hop that brought the event; its id is random, ours are functions of the event."""
    collected = traced(lambda client: deliver(client, HOP))
    (server,), (read,), (check,) = (collected.named(name) for name in ("POST /", "read event", "check for promotion"))
    assert {(span.trace, span.service) for span in collected.spans} == {(TRACE, "tests")}
    assert (server.parent, server.kind) == ("b" * 16, "SERVER")
    assert (read.parent, read.span) == (server.span, ids.span_id("1", "tests: read event"))
    assert (check.parent, check.span) == (read.span, ids.span_id("1", "tests: check for promotion"))
    attributes = server.attributes
    assert (attributes["http.request.method"], attributes["http.route"]) == ("POST", "/")
    assert attributes["http.response.status_code"] == 202


def test_a_redelivery_is_another_request_and_no_other_span() -> None:
    """What the service does is told once."""

    def twice(client: Client) -> None:
        deliver(client, HOP)
        deliver(client, HOP)

    collected = traced(twice)
    assert len({span.span for span in collected.named("POST /")}) == 2
    assert len(collected.named("read event")) == 1


def test_requests_that_are_part_of_no_trace_leave_none() -> None:
    """A kubelet's probe, a ping, an event of whoever does not trace, or does not record this one."""

    def requests(client: Client) -> None:
        for path in ("/healthz", "/readyz"):
            assert client.get(path, headers={"traceparent": HOP}).status_code == 200
        deliver(client, None, attribute=None)
        deliver(client, "nonsense", attribute=None)
        deliver(client, HOP.removesuffix("01") + "00", attribute=None)

    assert traced(requests).spans == []


def test_without_a_header_the_events_own_trace_goes_on() -> None:
    """The Broker's own hop is not in it then."""
    collected = traced(lambda client: deliver(client, None))
    (read,) = collected.named("read event")
    assert read.parent == CAUSE
    assert collected.named("POST /") == []


def test_the_trace_id_decides_for_requests_too() -> None:
    """Whatever the flag says, which is always set on events of ours."""
    assert traced(lambda client: deliver(client, HOP), ParentBased(TraceIdRatioBased(0.0))).spans == []
