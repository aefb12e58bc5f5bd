"""Which commits are candidates for `paths`: those of which some push since what the target runs may have touched them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from greenlight.model.rows import Push, Running
from greenlight.policy.history import History
from greenlight.policy.paths import candidate, touched
from support.policy import MAIN, minute, policy, push, pushed, recorded, sha

SHOP = policy(ships='branches: [main, "release/*"]\n    tags: ["v*"]\n    paths: ["shop/**"]')
RELEASE, TAG = "refs/heads/release/1", "refs/tags/v1"
CODE, DOCS = ("shop/a.py",), ("docs/a.md",)


def on(
    number: int,
    before: int | None,
    paths: Sequence[str] | None = DOCS,
    *,
    to: str = MAIN,
    at: float | None = None,
    **rest: object,
) -> Push:
    """A push of commit `number`, made at that minute."""
    below = None if before is None else sha(before)
    known = None if paths is None else tuple(paths)
    return push(sha(number), at=number if at is None else at, ref=to, before=below, paths=known, **rest)


def running(of: Push) -> Running:
    """What a target runs."""
    return Running(of.sha, "d", minute(0), of)


A = on(1, None)


@pytest.mark.parametrize(
    ("paths", "yes"),
    [
        (("shop/a.py",), True),
        (("docs/a", "shop/x/y"), True),
        (("docs/a",), False),
        ((), False),
        (None, True),
        (("x" * 257,), True),
    ],
)
def test_a_push_onto_what_runs_is_known_by_its_files(paths: tuple[str, ...] | None, yes: bool) -> None:
    """An unknown list may hold anything, and so may a path too long to compare. A person who asks may waive it."""
    head = on(2, 1, paths)
    assert touched(SHOP, head, [A, head], running(A)) is yes
    record = recorded(pushed(head), commit=head.sha)
    assert (candidate(SHOP, record, [A, head], running(A)) is not None) is yes
    assert candidate(SHOP, record, [A, head], running(A), asked=True) == head


def test_any_push_since_what_runs_makes_a_candidate_of_what_follows() -> None:
    """The code that was pushed first is in what documents it. Once that runs, the next page is none."""
    code, docs, more = on(2, 1, CODE), on(3, 2), on(4, 3)
    history = [A, code, docs, more]
    assert touched(SHOP, docs, history, running(A))
    assert touched(SHOP, more, history, running(A))
    assert not touched(SHOP, docs, history, running(code))
    assert not touched(SHOP, more, history, running(docs))


@pytest.mark.parametrize(
    "unknown",
    [
        on(3, 2, forced=True),
        on(3, None),
        on(3, 9),
        on(3, 2, cut=True),
        on(3, None, to=RELEASE),
        on(3, 2, to=TAG),
        on(3, 2, None),
    ],
    ids=["forced", "created", "after a gap", "cut", "a new branch", "a tag", "too many files"],
)
def test_what_is_not_an_ordinary_push_may_have_touched_anything(unknown: Push) -> None:
    """And so has whatever follows it, until it runs."""
    docs = on(2, 1)
    after = on(4, 3, to=unknown.ref)
    history = [A, docs, unknown, after]
    assert touched(SHOP, unknown, history, running(docs))
    assert touched(SHOP, unknown, history, running(A))
    if not after.ref.startswith("refs/tags/"):
        assert touched(SHOP, after, history, running(A))
        assert not touched(SHOP, after, history, running(unknown))


def test_nothing_runs_so_everything_is_new() -> None:
    """The first push that is stored, and what follows it."""
    docs = on(2, 1)
    assert touched(SHOP, A, [A, docs], None)
    assert touched(SHOP, docs, [A, docs], None)
    first = on(5, 4)
    assert touched(SHOP, first, [first], None)


def test_a_push_that_comes_late_decides_it_anew() -> None:
    """Until then it may have touched anything; then its files are known. The order of arrival changes nothing."""
    docs = on(3, 2)
    assert touched(SHOP, docs, [A, docs], running(A))
    for late, yes in ((on(2, 1, CODE, arrived=minute(9)), True), (on(2, 1, DOCS, arrived=minute(9)), False)):
        for history in itertools.permutations([A, late, docs]):
            assert touched(SHOP, docs, history, running(A)) is yes


def test_of_another_ref_only_what_was_pushed_since_counts() -> None:
    """What is older than what runs was a candidate when it was pushed."""
    old, docs, hotfix = on(2, 1, CODE), on(4, 2), on(3, None, CODE, to=RELEASE)
    stored = {one.sha: [one] for one in (A, old)}
    history = History([hotfix, docs], lambda commit: stored.get(commit, ()))
    assert not touched(SHOP, docs, history, running(hotfix))
    assert touched(SHOP, docs, [hotfix, docs], running(hotfix))
    code = on(5, 4, CODE)
    history = History([hotfix, docs, code], lambda commit: stored.get(commit, ()))
    assert touched(SHOP, code, history, running(hotfix))


def test_a_branch_that_was_set_back_and_forth_ends() -> None:
    """Each push is followed back to the one before it in time."""
    there, back, again = on(2, 1), on(1, 2, at=3), on(2, 1, at=4)
    other = on(9, None, at=0)
    assert touched(SHOP, again, [other, A, there, back, again], running(other))
    assert not touched(SHOP, again, [A, there, back, again], running(A))


def test_without_paths_every_push_makes_a_candidate() -> None:
    """Whatever it lists."""
    head = on(2, 1, ())
    assert touched(policy(), head, [A, head], running(A))
