"""The waterfall: the waiting is in it, also the waiting that goes on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from greenlight.board.waterfall import spans
from greenlight.model.rows import Entry
from greenlight.telemetry.layout import bars

REPO, SHA = "acme/shop", "a" * 40


def _at(second: int) -> str:
    return f"2026-01-01T12:00:{second:02}.000000Z"


def _entry(second: int, type: str, **payload: Any) -> Entry:
    stream = f"commit/{REPO}/{SHA}" if not type.startswith(("promotion", "deployment")) else "target/shop/staging"
    return Entry(stream, second + 1, type, _at(second), f"id-{second}-{type}", payload, "", "")


def _decision(second: int, decision: str, environment: str = "staging", **gates: str) -> Entry:
    return _entry(
        second, "decision", application="shop", environment=environment, decision=decision, reasons=[], gates=gates
    )


def _lengths(entries: list[Entry], word: str) -> list[tuple[str, str, str | None]]:
    return [
        (span["name"], span["start"], span["end"])
        for span in spans(REPO, SHA, entries)
        if span["name"].startswith(word)
    ]


def test_a_wait_lasts_until_its_gate_has_passed() -> None:
    """From the beginning, for each target; a gate that was lost and found again is waited for a second time."""
    entries = [
        _entry(0, "com.github.push"),
        _decision(1, "waiting", build="pending", legal="pending"),
        _decision(5, "waiting", build="passed", legal="pending"),
        _decision(9, "blocked", build="passed", legal="revoked"),
        _decision(12, "ready", build="passed", legal="passed"),
        _decision(13, "waiting", "production", build="pending"),
        _decision(14, "ready", "production", build="passed"),
    ]
    assert sorted(_lengths(entries, "wait")) == [
        ("wait for build (shop/production)", _at(0), _at(14)),
        ("wait for build (shop/staging)", _at(0), _at(5)),
        ("wait for legal (shop/staging)", _at(0), _at(12)),
    ]
    again = [
        *entries,
        _decision(20, "blocked", build="revoked", legal="passed"),
        _decision(22, "ready", build="passed"),
    ]
    assert ("wait for build (shop/staging)", _at(20), _at(22)) in _lengths(again, "wait")
    assert _lengths(entries, "commit")[0][2] == _at(14)


def test_what_goes_on_has_no_end_and_is_drawn_until_now() -> None:
    """A gate that is still lacking, a deployment under way, and the commit itself."""
    about = {"application": "shop", "environment": "staging", "promotion": "p", "deployment": "p"}
    waiting = [_entry(0, "com.github.push"), _decision(1, "waiting", build="pending")]
    assert _lengths(waiting, "wait") == [("wait for build (shop/staging)", _at(0), None)]
    assert _lengths(waiting, "commit") == [("commit acme/shop@aaaaaaa", _at(0), None)]
    drawn = list(bars(spans(REPO, SHA, waiting), datetime(2026, 1, 1, 13, 0, tzinfo=UTC)))
    assert [(bar.span["name"][:4], bar.depth, bar.share, bar.length) for bar in drawn[:2]] == [
        ("comm", 0, 1.0, "1.0 h so far"),
        ("wait", 1, 1.0, "1.0 h so far"),
    ]
    running = [
        _entry(0, "com.github.push"),
        _decision(1, "ready", build="passed"),
        _entry(2, "promotion.ready", **about),
        _entry(3, "deployment.started", **about),
    ]
    assert _lengths(running, "deploy") == [("deploy shop/staging", _at(3), None)]
    assert _lengths(running, "commit")[0][2] is None


def test_nobody_waits_for_a_gate_of_a_commit_whose_time_is_over() -> None:
    """Superseded, or deployed and revoked afterwards."""
    superseded = [
        _entry(0, "com.github.push"),
        _decision(1, "waiting", build="pending"),
        _decision(8, "superseded", build="pending"),
        _decision(9, "superseded", build="failed"),
    ]
    assert _lengths(superseded, "wait") == [("wait for build (shop/staging)", _at(0), _at(8))]
    too_late = [
        _entry(0, "com.github.push"),
        _decision(1, "ready", build="passed"),
        _decision(5, "ready", build="revoked"),
    ]
    assert _lengths(too_late, "wait") == [("wait for build (shop/staging)", _at(0), _at(1))]


def test_a_step_says_what_it_is_about() -> None:
    """Several targets and signals are told apart."""
    entries = [
        _entry(0, "com.circleci.buildsuccess", signal="circleci.workflow:build-test", outcome="passed"),
        _decision(1, "waiting", "production", build="passed"),
    ]
    names = [span["name"] for span in spans(REPO, SHA, entries)]
    assert "receive com.circleci.buildsuccess build-test" in names
    assert "check for promotion: waiting (shop/production)" in names
