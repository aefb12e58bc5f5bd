"""How events reach subscribers: what test_parity.py does not show: services in this process, dead letters."""

from __future__ import annotations

import base64
import threading
from pathlib import Path

import pytest

from greenlight.events import Event
from support.broker import FAST, PATIENCE, Recorder, Request, Response, event, http_server, reply, running, trigger


def always(status: int, body: bytes = b"") -> Recorder:
    return Recorder(lambda n, request: (status, {}, body))


def first(count: int, status: int) -> Recorder:
    """Fails `count` times, then takes the event."""
    return Recorder(lambda n, request: (status if n < count else 202, {}, b""))


@pytest.mark.parametrize("over", ["http", "wsgi"])
def test_a_service_in_this_process_gets_what_one_behind_http_does(tmp_path: Path, over: str) -> None:
    """POST, binary, Prefer: reply, Kn-Namespace, no hop count, an arrival time; the rest as it was sent."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    recorder = Recorder()
    sent = Event(
        "1", "/a%20b", "t", "grün", "2026-01-01T00:00:00.10Z", "text/plain", extensions={"n": 1}, data=b"\x00x"
    )
    with http_server(recorder) as url:
        subscriber = f"{url}/in?x=1" if over == "http" else "service"
        with running(tmp_path, trigger("one", subscriber), services={"service": recorder}) as broker:
            broker.publish(sent, headers={"X-Request-Id": "r", "Cookie": "secret", "traceparent": trace})
            (request,) = recorder.wait(1)
    assert request.path == ("/in?x=1" if over == "http" else "/")
    assert request.headers["prefer"] == "reply"
    assert request.headers["kn-namespace"] == "test"
    assert (request.headers["x-request-id"], request.headers["traceparent"]) == ("r", trace)
    assert "cookie" not in request.headers
    assert "ce-knativebrokerttl" not in request.headers
    got = request.event
    assert got.extensions.keys() == {"n", "knativearrivaltime"}
    assert (got.id, got.source, got.subject, got.time, got.datacontenttype, got.data) == (
        sent.id, sent.source, sent.subject, sent.time, sent.datacontenttype, sent.data,
    )  # fmt: skip


@pytest.mark.parametrize("status", [307, 422])
def test_the_letter_says_what_was_answered(tmp_path: Path, status: int) -> None:
    """Here of what is not tried again."""
    recorder = Recorder(lambda n, request: (status, {"Location": "http://127.0.0.1:1/"}, b"no"))
    with running(tmp_path, trigger("one", "s", spec=FAST), services={"s": recorder}) as broker:
        broker.publish(event())
        assert broker.idle(PATIENCE)
        (dead_letter,) = broker.dead_letters()
    assert (dead_letter.code, dead_letter.attempts, dead_letter.answer, len(recorder.requests)) == (status, 1, b"no", 1)
    assert str(status) in dead_letter.why


def test_a_2xx_with_a_body_that_is_no_event_tells_its_author_what_to_do(tmp_path: Path) -> None:
    """The mistake that people make most often."""
    recorder = Recorder(lambda n, request: (200, {}, b"ok"))
    with running(tmp_path, trigger("one", "s", spec=FAST), services={"s": recorder}) as broker:
        broker.publish(event())
        assert broker.idle(PATIENCE)
        (dead_letter,) = broker.dead_letters()
    assert (dead_letter.code, dead_letter.attempts) == (502, 4)
    assert "answer with an empty body" in dead_letter.why


def test_a_hanging_subscriber_costs_no_worker(tmp_path: Path) -> None:
    """`timeout` bounds each attempt."""
    release = threading.Event()
    taken = Recorder(lambda n, request: (202, {}, b"") if n else (release.wait(PATIENCE), (202, {}, b""))[1])
    with http_server(taken) as url:
        spec = "delivery: {retry: 1, timeout: PT0.2S}"
        with running(tmp_path, trigger("one", url, spec=spec)) as broker:
            broker.publish(event())
            taken.wait(2)
            assert broker.idle(PATIENCE)
            assert broker.dead_letters() == []
        release.set()


def test_a_dead_letter_names_a_server_that_does_not_listen(tmp_path: Path) -> None:
    """With the code that Knative gives it."""
    spec = "delivery: {retry: 2, backoffPolicy: exponential, backoffDelay: PT0.01S}"
    with running(tmp_path, trigger("one", "http://127.0.0.1:1/x", spec=spec)) as broker:
        broker.publish(event())
        assert broker.idle(PATIENCE)
        (dead_letter,) = broker.dead_letters()
    assert (dead_letter.code, dead_letter.attempts, dead_letter.destination) == (500, 3, "http://127.0.0.1:1/x")
    assert dead_letter.answer.startswith(b"dispatch error: ")


def test_a_sink_in_this_process_gets_what_one_behind_http_does(tmp_path: Path) -> None:
    """The sink is retried too, its reply is thrown away, and stale reasons are replaced; the dead letter has the outcome."""
    sink = Recorder(lambda n, request: (503, {}, b"") if n == 0 else reply("r", "never.routed"))
    spec = f"{FAST[:-1]}, deadLetterSink: {{ref: {{apiVersion: serving.knative.dev/v1, kind: Service, name: sink}}}}}}"
    everything = Recorder()
    triggers = (trigger("one", "s", spec=spec + "\nfilter: {attributes: {type: test.happened}}"), trigger("all", "all"))
    services = {"s": always(422, b"y" * 2000), "sink": sink, "all": everything}
    with running(tmp_path, *triggers, services=services) as broker:
        broker.publish(event(knativeerrordest="stale", knativebrokerttl=7))
        assert broker.idle(PATIENCE)
        (dead_letter,) = broker.dead_letters()
    assert dead_letter.sink == "delivered"
    assert len(sink.requests) == 2
    extensions = sink.requests[1].event.extensions
    assert extensions["knativeerrordest"] == "http://s.test.svc.cluster.local/"
    assert extensions["knativeerrorcode"] == "422"
    assert base64.b64decode(str(extensions["knativeerrordata"])) == b"y" * 768
    assert extensions["knativebrokerttl"] == "6"
    assert sink.requests[1].headers["kn-namespace"] == "test"
    assert everything.ids() == ["1"]


def test_a_sink_that_fails_leaves_the_letter_with_the_reason(tmp_path: Path) -> None:
    """Nothing is lost: the table keeps it."""
    spec = "delivery: {retry: 1, deadLetterSink: {uri: 'http://127.0.0.1:1'}}"
    with running(tmp_path, trigger("one", "s", spec=spec), services={"s": always(400)}) as broker:
        broker.publish(event())
        assert broker.idle(PATIENCE)
        (dead_letter,) = broker.dead_letters()
    assert dead_letter.sink is not None
    assert dead_letter.sink.startswith("failed: ")


def test_a_loop_of_replies_ends_in_a_letter_that_says_so(tmp_path: Path) -> None:
    """When the hops do."""
    loop = Recorder(lambda n, request: reply(f"r{n}", "loop"))
    other = Recorder()
    triggers = (trigger("loop", "loop", spec=FAST), trigger("other", "other"))
    with running(tmp_path, *triggers, services={"loop": loop, "other": other}) as broker:
        broker.publish(event("0", knativebrokerttl=6))
        assert broker.idle(PATIENCE)
        (dead_letter,) = broker.dead_letters()
    assert loop.ids() == ["0", "r0", "r1", "r2", "r3"]
    assert sorted(other.ids()) == sorted(loop.ids())
    assert (dead_letter.code, dead_letter.stored.event.id) == (400, "r3")
    assert "loop" in dead_letter.why


def test_an_app_that_raises_counts_as_500_and_its_iterable_is_closed(tmp_path: Path) -> None:
    """A service in this process cannot take the broker with it."""
    closed = threading.Event()

    class Body(list[bytes]):
        def close(self) -> None:
            closed.set()

    def app(environ: dict[str, object], start_response: object) -> list[bytes]:
        if environ["HTTP_CE_ID"] == "bad":
            raise RuntimeError("boom")
        start_response("202 Accepted", [])  # type: ignore[operator]
        return Body([b""])

    with running(tmp_path, trigger("one", "s", spec="delivery: {retry: 1}"), services={"s": app}) as broker:
        broker.publish(event("bad"))
        broker.publish(event("good"))
        assert broker.idle(PATIENCE)
        (dead_letter,) = broker.dead_letters()
    assert (dead_letter.stored.event.id, dead_letter.code, dead_letter.attempts) == ("bad", 500, 2)
    assert closed.is_set()


def test_a_replay_reaches_its_trigger_alone_and_a_discarded_letter_is_gone(tmp_path: Path) -> None:
    """With the event's own id and without the reasons of its death; a filter that changed meanwhile does not matter."""
    broken = threading.Event()
    broken.set()
    one = Recorder(lambda n, request: (422 if broken.is_set() else 202, {}, b""))
    other = Recorder()
    triggers = (trigger("one", "one"), trigger("other", "other"))
    with running(tmp_path, *triggers, services={"one": one, "other": other}) as broker:
        broker.publish(event("a", knativeerrorcode=1))
        broker.publish(event("b"))
        assert broker.idle(PATIENCE)
        dead_letters = {dead_letter.stored.event.id: dead_letter.id for dead_letter in broker.dead_letters()}
        broken.clear()
        broker.operations.replay(dead_letters["a"])
        broker.operations.discard(dead_letters["b"], "not needed")
        assert broker.idle(PATIENCE)
        assert broker.dead_letters() == []
        with pytest.raises(LookupError):
            broker.operations.replay(dead_letters["a"])
        with pytest.raises(LookupError):
            broker.operations.discard(99, "never was")
    assert one.ids().count("a") == 2
    assert "ce-knativeerrorcode" not in one.requests[-1].headers
    assert sorted(other.ids()) == ["a", "b"]


def test_a_big_event_and_a_big_reply_pass(tmp_path: Path) -> None:
    """Well beyond the 64 KiB that CloudEvents promises."""
    big = b"x" * 700_000

    def answer(n: int, request: Request) -> Response:
        headers = {**reply("r", "reply")[1], "content-type": "application/octet-stream"}
        return (200, headers, request.body) if request.headers["ce-type"] == "big" else (202, {}, b"")

    recorder = Recorder(answer)
    with http_server(recorder) as url, running(tmp_path, trigger("one", url)) as broker:
        broker.publish(Event("1", "/s", "big", data=big))
        requests = recorder.wait(2)
        assert broker.idle(PATIENCE)
    assert [len(request.body) for request in requests] == [700_000, 700_000]
