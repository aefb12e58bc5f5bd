"""Reports of a commit on GitHub: what has changed is sent, until nothing has."""

from __future__ import annotations

import logging
from datetime import datetime

from greenlight.feedback import domain
from greenlight.feedback.deps import Deps
from greenlight.feedback.github import reports
from greenlight.feedback.github.errors import UNEXPECTED, GitHubUnavailable, Refused
from greenlight.feedback.sent import SentBefore
from greenlight.feedback.situations import cases_of
from greenlight.lib.errors import ConfigurationError
from greenlight.model.rows import DUE_AFTER
from greenlight.telemetry import metrics

ROUNDS = 3
"""How often a commit is looked at again after something was sent, because meanwhile more may have happened."""

REFUSED = DUE_AFTER * 20
"""When to try again what GitHub has refused: the cause may have been repaired."""


def reported(repo: str, sha: str, deps: Deps) -> datetime | None:
    """Report what has changed of a commit, until nothing has; return when to try again, None for never."""
    log = deps.log.getChild("feedback")
    try:
        with deps.github.exclusively(repo, sha):
            for _ in range(ROUNDS):
                if not _sent(repo, sha, deps):
                    metrics.FEEDBACK.labels("in step").inc()
                    return None
        return deps.clock.now() + DUE_AFTER
    except GitHubUnavailable as problem:
        metrics.FEEDBACK.labels("unavailable").inc()
        log.info("%s %s is reported later: %s", repo, sha[:7], problem)
        return max(problem.again, deps.clock.now() + DUE_AFTER)
    except (Refused, ConfigurationError, *UNEXPECTED) as problem:
        metrics.FEEDBACK.labels("refused").inc()
        level = logging.ERROR if deps.github.is_new_problem(repo, str(problem)) else logging.DEBUG
        log.log(level, "%s %s is not reported: %s: %s", repo, sha[:7], type(problem).__name__, problem)
        if isinstance(problem, Refused) and problem.status == 401:
            deps.github.forget_token(repo)
        return deps.clock.now() + REFUSED


def _sent(repo: str, sha: str, deps: Deps) -> bool:
    """Report what has changed of a commit; return whether something was sent.

    Raises GitHubUnavailable, Refused, ConfigurationError.
    """
    record = deps.ledger.record(repo, sha)
    if record is None:
        return False
    commit = deps.github.commit(repo, sha, SentBefore(deps.ledger, repo, sha), deps.clock.now)
    before = commit.before.count
    policies = deps.pipeline().of(repo)
    deployed: list[domain.Deployed] = []
    for policy in policies:
        cases = cases_of(policy, record, deps)
        if cases:
            (reports.check if deps.github.is_app else reports.status)(domain.report(policy, cases), commit)
            deployed += domain.deployments(policy, record, cases)
    reports.deployments(deployed, commit, several=len(policies) > 1)
    return commit.before.count > before
