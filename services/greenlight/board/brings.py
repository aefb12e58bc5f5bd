"""The commits that a deployment would bring to an environment beside its own; and gates that what goes out has not passed.

A commit goes out with every newer one that contains it, whatever its own gates say: whoever lets that one out has to
know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greenlight.board.commits import Known, known
from greenlight.board.stops import Stop
from greenlight.model.policy import GateState, Situation
from greenlight.model.rows import Record
from greenlight.policy.between import between
from greenlight.policy.decide import required_gates
from greenlight.policy.history import History
from greenlight.service.deps import Deps

SHOWN = 20
"""Commits that are looked at and listed; of more it is said how many there are."""


@dataclass(frozen=True, slots=True)
class Brought:
    """A commit that goes out, with the gates of the environment that say no to it."""

    commit: Known
    red: Sequence[str]


@dataclass(frozen=True, slots=True)
class Brings:
    """The commits of one deployment, newest first, its own included."""

    commits: Sequence[Brought] = ()
    more: int = 0  # commits beyond those

    @property
    def count(self) -> int:
        """Return how many commits it brings."""
        return len(self.commits) + self.more

    @property
    def red(self) -> Sequence[Brought]:
        """Return those that go out though a gate says no to them."""
        return [it for it in self.commits if it.red]


def brings(stop: Stop | None, deps: Deps) -> Brings:
    """Return the commits that would go out with one to where it waits; none where what runs contains it already."""
    if stop is None or stop.decision.push is None or stop.case.runs or contained(stop):
        return Brings()
    case, push, runs = stop.case, stop.decision.push, stop.case.target.running
    others = between(push, runs.sha if runs else None, History.of(case.pushes)).shas
    shas = list(dict.fromkeys((case.record.sha, *others)))
    titles = known(case.record.repo, shas[:SHOWN], deps)
    found = [Brought(titles[sha], _red_of(case, sha, deps)) for sha in shas[:SHOWN]]
    return Brings(found, len(shas) - len(found))


def contained(stop: Stop) -> bool:
    """Return whether what runs in an environment is a newer commit that contains this one, as far as pushes tell."""
    runs = stop.case.target.running
    if runs is None or runs.push is None or stop.case.runs:
        return False
    return between(runs.push, stop.case.record.sha, History.of(stop.case.pushes)).complete


def red(gates: Mapping[str, GateState]) -> Sequence[str]:
    """Return each gate that says no, or that a person passed in its place: "scan failed", "scan overridden by rob"."""
    return [
        f"{name} {state.state}" + (f" by {', '.join(state.by)}" if state.state == "overridden" else "")
        for name, state in gates.items()
        if state.state in ("failed", "revoked", "overridden")
    ]


def _red_of(case: Situation, sha: str, deps: Deps) -> Sequence[str]:
    record = deps.ledger.record(case.record.repo, sha)
    return [] if record is None or not may_be_red(record) else red(required_gates(case.of(record)))


def may_be_red(record: Record) -> bool:
    """Return whether a gate may say no to a commit: of most commits the gates need not be computed for that."""
    failed = any(it.outcome == "failed" for by_ref in record.signals.values() for it in by_ref.values())
    return failed or bool(record.revocations) or bool(record.overrides)
