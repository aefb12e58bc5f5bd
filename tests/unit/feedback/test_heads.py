"""Heads of branches at GitHub that no webhook reported."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from greenlight.feedback.heads import NONE, Move, unheard
from greenlight.model.rows import Push
from greenlight.policy.lineage import Lineage
from support.policy import START, sha

NOW = START + timedelta(days=30)
MAIN, OTHER = "refs/heads/main", "refs/heads/release"
FIRST = Push("acme/shop", MAIN, sha(1), None, START, START, "a")
SECOND = replace(FIRST, sha=sha(2), before=sha(1), pushed_at=START + timedelta(hours=1), fact="b")
BACK = replace(FIRST, before=sha(2), forced=True, pushed_at=START + timedelta(hours=2), fact="c")
GONE = replace(BACK, sha=NONE, deleted=True)


def moved(commit: str, **ago: float) -> Move:
    return Move(commit, NOW - timedelta(**ago))


@pytest.mark.parametrize(
    ("heads", "moves", "pushes", "found"),
    [
        ({MAIN: sha(2)}, {}, (FIRST, SECOND), {}),
        ({MAIN: sha(3)}, {}, (FIRST, SECOND), {MAIN: sha(3)}),
        ({MAIN: sha(3)}, {MAIN: moved(sha(3), hours=1)}, (FIRST,), {MAIN: sha(3)}),
        ({MAIN: sha(3)}, {MAIN: moved(sha(3), minutes=9)}, (FIRST,), {}),
        ({MAIN: sha(3)}, {MAIN: moved(sha(4), hours=1)}, (FIRST,), {}),
        ({MAIN: sha(1)}, {}, (FIRST, SECOND), {MAIN: sha(1)}),
        ({MAIN: sha(1)}, {}, (FIRST, SECOND, BACK), {}),
        ({MAIN: sha(2)}, {}, (FIRST, SECOND, BACK), {MAIN: sha(2)}),
        ({OTHER: sha(3), MAIN: sha(1)}, {}, (FIRST,), {}),
        ({OTHER: sha(3), MAIN: sha(1)}, {OTHER: moved(sha(3), days=29)}, (FIRST,), {OTHER: sha(3)}),
        ({OTHER: sha(3), MAIN: sha(1)}, {OTHER: moved(sha(3), days=31)}, (FIRST,), {}),
        ({OTHER: sha(3)}, {OTHER: moved(sha(3), days=1)}, (), {OTHER: sha(3)}),
        ({}, {MAIN: moved(NONE, hours=1)}, (FIRST,), {MAIN: NONE}),
        ({}, {MAIN: moved(NONE, hours=1)}, (FIRST, SECOND, GONE), {}),
        ({}, {MAIN: moved(NONE, days=8)}, (FIRST,), {}),
        ({}, {}, (FIRST,), {}),
        ({"refs/heads/feature": sha(3)}, {"refs/heads/feature": moved(sha(3), hours=1)}, (FIRST,), {}),
    ],
    ids=[
        "the newest push",
        "a push beyond what GitHub lists",
        "a lost push",
        "its webhook is on its way",
        "it is just being moved",
        "a lost forced push to an earlier commit",
        "a forced push to an earlier commit",
        "a lost push after a forced one",
        "a branch from before",
        "a lost branch",
        "a branch from before that GitHub lists",
        "where no push ever came",
        "a lost deletion",
        "a deletion",
        "an old deletion",
        "a deletion beyond what GitHub lists",
        "a branch that is not shipped",
    ],
)
def test_a_head_counts_if_no_push_told_of_it(
    heads: dict[str, str], moves: dict[str, Move], pushes: tuple[Push, ...], found: dict[str, str]
) -> None:
    """Compared with the newest push to its branch, not with any."""
    assert unheard(heads, moves, Lineage.of(pushes), {MAIN, OTHER}.__contains__, START, NOW) == found
