"""The commits between what a target runs and another commit, by the links of the pushes."""

from __future__ import annotations

from dataclasses import replace

from greenlight.model.rows import Push
from greenlight.policy.between import between, newest
from greenlight.policy.history import History
from support.policy import policy, push, sha

ONE = push(sha(1), at=1)
TWO = replace(push(sha(2), at=2, before=sha(1)), commits=(sha(21), sha(22)))
THREE = push(sha(3), at=3, before=sha(2))


def way(start: Push, end: str | None, *pushes: Push) -> tuple[tuple[str, ...], bool]:
    found = between(start, end, History.of(pushes))
    return found.shas, found.complete


def test_it_is_every_commit_of_every_push_newest_first() -> None:
    """Up to what runs, which may be in the middle of a push."""
    every = (ONE, TWO, THREE)
    assert way(THREE, sha(1), *every) == ((sha(3), sha(2), sha(22), sha(21)), True)
    assert way(THREE, sha(21), *every) == ((sha(3), sha(2), sha(22)), True)
    assert way(THREE, None, *every) == ((sha(3), sha(2), sha(22), sha(21), sha(1)), False)


def test_what_the_pushes_do_not_show_is_not_complete() -> None:
    """A push that is missing, a list that was cut, a ref that was forced or is a tag, links in a circle."""
    assert way(THREE, sha(1), ONE, THREE) == ((sha(3),), False)
    assert way(THREE, sha(1), ONE, replace(TWO, cut=True), THREE)[1] is False
    for other in (replace(THREE, forced=True), replace(THREE, ref="refs/tags/v1")):
        assert way(other, sha(1), ONE, TWO, other) == ((sha(3),), False)
    circle = replace(TWO, before=sha(3))
    assert way(THREE, sha(1), circle, THREE) == ((sha(3), sha(2), sha(22), sha(21)), False)


def test_the_newest_stands_on_a_shipped_ref() -> None:
    """Not on another branch, and not undone by a forced push."""
    other = push(sha(9), at=9, ref="refs/heads/other")
    forced = push(sha(4), at=5, before=sha(3), forced=True)
    assert newest(policy(), History.of([ONE, TWO, THREE, other])) == THREE
    assert newest(policy(), History.of([ONE, TWO, THREE, forced])) == forced
    assert newest(policy(), History.of([other])) is None
