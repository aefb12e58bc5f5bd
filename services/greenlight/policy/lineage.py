"""Pushes that make candidates, and their order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from typing import TypeVar

from greenlight.model import rows
from greenlight.model.policy import Policy
from greenlight.model.rows import Push, Target
from greenlight.policy.refs import shipped

K = TypeVar("K")

Place = tuple[datetime, datetime, int, str]
"""(when the push was made, when it was heard of, how many links after a push of the same moments, its fact)."""


class Lineage(tuple[Push, ...]):
    """The pushes of a repository, with their order.

    Within one ref the before→after links decide which push is newer; between refs the time of the push, which counts only
    up to the time at which we heard of it; then arrival. The order is total, and the same however the pushes came.
    """

    @classmethod
    def of(cls, pushes: Iterable[Push]) -> Lineage:
        """Return the lineage of some pushes; a lineage is returned as it is."""
        return pushes if isinstance(pushes, Lineage) else cls({push.fact: push for push in pushes}.values())

    def knowing(self, *pushes: Push) -> Lineage:
        """Return this lineage, with pushes that it may lack."""
        lacking = [push for push in pushes if push.fact not in self._facts]
        return Lineage.of((*self, *lacking)) if lacking else self

    def anchored(self, push: Push) -> Push:
        """Return the push with its place, so that it keeps the place where earlier pushes are not looked at any more."""
        place = self.place(push)[:3]
        return push if place == (*push.placed, push.depth) else replace(push, place=rows.Place(*place))

    def share_with(self, other: Lineage) -> None:
        """Share what is computed for this lineage with another one of the same pushes."""
        vars(other).update({name: getattr(self, name) for name in _COMPUTED})

    def grown(self, push: Push) -> Lineage:
        """Return this lineage with one more push; what is known of the others is kept, unless one builds on it."""
        if push.fact in self._facts:
            return self
        more = Lineage((*self, push))
        if self.is_built_on(push.sha):
            return more
        known = vars(more)
        known["_facts"] = {**self._facts, push.fact: push}
        known["_built_on"] = self._built_on | {push.before}
        known["_places"], known["_parents"], known["_cut"] = {**self._places}, {**self._parents}, {*self._cut}
        known["_at"] = _with(self._at, (push.ref, push.sha), push)
        known["_heads"] = _with(self._heads, push.sha, push)
        known["_resets"] = _with(self._resets, push.ref, push) if _is_reset(push) else self._resets
        known["_children"] = _with(self._children, push.before or "", push) if _is_on_top(push) else self._children
        known["_bringing"] = {**self._bringing, **{sha: (*self.bringing(sha), push) for sha in push.commits}}
        known["_alike"] = _with(self._alike, push.tree, push) if push.tree is not None else self._alike
        known["newest"] = push if self.newest is None else max(self.newest, push, key=more.place)
        known["last"] = {**self.last, push.ref: max(self.last.get(push.ref, push), push, key=more.place)}
        return more

    def place(self, push: Push) -> Place:
        """Return the sort key of a push.

        It is never before the push that it was made on top of, whatever the clocks say.
        """
        if push.fact in self._places:
            return self._places[push.fact]
        path = self._unplaced(self._facts.get(push.fact, push))  # the same push, maybe anchored
        parent = self._below(path[-1])
        below = None if parent is None else self._places[parent.fact]
        for each in reversed(path):
            own = (*each.placed, each.depth)
            on_top = below is not None and below[:3] >= own
            below = (*below[:2], below[2] + 1, each.fact) if below is not None and on_top else (*own, each.fact)
            self._places[each.fact] = below
        return self._places[push.fact]

    def _unplaced(self, push: Push) -> list[Push]:
        """Return the push, and those that it was made on top of, as far as they have no place yet."""
        path: dict[str, Push] = {}
        here: Push | None = push
        while here is not None and here.fact not in self._places:
            if here.fact in path:  # links in a circle: it is cut before its earliest push
                facts = list(path)
                first = min((path[fact] for fact in facts[facts.index(here.fact) :]), key=_own_place)
                self._cut.add(first.fact)
                return self._unplaced(push)
            path[here.fact] = here
            here = self._below(here)
        return list(path.values())

    def is_newest(self, push: Push, refs: Callable[[str], bool]) -> bool:
        """Return whether no push to any of these refs is newer."""
        place = self.place(push)
        return all(self.place(other) <= place for ref, other in self.last.items() if refs(ref))

    def resets(self, ref: str) -> Sequence[Push]:
        """Return the deletions and forced pushes of a ref."""
        return self._resets.get(ref, ())

    def of_commit(self, sha: str) -> Sequence[Push]:
        """Return the pushes that put the commit at the head of a ref."""
        return self._heads.get(sha, ())

    def alike(self, sha: str) -> Collection[str]:
        """Return the other commits at the head of a ref that have the same content."""
        trees = {push.tree for push in self.of_commit(sha) if push.tree is not None}
        return {push.sha for tree in trees for push in self._alike.get(tree, ())} - {sha}

    def is_built_on(self, sha: str) -> bool:
        """Return whether a push of these was made where that commit was the head of its ref."""
        return sha in self._built_on

    def on_top(self, sha: str) -> Sequence[Push]:
        """Return the pushes that fast-forwarded a ref from that commit: it is an ancestor of theirs."""
        return self._children.get(sha, ())

    def bringing(self, sha: str) -> Sequence[Push]:
        """Return the pushes that list the commit below their head."""
        return self._bringing.get(sha, ())

    def descendants(self, sha: str) -> Sequence[str]:
        """Return the commits that refs were fast-forwarded to from that commit, directly or by way of others."""
        found, waiting = {sha: None}, [sha]
        while waiting:
            new = [child.sha for child in self.on_top(waiting.pop()) if child.sha not in found]
            found.update(dict.fromkeys(new))
            waiting += new
        return list(found)[1:]

    def parent(self, push: Push) -> Push | None:
        """Return the push that put at its ref's head the commit which this one was made on top of."""
        if push.fact not in self._parents:
            self._parents[push.fact] = last_before(push, self._at.get((push.ref, push.before or ""), ()))
        return self._parents[push.fact]

    def _below(self, push: Push) -> Push | None:
        """Return the parent, unless links in a circle were cut there."""
        return None if push.fact in self._cut else self.parent(push)

    @cached_property
    def _facts(self) -> Mapping[str, Push]:
        return {push.fact: push for push in self}

    @cached_property
    def _built_on(self) -> frozenset[str | None]:
        return frozenset(push.before for push in self)

    @cached_property
    def newest(self) -> Push | None:
        """Return the newest push of all."""
        return max(self, key=self.place, default=None)

    @cached_property
    def last(self) -> Mapping[str, Push]:
        """Return the newest push to each ref."""
        return {push.ref: push for push in sorted(self, key=self.place)}

    @cached_property
    def _places(self) -> dict[str, Place]:
        return {}

    @cached_property
    def _parents(self) -> dict[str, Push | None]:
        return {}

    @cached_property
    def _cut(self) -> set[str]:
        return set()

    @cached_property
    def _at(self) -> Mapping[tuple[str, str], Sequence[Push]]:
        return _grouped(self, attrgetter("ref", "sha"))

    @cached_property
    def _heads(self) -> Mapping[str, Sequence[Push]]:
        return _grouped(self, attrgetter("sha"))

    @cached_property
    def _resets(self) -> Mapping[str, Sequence[Push]]:
        return _grouped(filter(_is_reset, self), attrgetter("ref"))

    @cached_property
    def _bringing(self) -> Mapping[str, Sequence[Push]]:
        groups: dict[str, list[Push]] = {}
        for push in self:
            for sha in push.commits:
                groups.setdefault(sha, []).append(push)
        return groups

    @cached_property
    def _alike(self) -> Mapping[str | None, Sequence[Push]]:
        return _grouped((push for push in self if push.tree is not None), attrgetter("tree"))

    @cached_property
    def _children(self) -> Mapping[str, Sequence[Push]]:
        return _grouped(filter(_is_on_top, self), attrgetter("before"))


