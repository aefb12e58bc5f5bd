"""The repository in a body of GitHub's: its name, its id, and when it was last pushed to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from greenlight.lib.errors import Rejected
from greenlight.webhooks.provider import get, integer, need, repo_of, time_at

_HOST = re.compile(r"https?://([A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?)/")


def name(payload: Mapping[str, Any]) -> str:
    """Return `owner/name` in lower case. Raises Rejected."""
    return repo_of(need(payload, "repository.full_name", str))


def source(payload: Mapping[str, Any], repo: str) -> str:
    """Return one URI per repository; GitHub names it in two ways, by its API and by its pages."""
    page = _HOST.match(str(get(payload, "repository.html_url")))
    return f"https://{page[1].lower() if page else 'github.com'}/{repo}"


def id_of(payload: Mapping[str, Any]) -> str | None:
    """Return the repository's id at its host; None where the body has none."""
    number, page = integer(get(payload, "repository.id")), _HOST.match(str(get(payload, "repository.html_url")))
    return None if number is None else f"{page[1].lower() if page else 'github.com'}/{number}"


def pushed_at(payload: Mapping[str, Any]) -> datetime:
    """Return when the push was made. Raises Rejected."""
    stamp = get(payload, "repository.pushed_at")
    if isinstance(stamp, int) and not isinstance(stamp, bool):
        try:
            return datetime.fromtimestamp(stamp, UTC)
        except (OverflowError, ValueError, OSError):
            raise Rejected("repository.pushed_at is not a plausible time") from None
    moment = time_at(payload, "repository.pushed_at")
    if moment is None:
        raise Rejected("repository.pushed_at is missing: nothing else orders the pushes")
    return moment
