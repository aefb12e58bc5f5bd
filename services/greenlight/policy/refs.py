"""The refs that an application ships, and the patterns of names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

from greenlight.model.policy import Policy
from greenlight.model.rows import Push

MAX_NAME = 256
"""Longer names match no pattern."""

BRANCH, TAG = "refs/heads/", "refs/tags/"
QUEUE = "gh-readonly-queue/"

_NOT_GITS = re.compile(r"[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]|\.\.|@\{|//|/$")
"""What git allows in no ref (git-check-ref-format), or UTF-8 in no text. Git allows $, ;, quotes and parentheses."""


def ref_of(push: Push | None) -> str | None:
    """Return the ref of a push, as it may reach a command or a chart's values; None: git can have no such ref."""
    return None if push is None or _NOT_GITS.search(push.ref) else push.ref


def tag_of(ref: str | None) -> str | None:
    """Return the name of a tag; None: the ref is another one."""
    return ref.removeprefix(TAG) or None if ref is not None and ref.startswith(TAG) else None


def shipped(policy: Policy, ref: str) -> bool:
    """Return whether the application ships that ref. A bare name may be either kind; a merge queue's entry is neither."""
    if ref.startswith(BRANCH):
        return _branch(policy, ref.removeprefix(BRANCH))
    if ref.startswith(TAG):
        return _tag(policy, ref.removeprefix(TAG))
    return bool(ref) and not ref.startswith("refs/") and (_branch(policy, ref) or _tag(policy, ref))


def shipping(policy: Policy, ref: str) -> Policy:
    """Return the policy as if the application shipped that ref, too. Git allows no wildcard in a name."""
    if ref.startswith(TAG):
        return replace(policy, tags=(*policy.tags, ref.removeprefix(TAG)))
    return replace(policy, branches=(*policy.branches, ref.removeprefix(BRANCH)))


def counts(policy: Policy, ref: str) -> bool:
    """Return whether a CI fact made for that ref counts: a shipped ref, or the merge queue of a shipped branch."""
    queued = ref.removeprefix(BRANCH)
    if queued.startswith(QUEUE):
        branch, _, entry = queued.removeprefix(QUEUE).rpartition("/")
        return bool(entry) and _branch(policy, branch)
    return shipped(policy, ref)


def like(pattern: str, name: str) -> bool:
    """Return whether a name matches a pattern.

    `*` and `?` stand within a folder, `**` for any number of whole folders.
    """
    return len(name) <= MAX_NAME and _like(pattern, name)


@lru_cache(maxsize=4096)
def _like(pattern: str, name: str) -> bool:
    parts = pattern.split("/")
    if parts[-1] == "**":
        parts.append("*")  # what is below the folder, not the folder
    return _wild(parts, name.split("/"), "**", _part_like)


def _branch(policy: Policy, name: str) -> bool:
    return not name.startswith(QUEUE) and any(like(pattern, name) for pattern in policy.branches)


def _tag(policy: Policy, name: str) -> bool:
    return any(like(pattern, name) for pattern in policy.tags)


def _part_like(pattern: str, part: str) -> bool:
    return _wild(pattern, part, "*", lambda wanted, char: wanted in ("?", char))


def _wild(pattern: Sequence[str], text: Sequence[str], star: str, one: Callable[[str, str], bool]) -> bool:
    """Return whether the items of `text` match `pattern`, where `star` stands for any number of them.

    Only the last star is ever tried again, which is enough: len(pattern) · len(text) steps at worst.
    """
    at, seen, retry, resume = 0, 0, -1, 0
    while seen < len(text):
        if at < len(pattern) and pattern[at] == star:
            retry, resume, at = at + 1, seen, at + 1
        elif at < len(pattern) and one(pattern[at], text[seen]):
            at, seen = at + 1, seen + 1
        elif retry >= 0:
            resume, at, seen = resume + 1, retry, resume + 1
        else:
            return False
    return all(item == star for item in pattern[at:])
