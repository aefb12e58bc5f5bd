"""The commits in a push of GitHub's: who made them, which files they touch, and whether all of them are listed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from greenlight.events import ids
from greenlight.model.rows import Title
from greenlight.webhooks.provider import SHA, get

MAX_PATHS = 1000
"""Files of a push that are kept; one that touches more may touch anything."""

LISTED = 2048
"""Commits that GitHub lists in a push at most."""

MAX_TITLE, MAX_NAME = 200, 100
"""Characters of a title and of an author's name that are kept."""

_TRAILER = re.compile(
    r"(?<!\w)co[-_ \u2010-\u2015]?author(?:ed|s)?(?:[-_ \u2010-\u2015]?by)?\s{0,16}:(.*)", re.IGNORECASE
)
_ADDRESS = re.compile(r"[^\s<>(),;:]+@[^\s<>(),;:]+")
_MENTION = re.compile(r"(?<![\w.+-])@([A-Za-z0-9][A-Za-z0-9_-]{0,63})")
_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_BOT = re.compile(r"(?:[0-9]+\+)?[^@\s]*\[bot\]@users\.noreply\.[a-z0-9.-]+", re.IGNORECASE)
_MERGER, _MERGERS_ADDRESS = "web-flow", "noreply@github.com"
"""The account in whose name GitHub commits what people merge or edit on its pages: it is no author."""

_QUEUE = "github-merge-queue[bot]"
"""Who pushes what people have put into a merge queue."""


def pushers(payload: Mapping[str, Any]) -> tuple[str, ...]:
    """Return who pushed, as sorted identities."""
    return _identities(_pusher(payload))


def people(payload: Mapping[str, Any]) -> tuple[str, ...]:
    """Return everybody who authored, co-authored, committed or pushed any commit of the push, as sorted identities."""
    named = list(_pusher(payload))
    for commit in (*_commits(payload), payload.get("head_commit")):
        if isinstance(commit, dict):
            named += _makers(commit)
    return _identities(named)


def mergers(payload: Mapping[str, Any]) -> tuple[str, ...]:
    """Return identities of who only merged on GitHub's pages, as far as a push shows.

    GitHub's own account has committed its head for them. Whoever made another commit of it, or is named by a trailer of
    the head, is none of them.
    """
    head = payload.get("head_commit")
    if not isinstance(head, dict) or not _is_merger(head.get("committer")):
        return ()
    named = list(_pusher(payload))
    logins = {str(value).lower() for kind, value in named if kind == "github" and value}
    author = get(head, "author.username")
    if str(author).lower() in logins or _QUEUE in logins:  # the author of a merge commit is who pressed the button
        named += [("email", get(head, "author.email")), ("github", author)]
    makers: list[tuple[str, Any]] = []
    for commit in _commits(payload):
        if isinstance(commit, dict) and commit.get("id") != head.get("id"):
            makers += _makers(commit)
    if isinstance(head.get("message"), str):
        makers += _co_authors(head["message"])
    return tuple(one for one in _identities(named) if one not in _identities(makers))


def rebasers(payload: Mapping[str, Any]) -> tuple[str, ...]:
    """Return identities of who only rebased a pull request on GitHub's pages, as far as a push shows.

    GitHub commits all of it in the name of who pressed the button, and keeps its authors.
    """
    listed = [commit for commit in (*_commits(payload), payload.get("head_commit")) if isinstance(commit, dict)]
    named = list(_pusher(payload))
    logins = {str(value).lower() for kind, value in named if kind == "github" and value}
    if any(str(get(commit, "committer.username")).lower() not in logins for commit in listed):
        return ()
    if any(str(get(commit, "author.username")).lower() in logins for commit in listed):
        return ()  # who wrote some of it, as in nearly every push, is an author anyway
    makers: list[tuple[str, Any]] = []
    for commit in listed:
        named.append(("email", get(commit, "committer.email")))
        makers += _authors(commit)
    return tuple(one for one in _identities(named) if one not in _identities(makers))


def _is_merger(committer: Any) -> bool:
    return bool(get(committer, "username") == _MERGER or get(committer, "email") == _MERGERS_ADDRESS)


def others(payload: Mapping[str, Any], head: str) -> tuple[str, ...]:
    """Return the ids of the commits that are listed besides the one at the head."""
    found = [commit.get("id") for commit in _commits(payload) if isinstance(commit, dict)]
    return tuple(dict.fromkeys(id for id in found if isinstance(id, str) and id != head))


