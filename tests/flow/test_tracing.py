"""One trace per commit: what is exported is the waterfall and what is inside its spans, and nothing that is secret."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from werkzeug.test import Client

from greenlight.events import ids
from greenlight.events.context import parse
from greenlight.lib import signing
from greenlight.service import chain
from greenlight.telemetry import metrics
from greenlight.telemetry.environment import Batching
from greenlight.telemetry.exporting import Exporting
from support.flow import REPO, TOKENS, Shop, push_payload, sha_of
from support.process import Up, signed
from support.timing import PATIENCE
from support.tracing import Collected, otlp_backend

ROOT = Path(__file__).parents[2]
SENDERS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[tuple[Shop, Collected]]:
    collected = Collected()
    shop = Shop(tmp_path, tracer=collected.tracer).start()
    yield shop, collected
    if collected.tracer._thread.is_alive():  # a test that failed half-way
        shop.stop()


def ship(shop: Shop, word: str = "one") -> dict[str, Any]:
    """Through staging into production; the waterfall then."""
    shop.push(word)
    shop.build(word)
    shop.watch.end("staging", sha_of(word))
    shop.scan(word)
    shop.approve(word)
    shop.watch.end("production", sha_of(word))
    shop.settle()
    return waterfall(shop, word)


def waterfall(shop: Shop, word: str = "one") -> dict[str, Any]:
    document: dict[str, Any] = json.loads(shop.api("GET", f"/commits/{REPO}/{sha_of(word)}/trace").get_data())
    return document


@pytest.mark.parametrize(
    ("seconds", "more", "errors"),
    [(60.0, set(), set()), (-1.0, {"feedback"}, {"TooLong", "503"})],
    ids=["in-chains", "by-the-broker"],
)
def test_what_is_exported_is_the_waterfall(
    traced: tuple[Shop, Collected], monkeypatch: pytest.MonkeyPatch, seconds: float, more: set[str], errors: set[str]
) -> None:
    """Every span of it under its id, in one trace, with its parent, name and service; whatever else there is hangs below.

    `seconds`: what a chain may take; with less than none, each is given up, which its spans show, and everything goes by
    the Broker, also to feedback, which has nothing to do.
    """
    monkeypatch.setattr(chain, "LONG", seconds)
    shop, collected = traced
    found = ship(shop)
    shop.stop()
    spans = collected.by_id()
    assert {span.trace for span in collected.spans} == {found["trace_id"]} == {ids.trace_id(REPO, sha_of("one"))}
    shown = {drawn["span_id"] for drawn in found["spans"]}
    for drawn in found["spans"]:
        span = spans[drawn["span_id"]]
        parent = span.parent
        while parent in spans and parent not in shown:  # the Broker's hops, for example, which are exported only
            parent = spans[parent].parent
        assert (span.name, parent, span.service) == (drawn["name"], drawn["parent_id"], drawn["service"])
    assert [span.name for span in collected.spans if span.parent is None] == [f"commit {REPO}@{sha_of('one')[:7]}"]
    assert [span.name for span in collected.spans if span.parent not in spans and span.parent is not None] == []
    assert {span.service for span in collected.spans} == {
        *("greenlight", "webhooks", "broker", "recorder", "promoter", "deployer", "board"),
        *more,
    }
    assert {span.error for span in collected.spans if span.error} == errors


def test_the_talks_spans_are_there_with_their_fields(traced: tuple[Shop, Collected]) -> None:
    """Its names, below what was received and read; CloudEvents, HTTP and the commit as attributes."""
    shop, collected = traced
    ship(shop)
    shop.stop()
    (received,) = collected.named("receive com.circleci.buildsuccess build-test")
    inside = [span.name for span in collected.spans if span.parent == received.span and span.service == "webhooks"]
    assert inside == ["receiving request", "validate signature", "create event", "write to the ledger", "send event"]
    assert received.kind == "SERVER"
    event_id = received.attributes["cloudevents.event_id"]
    assert received.span == ids.span_id(event_id, "receive")
    assert received.attributes == {
        "cloudevents.event_id": event_id,
        "cloudevents.event_source": "https://circleci.com/acme/shop",
        "cloudevents.event_type": "com.circleci.buildsuccess",
        "cloudevents.event_spec_version": "1.0",
        "cloudevents.event_subject": received.attributes["cloudevents.event_subject"],
        "repo": REPO,
        "commit": sha_of("one"),
        "signal": "circleci.workflow#p:build-test",
        "outcome": "passed",
        "http.request.method": "POST",
        "url.path": "/webhooks/circleci",
        "http.response.status_code": 202,
    }
    (approved,) = collected.named("receive approval.granted")
    assert {
        name: approved.attributes[name] for name in approved.attributes if name.startswith(("http.", "url.", "gate"))
    } == {
        "gate": "legal",
        "http.request.method": "POST",
        "url.path": f"/api/v1/commits/{REPO}/{sha_of('one')}/approvals",
        "http.response.status_code": 202,
    }
    names = {(span.service, span.name) for span in collected.spans}
    assert names >= {
        *(("recorder", name) for name in ("read event", "create message", "write to the ledger", "send event")),
        *(("promoter", name) for name in ("read event", "check for promotion", "write to the ledger", "send event")),
        *(("deployer", name) for name in ("read event", "apply", "write to the ledger", "send event")),
    }
    (deploy,) = collected.named("deploy shop/production")
    assert {span.parent for span in collected.named("apply")} >= {deploy.span}
    assert deploy.attributes["outcome"] == "succeeded"


def test_the_page_names_every_span(traced: tuple[Shop, Collected]) -> None:
    """docs/tracing.md has a row for each name, and none that there is not."""
    shop, collected = traced
    ship(shop)
    (shop.folder / "config" / "deploy.sh").write_text("sleep 0.2")
    shop.push("two")
    shop.build("two")
    shop.watch.end("staging", sha_of("two"))
    shop.stop()
    general = [
        (r"commit \S+", "commit REPO@SHA"),
        (r"receive .*", "receive TYPE NAME"),
        (r"wait for .*", "wait for GATE (APPLICATION/ENVIRONMENT)"),
        (r"check for promotion: .*", "check for promotion: DECISION (APPLICATION/ENVIRONMENT)"),
        (r"promote to .*", "promote to APPLICATION/ENVIRONMENT"),
        (r"deploy .*", "deploy APPLICATION/ENVIRONMENT"),
        (r"trigger:.*", "trigger:NAME.NAMESPACE"),
    ]
    exported = set()
    for span in collected.spans:
        name = next((shown for pattern, shown in general if re.fullmatch(pattern, span.name)), span.name)
        exported.add((name, span.service))
    page = (ROOT / "docs" / "tracing.md").read_text().partition("## Spans\n")[2]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", page, re.MULTILINE)
    listed = {(name, service) for name, services in rows for service in services.strip().split(", ")}
    elsewhere = {
        ("broker:NAME.NAMESPACE", "broker"),
        ("dead-letter:NAME.NAMESPACE", "broker"),
        ("emit again", "reconciler"),
        *(("POST PATH", service) for service in ("recorder", "promoter", "deployer", "reconciler")),
    }
    assert listed == exported | elsewhere


def test_a_redelivery_adds_no_span(traced: tuple[Shop, Collected]) -> None:
    """The webhook again, and every event of ours again: not one id more, and none twice."""
    shop, collected = traced
    shop.push("one", at=1)
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    shop.settle()
    events = [event for event in shop.watch.events if "commit" in event.extensions]
    shop.push("one", at=1)
    shop.build("one")
    for event in events:
        shop.greenlight.broker.publish(event)
    shop.settle()
    found = waterfall(shop)
    shop.stop()
    names = [span.name for span in collected.spans if not span.name.startswith("trigger:")]
    spans = [span.span for span in collected.spans]
    assert len(spans) == len(set(spans))
    assert names.count("receive com.github.push") == 1
    read = {span.attributes["cloudevents.event_id"] for span in collected.named("read event")}
    assert read <= {event.id for event in events}
    assert {drawn["span_id"] for drawn in found["spans"] if drawn["end"]} <= set(spans)


def test_a_retry_is_a_trace_of_its_own_that_links_back(traced: tuple[Shop, Collected]) -> None:
    """Its promotion, its deployment, its events and the command's TRACEPARENT are in it; the waterfall says where it is."""
    shop, collected = traced
    marker = shop.folder / "config" / f"fail-{sha_of('one')}"
    marker.touch()
    (shop.folder / "config" / "deploy.sh").write_text(
        (shop.folder / "config" / "deploy.sh").read_text() + '\necho "$TRACEPARENT" >> traceparent.log\n'
    )
    shop.push("one")
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    marker.unlink()
    shop.act("/targets/shop/staging/deployments", {"sha": sha_of("one"), "kind": "retry", "reason": "mended"}, "dev")
    shop.watch.end("staging", sha_of("one"), n=1)
    shop.settle()
    found = waterfall(shop)
    ready = [event for event in shop.watch.events if event.type == "promotion.ready"]
    shop.stop()
    commit = ids.trace_id(REPO, sha_of("one"))
    first, retry = (next(e.json()["promotion"] for e in ready if e.json()["n"] == n) for n in (0, 1))
    own = ids.deployment_trace_id(REPO, sha_of("one"), retry, "retry")
    assert {span.trace for span in collected.spans} == {commit, own}
    spans = collected.by_id()
    promote = spans[ids.span_id(retry, "promotion")]
    assert (promote.trace, promote.parent, [link[:2] for link in promote.links]) == (
        own,
        None,
        [(commit, ids.root_span_id(REPO, sha_of("one")))],
    )
    assert spans[ids.span_id(first, "promotion")].trace == commit
    drawn = {span["span_id"]: span for span in found["spans"]}
    assert drawn[promote.span]["attributes"]["trace_id"] == own
    assert [span.parent for span in collected.spans if span.trace == own and span.parent not in spans] == [None]
    (line,) = (shop.folder / "config" / "traceparent.log").read_text().split()
    assert line == f"00-{own}-{ids.span_id(retry, 'deploy')}-01"
    assert spans[ids.span_id(retry, "deploy")].trace == own


