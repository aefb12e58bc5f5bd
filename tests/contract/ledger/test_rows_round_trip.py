"""Whatever a row holds comes back equal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from greenlight.ledger.port import Ledger, Transaction
from greenlight.model.rows import DecisionRow, Deployment, Due, Fact, Push, Record, Target
from support.ledger import REPO, a_due, at, rows, sha

examples = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def fresh() -> Iterator[int]:
    """A new number for each example, so that it has a key of its own."""
    return count(1)


@examples
@given(row=rows(Fact, recorded=False, titles=()))
def test_facts(ledger: Ledger, fresh: Iterator[int], row: Fact) -> None:
    """accept, then fact; and its event from what is due, and from the outbox if it is emitted by itself."""
    row = replace(row, event=replace(row.event, id=f"{next(fresh)}"))
    due = replace(a_due(), event=row.event)
    assert ledger.accept(row, None, due)
    assert ledger.fact(row.id) == row
    assert ledger.due(due.at) == [due]
    ledger.transact(Transaction(emit=[row.event]))
    assert ledger.outbox(older_than=at(1)) == [row.event]
    ledger.published([row.id])


@examples
@given(row=rows(Record, version=0))
def test_records(ledger: Ledger, fresh: Iterator[int], row: Record) -> None:
    """transact, then record."""
    row = replace(row, repo=REPO, sha=sha(next(fresh)))
    ledger.transact(Transaction(records=[row]))
    assert ledger.record(REPO, row.sha) == replace(row, version=1)


@examples
@given(row=rows(Target, version=0), decision=rows(DecisionRow, version=0), deployment=rows(Deployment, version=0))
def test_targets_decisions_and_deployments(
    ledger: Ledger, fresh: Iterator[int], row: Target, decision: DecisionRow, deployment: Deployment
) -> None:
    """transact, then each of them."""
    name = f"{next(fresh)}"
    row, deployment = replace(row, application=name), replace(deployment, id=name)
    decision = replace(decision, application=name)
    ledger.transact(Transaction(targets=[row], decisions=[decision], deployments=[deployment]))
    assert ledger.target(name, row.environment) == replace(row, version=1)
    found: Any = ledger.decision(name, decision.environment, decision.repo, decision.sha)
    assert found == replace(decision, version=1)
    assert ledger.deployment(name) == replace(deployment, version=1)


@examples
@given(push=rows(Push), due=rows(Due))
def test_pushes_and_what_is_due(ledger: Ledger, fresh: Iterator[int], push: Push, due: Due) -> None:
    """transact, then pushes and due."""
    name = f"{next(fresh)}"
    push, due = replace(push, repo=name, fact=name), replace(due, key="k")
    ledger.transact(Transaction(pushes=[push], due=[due]))
    assert ledger.pushes(name) == [push]
    assert ledger.due(due.at) == [due]
