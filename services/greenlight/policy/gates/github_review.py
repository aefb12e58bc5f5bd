"""`github-review: {}`: people have approved the commit, or the pull request that it merged, on GitHub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from greenlight.events.ids import identity
from greenlight.model.policy import GateState, Situation
from greenlight.policy.gates.kind import Schema, newest_revocation, revoked
from greenlight.policy.gates.signal import Reader
from greenlight.policy.gates.votes import COUNT, NOT, VotesGate
from greenlight.policy.signals import OUTDATED, is_review, reviewer


@dataclass(frozen=True, kw_only=True)
class GithubReview(VotesGate, Reader):
    """Reviewers have approved, as many as are needed, and none requests changes."""

    kind = "github-review"
    schema: ClassVar[Schema] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"count": COUNT, "not": NOT},
    }
    signal = "github.review"

    @classmethod
    def fields(cls, written: Mapping[str, Any]) -> Mapping[str, Any]:
        wants = written["github-review"]
        return {"count": wants.get("count", 1), "not_author": "not" in wants}

    @property
    def subject(self) -> str:
        return "GitHub review" + self._not_author()

    @property
    def lasts(self) -> timedelta | None:
        return self.max_age

    def reads(self, key: str) -> bool:
        return is_review(key)

    def state(self, case: Situation) -> GateState:
        """Judge by the newest review of each reviewer, and whether a person revoked the gate since."""
        taken_back = newest_revocation(case.policy, case.record, self.name)
        newest = {reviewer(key): self.newest(by_ref, case) for key, by_ref in self.own_signals(case).items()}
        reviews = {login: review for login, review in newest.items() if review is not None}
        refusing = sorted(login for login, review in reviews.items() if review.outcome == "failed")
        if refusing:  # a revocation voids approvals, and ends no request for changes
            at, facts = max(reviews[login].at for login in refusing), tuple(reviews[login].fact for login in refusing)
            return GateState("failed", f"changes requested by {', '.join(refusing)}", at, (), None, None, facts)
        voided = taken_back.at if taken_back is not None else None
        current = {login: review for login, review in reviews.items() if voided is None or review.at > voided}
        given = {login: review for login, review in current.items() if review.outcome == "passed"}
        makers = self.makers(case) if given else None
        whys = {login: makers.refusal(login, [identity("github", login)]) if makers else None for login in given}
        notes = [f"{login}'s review does not count: {why}" for login, why in sorted(whys.items()) if why]
        old = sorted(login for login, review in current.items() if review.outcome == OUTDATED)
        notes += [f"{login}'s review does not count: it was of an earlier commit of the pull request" for login in old]
        votes = [(review.at, login, review.fact) for login, review in given.items() if whys[login] is None]
        if taken_back is not None and not votes:
            return revoked(taken_back, "a new review")
        return self.tally(votes, notes, case.now)
