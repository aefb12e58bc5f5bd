"""Spans per hop, and how the traceparent of a third-party event is passed on: Knative's row D5, with tracing on and off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from greenlight.telemetry.tracing import OFF
from support.broker import Recorder, Request, post, running, trigger, wsgi_server
from support.tracing import Collected, Span

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = f"00-{TRACE}-{SPAN}-01"


def _through(
    folder: Path,
    headers: Mapping[str, str],
    *,
    attribute: str | None = None,
    tracing: bool = True,
    spec: str = "",
    recorder: Recorder | None = None,
    requests: int = 1,
) -> tuple[Request, Sequence[Span]]:
    """An event through the Broker's ingress to a subscriber: the last request that came, and the spans in order of time."""
    folder.mkdir(exist_ok=True)
    collected, recorder = Collected(), recorder or Recorder()
    event = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
    event |= {"ce-traceparent": attribute} if attribute else {}
    tracer = collected.tracer if tracing else OFF
    tracer.start(None)
    with running(folder, trigger("one", "s", spec=spec), services={"s": recorder}, tracer=tracer) as broker:
        with wsgi_server(broker.ingress) as url:
            assert post(f"{url}/test/default", event | dict(headers)).status == 202
            last = recorder.wait(requests)[-1]
        assert broker.idle(20)
    tracer.stop(20)
    return last, sorted(collected.spans, key=lambda span: span.start)


@pytest.mark.parametrize("header", [True, False], ids=["header", "attribute"])
def test_each_hop_is_a_span_and_the_next_one_is_its_child(tmp_path: Path, header: bool) -> None:
    """broker:NAME.NS, then trigger:NAME.NS: the trace goes on, by the header or else by the attribute, which stays as it is."""
    request, spans = _through(tmp_path, {"traceparent": SENT} if header else {}, attribute=None if header else SENT)
    ingress, delivery = spans
    assert [(span.name, span.kind, span.trace) for span in spans] == [
        ("broker:default.test", "SERVER", TRACE),
        ("trigger:one.test", "CLIENT", TRACE),
    ]
    assert (ingress.parent, delivery.parent) == (SPAN, ingress.span)
    assert request.headers["traceparent"] == f"00-{TRACE}-{delivery.span}-01"
    assert request.headers.get("ce-traceparent") == (None if header else SENT)
    assert delivery.attributes["http.response.status_code"] == 202
    assert delivery.attributes["cloudevents.event_type"] == "t"


def test_a_trace_that_is_not_sampled_is_passed_on_and_not_recorded(tmp_path: Path) -> None:
    """Its sender has decided."""
    unsampled = f"00-{TRACE}-{SPAN}-00"
    request, spans = _through(tmp_path, {"traceparent": unsampled, "tracestate": "a=b"})
    assert spans == []
    assert (request.headers["traceparent"], request.headers["tracestate"]) == (unsampled, "a=b")


def test_an_event_without_a_trace_gets_none(tmp_path: Path) -> None:
    """As with Knative's default configuration."""
    request, spans = _through(tmp_path, {})
    assert spans == []
    assert "traceparent" not in request.headers


def test_without_tracing_the_header_goes_through_as_it_came(tmp_path: Path) -> None:
    """The trace goes on; this hop is not in it."""
    request, spans = _through(tmp_path, {"traceparent": SENT, "tracestate": "a=b"}, tracing=False)
    assert spans == []
    assert (request.headers["traceparent"], request.headers["tracestate"]) == (SENT, "a=b")


def test_every_attempt_is_a_span_of_its_own(tmp_path: Path) -> None:
    """A failed one says so; the dead letter's way to its sink is one, too."""
    spec = "delivery: {retry: 1, deadLetterSink: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: s}}}"
    failing = Recorder(lambda n, request: (503 if n < 2 else 202, {}, b"secret answer"))
    _, spans = _through(tmp_path, {"traceparent": SENT}, spec=spec, recorder=failing, requests=3)
    assert [(span.name, span.error) for span in spans] == [
        ("broker:default.test", None),
        ("trigger:one.test", "503"),
        ("trigger:one.test", "503"),
        ("dead-letter:one.test", None),
    ]
    assert len({span.span for span in spans}) == 4
    assert "secret" not in repr(spans)
