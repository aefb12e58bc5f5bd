"""A record of more parts than one piece holds: the same record, however it is stored."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from greenlight.ledger import parts
from greenlight.ledger.port import Conflict, Ledger, Transaction
from greenlight.model.rows import Approval, Attempt, Record, Signal
from support.ledger import REPO, a_push, a_record, at, rows, sha

MANY = 400


def a_signal(n: int, outcome: str = "passed") -> Signal:
    """What a check said."""
    return Signal(outcome, (n, "x"), at(n), f"f{n}", {"url": f"https://ci.example/{n}"}, {"n": n})


def signals(count: int) -> dict[str, dict[str, Signal]]:
    """As many checks, some for two refs."""
    refs = ("refs/heads/main", "refs/heads/other")
    return {f"github.check:ci/{n}": {ref: a_signal(n) for ref in refs[: 1 + n % 2]} for n in range(count)}


def stored(ledger: Ledger, record: Record) -> Record:
    """Write it, and what is then read."""
    ledger.transact(Transaction(records=[record]))
    found = ledger.record(record.repo, record.sha)
    assert found is not None
    return found


def test_a_record_of_hundreds_of_parts_reads_back_equal_here_and_in_the_next_process(
    ledger: Ledger, reopen: Callable[[], Ledger]
) -> None:
    """Signals of several refs, approvals, requests, artifacts, attempts, pushes; in the listing, too."""
    word = Approval(True, "lena", ("legal",), ("github:lena",), at(1), "f1")
    attempt = Attempt("d1", 0, "succeeded", "automatic", at(1), at(2), succeeded_at=at(2))
    push = a_push()
    record = a_record(
        tree="abc",
        signals=signals(MANY),
        approvals={"shop/legal": {f"p{n}": replace(word, person=f"p{n}") for n in range(MANY)}},
        artifacts={"shop": ("sha256:01", "sha256:02")},
        people=("a", "b"),
        attempts={"shop/staging": attempt},
        pushes={push.ref: push},
    )
    expected = replace(record, version=1)
    assert stored(ledger, record) == expected
    again = reopen()
    assert again.record(REPO, sha(1)) == expected
    assert list(again.records(repo=REPO, ref=push.ref).records) == [expected]


def test_what_a_fact_changes_is_what_is_read(ledger: Ledger, reopen: Callable[[], Ledger]) -> None:
    """A new signal, a newer word of an old one, another ref of one; then what is gone."""
    record = stored(ledger, a_record(signals=signals(MANY)))
    for key, ref, n in (
        ("webhook:scan", "", 1000),
        ("github.check:ci/7", "refs/heads/main", 1001),
        ("github.check:ci/8", "refs/heads/third", 1002),
    ):
        of_key = {**record.signals.get(key, {}), ref: a_signal(n, "failed")}
        record = replace(record, signals={**record.signals, key: of_key}, updated=at(n))
        record = stored(ledger, record)
        assert record.signals[key] == of_key
    fewer = {key: value for key, value in record.signals.items() if key != "github.check:ci/7"}
    fewer["github.check:ci/9"] = {"refs/heads/main": a_signal(9)}
    record = stored(ledger, replace(record, signals=fewer))
    assert record.signals == fewer
    assert reopen().record(REPO, sha(1)) == record


def test_one_that_was_read_before_another_wrote_is_refused(ledger: Ledger, reopen: Callable[[], Ledger]) -> None:
    """Nothing of it is stored."""
    record = stored(ledger, a_record(signals=signals(MANY)))
    newer = stored(ledger, replace(record, signals={**record.signals, "webhook:a": {"": a_signal(1)}}))
    with pytest.raises(Conflict):
        stored(ledger, replace(record, signals={**record.signals, "webhook:b": {"": a_signal(2)}}))
    assert ledger.record(REPO, sha(1)) == newer
    assert reopen().record(REPO, sha(1)) == newer


@pytest.mark.parametrize("seed", range(4))
def test_any_changes_read_back_equal_whatever_is_kept_in_parts(
    ledger: Ledger, reopen: Callable[[], Ledger], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Growing and shrinking over the bound again and again, with a process that knows nothing in between."""
    monkeypatch.setattr(parts, "WHOLE", 3)
    dice = random.Random(seed)
    record = a_record()
    for n in range(40):
        changes: dict[str, Any] = {"updated": at(n)}
        keys = [f"k{number}" for number in range(8) if dice.random() < 0.5]
        if dice.random() < 0.8:
            kept = {key: value for key, value in record.signals.items() if dice.random() < 0.8}
            changes["signals"] = {**kept, **{key: {f"r{dice.randrange(2)}": a_signal(n)} for key in keys}}
        if dice.random() < 0.4:
            changes["artifacts"] = {**record.artifacts, f"a{dice.randrange(3)}": (f"sha256:{n}",)}
        if dice.random() < 0.4:
            refs = [f"refs/heads/{number}" for number in range(4) if dice.random() < 0.5]
            changes["pushes"] = {ref: a_push(f"p{n}", ref=ref) for ref in refs}
        expected = replace(record, **changes)
        record = stored(ledger, expected)
        assert record == replace(expected, version=n + 1)
        assert len(ledger.records(ref="refs/heads/1").records) == ("refs/heads/1" in record.pushes)
        if dice.random() < 0.3:
            ledger = reopen()
            assert ledger.record(REPO, sha(1)) == record


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=rows(Record, version=0))
def test_whatever_a_part_holds_comes_back_equal(
    ledger: Ledger, reopen: Callable[[], Ledger], numbers: Iterator[int], row: Record
) -> None:
    """Any text as key and as value, read by a process that did not write it."""
    whole, parts.WHOLE = parts.WHOLE, 0
    try:
        filled = {
            name: {key: by for key, by in getattr(row, name).items() if by}
            for name in ("signals", "approvals", "named")
        }
        row = replace(row, repo=REPO, sha=sha(next(numbers)), **filled)
        reopen().transact(Transaction(records=[row]))
        assert reopen().record(REPO, row.sha) == replace(row, version=1)
    finally:
        parts.WHOLE = whole


@pytest.fixture
def numbers() -> Iterator[int]:
    """A new one for each example."""
    return count(1)