def test_every_event_of_ours_names_a_span_that_is_there(traced: tuple[Shop, Collected]) -> None:
    """What the traceparent attribute says can be found, by whoever gets the event."""
    shop, collected = traced
    ship(shop)
    shop.stop()
    spans = collected.by_id()
    events = [event for event in shop.watch.events if "commit" in event.extensions]
    assert len({event.type for event in events}) >= 8
    for event in events:
        context = parse(event.extensions["traceparent"])
        assert context is not None
        assert spans[context.span].trace == context.trace


def test_a_senders_own_trace_is_linked(traced: tuple[Shop, Collected]) -> None:
    """By the header of today, and by the talk's; the commit's trace stays the commit's."""
    shop, collected = traced
    body = json.dumps(push_payload("one")).encode()
    honeycomb = "1;dataset=x,trace_id=1af7651916cd43dd8448eb211c80319c,parent_id=c7ad6b7169203331,context=e30="
    headers = {
        "X-GitHub-Event": "push",
        "X-Hub-Signature-256": signing.github(shop.secret("github"), body),
        "traceparent": SENDERS,
        "X-Honeycomb-Trace": honeycomb,
    }
    shop._webhook("/webhooks/github", body, headers)
    shop.settle()
    shop.stop()
    (received,) = collected.named("receive com.github.push")
    assert received.trace == ids.trace_id(REPO, sha_of("one"))
    assert [link.traceparent for link in received.links] == [
        SENDERS,
        "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01",
    ]


