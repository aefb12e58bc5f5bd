"""The decision: pure, total, and the same for the same record, target, policy, pushes and time.

It has two halves. What holds of the commit alone (its gates, the environments before, its artifacts, how its deployment
ended) is journaled per commit. What holds for the whole target (superseded, paused, frozen, held, a request that goes first:
greenlight.policy.conditions) stands once in the target's row, and is computed for a commit when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from greenlight.lib.durations import span
from greenlight.model.policy import Decision, Gate, GateState, Policy, Situation, Standing
from greenlight.model.rows import Attempt, Override, Push
from greenlight.policy.artifacts import digests
from greenlight.policy.authors import authors
from greenlight.policy.conditions import (
    ENDED_BY_PEOPLE,
    SUPERSEDED,
    WAITING,
    WAITING_ONCE_READY,
    not_frozen,
    not_paused,
)
from greenlight.policy.freezes import frozen
from greenlight.policy.lineage import Lineage, newer
from greenlight.policy.paths import candidate
from greenlight.policy.refs import ref_of, shipping, tag_of
from greenlight.policy.situation import served

OVER = ("failed", "error", "canceled")
"""Ends of a deployment after which the commit is not deployed again by itself."""

GREEN = ("passed", "overridden")
"""States of a gate that let a commit through."""


def decide(case: Situation) -> Decision:
    """Decide whether the commit may be deployed to the target now, and if not, why.

    A request that the target serves next lifts what speaks against an older, failed or rolled back commit, but never a
    gate.
    """
    request, pushes = served(case), Lineage.of(case.pushes)
    rolls_back = request is not None and request.kind == "rollback"
    policy = _policy_of_last_success(case) if rolls_back else case.policy
    record, runs = case.record, case.target.running
    push = candidate(policy, record, pushes, runs, asked=request is not None)
    untouched = push is None
    push = push or candidate(policy, record, pushes, runs, asked=True)
    push = None if push is None else pushes.knowing(push).anchored(push)
    gates = required_gates(case, at_last_success=rolls_back)
    named = digests(policy, record)
    own = _untouched(case) if push is not None and untouched else _own(case, push, named, gates)
    here = _here(case, push, own)
    over = here.state == "superseded" or (here.state == "ready" and case.runs)
    aging = [] if _goes_back(case) else gates.values()  # a rollback counts ages as they were
    ends = [gate.until for gate in aging if gate.state == "passed" and gate.until is not None]
    ends += _soaking(case).values()
    shut = frozen(case.environment, case.target, request, case.now)
    if shut is not None and own.state == "ready" and here.state == "waiting":
        ends.append(shut.until)
    return Decision(
        state=here.state,
        reasons=here.reasons,
        needs_person=here.needs_person or here.state in ("blocked", "superseded"),
        gates=gates,
        next_at=None if over else min(ends, default=None),
        push=push,
        artifacts={name: found[0] for name, found in named.items() if len(found) == 1},
        own=own,
        request=request,
        policy=policy.digest,
        recount=untouched or any(_may_change_by_range(case, policy.gates[name], gate) for name, gate in gates.items()),
    )


def required_gates(case: Situation, *, at_last_success: bool = False) -> Mapping[str, GateState]:
    """Return the state of each gate that the environment requires.

    With `at_last_success`, ages count as they were when the commit last succeeded in the target, and its ref as one that is
    shipped, as they do for a rollback.
    """
    now = _succeeded_at(case) if at_last_success else None
    then = case if now is None else replace(case, now=now, policy=_policy_of_last_success(case))
    return {name: gate_here(then, case.policy.gates[name]) for name in case.environment.require}


def _succeeded_at(case: Situation) -> datetime | None:
    return case.attempt.succeeded_at if case.attempt is not None else None


def _policy_of_last_success(case: Situation) -> Policy:
    """Return the policy, with the ref from which the commit was last deployed to the target, if it has succeeded there.

    The application may ship other refs since.
    """
    attempt = case.attempt
    if attempt is None or attempt.succeeded_at is None:
        return case.policy
    by = (push for push in (*case.record.pushes.values(), *case.pushes) if push.fact == attempt.push)
    push = next(by, None)
    return case.policy if push is None else shipping(case.policy, push.ref)


def gate_here(case: Situation, gate: Gate) -> GateState:
    """Return the state of a gate for one environment: what the record says of it, or that an operator passed it.

    An override ends with a revocation, or a failure, that comes after it, and stays ended. It does not count if the
    commit turns out to be by the person who gave it, where a gate of the environment leaves authors out.
    """
    state = gate.state(case)
    override = _override(case, gate)
    if override is None or state.state == "passed":
        return state
    refused = [gate.refused_at(case), state.at if state.state in ("failed", "revoked") else None]
    if any(at is not None and at > override.at for at in refused):
        return replace(
            state, reason=f"{state.reason}; {override.person}'s override ended: the gate failed or was revoked"
        )
    refusal = _left_out(case, override)
    if refusal is not None:
        return replace(state, reason=f"{state.reason}; {override.person}'s override does not count: {refusal}")
    reason = f"overridden by {override.person}: {override.reason} (it was {state.state}: {state.reason})"
    return GateState("overridden", reason, override.at, (override.person,), None, None, (override.fact,))


def _override(case: Situation, gate: Gate) -> Override | None:
    """Return the newest override of a gate here, under the application's name or its former one."""
    if not case.record.overrides:
        return None
    keys = case.policy.keys(case.environment.name, gate.name)
    given = [case.record.overrides[key] for key in keys if key in case.record.overrides]
    return max(given, key=lambda each: each.at, default=None)


