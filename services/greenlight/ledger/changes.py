"""The changes of some transactions together, each row once, as it is after them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from greenlight.events import Event
from greenlight.ledger.port import Transaction
from greenlight.model.policy import PoliciesInForce
from greenlight.model.rows import DecisionRow, Deployment, Due, Fact, NewEntry, Push, Record, Target

Row = Record | Target | DecisionRow | Deployment | PoliciesInForce
"""A row with a version."""

Key = tuple[Any, ...]
"""The name of a row: its kind, then the columns of its key."""


class Emitted(NamedTuple):
    """An event, and the Triggers (NAMESPACE/NAME) whose subscribers have handled it already."""

    event: Event
    handled: Collection[str] = ()


class AcceptedFact(NamedTuple):
    """A fact, as it is stored with its titles, and its provider's body: (digest, deflated; None: it lies in a file)."""

    fact: Fact
    body: tuple[str, bytes | None] | None = None


def key_of(row: Row) -> Key:
    """Return the name of a row."""
    if isinstance(row, Record):
        return Record, row.repo, row.sha
    if isinstance(row, Target):
        return Target, row.application, row.environment
    if isinstance(row, DecisionRow):
        return DecisionRow, row.application, row.environment, row.repo, row.sha
    if isinstance(row, Deployment):
        return Deployment, row.id
    return PoliciesInForce, row.repo


@dataclass(slots=True)
class Changes:
    """Changes in the order in which they were made. They hold if every row still has the version in `was` or `unchanged`."""

    rows: dict[Key, Row] = field(default_factory=dict)  # as they will be
    was: dict[Key, int] = field(default_factory=dict)  # the versions of these rows before; 0: there was none
    unchanged: dict[Key, int] = field(default_factory=dict)  # the versions of rows that were only read
    facts: dict[str, AcceptedFact] = field(default_factory=dict)  # by id
    recorded: list[str] = field(default_factory=list)  # facts accepted earlier that are in their record now
    pushes: list[Push] = field(default_factory=list)
    entries: list[NewEntry] = field(default_factory=list)
    emitted: list[Emitted] = field(default_factory=list)
    due: dict[str, Due | None] = field(default_factory=dict)  # by key; None: whatever was due under it is no longer
    postponed: list[Due] = field(default_factory=list)
    done: list[tuple[str, str]] = field(default_factory=list)

    def accept(self, fact: Fact, body: tuple[str, bytes | None] | None, due: Due) -> None:
        """Add a new fact."""
        self.facts[fact.id] = AcceptedFact(fact, body)
        self.due[due.key] = due
        self.emitted.append(Emitted(fact.event))

    def add(self, transaction: Transaction) -> None:
        """Add a transaction that follows what is here already."""
        for fact in transaction.facts:
            self.facts[fact.id] = AcceptedFact(fact)
        self._record(transaction.recorded)
        for read in transaction.unchanged:
            key = key_of(read)
            if key not in self.was:
                self.unchanged.setdefault(key, read.version)
        for row in versioned(transaction):
            self._put(row)
        self.pushes += transaction.pushes
        self.entries += transaction.entries
        for why, event in transaction.done:
            self._no_longer_due(why, event)
        for due in transaction.due:
            self.due[due.key] = due
        for due in transaction.postponed:
            self._postpone(due)
        self.emitted += [Emitted(event) for event in transaction.emit]

    def note_handled(self, by: Sequence[Collection[str]]) -> None:
        """Note which Triggers' subscribers have handled each of the events."""
        self.emitted = [Emitted(event, more) for (event, _), more in zip(self.emitted, by, strict=True)]

    def absorb(self, later: Changes) -> None:
        """Add changes that were made on top of these."""
        for key, row in later.rows.items():
            self.was.setdefault(key, later.was[key])
            self.rows[key] = row
        for key, version in later.unchanged.items():
            if key not in self.was:
                self.unchanged.setdefault(key, version)
        self._record(later.recorded)
        self.facts |= later.facts
        self.pushes += later.pushes
        self.entries += later.entries
        for why, event in later.done:
            self._no_longer_due(why, event)
        for due in later.postponed:
            self._postpone(due)
        self.due |= later.due
        self.emitted += later.emitted

    def _put(self, row: Row) -> None:
        key = key_of(row)
        self.was.setdefault(key, row.version)
        self.rows[key] = replace(row, version=row.version + 1)

    def _record(self, ids: Sequence[str]) -> None:
        for id in ids:
            known = self.facts.get(id)
            if known is None:
                self.recorded.append(id)
            else:
                self.facts[id] = known._replace(fact=replace(known.fact, recorded=True))

    def _no_longer_due(self, key: str, event: str) -> None:
        known = self.due.get(key)
        if key not in self.due:
            self.done.append((key, event))
        elif known is not None and known.event.id == event:
            self.due[key] = None

    def _postpone(self, due: Due) -> None:
        known = self.due.get(due.key)
        if due.key not in self.due:
            self.postponed.append(due)
        elif known is not None and known.event.id == due.event.id:
            self.due[due.key] = due


def versioned(transaction: Transaction) -> Iterator[Row]:
    """Yield the rows that a transaction stores, with the versions that they must have."""
    yield from transaction.records
    yield from transaction.targets
    yield from transaction.deployments
    yield from transaction.in_force
    yield from transaction.decisions


def by_time(push: Push) -> tuple[datetime, datetime, str]:
    """Return the place of a push in `Ledger.pushes`."""
    return push.pushed_at, push.arrived, push.fact
