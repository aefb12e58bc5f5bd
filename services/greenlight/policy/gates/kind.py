"""The base class of every kind of gate, and what kinds have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from greenlight.lib.durations import duration, span
from greenlight.model.policy import Gate, GateState, Policy, Situation
from greenlight.model.rows import Record, Revocation

Schema = Mapping[str, Any]

COMMON: Mapping[str, Schema] = {
    "max-age": {"$ref": "#/$defs/duration", "description": "How old the fact may be."},
    "any-branch": {"description": "Whether a run for a branch that is not shipped counts too.", "type": "boolean"},
}
"""The fields of every kind, beside its own."""


@dataclass(frozen=True, kw_only=True)
class Kind(Gate):
    """A gate, and its form in the pipeline file.

    In the pipeline file a gate is `NAME: {KIND: …, FIELD: …}`: `schema` describes what stands under its kind, `beside` the
    other fields that it may have. The schema checks them before `read` is called.
    """

    schema: ClassVar[Schema]
    beside: ClassVar[Mapping[str, Schema]] = {}
    refused: ClassVar[Mapping[str, str]] = {}  # which of the COMMON fields it does not take, and what to do instead

    @classmethod
    @abstractmethod
    def fields(cls, written: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the arguments of the class, besides those of every kind, from the gate as it is written."""

    @classmethod
    def read(cls, name: str, written: Mapping[str, Any]) -> Self:
        """Return the gate of that name from how it is written."""
        max_age = duration(written["max-age"]) if "max-age" in written else None
        any_branch = written.get("any-branch", False)
        return cls(name=name, max_age=max_age, any_branch=any_branch, **cls.fields(written))

    def refused_at(self, case: Situation) -> datetime | None:
        """Return when the gate was last revoked."""
        taken_back = newest_revocation(case.policy, case.record, self.name)
        return None if taken_back is None else taken_back.at


def lasting(words: str, lasts: timedelta | None) -> str:
    """Add to what opens a gate how long it stays open."""
    return f"{words}, for {span(lasts)}" if lasts else words


def newest_revocation(policy: Policy, record: Record, gate: str) -> Revocation | None:
    """Return the newest revocation of a gate, under the application's name or its former one."""
    found = [record.revocations[key] for key in policy.keys(gate) if key in record.revocations]
    return max(found, key=lambda revocation: revocation.at, default=None)


def revoked(by: Revocation, lifted_by: str) -> GateState:
    """Return the state of a gate that a person revoked; `lifted_by` names what ends that."""
    why = f": {by.reason}" if by.reason else ""
    reason = f"revoked by {by.person} on {day(by.at)}{why}; {lifted_by} lifts it"
    return GateState("revoked", reason, by.at, (by.person,), None, None, (by.fact,))


def day(moment: datetime) -> str:
    """Return a time for people, to the minute."""
    return moment.strftime("%Y-%m-%d %H:%M UTC")
