"""Which pushes make candidates, whose facts count, and which of two pushes is newer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlight.model.rows import Push
from greenlight.policy.lineage import Lineage, newer, order, superseded_by_force
from greenlight.policy.paths import candidate
from greenlight.policy.refs import _like, counts, like, shipped
from support.policy import MAIN, minute, policy, push, pushed, recorded, sha
from support.timing import cpu_seconds

ZEROS = "0" * 40


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("main", ["main"], ["main2", "amain", "Main", "main/x", ""]),
        ("v*", ["v", "v1", "v1.2"], ["v1/2", "xv1"]),
        ("v?", ["v1"], ["v", "v12", "v/"]),
        ("release/*", ["release/1", "release/"], ["release", "release/1/2"]),
        ("release/**", ["release/1", "release/1/2"], ["release", "releases/1"]),
        ("**", ["main", "a/b/c"], []),
        ("**/Dockerfile", ["Dockerfile", "a/Dockerfile", "a/b/Dockerfile"], ["Dockerfile/a", "xDockerfile"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["a/b", "az", "a/z/b"]),
        ("*a*b*", ["ab", "xaxbx", "aab"], ["ba", "a/b"]),
        ("a.c", ["a.c"], ["abc"]),
        ("**/b/**", ["b/x", "a/b/c"], ["b", "a/b"]),
    ],
)
def test_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    """`*` and `?` within a part, `**` for whole parts, everything else for itself."""
    assert [name for name in (*yes, *no) if like(pattern, name)] == yes


@pytest.mark.parametrize(
    ("pattern", "fits", "name"),
    [("*a" * 60 + "b", "*a" * 60, "a" * 256), ("**/a/" * 30 + "b", "**/a/" * 30 + "a", "a/" * 127 + "a")],
)
def test_row_45_no_pattern_makes_matching_slow(pattern: str, fits: str, name: str) -> None:
    """What would take a backtracking matcher longer than the universe lasts costs about as much as what fits at once."""
    assert not like(pattern, name)
    assert like(fits, name)

    def cost(pattern: str) -> float:
        return cpu_seconds(lambda: (_like.cache_clear(), like(pattern, name)))

    assert cost(pattern) < 20 * cost(fits)


def test_row_45_a_longer_name_matches_nothing() -> None:
    """Whatever it begins with."""
    assert like("**", "a" * 256)
    assert not like("**", "a" * 257)


REFS = [
    # ref, shipped by branches [main, release/*] and tags [v*], counts for them
    ("refs/heads/main", True, True),
    ("main", True, True),
    ("refs/heads/release/1", True, True),
    ("refs/tags/v1", True, True),
    ("v1", True, True),
    ("refs/tags/main", False, False),
    ("refs/heads/v1", False, False),
    ("refs/heads/feature", False, False),
    ("feature", False, False),
    ("", False, False),
    ("refs/pull/1/head", False, False),
    ("refs/heads/gh-readonly-queue/main/pr-1-abc", False, True),
    ("gh-readonly-queue/main/pr-1-abc", False, True),
    ("gh-readonly-queue/release/1/pr-1-abc", False, True),
    ("gh-readonly-queue/feature/pr-1-abc", False, False),
    ("gh-readonly-queue/main", False, False),
    ("refs/tags/gh-readonly-queue/main/pr-1", False, False),
]


@pytest.mark.parametrize(("ref", "is_shipped", "is_counted"), REFS)
def test_what_is_shipped_and_what_counts(ref: str, is_shipped: bool, is_counted: bool) -> None:
    """A bare name may be a branch or a tag; a merge queue's entry counts for its branch, and is no candidate."""
    ships = policy(ships='branches: [main, "release/*"]\n    tags: ["v*"]')
    assert (shipped(ships, ref), counts(ships, ref)) == (is_shipped, is_counted)


def test_a_pattern_for_all_branches_does_not_ship_the_merge_queue() -> None:
    """Its entries are commits that may never be merged."""
    everything = policy(ships='branches: ["**"]')
    assert not shipped(everything, "refs/heads/gh-readonly-queue/main/pr-1-abc")
    assert counts(everything, "refs/heads/gh-readonly-queue/main/pr-1-abc")


def test_pushes_of_one_second_follow_their_links_whatever_arrived_first() -> None:
    """GitHub signs seconds; a chain pushed within one is still a chain."""
    first = push(sha(1), before=ZEROS, arrived=minute(3))
    second = push(sha(2), before=sha(1), arrived=minute(2))
    third = push(sha(3), before=sha(2), arrived=minute(1))
    elsewhere = push(sha(4), before=sha(3), ref="refs/heads/other", arrived=minute(0))
    assert order([third, elsewhere, first, second]) == [elsewhere, first, second, third]
    assert newer(third, first, [second])
    assert not newer(first, third, [second])
    assert newer(push(sha(9), at=1), third, [])


