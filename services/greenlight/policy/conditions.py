"""The conditions under which a candidate goes out by itself, one named function each. Pure.

A commit goes out by itself if it is ready for itself (its gates, environments before, artifacts: greenlight.policy.decide)
and every condition here holds. Each says why it does not, and what a person may do. The first that makes a commit
`superseded` decides; of the others all are reported.

| condition | decision | ends when |
| --- | --- | --- |
| newest_by_push | superseded | the commit is pushed again, or an operator deploys it |
| on_its_ref | superseded | the commit is pushed again, or an operator deploys it |
| not_paused | waiting | an operator resumes the target |
| no_request_first | waiting | the request ends (greenlight.policy.requests); an operator may cancel it |
| not_held | waiting | the commit is deployed by an operator, or a later one is pushed |
| not_frozen | waiting | the freeze ends; an operator whom it excepts may deploy the commit, or end a person's freeze |
| not_manual | waiting | the commit is deployed by an operator |
| not_replaced | waiting | the commit is deployed by an operator, or a later one is pushed |

Soak time holds of the commit alone, as `after` does.
"""

from __future__ import annotations

from collections.abc import Callable

from greenlight.model.policy import Decision, Situation
from greenlight.model.rows import POLICY, Attempt, Push, Request
from greenlight.policy.freezes import frozen
from greenlight.policy.history import History
from greenlight.policy.lineage import newer, superseded_by_force
from greenlight.policy.paths import brought_after
from greenlight.policy.refs import shipped
from greenlight.policy.requests import goes_through_a_pause, waiting_requests
from greenlight.policy.situation import served, tried

Condition = Callable[[Situation, Push], str | None]
"""Why the commit that this push made a candidate does not go out by itself; None: the condition holds."""


def newest_by_push(case: Situation, push: Push) -> str | None:
    """Reject a candidate that is older than what the target runs, is being deployed, or was tried there."""
    last = tried(case)
    if last is None or last.sha == case.record.sha:
        return None
    if not newer(last, push, case.pushes) and not _is_part_of(last, push, History.of(case.pushes)):
        return None
    return f"the newer commit {last.sha[:7]} was tried here; an operator may deploy this one"


def _is_part_of(last: Push, push: Push, history: History) -> bool:
    """Return whether a ref was created on a commit that `last`, or a push below it, brought along: a tag on an older one."""
    return push.before is None and any(push.sha in below.commits for below in history.back(last))


def on_its_ref(case: Situation, push: Push) -> str | None:
    """Reject an earlier candidate of a ref that was deleted or forced to another commit.

    Not if another ref has it, such as the one that GitHub creates where a branch is renamed.
    """
    others = (other for ref, other in case.record.pushes.items() if shipped(case.policy, ref))
    if not all(superseded_by_force(case.pushes, each) for each in (push, *others)):
        return None
    return f"{push.ref} was deleted or forced to another commit afterwards; an operator may deploy this one"


def not_paused(case: Situation, push: Push) -> str | None:
    """Reject every candidate while a person has paused the target, except a person's rollback."""
    if case.target.paused is None or goes_through_a_pause(served(case)):
        return None
    return f"paused by {case.target.paused}; an operator may resume {case.policy.name}/{case.environment.name}"


def no_request_first(case: Situation, push: Push) -> str | None:
    """Reject a candidate that was not pushed after a person's waiting request.

    The policy's own request rejects none.
    """
    first = next((request for request in waiting_requests(case.target, case.now) if request.person != POLICY), None)
    if first is None or brought_after(case.policy, push, first.at, case.pushes):
        return None
    return f"{called(first)} goes first; an operator may cancel it"


def not_held(case: Situation, push: Push) -> str | None:
    """Reject what was not pushed after a rollback, or after a deploy of a commit that had newer candidates.

    With `paths`, also what brings nothing of the application that was pushed after it: it is the change that is held.
    Where promotion is manual nothing goes out by itself, so there is nothing to hold back.
    """
    held = case.target.held
    if held is None or case.environment.promote == "manual" or brought_after(case.policy, push, held.at, case.pushes):
        return None
    changed = f" that changes a file of {case.policy.name}" if case.policy.paths else ""
    return f"held by {called(held)}; an operator may deploy it, or push a newer commit{changed}"


def not_frozen(case: Situation, push: Push) -> str | None:
    """Reject every candidate during a freeze, and every request of a person whom it does not except."""
    request = served(case)
    shut = frozen(case.environment, case.target, request, case.now)
    if shut is None:
        return None
    why = str(shut) if request is None else f"{called(request)} waits: {shut}"
    out = f"; an operator may unfreeze {case.policy.name}/{case.environment.name}" if shut.by_people else ""
    return f"{why}{out}"


def not_manual(case: Situation, push: Push) -> str | None:
    """Reject every candidate where the policy leaves promotion to people."""
    if case.environment.promote != "manual":
        return None
    policy = case.policy
    if not policy.operators:
        return f"ready, and waits for a person, but nobody operates {policy.name}: name groups as its `operators:`"
    where = f"{policy.repo} {case.record.sha[:7]} {policy.name} {case.environment.name}"
    who = ", ".join(policy.operators)
    return f"ready, and waits for a person: {who} may deploy it with `greenlight deploy {where} --reason TEXT`"


def not_replaced(case: Situation, push: Push) -> str | None:
    """Reject a commit that ran here since its last push, and in whose place a person had an older one tried again."""
    attempt = case.attempt
    if attempt is None or attempt.outcome != "succeeded" or case.runs or case.environment.promote == "manual":
        return None
    if not _was_tried(attempt, push) or not_held(case, push) is not None:
        return None
    return "was deployed here and another commit in its place since; an operator may deploy it, or push a newer commit"


def may_begin(case: Situation, decision: Decision) -> bool:
    """Return whether a deployment of the commit may begin.

    The promoter asks first, and the deployer again before it begins. By itself nothing is begun that the target runs
    already, or that was tried since it was last pushed. A target whose candidates were not all decided under this
    policy begins nothing.
    """
    if decision.state != "ready" or case.target.deployment is not None or case.target.policy != case.policy.digest:
        return False
    if decision.request is not None:
        return True
    return not case.runs and not _was_tried(case.attempt, decision.push)


def _was_tried(attempt: Attempt | None, push: Push | None) -> bool:
    """Return whether this commit was deployed here since its last push: another try needs a person or a push."""
    if attempt is None or attempt.outcome == "superseded":
        return False
    return push is None or attempt.push == push.fact


SUPERSEDED: tuple[Condition, ...] = (newest_by_push, on_its_ref)
WAITING: tuple[Condition, ...] = (not_paused, not_frozen, no_request_first, not_held)
WAITING_ONCE_READY: tuple[Condition, ...] = (not_manual, not_replaced)
"""Conditions that are reported of a commit only when it is ready for itself."""
ENDED_BY_PEOPLE = frozenset((newest_by_push, on_its_ref, not_paused, not_held, not_manual, not_replaced))
"""Conditions that hold again only once a person acts. A freeze window ends by itself, and so does a request."""


def called(request: Request) -> str:
    """Return a request in words for people."""
    to = "to" if request.kind == "rollback" else "of"
    return f"{request.person}'s {request.kind} {to} {request.sha[:7]}"
