"""The authors of a commit, whom a gate with `not: author` leaves out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from greenlight.model.rows import Push, Record, Running, Target
from greenlight.policy.history import History, link

FAR = 1000
"""Pushes that are followed back from what runs, to see whether an older commit is part of it."""


@dataclass(frozen=True, slots=True)
class Authors:
    """Everybody who authored, co-authored, committed or pushed any commit between what a target runs and a commit."""

    people: frozenset[str]  # identities (events.ids.identity)
    gap: str | None = None  # why there may be more than these; None: these are all

    def among(self, identities: Iterable[str]) -> bool:
        """Return whether a person with these identities is known to be an author."""
        return not self.people.isdisjoint(identities)

    def left_out(self, who: str, identities: Collection[str]) -> str | None:
        """Return why `who` may not vote where authors are left out, whatever is still missing.

        None: as far as is known, they may.
        """
        if not identities:
            return (
                f"people.yaml has neither `github` nor `emails` of {who}, so nobody can tell whether they are an author"
            )
        return f"{who} is among the authors" if self.among(identities) else None

    def not_counted(self, who: str, identities: Collection[str], again: str) -> str | None:
        """Return why what `who` said, with the identities of then, does not count as far as is known; None: it does.

        `again` says what they do once they can be told from an author.
        """
        if not identities:
            return (
                f"people.yaml had no github login or e-mail of {who}, so nobody can tell whether they are an author; "
                f"once it has one, {again}"
            )
        return self.left_out(who, identities)

    def refusal(self, who: str, identities: Collection[str]) -> str | None:
        """Return why the vote of `who` does not count where authors are left out; None: it counts."""
        unsure = None if self.gap is None else f"nobody can tell whether {who} is among the authors: {self.gap}"
        return self.left_out(who, identities) or unsure


def authors(record: Record, target: Target | None, pushes: Sequence[Push]) -> Authors:
    """Return the authors of a commit, as seen from what the target runs.

    `pushes` are the repository's since what the target runs, of every ref. Where they do not lead from the commit back
    to what runs, everybody in any of them counts.
    """
    history, runs = History.of(pushes), target.running if target is not None else None
    history.knows(record)
    walk = _walk(record, runs, history)
    if not walk.complete:
        _add_everybody(walk, record.pushes.values(), runs, history)
    return Authors(frozenset({*record.people, *walk.people}), _named(walk.gaps))


@dataclass(slots=True)
class _Walk:
    """The findings while following the links back from a commit."""

    people: set[str] = field(default_factory=set)
    gaps: dict[str, str] = field(default_factory=dict)  # by the fact of the push that shows it
    complete: bool = False  # one way led back to what runs: every commit in between is in a list


def _walk(record: Record, runs: Running | None, history: History) -> _Walk:
    """Follow the pushes of a commit, and those before them, back to what runs or to the first that was stored."""
    walk, todo = _Walk(), [record.sha]
    older = _is_older(record, runs)
    if older and runs is not None and _contains(runs, record.sha, history):
        walk.complete, todo = True, []
        _add(walk, record.pushes.values(), history)
    seen: set[str] = set()
    found: dict[str, set[str]] = {}  # every commit in between, with the refs to which it was brought
    while todo:
        sha = todo.pop()
        if sha in seen:
            continue
        seen.add(sha)
        if runs is not None and sha == runs.sha:
            walk.complete = True
            continue
        own = record.pushes.values() if sha == record.sha else ()
        found.setdefault(sha, set())
        for push in {push.fact: push for push in (*history.at(sha), *own)}.values():
            _add(walk, [push], history)
            for commit in (sha, *(() if push.cut else push.commits)):
                found.setdefault(commit, set()).add(push.ref)
            todo += _before(push, runs, history, walk, beyond=older)
    for sha in found.keys() - {runs.sha if runs is not None else ""}:
        for push in history.ever(sha):  # who pushed a commit to another ref, or long ago, is in no list
            walk.people.update(history.pushers(push))
        _add_pull_requests(walk, sha, found[sha], runs, history)
    return walk


def _add_pull_requests(walk: _Walk, merge: str, refs: Collection[str], runs: Running | None, history: History) -> None:
    """Add who opened the pull requests that became a commit of these refs, and who pushed to their branches.

    A squash lists none of their commits; one that was made elsewhere than at GitHub is known by its content. A branch is
    followed back to what runs, which may have it from an earlier one.
    """
    walk.people.update(history.openers(merge))
    todo, seen = [*history.heads(merge), *history.alike(merge)], {merge}
    while todo and len(seen) < FAR:
        sha = todo.pop()
        pushes = [push for push in history.at(sha) if push.ref not in refs]
        if not pushes or sha in seen or _is_part_of(runs, sha, pushes, history):
            continue
        seen.add(sha)
        _add(walk, pushes, history)
        for push in pushes:
            before = link(push)
            if before is not None and history.missing(push):
                walk.gaps[push.fact] = _no_push(push, before)
            todo += [] if before is None else [before]


def _is_part_of(runs: Running | None, sha: str, pushes: Sequence[Push], history: History) -> bool:
    """Return whether what runs is known to have a commit of a branch, merged by an earlier pull request."""
    if runs is None or runs.push is None:
        return False
    if any(push.heard > runs.push.heard for push in pushes):
        return False
    return any(sha in (below.sha, *below.commits, *history.heads(below.sha)) for below in history.back(runs.push))


def _before(push: Push, runs: Running | None, history: History, walk: _Walk, *, beyond: bool) -> Sequence[str]:
    """Return where to continue from a push: the commit that it built on, or nothing. Notes gaps, and the end.

    `beyond`: also to pushes that are older than what runs.
    """
    before = link(push)
    if before is not None and runs is not None and before == runs.sha:
        return [before]
    if before is not None and history.missing(push):
        walk.gaps[push.fact] = _no_push(push, before)
    if before is not None and (history.since(before) or (beyond and history.at(before))):
        return [before]
    if runs is None:
        walk.complete |= all(_is_before(push, other) for other in history)
    elif before is not None and history.at(before):
        walk.complete |= _contains(runs, before, history)
    return []


def _contains(runs: Running, sha: str, history: History) -> bool:
    """Return whether what runs was built on that older commit, as far as the pushes since then show."""
    since = min((push.heard for push in history.at(sha)), default=None)
    seen: set[str] = set()
    todo = [runs.sha]
    while todo and len(seen) < FAR and since is not None:
        at = todo.pop()
        if at == sha:
            return True
        if at not in seen:
            seen.add(at)
            todo += [push.before for push in history.at(at) if link(push) and push.before and push.heard >= since]
    return False


def _add_everybody(walk: _Walk, own: Collection[Push], runs: Running | None, history: History) -> None:
    """Add everybody in any push since what runs, except pushes after all of the commit's `own`."""
    for push in history:
        is_after = bool(own) and all(_is_before(mine, push) and push.heard > mine.heard for mine in own)
        if push.deleted or is_after or (runs is not None and push.sha == runs.sha):
            continue
        _add(walk, [push], history)
        if push.mergers or push.rebasers:  # of the many others no record is read
            _add_pull_requests(walk, push.sha, (push.ref,), runs, history)
        before = link(push)
        if before is not None and history.missing(push):
            walk.gaps[push.fact] = _no_push(push, before)