def _left_out(case: Situation, override: Override) -> str | None:
    """Return why an override does not count, as far as is known; a gap in the pushes does not speak against it."""
    if not case.leaves_authors_out:
        return None
    makers = authors(case.record, case.target, case.pushes)
    return makers.not_counted(override.person, override.identities, "override again")


def _may_change_by_range(case: Situation, gate: Gate, state: GateState) -> bool:
    """Return whether votes were given that may count once the target runs something else.

    `not: author` depends on the commits between the two.
    """
    if state.state in GREEN:
        return False
    if gate.not_author and gate.has_votes(case):
        return True
    return _override(case, gate) is not None and case.leaves_authors_out


def _untouched(case: Situation) -> Standing:
    """Return the standing of a commit that brings no change of `paths`, as long as the target runs what it runs."""
    if case.under_way or case.runs:
        return Standing("ready")
    paths = ", ".join(case.policy.paths)
    return Standing("waiting", (f"not touched: no push since what runs here changed anything in {paths}",))


def _own(
    case: Situation, push: Push | None, named: Mapping[str, Sequence[str]], gates: Mapping[str, GateState]
) -> Standing:
    """Return the standing that depends on the commit alone; `named` are the digests of its artifacts."""
    if case.under_way or (case.runs and served(case) is None):
        return Standing("ready")
    if push is None:
        refs = ", ".join((*case.policy.branches, *case.policy.tags))
        return Standing("waiting", (f"not seen on a shipped ref ({refs})",))
    blocked = [*_refusals(named, gates), *(_ended(case, push) if served(case) is None else [])]
    waiting = [
        *earlier_environments(case),
        *_reasons(gates, ("pending", "expired")),
        *_lacking(case, named, push),
    ]
    return Standing("blocked" if blocked else "waiting" if waiting else "ready", (*blocked, *waiting))


def _refusals(named: Mapping[str, Sequence[str]], gates: Mapping[str, GateState]) -> list[str]:
    """Return what no request overrules: gates that failed or were revoked, two digests of one artifact."""
    return [*_reasons(gates, ("failed", "revoked")), *_ambiguous(named)]


def _here(case: Situation, push: Push | None, own: Standing) -> Standing:
    """Return the standing of the commit in this target."""
    if push is None or case.under_way or (case.runs and served(case) is None):
        return own
    asked = served(case) is not None
    superseded = [] if asked else [why for condition in SUPERSEDED if (why := condition(case, push)) is not None]
    if superseded:
        return Standing("superseded", tuple(superseded))
    ready = own.state == "ready"
    conditions = (not_paused, not_frozen) if asked else (*WAITING, *WAITING_ONCE_READY) if ready else WAITING
    waiting = {condition: why for condition in conditions if (why := condition(case, push)) is not None}
    if ready and not waiting:
        return Standing("ready", tuple(_behind(case)))
    needs_person = not ENDED_BY_PEOPLE.isdisjoint(waiting)
    return Standing("waiting" if ready else own.state, (*own.reasons, *waiting.values()), needs_person)


def _behind(case: Situation) -> list[str]:
    """Return the reasons why a ready commit has to wait: a target changes one thing at a time, the newest first."""
    if case.target.deployment is not None:
        return [f"goes after deployment {case.target.deployment[:7]}, which is under way"]
    wanted = case.target.wanted
    return [f"{wanted.sha[:7]} goes first"] if wanted is not None and wanted.sha != case.record.sha else []


def _reasons(gates: Mapping[str, GateState], states: Sequence[str]) -> list[str]:
    return [f"{name}: {gate.reason}" for name, gate in gates.items() if gate.state in states]


def _ended(case: Situation, push: Push) -> list[str]:
    """Return why the commit is not deployed again by itself after its deployment ended; a re-push is a new start.

    How one ended that the target began under a name which the policy has no more is not known; it is none that runs.
    """
    attempt, newest = case.attempt, case.target.newest
    if attempt is None and newest is not None and newest.fact == push.fact:
        return [
            "deployed before under the application's former name, and does not run; deploy it or push a newer commit"
        ]
    if attempt is None or pushed_again(case, push):
        return []
    if attempt.outcome in OVER:
        return [_over(attempt)]
    if attempt.rolled_back is None:
        return []
    return [f"rolled back by {attempt.rolled_back}; deploy it again or push a newer commit"]


