"""Requests begin and end; what they hold back ends, too."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from greenlight.policy.lineage import Lineage
from greenlight.policy.requests import begun, expired, newest_request, paused, resumed, with_request, without
from support.policy import minute, policy, push, request, sha, target

SHOP = policy()
FIRST, SECOND = request("deploy", sha(1), at=10), request("rollback", sha(2), at=20)
BOTH = with_request(with_request(target(), FIRST), SECOND)


def test_the_newest_request_is_served_and_an_earlier_one_stands_behind_it() -> None:
    """If the newer one is withdrawn, the earlier one is what a person asked for."""
    assert newest_request(BOTH, minute(30)) == SECOND
    assert newest_request(without(BOTH, [SECOND]), minute(30)) == FIRST
    assert newest_request(without(BOTH, [SECOND, FIRST]), minute(30)) is None


def test_a_request_expires_after_the_time_in_which_its_target_was_not_paused() -> None:
    """Before, during and after a pause; one that had expired before stays so."""
    row = with_request(target(), FIRST)
    assert newest_request(row, minute(10 + 239)) == FIRST
    assert newest_request(row, minute(10 + 240)) is None
    held = paused(row, "omar: sale", minute(100))
    assert newest_request(held, minute(9999)) == FIRST
    on = resumed(held, minute(1100))
    assert on.requests[0].until == FIRST.until + timedelta(minutes=1000)
    assert (on.paused, on.paused_at) == (None, None)
    late = paused(row, "omar: sale", minute(300))
    assert expired(FIRST, late, minute(301))
    during = with_request(paused(target(), "omar: sale", minute(5)), FIRST)
    assert resumed(during, minute(30)).requests[0].until == FIRST.until + timedelta(minutes=20)


@pytest.mark.parametrize(
    ("serves", "left"), [(SECOND, []), (FIRST, [SECOND]), (request("deploy", sha(3), at=15), [SECOND])]
)
def test_a_deployment_that_serves_a_request_ends_it_and_all_earlier_ones(serves: object, left: list[object]) -> None:
    """A later one still waits."""
    found = begun(SHOP, BOTH, serves, push(), Lineage.of([push()]))  # type: ignore[arg-type]
    assert list(found.requests) == left


def test_a_candidate_ends_the_requests_that_it_was_pushed_after_and_every_hold() -> None:
    """One that came late was not."""
    new = push(sha(5), at=15)
    found = begun(SHOP, replace(BOTH, held=FIRST), None, new, Lineage.of([new]))
    assert (found.requests, found.held) == ((SECOND,), None)
    late = replace(new, pushed_at=minute(1), arrived=minute(30))
    on_top = push(sha(6), at=5, before=sha(5))
    assert begun(SHOP, BOTH, None, late, Lineage.of([late, on_top])).requests == BOTH.requests


OLD, NEW = push(sha(1), at=1), push(sha(2), at=2, before=sha(1))


@pytest.mark.parametrize(
    ("kind", "by", "of", "holds"),
    [
        ("rollback", "lena", OLD, True),
        ("rollback", "lena", NEW, True),
        ("deploy", "lena", OLD, True),
        ("deploy", "lena", NEW, False),
        ("retry", "lena", OLD, None),
        ("rollback", "policy", OLD, None),
    ],
)
def test_a_rollback_and_a_deploy_of_what_has_newer_candidates_hold(
    kind: str, by: str, of: object, holds: bool | None
) -> None:
    """A retry and the policy's rollback change nothing of an earlier hold."""
    this, before = request(kind, by=by), request("rollback", sha(9), at=5)
    found = begun(SHOP, target(held=before), this, of, Lineage.of([OLD, NEW]))  # type: ignore[arg-type]
    assert found.held == {True: this, False: None, None: before}[holds]
