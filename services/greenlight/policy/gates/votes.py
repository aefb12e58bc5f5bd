"""Gates that are opened by the votes of people: so many of them, each of which lasts for a while."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from greenlight.model.policy import GateState, Situation
from greenlight.policy.authors import Authors, authors
from greenlight.policy.gates.kind import Kind, Schema, day, lasting

COUNT: Schema = {"$ref": "#/$defs/count"}
NOT: Schema = {"$ref": "#/$defs/not"}

CountedVote = tuple[datetime, str, str]
"""When it was given, by whom, and the fact that says so."""


@dataclass(frozen=True, kw_only=True)
class VotesGate(Kind):
    """A gate that passes if enough people say yes."""

    count: int = 1

    @property
    @abstractmethod
    def lasts(self) -> timedelta | None:
        """Return how long a vote holds; None: for ever."""

    def explained(self) -> str:
        """Return what opens the gate, and for how long, in words."""
        return lasting(f"{self.count} × {self.subject}", self.lasts)

    def makers(self, case: Situation) -> Authors | None:
        """Return the authors of the commit, where this gate leaves them out."""
        return authors(case.record, case.target, case.pushes) if self.not_author else None

    def tally(self, votes: Sequence[CountedVote], notes: Sequence[str], now: datetime) -> GateState:
        """Return the state that the votes give; `notes` name the votes that do not count."""
        lasts = self.lasts
        live = sorted(vote for vote in votes if lasts is None or vote[0] + lasts > now)
        by, facts = tuple(who for _, who, _ in live), tuple(fact for _, _, fact in live)
        if len(live) >= self.count:
            until = live[-self.count][0] + lasts if lasts is not None else None
            reason = "; ".join([f"given by {', '.join(by)}", *notes])
            return GateState("passed", reason, live[self.count - 1][0], by, None, until, facts)
        gone = [f"{who}'s expired on {day(at + lasts)}" for at, who, _ in sorted(votes) if lasts and at + lasts <= now]
        needs = f"needs {self.count - len(live)} more {self.subject}"
        state = "expired" if len(votes) >= self.count else "pending"
        return GateState(state, "; ".join([needs, *gone, *notes]), None, by, None, None, facts)

    def _not_author(self) -> str:
        return " (not the author)" if self.not_author else ""