def _over(attempt: Attempt) -> str:
    how = "ended in error" if attempt.outcome == "error" else attempt.outcome
    return f"deployment {attempt.id} {how}: {attempt.reason or 'no reason was given'}; retry it or push a newer commit"


def unwell(case: Situation, push: Push | None) -> list[str]:
    """Return that the last deployment of what runs did not succeed, so that nobody knows what became of it."""
    attempt = case.attempt
    if not case.runs or case.under_way or served(case) is not None or attempt is None or attempt.outcome not in OVER:
        return []
    return [] if push is not None and pushed_again(case, push) else [_over(attempt)]


def pushed_again(case: Situation, push: Push) -> bool:
    """Return whether the commit was pushed again since its deployment began.

    A push that is no longer known is older.
    """
    attempt = case.attempt
    if attempt is None or attempt.push is None or attempt.push == push.fact:
        return False
    known = [other for other in (*case.pushes, *case.record.pushes.values()) if other.fact == attempt.push]
    return not known or newer(push, known[0], case.pushes)


def earlier_environments(case: Situation) -> list[str]:
    """Return reasons to wait for earlier environments.

    The commit's last deployment there must have succeeded, long enough ago, and must not have been rolled back. A rollback
    to what succeeded here waits for none: the commit passed them before it first came here.
    """
    if _goes_back(case):
        return []
    soaking = _soaking(case)
    reasons = []
    for name in case.environment.after:
        lacking = _lacks_success(name, case.policy.attempt(case.record, name))
        if lacking is not None:
            reasons.append(lacking)
        elif name in soaking:
            over = soaking[name].strftime("%Y-%m-%d %H:%M:%S UTC")
            reasons.append(
                f"soaks in {name} until {over}, {span(case.environment.soak[name])} after it succeeded there"
            )
    return reasons


def refusals_of_next_try(case: Situation, *, rolls_back: bool) -> list[str]:
    """Return why a deployment that ended a try in error is not tried again: what would have kept it from beginning.

    A gate that is pending or expired since then is no reason: nobody has refused the commit.
    """
    named = digests(_policy_of_last_success(case) if rolls_back else case.policy, case.record)
    refused = _refusals(named, required_gates(case, at_last_success=rolls_back))
    return refused if rolls_back else [*refused, *earlier_environments(case)]


def awaited(case: Situation) -> Sequence[str]:
    """Return the earlier environments in which the commit has to succeed before it comes here."""
    attempts = {name: case.policy.attempt(case.record, name) for name in case.environment.after}
    return [name for name, attempt in attempts.items() if _lacks_success(name, attempt) is not None]


def _lacks_success(environment: str, attempt: Attempt | None) -> str | None:
    """Return why the newest deployment of a commit to an earlier environment does not let it through; None: it does."""
    if attempt is None or attempt.succeeded_at is None:
        return f"waits until it has succeeded in {environment}"
    if attempt.outcome != "succeeded":
        return f"its last deployment in {environment} {_is(attempt.outcome)}; it has to succeed there again"
    if attempt.rolled_back is not None:
        return f"{attempt.rolled_back} rolled back from it in {environment}; it has to succeed there again"
    return None


def _soaking(case: Situation) -> Mapping[str, datetime]:
    """Return the earlier environments in which the commit has not succeeded long enough ago, with when it will have."""
    if _goes_back(case):
        return {}
    found: dict[str, datetime] = {}
    for name, length in case.environment.soak.items():
        attempt = case.policy.attempt(case.record, name)
        if attempt is None or attempt.succeeded_at is None or _lacks_success(name, attempt) is not None:
            continue
        if attempt.succeeded_at + length > case.now:
            found[name] = attempt.succeeded_at + length
    return found


def _goes_back(case: Situation) -> bool:
    """Return whether the target serves a rollback to a commit that succeeded there."""
    request = served(case)
    return request is not None and request.kind == "rollback" and _succeeded_at(case) is not None


def _is(outcome: str) -> str:
    return {"failed": "failed", "running": "is under way"}.get(outcome, f"ended as {outcome}")


def _ambiguous(named: Mapping[str, Sequence[str]]) -> list[str]:
    return [
        f"artifact {name} has {len(found)} digests ({', '.join(found[:3])}): nobody can tell which was checked; "
        "push a new commit"
        for name, found in named.items()
        if len(found) > 1
    ]


def _lacking(case: Situation, named: Mapping[str, Sequence[str]], push: Push) -> list[str]:
    """Return reasons to wait for what the deployment needs: digests that no fact has named yet, the name of a tag."""
    deploy, elsewhere = case.environment.deploy, f", but for refs that {case.policy.name} does not ship"
    lacking = [name for name in deploy.artifacts if not named.get(name)]
    reasons = [
        f"no fact has named the digest of artifact {name} yet{elsewhere if name in case.record.artifacts else ''}"
        for name in lacking
    ]
    if deploy.needs_tag and tag_of(ref_of(push)) is None:
        reasons.append(f"the values need a tag, and the commit was pushed to {push.ref}; push it to a tag first")
    return reasons
