"""What people say is ordered by the ledger: a clock that was set back voids nothing."""

from __future__ import annotations

from datetime import timedelta

from greenlight.events import types
from greenlight.events.ids import identity
from greenlight.model.own_facts import own_fact
from greenlight.model.rows import Fact, Record
from greenlight.recorder.domain import fold
from support.policy import SCAN, attempt, heard, minute, policy, recorded, situation, word

SHOP = policy()
STEP = timedelta(microseconds=1)


def _say(type: str, gate: str, record: Record, at: float, person: str = "lena") -> Fact:
    """A word on a gate, given when our clock says `at`."""
    about = {"application": "shop", "gate": gate, "person": person, "comment": "no"}
    details = {**about, "groups": ["legal"], "identities": [identity("github", person)]}
    return own_fact(type, f"{type}/{at}", "test", record, about, minute(at), details=details)[0]


def _state(gate: str, record: Record) -> str:
    return SHOP.gates[gate].state(situation(SHOP, record, now=minute(30))).state


def test_a_word_comes_right_after_the_last_one_where_the_clock_was_set_back() -> None:
    """And when the clock says where it was not. It is accepted when the clock says in both cases."""
    record = recorded(word("lena", at=10))
    back, on = _say(types.APPROVAL_REVOKED, "legal", record, 0), _say(types.APPROVAL_REVOKED, "legal", record, 20)
    assert (back.at, back.accepted) == (minute(10) + STEP, minute(0))
    assert (on.at, on.accepted) == (minute(20), minute(20))


def test_a_revocation_counts_though_the_approval_was_given_by_a_clock_ahead() -> None:
    """And a new approval lifts it, though the clock has not come back to the old one's time."""
    record = recorded(word("lena", at=10))
    assert _state("legal", record) == "passed"
    record = fold(record, _say(types.APPROVAL_REVOKED, "legal", record, 0))
    assert _state("legal", record) == "revoked"
    record = fold(record, _say(types.APPROVAL_GRANTED, "legal", record, 0.5))
    assert _state("legal", record) == "passed"


def test_a_revocation_counts_though_the_scan_was_heard_by_a_clock_ahead() -> None:
    """A gate that no person opens, too."""
    record = recorded(heard(SCAN, "passed", at=10))
    assert _state("scan", record) == "passed"
    assert _state("scan", fold(record, _say(types.APPROVAL_REVOKED, "scan", record, 0))) == "revoked"


def test_a_request_comes_after_earlier_deployments() -> None:
    """Or the journal of the commit would tell them in the wrong order. Requests of a target are ordered in its row."""
    about = {"application": "shop", "environment": "production", "kind": "deploy", "person": "lena", "reason": "now"}
    record = recorded(attempts={"production": attempt("failed", at=10)})
    again, _ = own_fact(types.DEPLOYMENT_REQUESTED, "again", "test", record, about, minute(0))
    assert again.at == minute(10) + STEP