_COMPUTED = (
    "_facts",
    "_built_on",
    "_places",
    "_parents",
    "_cut",
    "_at",
    "_heads",
    "_resets",
    "_children",
    "_bringing",
    "_alike",
    "newest",
    "last",
)
"""What a lineage computes of its pushes."""


def _is_reset(push: Push) -> bool:
    return push.deleted or push.forced


def _is_on_top(push: Push) -> bool:
    return bool(push.before) and not push.deleted and not push.forced


def _grouped(pushes: Iterable[Push], key: Callable[[Push], K]) -> Mapping[K, Sequence[Push]]:
    groups: dict[K, list[Push]] = {}
    for push in pushes:
        groups.setdefault(key(push), []).append(push)
    return groups


def _with(groups: Mapping[K, Sequence[Push]], key: K, push: Push) -> Mapping[K, Sequence[Push]]:
    return {**groups, key: [*groups.get(key, ()), push]}


def last_before(push: Push, heads: Iterable[Push]) -> Push | None:
    """Return the last earlier push that put at its ref's head the commit which this push was made on top of.

    Where all of them seem to be later, by clocks that differ, the first.
    """
    others = [other for other in heads if other.fact != push.fact]
    earlier = [other for other in others if _own_place(other) < _own_place(push)]
    return max(earlier, key=_own_place) if earlier else min(others, key=_own_place, default=None)


