"""Spans that are kept: what is written and when, what is lost and counted, and that nobody else notices."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from greenlight.events import Event, ids
from greenlight.lib.errors import Unavailable
from greenlight.telemetry import metrics
from greenlight.telemetry.keeping import Keeping
from greenlight.telemetry.kept import PRINTED, TEXT, unpacked
from greenlight.telemetry.tracing import Tracer, past, step
from support.timing import PATIENCE
from support.tracing import Collected

LOG = logging.getLogger("greenlight.tests")
REPO, SHA = "acme/shop", "a" * 40
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

Parts = Sequence[tuple[str, bytes]]


def handle(tracer: Tracer, service: str = "promoter", id: str = "1", **attributes: Any) -> None:
    """One scope with a step in a step, and another of the same name."""
    traceparent = ids.traceparent(REPO, SHA, id, "send event")
    event = Event(id, "/s", "t", extensions={"repo": REPO, "commit": SHA, "traceparent": traceparent})
    with tracer.scope(service, "read event") as scope:
        scope.event(event, None)
        for name, value in attributes.items():
            scope.note(name, value)
        with step("check for promotion"), step("write to the ledger"):
            pass
        with step("check for promotion"):
            pass


def count(outcome: str) -> float:
    return float(metrics.SPANS.labels(outcome)._value.get())


def spans_of(parts: Parts) -> list[dict[str, Any]]:
    return [span for _, body in parts for span in unpacked(body)]


def test_what_is_kept_is_what_is_exported() -> None:
    """Under the same ids, with the same parents, names and times, for whoever has both; and it is exported as before."""
    written: list[Parts] = []
    exported = Collected()
    tracer = Keeping(written.append, LOG, exported.tracer)
    tracer.start(None)
    handle(tracer)
    handle(tracer, id="2")
    tracer.stop(PATIENCE)
    assert {trace for parts in written for trace, _ in parts} == {ids.trace_id(REPO, SHA)}
    kept = [span for parts in written for span in spans_of(parts)]
    assert [(it["span_id"], it["parent_id"], it["name"], it["service"]) for it in kept] == [
        (it.span, it.parent, it.name, it.service) for it in exported.spans
    ]
    assert len({span["span_id"] for span in kept}) == 8
    assert all(datetime.fromisoformat(it["start"]) <= datetime.fromisoformat(it["end"]) for it in kept)


def test_scopes_of_one_trace_are_written_together_and_little_of_each() -> None:
    """One row for all that waited; texts are cut; of what is the same for all, and of senders, nothing is kept."""
    written: list[Parts] = []
    tracer = Keeping(written.append, LOG)
    handle(tracer, long="x" * 1000, listed=["Lena Böhm"])
    handle(tracer, id="2")
    tracer.flush()
    ((_, body),) = written[0]
    assert len(written) == 1
    first = next(iter(unpacked(body)))
    assert first["attributes"] == {"event": "1", "type": "t", "long": "x" * TEXT}
    tracer.flush()
    assert len(written) == 1


def test_of_a_deployer_only_what_deployments_consist_of_is_kept() -> None:
    """Its parts, below the deployment's own span, with the end of the output; a part that is told twice has one id."""
    written: list[Parts] = []
    tracer = Keeping(written.append, LOG)
    handle(tracer, "deployer")
    for _ in range(2):
        with tracer.scope("deployer", "read event") as scope:
            traceparent = ids.traceparent(REPO, SHA, "1", "send event")
            scope.event(Event("1", "/s", "t", extensions={"commit": SHA, "traceparent": traceparent}), None)
            with step("watch", parent="f" * 16):
                output = "y" * PRINTED + "the end"
                until = NOON + timedelta(seconds=1.5)
                past("command", NOON, until, key="d/1", parent="e" * 16, cmd="sh deploy.sh", output=output)
    tracer.flush()
    first, second = spans_of(written[0])
    assert first == second
    assert (first["name"], first["parent_id"], first["span_id"]) == ("command", "e" * 16, ids.span_id("d/1", "command"))
    assert (first["start"], first["end"]) == ("2026-01-01T12:00:00.000000Z", "2026-01-01T12:00:01.500000Z")
    assert first["attributes"] == {"duration_ms": 1500.0, "cmd": "sh deploy.sh", "output": output[-PRINTED:]}


def test_services_that_are_not_kept_are_exported_all_the_same() -> None:
    """The broker's hops, and what finds lost work."""
    written: list[Parts] = []
    exported = Collected()
    tracer = Keeping(written.append, LOG, exported.tracer)
    tracer.start(None)
    handle(tracer, "reconciler")
    tracer.stop(PATIENCE)
    assert written == []
    assert {span.service for span in exported.spans} == {"reconciler"}


def test_a_full_queue_drops_and_counts() -> None:
    """While a write hangs: whoever traces is not held up, and what found room is written in the end."""
    hanging, release = threading.Event(), threading.Event()
    written: list[Parts] = []

    def keep(parts: Parts) -> None:
        hanging.set()
        assert release.wait(PATIENCE)
        written.append(parts)

    tracer = Keeping(keep, LOG, delay=0.0, queue=2)
    tracer.start(None)
    kept, lost = count("kept"), count("lost")
    handle(tracer, id="0")
    assert hanging.wait(PATIENCE)
    for n in range(1, 6):
        handle(tracer, id=str(n))
    assert count("lost") - lost == 3 * 4
    release.set()
    tracer.stop(PATIENCE)
    assert count("kept") - kept == 3 * 4
    assert [
        span["attributes"]["event"] for parts in written for span in spans_of(parts) if "event" in span["attributes"]
    ] == [*("0", "1", "2")]


def test_a_store_that_refuses_costs_spans_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Counted each time, said once, and once that it is over."""
    refused = [True, True, False]

    def keep(parts: Parts) -> None:
        if refused.pop(0):
            raise Unavailable("no room on the disk")

    tracer = Keeping(keep, LOG)
    kept, lost = count("kept"), count("lost")
    for _ in range(3):
        handle(tracer)
        tracer.flush()
    assert (count("kept") - kept, count("lost") - lost) == (4, 8)
    assert [record.getMessage() for record in caplog.records] == [
        "spans cannot be kept; until they can, they are lost, and counted: no room on the disk",
        "spans are kept again",
    ]


@pytest.mark.parametrize("body", [b"", b"nonsense", b"x\x9c\x03\x00\x00\x00\x00\x01"])
def test_what_cannot_be_read_is_not_there(body: bytes) -> None:
    """A detail that a bad disk, or another version, has changed stops nobody."""
    assert list(unpacked(body)) == []
