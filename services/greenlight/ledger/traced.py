"""A ledger whose writes are steps of whatever is being traced, and whose new entries are reported to the tracer."""

from __future__ import annotations

from typing import Any, cast

from greenlight.ledger.port import Conflict, Ledger, Transaction
from greenlight.model.rows import Due, Fact
from greenlight.telemetry.tracing import OFF, Tracer, step


def traced(ledger: Ledger, tracer: Tracer) -> Ledger:
    """Return the ledger with tracing; where tracing is off, the ledger itself."""
    return ledger if tracer is OFF else cast(Ledger, _Traced(ledger, tracer))


class _Traced:
    def __init__(self, ledger: Ledger, tracer: Tracer) -> None:
        self._ledger, self._tracer = ledger, tracer

    def accept(self, fact: Fact, body: bytes | None, due: Due) -> bool:
        with step("write to the ledger"):
            return self._ledger.accept(fact, body, due)

    def transact(self, transaction: Transaction) -> None:
        with step("write to the ledger") as written:
            try:
                self._ledger.transact(transaction)
            except Conflict:
                written.expected()
                written.note(conflict=True)
                raise
        for entry in transaction.entries:
            self._tracer.touched(entry.repo, entry.sha)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)