SHAS = st.sampled_from([ZEROS, sha(1), sha(2), sha(3)])
PUSHES = st.lists(
    st.builds(
        lambda number, commit, before, at, arrived, ref, listed, tree: push(
            commit, at=at, ref=ref, before=before, arrived=minute(arrived), fact=f"p{number}", commits=listed, tree=tree
        ),
        st.integers(0, 9), SHAS, SHAS | st.none(), st.integers(0, 1), st.integers(0, 2),
        st.sampled_from([MAIN, "refs/heads/x"]), st.sampled_from([(), (sha(1),)]), st.sampled_from([None, "t"]),
    ),
    max_size=7,
    unique_by=lambda push: push.fact,
)  # fmt: skip


@given(PUSHES, st.randoms(use_true_random=False))
def test_the_order_of_pushes_is_total_and_does_not_depend_on_how_they_came(pushes: list[Push], random: object) -> None:
    """Circles of links included; and `newer` says the same."""
    shuffled = [*pushes, *pushes[:2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    ordered = order(pushes)
    assert order(shuffled) == ordered
    assert sorted(push.fact for push in ordered) == sorted(push.fact for push in pushes)
    for index, one in enumerate(ordered):
        for other in ordered[:index]:
            assert newer(one, other, shuffled)
            assert not newer(other, one, shuffled)
        assert not newer(one, one, shuffled)


def test_a_forced_push_or_deletion_supersedes_what_the_ref_held_before() -> None:
    """On that ref only, and not what it put there itself."""
    old, new = push(sha(1)), push(sha(2), at=5, forced=True)
    gone = push(ZEROS, at=5, deleted=True)
    assert superseded_by_force([old, new], old)
    assert superseded_by_force([old, gone], old)
    assert not superseded_by_force([old, new], new)
    assert not superseded_by_force([old, push(sha(2), at=5)], old)
    assert not superseded_by_force([old, push(sha(2), at=5, forced=True, ref="refs/heads/x")], old)
    assert not superseded_by_force([old, push(sha(1), at=9, forced=True)], old)
    assert not superseded_by_force([push(sha(1), at=9), new], push(sha(1), at=9))


def test_a_commit_is_a_candidate_by_its_newest_push_that_still_stands() -> None:
    """A commit that is on a release branch too survives a forced push of main."""
    ships = policy(ships='branches: [main, "release/*"]')
    release, main = push(ref="refs/heads/release/1"), push(at=1, before=sha(7))
    record = recorded(pushed(release), pushed(main), pushed(push(ref="refs/heads/feature", at=9)))
    forced = push(sha(2), at=2, forced=True)
    assert candidate(ships, record, [release, main]) == main
    assert candidate(ships, record, [release, main, forced]) == release
    assert candidate(ships, recorded(pushed(main)), [main, forced]) == main
    assert candidate(ships, recorded(), []) is None


@given(PUSHES, st.randoms(use_true_random=False))
def test_a_lineage_that_grew_is_the_one_that_is_made_of_all(pushes: list[Push], dice: Any) -> None:
    """Whatever was computed in between, and whatever order they come in: late ones, circles, other refs."""
    grown = Lineage()
    for each in pushes:
        grown = grown.grown(each)
        if dice.random() < 0.5:
            _everything(grown)
    anew = Lineage.of(pushes)
    assert tuple(grown) == tuple(anew)
    assert _everything(grown) == _everything(anew)


@given(PUSHES, st.data())
def test_a_push_is_the_newest_to_some_refs_if_no_push_to_them_is_newer(pushes: list[Push], data: st.DataObject) -> None:
    """Of any refs, its own or not."""
    lineage = Lineage.of(pushes)
    refs = data.draw(st.sets(st.sampled_from(sorted({push.ref for push in pushes} | {MAIN}))))
    for each in lineage:
        newer_ones = [other for other in lineage if other.ref in refs and newer(other, each, lineage)]
        assert lineage.is_newest(each, refs.__contains__) == (not newer_ones)


def _everything(lineage: Lineage) -> Any:
    """All that a lineage tells of its pushes."""
    shas = {push.sha for push in lineage}
    refs = {push.ref for push in lineage}
    return (
        lineage.newest,
        {push.fact: lineage.place(push) for push in lineage},
        {ref: list(lineage.resets(ref)) for ref in refs},
        {ref: {push.fact for push in lineage if lineage.is_newest(push, ref.__eq__)} for ref in refs},
        {sha: (list(lineage.of_commit(sha)), list(lineage.on_top(sha))) for sha in shas},
        {sha: (list(lineage.bringing(sha)), lineage.alike(sha)) for sha in shas},
    )
