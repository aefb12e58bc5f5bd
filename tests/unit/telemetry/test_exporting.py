"""From scopes to spans: which are kept, under which ids, and which are exported a second time."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from greenlight.events import Event, ids
from greenlight.telemetry.tracing import MAX_STEPS, OFF, step
from support.tracing import Collected

REPO, SHA = "acme/shop", "a" * 40
EVENT = Event(
    "1",
    "greenlight/recorder",
    "commit.recorded",
    extensions={"repo": REPO, "commit": SHA, "traceparent": ids.traceparent(REPO, SHA, "1", "send event")},
)


class Refused(Exception):
    """What a handler may raise."""


def handle(collected: Collected, *, fails: bool = False, event: Event = EVENT, header: str | None = None) -> None:
    with collected.tracer.scope("promoter", "read event") as scope:
        scope.event(event, header)
        with step("check for promotion"), step("write to the ledger"):
            pass
        with step("write to the ledger"):
            pass
        if fails:
            raise Refused


def exported(collected: Collected) -> None:
    collected.tracer.start(None)
    collected.tracer.stop(20)


def test_steps_are_numbered_and_hang_below_the_step_that_they_are_in() -> None:
    """The same ids however often it happens; the second write of a handler is told from the first."""
    collected = Collected()
    handle(collected)
    exported(collected)
    read, check, write, again = collected.spans
    assert read.span == ids.span_id("1", "promoter: read event")
    assert read.parent == ids.span_id("1", "send event")
    assert (check.parent, write.parent, again.parent) == (read.span, check.span, read.span)
    assert (write.span, again.span) == (
        ids.span_id("1", "promoter: write to the ledger"),
        ids.span_id("1", "promoter: write to the ledger 2"),
    )
    assert (write.name, again.name) == ("write to the ledger", "write to the ledger")


def test_what_failed_is_exported_again_when_it_succeeds_and_then_no_more() -> None:
    """One id: the last word on it is the right one."""
    collected = Collected()
    with pytest.raises(Refused):
        handle(collected, fails=True)
    handle(collected)
    handle(collected)
    exported(collected)
    assert [span.error for span in collected.named("read event")] == ["Refused", None]


def test_an_event_that_is_about_no_commit_leaves_no_trace() -> None:
    """A ping, or what a stranger posted."""
    collected = Collected()
    handle(collected, event=Event("1", "/s", "dev.knative.sources.ping"))
    handle(collected, event=Event("1", "/s", "t", extensions={"commit": SHA, "traceparent": "00-1-2-01"}))
    exported(collected)
    assert collected.spans == []


def test_a_header_of_another_trace_does_not_move_the_commits() -> None:
    """The hop that brought the event is its parent only if it is in the same trace."""
    collected = Collected()
    handle(collected, header="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    exported(collected)
    assert {span.trace for span in collected.spans} == {ids.trace_id(REPO, SHA)}
    assert collected.spans[0].parent == ids.span_id("1", "send event")


def test_a_scope_keeps_so_many_steps_and_no_more() -> None:
    """However many candidates a push has decided again."""
    collected = Collected()
    with collected.tracer.scope("promoter", "read event") as scope:
        scope.event(EVENT, None)
        for _ in range(MAX_STEPS + 10):
            with step("write to the ledger"):
                pass
    exported(collected)
    assert len(collected.spans) == 1 + MAX_STEPS


def test_a_ratio_takes_traces_of_ours_whole_and_leaves_strangers_their_own_word() -> None:
    """Of a commit's trace the id decides, of a stranger's the flag that it came with."""
    collected = Collected(sampler=ParentBased(TraceIdRatioBased(0.0)))
    handle(collected)
    with collected.tracer.scope("broker", "broker:default.test") as scope:
        scope.hop(EVENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "broker:default.test")
    exported(collected)
    assert [span.name for span in collected.spans] == ["broker:default.test"]


def test_outside_of_a_scope_and_with_tracing_off_nothing_is_kept() -> None:
    """And nothing is in the way."""
    with step("write to the ledger") as alone, OFF.scope("promoter", "read event") as scope:
        alone.note(conflict=True)
        scope.event(EVENT, None)
        with step("write to the ledger") as inner:
            inner.expected()
    assert scope.traceparent is None