def _own_place(push: Push) -> tuple[datetime, datetime, str]:
    return (*push.placed, push.fact)


def order(pushes: Iterable[Push]) -> list[Push]:
    """Return the pushes, oldest first, each once. Total, of any input."""
    lineage = Lineage.of(pushes)
    return sorted(lineage, key=lineage.place)


def newer(push: Push, than: Push, lineage: Iterable[Push]) -> bool:
    """Return whether `push` comes after `than` in the order of the repository's pushes."""
    known = Lineage.of(lineage).knowing(push, than)
    return known.place(push) > known.place(than)


def moving(pushes: Iterable[Push]) -> list[Push]:
    """Return those of one commit's pushes that place it among the candidates, oldest first.

    A ref that is created on a commit which is known already (a tag on what runs) does not move it.
    """
    ordered = order(pushes)
    return [push for index, push in enumerate(ordered) if index == 0 or push.before is not None]


def superseded_by_force(lineage: Iterable[Push], push: Push) -> bool:
    """Return whether its ref was deleted, or forced to another commit, after that push, and not set back to it since."""
    known = Lineage.of(lineage).knowing(push)
    resets = [reset for reset in known.resets(push.ref) if reset.sha != push.sha and newer(reset, push, known)]
    if not resets:
        return False
    last = max(resets, key=known.place)
    again = [other for other in known.of_commit(push.sha) if other.ref == push.ref]
    return not any(newer(other, last, known) for other in again)


def pushed_after(push: Push, moment: datetime, lineage: Iterable[Push]) -> bool:
    """Return whether the ledger accepted the push after that moment, and its commit is no part of earlier pushes.

    A commit is a part of what was pushed before if it was itself the head of a ref then, or is an ancestor of such a head,
    by the before→after links or as one that a push lists: so a push that comes late, or again, is not after.
    """
    if push.arrived <= moment:
        return False
    known, seen, waiting = Lineage.of(lineage), {push.sha}, [push.sha]
    if any(other.arrived <= moment for other in (*known.of_commit(push.sha), *known.bringing(push.sha))):
        return False
    while waiting:
        for child in known.on_top(waiting.pop()):
            if child.arrived <= moment:
                return False
            if child.sha not in seen:
                seen.add(child.sha)
                waiting.append(child.sha)
    return True


def newest_tried(policy: Policy, target: Target, lineage: Iterable[Push]) -> Push | None:
    """Return the newest push of what was tried in the target, or of what it runs if that was pushed again since.

    A deletion or forced push of its ref does not undo that: they supersede candidates that are not deployed.
    """
    known = Lineage.of(lineage)
    again: Sequence[Push] = []
    if target.running is not None:
        again = [push for push in known.of_commit(target.running.sha) if shipped(policy, push.ref)]
        if target.running.push is not None:
            again = moving([*again, target.running.push])
    tried = [*again, *([target.newest] if target.newest else [])]
    return max(tried, key=known.knowing(*tried).place, default=None)
