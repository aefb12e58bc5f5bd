"""Writes to the ledger as steps of whatever is being traced, and the report of new entries to the tracer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from greenlight.ledger.port import Conflict, Ledger, Transaction
from greenlight.model.rows import Due, Fact
from greenlight.telemetry.tracing import OFF, Step, Tracer, step


def writing() -> Step:
    """Return the step of a write."""
    return step("write to the ledger")


def as_step(transact: Callable[[Transaction], None], transaction: Transaction) -> None:
    """Write a transaction as a step. Raises what `transact` raises; a Conflict is no error of the step."""
    with writing() as written:
        try:
            transact(transaction)
        except Conflict:
            written.expected()
            written.note(conflict=True)
            raise


def traced(ledger: Ledger, tracer: Tracer) -> Ledger:
    """Return the ledger with steps, which reports new entries to the tracer; where tracing is off, the ledger itself."""
    return ledger if tracer is OFF else cast(Ledger, _Traced(ledger, tracer))


def reporting(ledger: Ledger, tracer: Tracer) -> Ledger:
    """Return a ledger that makes its own steps, as one that reports new entries; where tracing is off, the ledger itself."""
    return ledger if tracer is OFF else cast(Ledger, _Reporting(ledger, tracer))


class _Reporting:
    def __init__(self, ledger: Ledger, tracer: Tracer) -> None:
        self._ledger, self._tracer = ledger, tracer

    def transact(self, transaction: Transaction) -> None:
        self._ledger.transact(transaction)
        for entry in transaction.entries:
            self._tracer.touched(entry.repo, entry.sha)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


class _Traced(_Reporting):
    def accept(self, fact: Fact, body: bytes | None, due: Due) -> bool:
        with writing():
            return self._ledger.accept(fact, body, due)

    def transact(self, transaction: Transaction) -> None:
        as_step(super().transact, transaction)
