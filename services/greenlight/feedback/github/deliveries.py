"""Webhooks that GitHub could not deliver: found in its lists, and asked for again, because GitHub does not by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from greenlight.events import moment
from greenlight.feedback.github.client import Client, pages
from greenlight.feedback.github.errors import Refused

PAGES, SIZE = 5, 100
"""Pages of a list that are read, newest first, and deliveries on each."""

AT_ONCE = 20
"""Deliveries that one look asks for again."""

ATTEMPTS = 5
"""Attempts of a webhook, the first one included; after those, a person has to look."""

FIRST_PAUSE = timedelta(minutes=1)
"""How old the last attempt must be; twice as old with each further one."""

OLDEST = timedelta(days=3)
"""GitHub redelivers nothing older."""

HELPLESS = (400, 411, 413, 415, 422)
"""Answers of Greenlight's to a body that can never be right."""


@dataclass(frozen=True, slots=True)
class Source:
    """A list of deliveries: of the App, or of a webhook of a repository."""

    path: str
    token: str


def missed(deliveries: Sequence[Mapping[str, Any]], now: datetime) -> Sequence[int]:
    """Return the ids to redeliver, oldest first: of webhooks of which no attempt succeeded, the newest attempt."""
    attempts: dict[str, list[Mapping[str, Any]]] = {}
    for delivery in deliveries:
        attempts.setdefault(str(delivery["guid"]), []).append(delivery)
    found = []
    for each in attempts.values():
        newest = max(each, key=lambda attempt: (_at(attempt), int(attempt["id"])))
        if any(200 <= int(attempt["status_code"]) < 300 for attempt in each) or int(newest["status_code"]) in HELPLESS:
            continue
        age = now - _at(newest)
        if len(each) < ATTEMPTS and FIRST_PAUSE * 2 ** (len(each) - 1) <= age < OLDEST:
            found.append((min(_at(attempt) for attempt in each), int(newest["id"])))
    return [id for _, id in sorted(found)[:AT_ONCE]]


def redeliver(source: Source, client: Client, now: datetime) -> int:
    """Ask for what was missed again; return how many. Raises GitHubUnavailable, Refused."""
    listed = pages(lambda path, **query: client.get(path, source.token, **query), source.path, PAGES, per_page=SIZE)
    ids = missed([delivery for page in listed for delivery in page], now)
    for id in ids:
        client.post(f"{source.path}/{id}/attempts", source.token)
    return len(ids)


def of_app(token: str) -> Source:
    """Return the list of the App's deliveries."""
    return Source("/app/hook/deliveries", token)


def of_repository(repo: str, token: str, client: Client) -> Sequence[Source]:
    """Return the lists of the repository's own webhooks that lead to Greenlight; none without the right to see them."""
    path = f"/repos/{quote(repo)}/hooks"
    try:
        hooks = client.get(path, token, per_page=SIZE).value
    except Refused as problem:
        if problem.status in (403, 404):
            return []
        raise
    return [
        Source(f"{path}/{int(hook['id'])}/deliveries", token)
        for hook in hooks
        if hook.get("active") and _reaches_greenlight(hook)
    ]


def _reaches_greenlight(hook: Mapping[str, Any]) -> bool:
    config = hook.get("config")
    url = config.get("url") if isinstance(config, dict) else None
    return isinstance(url, str) and urlsplit(url).path.rstrip("/").endswith("/webhooks/github")


def _at(delivery: Mapping[str, Any]) -> datetime:
    return moment(str(delivery["delivered_at"]).upper())
