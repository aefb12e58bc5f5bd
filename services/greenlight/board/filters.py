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
        decision in (None, it["decision"]) and outcome in (None, (it["deployment"] or {}).get("outcome"))
        for name, found in commit["applications"].items()
        if application in (None, name)
        for env, it in found["environments"].items()
        if environment in (None, env)
    )


def by_author(commits: Sequence[dict[str, Any]], author: str, deps: Deps) -> list[dict[str, Any]]:
    """Return the commits whose author's name contains a text, or who has that login or address at GitHub, in any case.

    A commit whose author is not known, or was erased, is by no one.
    """
    found = []
    wanted, own = author.casefold(), {identity(kind, author) for kind in ("github", "email")}
    titles = {
        repo: deps.ledger.titles(repo, [it["sha"] for it in commits if it["repo"] == repo])
        for repo in {it["repo"] for it in commits}
    }
    for commit in commits:
        title = titles[commit["repo"]].get(commit["sha"])
        if title is not None and (wanted in title.author.casefold() or own & {title.login, title.email}):
            found.append(commit)
    return found
