"""Times at which feedback is due: events of the type feedback.due, which the reconciler emits when their time has come."""

from __future__ import annotations

from datetime import datetime

from greenlight.events import Event, ids, rfc3339, types
from greenlight.events.schemas import dataschema
from greenlight.model import keys
from greenlight.model.rows import Due


def report_again(repo: str, sha: str, at: datetime) -> Due:
    """Return when a commit is to be reported again."""
    key = keys.report_due(repo, sha)
    return Due(key, at, _event(key, at, repo, {"sha": sha}))


def look_due(repo: str, at: datetime) -> Due:
    """Return when a repository is to be looked at on GitHub."""
    key = keys.look_due(repo)
    return Due(key, at, _event(key, at, repo, {}))


def _event(key: str, at: datetime, repo: str, more: dict[str, str]) -> Event:
    return Event.of(
        types.FEEDBACK_DUE,
        id=ids.derive(types.FEEDBACK_DUE, key, rfc3339(at)),
        source="greenlight/feedback",
        time=at,
        dataschema=dataschema(types.FEEDBACK_DUE),
        data={"repo": repo, "due": key, **more},
        extensions={"repo": repo, "partitionkey": repo},
    )
