"""`event: TYPE`: a CloudEvent of that type was posted to /webhooks/events/SENDER, and says what `where` asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from greenlight.model.rows import Run, Signal
from greenlight.policy.gates.kind import Schema
from greenlight.policy.gates.signal import SignalGate
from greenlight.policy.signals import REPORTED, owned, parts


@dataclass(frozen=True, kw_only=True)
class Event(SignalGate):
    """The newest event of that type, from every sender or from one, has the fields that pass.

    Without `where`, every event passes.
    """

    kind = "event"
    schema: ClassVar[Schema] = {
        "$ref": "#/$defs/text",
        "description": "The type of a CloudEvent posted to /webhooks/events/SENDER.",
    }
    beside: ClassVar[Mapping[str, Schema]] = {
        "sender": {
            "$ref": "#/$defs/name",
            "description": "Whose events count. Without it, those of every sender have to pass.",
        },
        "where": {
            "description": "Fields of the event's data and the values that pass. Any other value fails.",
            "type": "object",
            "minProperties": 1,
            "errorMessage": "must name fields of the event's data and their values, such as {severity: none}",
            "additionalProperties": {
                "type": ["string", "number", "boolean", "null"],
                "errorMessage": "must be text, a number, true, false or null",
            },
        },
    }
    signal = "event"

    type: str
    by: str | None = None  # the sender
    where: Mapping[str, Any] | None = None

    @classmethod
    def fields(cls, written: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"type": written["event"], "by": written.get("sender"), "where": written.get("where")}

    @property
    def subject(self) -> str:
        return f"event {self.type}" + (f" from {self.by}" if self.by else "")

    @property
    def sender(self) -> str | None:
        return f"events-{self.by}" if self.by else None

    def reads(self, key: str) -> bool:
        kind, _, name = parts(key)
        return kind == "event" and owned(name, self.by, self.type)

    def origin(self, key: str, runs: Mapping[str, Run]) -> str:
        return f"sender {parts(key)[2].partition('/')[0]}"

    def verdict(self, signal: Signal, source: str, again: str) -> tuple[str, str]:
        if self.where is None:
            happened = signal.outcome in ("", REPORTED)
            return ("passed", f"{self.subject} passed") if happened else super().verdict(signal, source, again)
        wrong = [
            f"{name} is {_shown(data, name)}"
            for data in (signal.data, *signal.tied)
            for name in self.where
            if not _same(data, name, self.where[name])
        ]
        subject = f"{self.subject}{source}"
        return ("failed", f"{subject}: {', '.join(dict.fromkeys(wrong))}") if wrong else ("passed", f"{subject} passed")

    def failed_at(self, signal: Signal) -> datetime | None:
        """Return when the newest event was accepted, if `where` does not hold for it."""
        return signal.arrived if self.verdict(signal, "", "")[0] == "failed" else None

    def _passes(self) -> str:
        if self.where is None:
            return super()._passes()
        return f"{self.subject} where {', '.join(f'{name} is {value!r}' for name, value in self.where.items())}"


def _same(data: Mapping[str, Any], name: str, wanted: Any) -> bool:
    """Return whether a field is there and equal as JSON has it: true is not 1."""
    missing = object()
    value = data.get(name, missing)
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)


def _shown(data: Mapping[str, Any], name: str) -> str:
    """Return a field in words; of one that cannot be compared, a list in its place says what it is."""
    if name not in data:
        return "missing"
    return str(data[name][0]) if isinstance(data[name], (list, tuple)) else repr(data[name])[:60]
