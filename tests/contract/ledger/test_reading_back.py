"""Whoever wrote reads the same as whoever comes after: what an adapter keeps at hand is never older than what is stored."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from greenlight.ledger.port import Conflict, Ledger, Transaction
from support.ledger import REPO, a_decision, a_deployment, a_due, a_fact, a_push, a_record, a_target, at, sha


def everything(ledger: Ledger) -> dict[str, Any]:
    """All that the steps below write, as the ledger tells it."""
    return {
        "facts": [ledger.fact(f"f{n}") for n in range(3)],
        "records": [ledger.record(REPO, sha(n)) for n in range(3)],
        "targets": [ledger.target("shop", name) for name in ("staging", "production")],
        "decisions": [ledger.decision("shop", "staging", REPO, sha(n)) for n in range(3)],
        "deployments": [ledger.deployment(f"d{n}") for n in range(3)],
        "pushes": [ledger.pushes(REPO), ledger.pushes(REPO, since=at(3)), ledger.pushes(REPO, limit=2)],
    }


def step(ledger: Ledger, dice: random.Random) -> None:
    """One write, of rows as they are or as they were; a Conflict is as good an end as any."""
    n, name = dice.randrange(3), dice.choice(("staging", "production"))
    behind = dice.choice((0, 0, 0, 1))
    record = ledger.record(REPO, sha(n)) or a_record(n)
    target = ledger.target("shop", name) or a_target(name)
    deployment = ledger.deployment(f"d{n}") or a_deployment(f"d{n}")
    decision = ledger.decision("shop", "staging", REPO, sha(n)) or a_decision(n)
    written = Transaction(
        records=[replace(record, tree=str(dice.random()), version=max(record.version - behind, 0))],
        targets=[replace(target, fence=target.fence + 1)] if dice.random() < 0.5 else [],
        deployments=[replace(deployment, tries=deployment.tries + 1)] if dice.random() < 0.5 else [],
        decisions=[replace(decision, reasons=(str(dice.random()),))] if dice.random() < 0.5 else [],
        pushes=[a_push(f"p{dice.randrange(8)}", dice.randrange(8))] if dice.random() < 0.5 else [],
        recorded=[f"f{n}"] if dice.random() < 0.3 else [],
    )
    if dice.random() < 0.3:
        ledger.accept(a_fact(f"f{n}"), None, a_due(f"k{n}"))
    try:
        ledger.transact(written)
    except Conflict:
        pass


@pytest.mark.parametrize("seed", range(6))
def test_a_ledger_that_wrote_tells_what_the_next_process_finds(
    ledger: Ledger, reopen: Callable[[], Ledger], seed: int
) -> None:
    """After any writes and refusals."""
    dice = random.Random(seed)
    for _ in range(40):
        step(ledger, dice)
        if dice.random() < 0.3:
            everything(ledger)
    told = everything(ledger)
    assert told == everything(reopen())


def test_who_reads_while_others_write_never_goes_back(ledger: Ledger) -> None:
    """What was read at one version is never read at an older one, and a write that returned is seen."""
    ledger.transact(Transaction(targets=[a_target()]))
    over, went_back = threading.Event(), threading.Event()

    def read() -> None:
        newest = 0
        while not over.is_set():
            target = ledger.target("shop", "staging")
            assert target is not None
            if target.version < newest:
                went_back.set()
            newest = target.version

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for version in range(1, 60):
            target = ledger.target("shop", "staging")
            assert target is not None
            assert target.version == version
            ledger.transact(Transaction(targets=[replace(target, fence=version)]))
    finally:
        over.set()
        for reader in readers:
            reader.join()
    assert not went_back.is_set()
