"""Which pushes make candidates, and which of two is newer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import groupby

from greenlight.ledger.rows import Push, Target
from greenlight.policy.model import Policy

MAX_NAME = 256
"""Longer names match no pattern."""

BRANCH, TAG = "refs/heads/", "refs/tags/"
QUEUE = "gh-readonly-queue/"


def shipped(policy: Policy, ref: str) -> bool:
    """Whether the application ships that ref. A bare name may be either kind; a merge queue's entry is neither."""
    if ref.startswith(BRANCH):
        return _branch(policy, ref.removeprefix(BRANCH))
    if ref.startswith(TAG):
        return _tag(policy, ref.removeprefix(TAG))
    return bool(ref) and not ref.startswith("refs/") and (_branch(policy, ref) or _tag(policy, ref))


def counts(policy: Policy, ref: str) -> bool:
    """Whether a CI fact made for that ref counts: a shipped ref, or the merge queue of a shipped branch."""
    queued = ref.removeprefix(BRANCH)
    if queued.startswith(QUEUE):
        branch, _, entry = queued.removeprefix(QUEUE).rpartition("/")
        return bool(entry) and _branch(policy, branch)
    return shipped(policy, ref)


def like(pattern: str, name: str) -> bool:
    """Whether a name is of a pattern: `*` and `?` stand within a folder, `**` for any number of whole folders."""
    return len(name) <= MAX_NAME and _like(pattern, name)


@lru_cache(maxsize=4096)
def _like(pattern: str, name: str) -> bool:
    parts = pattern.split("/")
    if parts[-1] == "**":
        parts.append("*")  # what is below the folder, not the folder
    return _wild(parts, name.split("/"), "**", _part_like)


def order(pushes: Iterable[Push]) -> list[Push]:
    """The pushes, oldest first, each once: by pushed_at, then before→after links, then arrival. Total, of any input."""
    unique = sorted({push.fact: push for push in pushes}.values(), key=lambda push: push.pushed_at)
    return [push for _, group in groupby(unique, key=lambda push: push.pushed_at) for push in _linked(list(group))]


def newer(push: Push, than: Push, lineage: Iterable[Push]) -> bool:
    """Whether `push` comes after `than` in the order of the repository's pushes."""
    if push.pushed_at != than.pushed_at:
        return push.pushed_at > than.pushed_at
    if push.fact == than.fact:
        return False
    same_second = [other for other in lineage if other.pushed_at == push.pushed_at]
    facts = [other.fact for other in order([*same_second, push, than])]
    return facts.index(push.fact) > facts.index(than.fact)


def superseded_by_force(lineage: Sequence[Push], push: Push) -> bool:
    """Whether its ref was deleted, or forced to another commit, after that push."""
    resets = (other for other in lineage if other.ref == push.ref and (other.deleted or other.forced))
    return any(other.sha != push.sha and newer(other, push, lineage) for other in resets)


def newest_deployed(policy: Policy, target: Target, lineage: Sequence[Push]) -> Push | None:
    """The newest push of what was deployed to the target, or of what it runs if that was pushed again since.

    A deletion or forced push of its ref does not undo that: they supersede candidates that are not deployed.
    """
    runs = target.running.sha if target.running else None
    again = [push for push in lineage if push.sha == runs and shipped(policy, push.ref)]
    return next(reversed(order([*again, *([target.newest] if target.newest else [])])), None)


def _branch(policy: Policy, name: str) -> bool:
    return not name.startswith(QUEUE) and any(like(pattern, name) for pattern in policy.branches)


def _tag(policy: Policy, name: str) -> bool:
    return any(like(pattern, name) for pattern in policy.tags)


def _part_like(pattern: str, part: str) -> bool:
    return _wild(pattern, part, "*", lambda wanted, char: wanted in ("?", char))


def _wild(pattern: Sequence[str], text: Sequence[str], star: str, one: Callable[[str, str], bool]) -> bool:
    """Whether the items of `text` are of `pattern`, where `star` stands for any number of them.

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


def _linked(group: list[Push]) -> list[Push]:
    """Pushes of one instant: who builds on another comes after it, else by arrival, where cycles are cut."""
    waiting = sorted(group, key=lambda push: (push.arrived, push.fact))
    heads = Counter((push.ref, push.sha) for push in waiting)
    ordered: list[Push] = []
    while waiting:
        free = (push for push in waiting if push.before == push.sha or not heads[push.ref, push.before or ""])
        push = next(free, waiting[0])
        waiting.remove(push)
        heads[push.ref, push.sha] -= 1
        ordered.append(push)
    return ordered
