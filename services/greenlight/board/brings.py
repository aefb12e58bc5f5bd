"""The commits that a deployment would bring to an environment beside its own; and gates that what goes out has not passed.

A commit goes out with every newer one that contains it, whatever its own gates say: a person who lets that one out has to
know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from greenlight.board.commits import Known, known
from greenlight.board.stops import Stop
from greenlight.ledger.port import Unreadable
from greenlight.model.policy import GateState, Situation
from greenlight.model.rows import Deployment, Record
from greenlight.policy.between import between
from greenlight.policy.decide import required_gates
from greenlight.policy.history import History
from greenlight.service.deps import Deps

SHOWN = 20
"""Commits that are looked at and listed; of more it is said how many there are."""


@dataclass(frozen=True, slots=True)
class Brought:
    """A commit that goes out, with the gates of the environment that say no to it, or that a person passed."""

    commit: Known
    gates: Mapping[str, GateState]
    unreadable: str | None = None  # why its gates are not known

    @property
    def red(self) -> Sequence[str]:
        """Return each of these gates in words."""
        return red(self.gates) if self.unreadable is None else ["its record cannot be read"]


@dataclass(frozen=True, slots=True)
class Brings:
    """The commits of one deployment, newest first, its own included unless it goes back."""

    commits: Sequence[Brought] = ()
    more: int = 0  # commits beyond those
    back: bool = False  # it goes back to an older commit: these are taken away
    complete: bool = True  # whether the stored pushes lead from one end to the other: else there may be more commits

    @property
    def count(self) -> int:
        """Return how many commits it brings."""
        return len(self.commits) + self.more

    @property
    def red(self) -> Sequence[Brought]:
        """Return those that go out though a gate says no to them."""
        return [commit for commit in self.commits if commit.red]


def brings(stop: Stop | None, deps: Deps) -> Brings:
    """Return the commits that would go out with one to where it waits; none where what runs contains it already."""
    if stop is None or stop.decision.push is None or stop.case.runs or contained(stop):
        return Brings()
    case, push, runs = stop.case, stop.decision.push, stop.case.target.running
    others = between(push, runs.sha if runs else None, History.of(case.pushes)).shas
    return _of(case, (case.record.sha, *others), deps)


def brought(row: Deployment, case: Situation, deps: Deps) -> Brings:
    """Return the commits between what ran before a deployment and its own, with their gates as they are now.

    `case` is the situation of its commit.
    """
    if row.push is None or row.previous == row.sha:
        return Brings()
    history = History.of(case.pushes)
    found = between(row.push, row.previous, history)
    before = None if row.previous is None or found.complete else deps.ledger.record(row.repo, row.previous)
    for push in () if before is None else before.pushes.values():
        taken = between(push, row.sha, history)
        if taken.complete:
            return replace(_of(case, taken.shas, deps), back=True)
    complete = found.complete or row.previous is None
    return replace(_of(case, (row.sha, *found.shas), deps), complete=complete)


def _of(case: Situation, shas: Sequence[str], deps: Deps) -> Brings:
    shas = list(dict.fromkeys(shas))
    titles = known(case.record.repo, shas[:SHOWN], deps)
    found = [_brought(case, titles[sha], deps) for sha in shas[:SHOWN]]
    return Brings(found, len(shas) - len(found))


def contained(stop: Stop) -> bool:
    """Return whether what runs in an environment is a newer commit that contains this one, as far as pushes tell."""
    runs = stop.case.target.running
    if runs is None or runs.push is None or stop.case.runs:
        return False
    return between(runs.push, stop.case.record.sha, History.of(stop.case.pushes)).complete


def red(gates: Mapping[str, GateState]) -> Sequence[str]:
    """Return each gate that says no, or that a person passed in its place, in words."""
    return worded(only_red(gates))


def worded(gates: Mapping[str, GateState]) -> Sequence[str]:
    """Return gates with their states in words: "scan failed", "scan overridden by rob"."""
    return [
        f"{name} {state.state}" + (f" by {', '.join(state.by)}" if state.state == "overridden" else "")
        for name, state in gates.items()
    ]


def only_red(gates: Mapping[str, GateState]) -> Mapping[str, GateState]:
    """Return the gates that say no, or that a person passed in their place."""
    return {name: state for name, state in gates.items() if state.state in ("failed", "revoked", "overridden")}


def _brought(case: Situation, commit: Known, deps: Deps) -> Brought:
    try:
        record = deps.ledger.record(commit.repo, commit.sha)
        gates = {} if record is None or not may_be_red(record) else required_gates(case.of(record))
    except Unreadable as problem:
        return Brought(commit, {}, str(problem))
    return Brought(commit, only_red(gates))


def may_be_red(record: Record) -> bool:
    """Return whether a gate may say no to a commit: of most commits the gates need not be computed for that."""
    failed = any(signal.outcome == "failed" for by_ref in record.signals.values() for signal in by_ref.values())
    return failed or bool(record.revocations) or bool(record.overrides)
