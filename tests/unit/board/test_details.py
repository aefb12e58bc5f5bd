"""The whole waterfall: kept spans below the journals', the critical path, and what is usual."""

from __future__ import annotations

from typing import Any

from greenlight.board.details import mark_critical, merged
from greenlight.board.usual import compare, medians


def at(second: float) -> str:
    return f"2026-01-01T12:00:{second:09.6f}Z"


def a_span(
    id: str, name: str, start: float, end: float | None, parent: str | None = "root", **attributes: Any
) -> dict[str, Any]:
    return {
        "span_id": id,
        "parent_id": parent,
        "name": name,
        "service": "s",
        "start": at(start),
        "end": None if end is None else at(end),
        "attributes": attributes,
    }


ROOT = a_span("root", "commit acme/shop@aaaaaaa", 1, 30, None)
PUSH = a_span("push", "receive com.github.push", 1, 1, signal="x")


def test_kept_spans_are_below_those_of_the_journals() -> None:
    """An arrival says how long it took; a repetition is there once; parents come before their children."""
    kept = [
        a_span("check", "check for promotion", 1.3, 1.4, "read"),
        a_span("read", "read event", 1.2, 1.4, "push"),
        a_span("push", "receive com.github.push", 0.9, 1.5, "root", status=202),
        a_span("read", "read event", 7, 8, "push"),
    ]
    frame = [dict(ROOT), dict(PUSH), a_span("wait", "wait for build (shop/staging)", 1, 30)]
    spans = merged(frame, kept)
    assert [(span["span_id"], span["start"], span["end"]) for span in spans] == [
        ("root", at(0.9), at(30)),
        ("push", at(0.9), at(1.5)),
        ("read", at(1.2), at(1.4)),
        ("check", at(1.3), at(1.4)),
        ("wait", at(1), at(30)),
    ]
    assert spans[1]["attributes"] == {"status": 202, "signal": "x"}
    assert [span["span_id"] for span in merged(frame, [])] == ["root", "wait", "push"]
    assert merged([], kept) == []


def test_what_has_lost_its_parent_is_below_the_commit() -> None:
    """Also where parents go round in a circle, or a span is its own: whatever is stored, everything hangs somewhere."""
    kept = [
        a_span("orphan", "read event", 2, 3, "lost"),
        a_span("child", "write to the ledger", 2, 3, "orphan"),
        a_span("self", "read event", 4, 5, "self"),
        a_span("one", "read event", 6, 7, "other"),
        a_span("other", "read event", 6, 7, "one"),
    ]
    spans = merged([dict(ROOT), dict(PUSH)], kept)
    parents = {span["span_id"]: span["parent_id"] for span in spans}
    assert len(spans) == 7
    assert (parents["orphan"], parents["child"], parents["self"]) == ("root", "orphan", "root")
    assert "root" in (parents["one"], parents["other"])


def critical(spans: list[dict[str, Any]]) -> set[str]:
    mark_critical(spans)
    return {span["span_id"] for span in spans if span["attributes"].get("critical")}


def shipped(approved: float) -> list[dict[str, Any]]:
    """Staging from 5 to 10; production as soon as that has succeeded and legal has approved, for 4 s."""
    began = max(approved, 10.0)
    return [
        dict(ROOT),
        a_span("push", "receive com.github.push", 0.9, 1.5),
        a_span("create", "create event", 1, 1.2, "push"),
        a_span("build", "receive com.circleci.buildsuccess", 4.9, 5.2),
        a_span("wait build", "wait for build (shop/staging)", 1, 5, application="shop", environment="staging"),
        a_span(
            "wait legal", "wait for legal (shop/production)", 1, approved, application="shop", environment="production"
        ),
        a_span("wait blog", "wait for legal (blog/production)", 1, 9.9, application="blog", environment="production"),
        a_span("staging", "promote to shop/staging", 5, 10),
        a_span("to staging", "deploy shop/staging", 5.1, 10, "staging"),
        a_span("production", "promote to shop/production", began, began + 4),
        a_span("hand over", "hand over", began, began + 0.1, "production"),
        a_span("deploy", "deploy shop/production", began + 0.1, began + 4, "production"),
        a_span("prepare", "prepare", began + 0.1, began + 0.5, "deploy"),
        a_span("command", "command", began + 0.5, began + 3.9, "deploy"),
        a_span("beside", "read event", began + 0.6, began + 0.7, "deploy"),
    ]


LAST = {"root", "push", "create", "production", "hand over", "deploy", "prepare", "command"}


def test_the_critical_path_goes_back_from_the_last_deployment() -> None:
    """Through the wait that ended last, or through the environment before, if that took longer; and no other application."""
    assert critical(shipped(approved=20)) == LAST | {"wait legal"}
    assert critical(shipped(approved=8)) == LAST | {"staging", "to staging", "wait build"}


def test_a_commit_that_was_not_deployed_has_no_critical_path() -> None:
    """Nobody can say yet what its time consists of; one that is being deployed has one."""
    assert critical(shipped(approved=20)[:7]) == set()
    assert critical([]) == set()
    under_way = [dict(ROOT), dict(PUSH), a_span("staging", "promote to shop/staging", 5, None)]
    assert critical(under_way) == {"root", "push", "staging"}


def test_medians_are_of_waits_and_of_deployments() -> None:
    """By their names, from three on; what goes on has no length yet."""
    wait, deploy = "wait for build (shop/staging)", "deploy shop/staging"
    commits = [
        [
            a_span("w", wait, 0, length),
            a_span("o", wait, 0, None),
            a_span("r", "receive com.github.push", 0, 1),
        ]
        for length in (1, 9, 2)
    ]
    usual = medians(commits, {deploy: [2000.0, 9000.0, 4000.0], "deploy shop/production": [1.0, 2.0]})
    assert usual == {wait: 2000.0, deploy: 4000.0}
    assert medians(commits[:2], {}) == {}
    spans = [a_span("w", wait, 0, 5), a_span("x", "hand over", 0, 1)]
    compare(spans, usual)
    assert [span["attributes"] for span in spans] == [{"usually_ms": 2000.0}, {}]
