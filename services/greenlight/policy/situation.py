"""What a decision is made of: one commit and one target, as they are now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from greenlight.model.policy import Environment, Policy
from greenlight.model.rows import Attempt, Push, Record, Request, Target
from greenlight.policy.lineage import Lineage, newest_tried
from greenlight.policy.requests import waiting_requests


@dataclass(frozen=True)
class Situation:
    """One commit, for one target, at one time."""

    policy: Policy
    name: str  # of the environment
    record: Record
    target: Target
    pushes: Lineage  # every push of the repository since what the target runs
    now: datetime

    @property
    def environment(self) -> Environment:
        """The environment as the policy describes it."""
        return self.policy.environments[self.name]

    @cached_property
    def attempt(self) -> Attempt | None:
        """The newest deployment of the commit to the target."""
        return attempt_of(self.policy, self.record, self.name)

    @cached_property
    def waiting(self) -> Sequence[Request]:
        """The requests that wait in the target, newest first."""
        return waiting_requests(self.target, self.now)

    @property
    def first(self) -> Request | None:
        """The request that the target serves next, whatever commit it is for."""
        return next(iter(self.waiting), None)

    @property
    def request(self) -> Request | None:
        """The request that the target serves next, if it is for this commit."""
        return self.first if self.first is not None and self.first.sha == self.record.sha else None

    @cached_property
    def tried(self) -> Push | None:
        """The newest push that was tried in the target."""
        return newest_tried(self.policy, self.target, self.pushes)

    @property
    def runs(self) -> bool:
        """Whether the target runs the commit."""
        return self.target.running is not None and self.target.running.sha == self.record.sha

    @property
    def under_way(self) -> bool:
        """Whether the target's deployment under way is one of the commit."""
        return self.attempt is not None and self.target.deployment == self.attempt.id


def attempt_of(policy: Policy, record: Record, environment: str) -> Attempt | None:
    """The newest deployment of a commit to an environment, under the application's name or its former one."""
    found = [record.attempts[key] for key in policy.keys(environment) if key in record.attempts]
    return max(found, key=lambda attempt: attempt.started, default=None)
