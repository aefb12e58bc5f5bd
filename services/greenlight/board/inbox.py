"""The approvals that are missing at the newest commit of each target: those that a person may give, and the others'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from greenlight.board.overview import UNKNOWN, Overview, Row, followed_by, signable
from greenlight.board.stops import Missing, Stop
from greenlight.service.people import Person


@dataclass(frozen=True, slots=True)
class Waiting:
    """An approval that a person may give."""

    row: Row
    stop: Stop
    missing: Missing

    @property
    def urgency(self) -> tuple[int, datetime]:
        """Return what approvals are ordered by."""
        return followed_by(self.row.policy, self.stop.environment), self.row.commit.pushed or UNKNOWN


def inbox(seen: Overview, person: Person) -> Sequence[Waiting]:
    """Return the approvals that a person may give now: at the newest commit of each target, each gate once.

    Those for the last environment come first, and of these the commit that was pushed first.
    """
    found: dict[tuple[str, str, str], Waiting] = {}
    for cell in seen.every_cell:
        stop = cell.stop
        if cell.next is None or stop is None:
            continue
        for missing in signable(stop, person):
            found.setdefault((cell.policy.name, stop.case.record.sha, missing.gate), Waiting(cell.next, stop, missing))
    return sorted(found.values(), key=lambda it: it.urgency)


def others(seen: Overview, mine: Sequence[Waiting]) -> Sequence[Waiting]:
    """Return the approvals that other people have to give, at the newest commit of each target, in the same order."""
    left_out = {(it.row.commit.sha, it.row.policy.name, it.missing.gate) for it in mine}
    found: dict[tuple[str, str, str], Waiting] = {}
    for cell in seen.every_cell:
        if cell.next is None or cell.stop is None or cell.stop.need is None:
            continue
        for missing in cell.stop.need.missing:
            key = (cell.next.commit.sha, cell.policy.name, missing.gate)
            if key not in left_out:
                found[key] = Waiting(cell.next, cell.stop, missing)
    return sorted(found.values(), key=lambda it: it.urgency)
