"""Filters of the list of commits that the ledger has no index for: a page is read, and then chosen from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greenlight.events.ids import identity
from greenlight.service.deps import Deps


def stands(
    commit: dict[str, Any], decision: str | None, outcome: str | None, application: str | None, environment: str | None
) -> bool:
    """Return whether one of the commit's environments, or the one that is named, has that decision and outcome."""
    return any(
        decision in (None, standing["decision"]) and outcome in (None, (standing["deployment"] or {}).get("outcome"))
        for application_name, view in commit["applications"].items()
        if application in (None, application_name)
        for environment_name, standing in view["environments"].items()
        if environment in (None, environment_name)
    )


def by_author(commits: Sequence[dict[str, Any]], author: str, deps: Deps) -> list[dict[str, Any]]:
    """Return the commits whose author's name contains a text, or who has that login or address at GitHub, in any case.

    A commit whose author is not known, or was erased, is by no one.
    """
    found = []
    wanted, own = author.casefold(), {identity(kind, author) for kind in ("github", "email")}
    titles = {
        repo: deps.ledger.titles(repo, [commit["sha"] for commit in commits if commit["repo"] == repo])
        for repo in {commit["repo"] for commit in commits}
    }
    for commit in commits:
        title = titles[commit["repo"]].get(commit["sha"])
        if title is not None and (wanted in title.author.casefold() or own & {title.login, title.email}):
            found.append(commit)
    return found
