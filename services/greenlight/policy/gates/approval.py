"""`approval: {groups: [GROUP]}`: people of a group have approved the commit, on the board or by `greenlight approve`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from greenlight.lib.durations import duration
from greenlight.model.policy import GateState, Policy, Situation
from greenlight.model.rows import Approval as Vote
from greenlight.model.rows import Record
from greenlight.policy.authors import Authors
from greenlight.policy.gates.kind import Schema, newest_revocation, revoked
from greenlight.policy.gates.votes import COUNT, NOT, VotesGate


@dataclass(frozen=True, kw_only=True)
class Approval(VotesGate):
    """People of these groups have approved, as many as are needed."""

    kind = "approval"
    schema: ClassVar[Schema] = {
        "type": "object",
        "required": ["groups"],
        "additionalProperties": False,
        "properties": {
            "groups": {
                "description": "Groups of config/people.yaml whose people may approve.",
                "type": "array",
                "minItems": 1,
                "items": {"$ref": "#/$defs/name"},
            },
            "count": COUNT,
            "not": NOT,
            "expires": {"$ref": "#/$defs/duration", "description": "How long an approval holds."},
        },
    }
    refused: ClassVar[Mapping[str, str]] = {
        "max-age": "is for signals; write expires inside the approval",
        "any-branch": "is for what runs on a branch; an approval is for the commit",
    }

    groups: tuple[str, ...]
    expires: timedelta | None = None

    @classmethod
    def fields(cls, written: Mapping[str, Any]) -> Mapping[str, Any]:
        wants = written["approval"]
        expires = duration(wants["expires"]) if "expires" in wants else None
        return {
            "groups": tuple(wants["groups"]),
            "count": wants.get("count", 1),
            "not_author": "not" in wants,
            "expires": expires,
        }

    @property
    def subject(self) -> str:
        return f"approval from {' or '.join(self.groups)}" + self._not_author()

    @property
    def lasts(self) -> timedelta | None:
        return self.expires

    def has_votes(self, case: Situation) -> bool:
        return any(case.record.approvals.get(key) for key in case.policy.keys(self.name))

    def state(self, case: Situation) -> GateState:
        """Judge by the newest vote of each person, and whether a person revoked the gate since."""
        taken_back = newest_revocation(case.policy, case.record, self.name)
        votes = newest_votes(case.policy, case.record, self.name).values()
        given = [vote for vote in votes if vote.granted and (taken_back is None or vote.at > taken_back.at)]
        makers = self.makers(case) if given else None
        refusals = {vote.person: self.left_out(vote, makers) or _unsure(vote, makers) for vote in given}
        refusals |= _repeated([vote for vote in given if refusals[vote.person] is None])
        counted = [(vote.at, vote.person, vote.fact) for vote in given if refusals[vote.person] is None]
        if taken_back is not None and not counted:
            return revoked(taken_back, "a new approval")
        notes = [f"{person}'s approval does not count: {why}" for person, why in sorted(refusals.items()) if why]
        return self.tally(counted, notes, case.now)

    def left_out(self, vote: Vote, makers: Authors | None) -> str | None:
        """Return why an approval does not count, or None. The person's groups at the time of the approval count.

        `makers` are the authors of the commit where the gate leaves them out, else None.
        """
        if not set(vote.groups) & set(self.groups):
            return f"{vote.person} was not in {' or '.join(self.groups)}"
        return None if makers is None else makers.not_counted(vote.person, vote.identities, "approve again")


def newest_votes(policy: Policy, record: Record, gate: str) -> Mapping[str, Vote]:
    """Return the newest vote of each person at a gate, under the application's name or its former one."""
    votes = [vote for key in policy.keys(gate) for vote in record.approvals.get(key, {}).values()]
    return {vote.person: vote for vote in sorted(votes, key=lambda vote: (vote.at, vote.fact))}


def _repeated(votes: Sequence[Vote]) -> dict[str, str]:
    """Return why an approval does not count beside a newer one, by person: they have a login or address in common.

    Two ids are one person where an entry of people.yaml was renamed, or a login made a person who is an entry since.
    """
    newest: dict[str, str] = {}
    again: dict[str, str] = {}
    for vote in sorted(votes, key=lambda vote: (vote.at, vote.fact), reverse=True):
        same = next((newest[identity] for identity in vote.identities if identity in newest), None)
        if same is not None:
            again[vote.person] = (
                f"{same}, who approved later, has the same GitHub login or address: one person, one vote"
            )
        else:
            newest |= dict.fromkeys(vote.identities, vote.person)
    return again


def _unsure(vote: Vote, makers: Authors | None) -> str | None:
    """Return why an approval does not count as long as an author may be unknown."""
    return None if makers is None else makers.refusal(vote.person, vote.identities)