def tree(payload: Mapping[str, Any]) -> str | None:
    """Return the id of the content of the commit at the head."""
    found = get(payload, "head_commit.tree_id")
    return found if isinstance(found, str) and SHA.fullmatch(found) else None


def cut(payload: Mapping[str, Any]) -> bool:
    """Return whether the push has more commits than it lists.

    GitHub lists at most 2048, and the one at the head is among them. A branch that went on from one commit to another has
    at least one; of one that was created, forced or deleted, and of a tag, the list may be empty.
    """
    commits, size = payload.get("commits"), payload.get("size")
    if not isinstance(commits, list) or any(not isinstance(commit, dict) for commit in commits):
        return True
    if len(commits) >= LISTED or (isinstance(size, int) and size > len(commits)):
        return True
    head = get(payload, "head_commit.id") or payload.get("after")  # of a tag with a message, `after` is the tag itself
    if commits and head not in [commit.get("id") for commit in commits]:
        return True
    went_on = str(payload.get("ref")).startswith("refs/heads/") and not payload.get("forced")
    return went_on and not commits and all(str(payload.get(name)).strip("0") for name in ("before", "after"))


def paths(payload: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the files that the listed commits touch; None where they are too many to keep, or not known."""
    commits = _commits(payload)
    if not commits or cut(payload):
        return None
    found: set[str] = set()
    for commit in commits:
        for kind in ("added", "modified", "removed"):
            names = commit.get(kind)
            if names and isinstance(names, list):
                found.update([name for name in names if isinstance(name, str)])
        if len(found) > MAX_PATHS:
            return None
    return tuple(sorted(found))


def titles(payload: Mapping[str, Any]) -> tuple[Title, ...]:
    """Return the title of each commit of the push, and its author."""
    listed = {
        commit.get("id"): commit
        for commit in (*_commits(payload), payload.get("head_commit"))
        if isinstance(commit, dict)
    }
    return tuple(_title(id, commit) for id, commit in listed.items() if isinstance(id, str) and SHA.fullmatch(id))


def _title(sha: str, commit: Mapping[str, Any]) -> Title:
    message, name = commit.get("message"), get(commit, "author.name")
    lines = message.strip().splitlines() if isinstance(message, str) else []
    login, email = get(commit, "author.username"), get(commit, "author.email")
    return Title(
        sha,
        title=lines[0][:MAX_TITLE] if lines else "",
        author=name[:MAX_NAME] if isinstance(name, str) else "",
        login=ids.identity("github", login) if isinstance(login, str) and login else None,
        email=ids.identity("email", email) if isinstance(email, str) and email else None,
    )


def _commits(payload: Mapping[str, Any]) -> list[Any]:
    commits = payload.get("commits")
    return commits if isinstance(commits, list) else []


def _pusher(payload: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "email", get(payload, "pusher.email")
    for path in ("pusher.username", "pusher.name", "sender.login"):
        yield "github", get(payload, path)


def _makers(commit: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (kind, value) of who authored, co-authored or committed a commit."""
    yield "email", get(commit, "committer.email")
    yield "github", get(commit, "committer.username")
    yield from _authors(commit)


def _authors(commit: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (kind, value) of who authored or co-authored a commit."""
    yield "email", get(commit, "author.email")
    yield "github", get(commit, "author.username")
    message = commit.get("message")
    if isinstance(message, str):
        yield from _co_authors(message)


def _co_authors(message: str) -> Iterator[tuple[str, str]]:
    """Yield whom a message's trailers name, by address or login.

    A name too many refuses a vote, one too few lets it pass.
    """
    lines = message.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        trailer = _TRAILER.search(line)
        if trailer is None:
            continue
        text = trailer[1].strip()
        if following[:1].isspace():  # a trailer may go on in an indented line
            text = f"{text} {following.strip()}".strip()
        yield from (("email", address) for address in _ADDRESS.findall(text))
        yield from (("github", login) for login in _MENTION.findall(_ADDRESS.sub(" ", text)))
        if _LOGIN.fullmatch(text):
            yield "github", text


def _identities(named: Iterable[tuple[str, Any]]) -> tuple[str, ...]:
    distinct = {(kind, value) for kind, value in named if isinstance(value, str) and value.strip()}
    return tuple(sorted({ids.identity(kind, value) for kind, value in distinct if not _is_nobody(kind, value.strip())}))


def _is_nobody(kind: str, value: str) -> bool:
    """Return whether the identity is a bot's or the provider's merge account."""
    if kind == "github":
        return value.lower() == _MERGER or value.lower().endswith("[bot]")
    return value.lower() == _MERGERS_ADDRESS or _BOT.fullmatch(value) is not None