def test_who_is_refused_or_ignored_leaves_no_trace(traced: tuple[Shop, Collected]) -> None:
    """Strangers cannot fill the operators' backend, or name spans in it."""
    shop, collected = traced
    webhooks = Client(shop.greenlight.apps["webhooks"])
    body = json.dumps(push_payload("one")).encode()
    wrong = {"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + "0" * 64, "traceparent": SENDERS}
    assert (
        webhooks.post("/webhooks/github", data=body, headers=wrong, content_type="application/json").status_code == 401
    )
    ping = {"X-GitHub-Event": "ping", "X-Hub-Signature-256": signing.github(shop.secret("github"), body)}
    assert (
        webhooks.post("/webhooks/github", data=body, headers=ping, content_type="application/json").status_code == 202
    )
    shop.settle()
    shop.stop()
    assert collected.spans == []


def test_no_secret_and_no_body_is_in_any_span(tmp_path: Path) -> None:
    """Canaries: every secret and token, the signatures, what a body says in passing, a comment, what a command prints."""
    collected = Collected()
    shop = Shop(tmp_path, tracer=collected.tracer).start()
    canaries = [shop.secret(name).decode() for name in ("github", "circleci", "gate-scan")] + list(TOKENS.values())
    payload = push_payload("one")
    payload["head_commit"]["message"] = "canary in a message"
    payload["commits"][0]["author"]["email"] = "canary@acme.example"
    body = json.dumps(payload).encode()
    signature = signing.github(shop.secret("github"), body)
    headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": signature, "Authorization": "Bearer canary-header"}
    shop._webhook("/webhooks/github?token=canary-query", body, headers)
    (tmp_path / "config" / "deploy.sh").write_text("echo canary printed; echo canary printed >&2; exit 3")
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    shop.scan("one")
    path = f"/commits/{REPO}/{sha_of('one')}/approvals"
    shop.act(path, {"application": "shop", "gate": "legal", "comment": "canary of a comment"})
    shop.settle()
    shop.stop()
    text = repr(collected.spans)
    assert len(collected.spans) > 50
    assert [secret for secret in (*canaries, signature.removeprefix("sha256="), "canary") if secret in text] == []


def test_a_sampler_that_takes_nothing_exports_nothing(tmp_path: Path) -> None:
    """The verdict is the sampler's, once for a trace."""
    collected = Collected(sampler=ALWAYS_OFF)
    shop = Shop(tmp_path, tracer=collected.tracer).start()
    shop.push("one")
    shop.settle()
    shop.stop()
    assert collected.spans == []


def test_a_backend_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    """Deployments go on; what finds no room is dropped and counted; the stop does not wait for the backend for long."""
    hanging, release = threading.Event(), threading.Event()

    class Hanging(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            hanging.set()
            release.wait(60)
            return SpanExportResult.FAILURE

    log = logging.getLogger("greenlight.tests")
    batching = Batching(queue=20, batch=10, delay=50)  # a third of a commit: too few whenever it begins to hang
    tracer = Exporting(Hanging(), None, log, batching, ALWAYS_ON)
    before = metrics.SPANS.labels("dropped")._value.get()
    shop = Shop(tmp_path, tracer=tracer).start()
    shop.push("one")
    assert hanging.wait(PATIENCE)
    shop.build("one")
    assert shop.watch.end("staging", sha_of("one"))["outcome"] == "succeeded"
    shop.settle()
    assert metrics.SPANS.labels("dropped")._value.get() > before
    assert shop.greenlight.stop(0.1)
    release.set()


def _up(folder: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Up:
    Shop(folder).stop()
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return Up(folder)


def test_a_process_exports_by_otlp_what_its_board_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Switched on by the environment alone; what was not yet sent goes out at SIGTERM; headers get through."""
    env = {"OTEL_EXPORTER_OTLP_HEADERS": "x-team=canary", "OTEL_BSP_SCHEDULE_DELAY": "600000"}
    with otlp_backend() as backend:
        up = _up(tmp_path, {**env, "OTEL_EXPORTER_OTLP_ENDPOINT": backend.url}, monkeypatch)
        for kind in ("push", "build"):
            port, path, body, headers = signed(tmp_path, kind, "one")
            assert up.http.request("POST", getattr(up, port) + path, body=body, headers=headers).status == 202
        found: dict[str, Any] = {"spans": []}
        while not any(span["name"] == "deploy shop/staging" and span["end"] for span in found["spans"]):
            found = up.get(f"/commits/{REPO}/{sha_of('one')}/trace") if _known(up) else found
        assert backend.bodies == []
        assert up.stop() == 0
    spans = backend.spans()
    assert {headers["x-team"] for headers in backend.headers} == {"canary"}
    assert {trace for trace, _, _ in spans.values()} == {found["trace_id"]}
    for drawn in found["spans"]:
        if drawn["end"] is not None:
            assert spans[drawn["span_id"]][1:] == (drawn["name"], drawn["service"])
    assert "canary" not in repr(backend.bodies)


def _known(up: Up) -> bool:
    return up.http.request("GET", f"{up.board}/api/v1/commits/{REPO}/{sha_of('one')}").status == 200


def test_a_backend_that_is_not_there_delays_no_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ships, says once that nobody takes its spans, counts them, and ends in order."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    up = _up(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": nowhere, "OTEL_BSP_SCHEDULE_DELAY": "50"}, monkeypatch)
    for kind in ("push", "build"):
        port, path, body, headers = signed(tmp_path, kind, "one")
        assert up.http.request("POST", getattr(up, port) + path, body=body, headers=headers).status == 202
    dropped = re.compile(r'greenlight_spans_total{outcome="dropped"} [1-9]')
    deadline = datetime.now(UTC).timestamp() + 60
    while not dropped.search(up.http.request("GET", f"{up.board}/metrics").data.decode()):
        assert datetime.now(UTC).timestamp() < deadline
    assert up.stop() == 0
    log = (tmp_path / "up.log").read_text()
    assert log.count("accepts no spans") == 1
    assert "Traceback" not in log
    assert os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] == nowhere


def test_two_services_see_one_trace(tmp_path: Path) -> None:
    """A build that one process received and a deployment that another one did, days apart, are spans of one trace."""
    first, second = Collected(service="webhooks"), Collected(service="deployer")
    shop = Shop(tmp_path, tracer=first.tracer)
    shop.push("one")
    shop.build("one")
    first.tracer.start(None)
    shop.stop()
    again = Shop(tmp_path, tracer=second.tracer).start()
    again.watch.end("staging", sha_of("one"))
    again.settle()
    again.stop()
    assert {span.trace for span in [*first.spans, *second.spans]} == {ids.trace_id(REPO, sha_of("one"))}
    assert [span.name for span in first.spans if span.parent == ids.root_span_id(REPO, sha_of("one"))] == [
        "receive com.github.push",
        "receive com.circleci.buildsuccess build-test",
    ]
    assert second.named("deploy shop/staging")
