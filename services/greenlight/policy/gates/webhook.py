"""`webhook: NAME`: a scanner that posts to /webhooks/gates/NAME says passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from greenlight.model.policy import Situation
from greenlight.model.rows import Run, Signal
from greenlight.policy.gates.kind import Schema
from greenlight.policy.gates.signal import SignalGate
from greenlight.policy.signals import by_time, parts


@dataclass(frozen=True, kw_only=True)
class Webhook(SignalGate):
    """A scanner's latest report is that it passed, and the report with its highest run does not differ."""

    kind = "webhook"
    schema: ClassVar[Schema] = {"$ref": "#/$defs/name", "description": "The NAME of POST /webhooks/gates/NAME."}
    signal = "webhook"

    scanner: str

    @classmethod
    def fields(cls, written: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"scanner": written["webhook"]}

    @property
    def subject(self) -> str:
        return f"webhook {self.scanner}"

    @property
    def sender(self) -> str:
        return f"gate-{self.scanner}"

    def reads(self, key: str) -> bool:
        kind, _, name = parts(key)
        return (kind, name) == ("webhook", self.scanner)

    def without_replaced(self, signals: Mapping[str, Signal], runs: Mapping[str, Run]) -> Mapping[str, Signal]:
        """Leave out the report with the highest run, unless it forbids: a scanner's reports count by their time."""
        return {key: signal for key, signal in signals.items() if not _adds_nothing(key, signal, signals)}

    def origin(self, key: str, runs: Mapping[str, Run]) -> str:
        return "its latest report" if parts(key)[1] else "its highest run"

    def _source_and_advice(self, key: str, case: Situation, several: bool) -> tuple[str, str]:
        name, advice = super()._source_and_advice(key, case, several)
        highest = self.newest(case.record.signals[key], case)
        if parts(key)[1] or not several or highest is None:
            return name, advice
        return f"{name} ({highest.order[0]})", "; a later report of that run, or of a higher one, lifts that"


def _adds_nothing(key: str, signal: Signal, signals: Mapping[str, Signal]) -> bool:
    latest = None if parts(key)[1] else signals.get(by_time(key) or "")
    return latest is not None and (signal.outcome != "failed" or latest.fact == signal.fact)
