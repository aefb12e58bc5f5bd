"""`github-review: {}`: people have approved the commit, or the pull request that it merged, on GitHub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from greenlight.events.ids import identity
from greenlight.model.policy import GateState, Situation
from greenlight.model.rows import Signal
from greenlight.policy.gates.kind import Schema, newest_revocation, revoked
from greenlight.policy.gates.signal import Reader
from greenlight.policy.gates.votes import COUNT, NOT, VotesGate
from greenlight.policy.signals import OUTDATED, OUTSIDER, is_review, reviewer

_NAMED = 3
"""Reviewers whose reviews do not count that a reason names, of each cause."""


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
        known = {reviewer(key): by_ref for key, by_ref in self.own_signals(case).items()}
        newest = {login: self.newest(by_ref, case) for login, by_ref in known.items()}
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
        notes += _shortened(_of_outsiders(current))
        notes += _shortened(_for_other_refs({login: known[login] for login in sorted(known.keys() - reviews)}, case))
        votes = [(review.at, login, review.fact) for login, review in given.items() if whys[login] is None]
        if taken_back is not None and not votes:
            return revoked(taken_back, "a new review")
        return self.tally(votes, notes, case.now)


def _of_outsiders(reviews: Mapping[str, Signal]) -> list[str]:
    why = "by what GitHub says, they are no owner, member or collaborator of the repository"
    outsiders = sorted(login for login, review in reviews.items() if review.outcome == OUTSIDER)
    return [f"{login}'s review does not count: {why}" for login in outsiders]


def _for_other_refs(unheard: Mapping[str, Mapping[str, Signal]], case: Situation) -> list[str]:
    """Return notes on approvals of pull requests for refs that are not shipped, by reviewer."""
    return [
        f"{login}'s review does not count: it was for {ref}, which {case.policy.name} does not ship; `any-branch: true` on "
        "the gate would take it"
        for login, by_ref in unheard.items()
        for ref in sorted(ref for ref, review in by_ref.items() if review.outcome == "passed")[:1]
    ]


def _shortened(notes: Sequence[str]) -> list[str]:
    more = [f"and {len(notes) - _NAMED} more like this"] if len(notes) > _NAMED else []
    return [*notes[:_NAMED], *more]
