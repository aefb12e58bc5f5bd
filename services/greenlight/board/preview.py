"""A preview of what an edit of the pipeline file would deploy, if it were in force now. It changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from greenlight.lib.errors import Rejected
from greenlight.model.policy import Pipeline, Policy
from greenlight.model.rows import Target
from greenlight.policy.conditions import may_begin
from greenlight.policy.decide import decide
from greenlight.policy.load import PolicyError
from greenlight.service.candidates import candidates
from greenlight.service.deps import Deps
from greenlight.service.pushes import pushes_since
from greenlight.service.renames import known_as
from greenlight.service.situations import situation


def of_edit(files: Mapping[str, str], deps: Deps) -> list[dict[str, Any]]:
    """Return, for each environment that the files change, the commit that would be deployed, or null, and the cause.

    Raises Rejected with every problem of the files.
    """
    pipeline = deps.pipeline()
    now = pipeline.applications
    directory = next((policy.directory for policy in now.values()), ".")
    try:
        edited = pipeline.reread(files, Path(directory))
    except PolicyError as problem:
        raise Rejected(str(problem)) from None
    known = edited.applications.items()
    changed = [policy for name, policy in known if name not in now or now[name].digest != policy.digest]
    return [_environment(policy, name, edited, deps) for policy in changed for name in policy.environments]


def _environment(policy: Policy, environment: str, edited: Pipeline, deps: Deps) -> dict[str, Any]:
    target, now = _target(policy, environment, edited, deps), deps.clock.now()
    pushes = pushes_since(deps.ledger, target)
    found: dict[str, Any] = {"application": policy.name, "environment": environment, "sha": None, "cause": None}
    for sha in candidates(policy, environment, target, pushes, deps.ledger):
        record = deps.ledger.record(policy.repo, sha)
        if record is None:
            continue
        case = situation(policy, record, target, deps.ledger, now, pushes=pushes)
        decision = decide(case)
        if may_begin(case, decision):
            return {**found, "sha": sha, "cause": decision.request.kind if decision.request else "automatic"}
    return found


def _target(policy: Policy, environment: str, edited: Pipeline, deps: Deps) -> Target:
    """Return the target as it would be once the edit is in force and the deployment under way there has ended."""
    name = known_as(policy, environment, edited, deps.ledger)
    row = policy.target(environment, deps.ledger.target(name, environment))
    return replace(row, application=policy.name, policy=policy.digest, deployment=None, wanted=None)
