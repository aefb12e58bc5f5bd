"""Logins in browsers: found by the digest of their id, seen, and ended for every process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from greenlight.ledger.port import Ledger, Unreadable
from greenlight.model.web_sessions import WebSession
from support.ledger import HandClock

DIGEST = "ab" * 32


def a_session(clock: HandClock, digest: str = DIGEST) -> WebSession:
    """Make a session that lasts an hour."""
    now = clock.now()
    claims = {"by": "oidc", "emails": ["lena@acme.example"], "groups": ["legal"], "subject": "https://idp#1"}
    return WebSession(digest, "lena", claims, now, now, now + timedelta(hours=1))


def test_a_session_is_the_same_for_every_process(
    ledger: Ledger, adapter: object, reopen: Callable[[], Ledger], clock: HandClock
) -> None:
    """With its claims and times, before and after a restart."""
    row = a_session(clock)
    assert ledger.web_session(DIGEST) is None
    ledger.begin_web_session(row, clock.now())
    assert ledger.web_session(DIGEST) == row
    assert adapter.another().web_session(DIGEST) == row  # type: ignore[attr-defined]
    assert reopen().web_session(DIGEST) == row


def test_what_is_seen_is_written_down(ledger: Ledger, clock: HandClock) -> None:
    """The last use and the end change, nothing else does."""
    row = a_session(clock)
    ledger.begin_web_session(row, clock.now())
    later = clock.now() + timedelta(minutes=5, microseconds=7)
    ledger.see_web_session(DIGEST, later, later + timedelta(hours=1))
    assert ledger.web_session(DIGEST) == replace(row, seen=later, until=later + timedelta(hours=1))


def test_what_was_ended_stays_ended(ledger: Ledger, adapter: object, clock: HandClock) -> None:
    """For another process too, and a request that was under way brings it back no more."""
    row, other = a_session(clock), a_session(clock, "cd" * 32)
    ledger.begin_web_session(row, clock.now())
    ledger.begin_web_session(other, clock.now())
    adapter.another().end_web_session(DIGEST)  # type: ignore[attr-defined]
    ledger.see_web_session(DIGEST, clock.now(), clock.now() + timedelta(hours=2))
    assert ledger.web_session(DIGEST) is None
    ledger.end_web_session(DIGEST)
    assert ledger.web_session(other.digest) == other


def test_a_session_that_cannot_be_read_logs_nobody_in(ledger: Ledger, adapter: object, clock: HandClock) -> None:
    """It is reported as every other row."""
    ledger.begin_web_session(a_session(clock), clock.now())
    adapter.spoil("web_sessions", DIGEST, "[]")  # type: ignore[attr-defined]
    with pytest.raises(Unreadable):
        ledger.web_session(DIGEST)
    assert [row.table for row in ledger.unreadable()] == ["web_sessions"]
