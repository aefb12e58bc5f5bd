"""The heads of branches at GitHub, and when a push last moved each of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from greenlight.events import moment
from greenlight.feedback.github.client import Client, pages
from greenlight.feedback.heads import Move

BRANCHES, PUSHES, SIZE = 10, 3, 100
"""Pages of branches and of the newest pushes that are read, and pushes on each."""

_WILD = re.compile(r"[*?]")


def heads(repo: str, patterns: Sequence[str], client: Client, token: str) -> Mapping[str, str]:
    """Return the commit at the head of each branch that may match a pattern, by ref. Raises GitHubUnavailable, Refused."""
    found: dict[str, str] = {}
    for begin in sorted({_WILD.split(pattern)[0] for pattern in patterns}):
        path = f"/repos/{quote(repo)}/git/matching-refs/{quote('/'.join(filter(None, ('heads', begin))), safe='')}"
        for page in pages(lambda path, **query: client.get(path, token, **query), path, BRANCHES):
            found.update({str(head["ref"]): str(head["object"]["sha"]) for head in page})
    return found


def moves(repo: str, client: Client, token: str) -> Mapping[str, Move]:
    """Return the last push to each branch, as far as the newest ones name it, by ref. Raises GitHubUnavailable, Refused."""
    found: dict[str, Move] = {}
    path = f"/repos/{quote(repo)}/activity"
    for page in pages(lambda path, **query: client.get(path, token, **query), path, PUSHES, per_page=SIZE):
        for push in page:
            found.setdefault(str(push["ref"]), Move(str(push["after"]), moment(str(push["timestamp"]).upper())))
    return found