def _is_before(push: Push, other: Push) -> bool:
    """Return whether a push was made before the other one, or at the same time.

    Both clocks, the provider's and Greenlight's, have to agree.
    """
    return push.heard <= other.heard and push.arrived <= other.arrived


def _add(walk: _Walk, pushes: Iterable[Push], history: History) -> None:
    for push in pushes:
        walk.people.update(history.makers(push))
        if push.cut:
            walk.gaps[push.fact] = (
                f"GitHub did not list every commit of the push of {_short(push.ref)} to {push.sha[:7]}; override the gate"
            )


def _no_push(push: Push, before: str) -> str:
    return (
        f"the push of {_short(push.ref)} to {before[:7]} is missing, and the one to {push.sha[:7]} builds on it; "
        "redeliver it at GitHub, or override the gate"
    )


def _named(gaps: Mapping[str, str]) -> str | None:
    if not gaps:
        return None
    first = gaps[min(gaps)]
    return first if len(gaps) == 1 else f"{first} (and {len(gaps) - 1} more like this)"


def _pushed_last(record: Record) -> datetime | None:
    return max((push.heard for push in record.pushes.values()), default=None)


def _is_older(record: Record, runs: Running | None) -> bool:
    """Return whether the commit was last pushed before what runs, so the pushes since then do not include it."""
    last = _pushed_last(record)
    return runs is not None and runs.push is not None and last is not None and last < runs.push.heard


def _short(ref: str) -> str:
    return ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
