"""Whom `not: author` leaves out: everybody who made or pushed a commit between what the target runs and the candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlight.events.ids import identity
from greenlight.model.merges import Merge
from greenlight.model.rows import Push, Record, Target
from greenlight.policy.authors import Authors, authors
from greenlight.policy.history import History
from support.policy import MAIN, push, pushed, recorded, sha, target

FEATURE, RELEASE, TAG = "refs/heads/feature", "refs/heads/release/1", "refs/tags/v1"
EVERYBODY = ("ann", "bob", "eve", "fay", "kim", "max")


def on(
    number: int, *, to: str = MAIN, before: int | None = None, by: str = "ann", at: float | None = None, **rest: object
) -> Push:
    """A push of commit `number`, made at that minute."""
    return push(
        sha(number),
        at=number if at is None else at,
        ref=to,
        by=by,
        before=None if before is None else sha(before),
        **rest,
    )


def made(of: Push, pushes: Sequence[Push], at: Target | None = None) -> Authors:
    """The authors of what was pushed, where exactly that push is known of the commit."""
    own = [pushed(one) for one in pushes if one.sha == of.sha] or [pushed(of)]
    return authors(recorded(*own, commit=of.sha), at, pushes)


def names(found: Authors) -> list[str]:
    """Who of EVERYBODY is among them."""
    return [name for name in EVERYBODY if found.among([identity("github", name)])]


A, B, C = on(1, by="ann"), on(2, before=1, by="bob"), on(3, before=2, by="eve")
MAINLINE = [A, B, C]


def test_the_range_goes_from_what_runs_to_the_commit() -> None:
    """Neither what runs nor what was pushed later is in it, nor another branch; nothing runs: it begins with the first push."""
    later, other = on(4, before=3, by="kim"), on(9, to=FEATURE, before=1, by="fay", at=2)
    history = [*MAINLINE, later, other]
    assert names(made(C, history, target(A))) == ["bob", "eve"]
    assert names(made(C, history, target(B))) == ["eve"]
    assert names(made(C, history)) == ["ann", "bob", "eve"]
    assert made(C, history).gap is None


def test_a_tag_is_as_far_from_what_runs_as_the_commit_that_it_names() -> None:
    """Pushes to a branch that is not shipped lead on from it; who pushed the tag is an author too."""
    tag = on(3, to=TAG, by="kim", at=5)
    assert names(made(tag, [*MAINLINE, tag], target(A))) == ["bob", "eve", "kim"]
    assert names(made(tag, [*MAINLINE, tag], target(on(1, to="refs/tags/v0")))) == ["bob", "eve", "kim"]


def test_who_pushed_a_commit_to_another_branch_first_is_an_author_of_what_merges_it() -> None:
    """Not who made what else that branch has."""
    early = on(9, to=FEATURE, before=1, by="fay", at=1.5, pushers=(identity("github", "max"),))
    merge = on(3, before=1, by="eve", commits=(sha(9),))
    assert names(made(merge, [A, early, merge], target(A))) == ["eve", "max"]
    old_row = replace(early, pushers=())
    assert names(made(merge, [A, old_row, merge], target(A))) == ["eve", "fay"]
    assert names(made(merge, [A, replace(early, sha=sha(8)), merge], target(A))) == ["eve"]


def test_who_pushed_a_commit_before_what_runs_is_an_author_of_what_merges_it() -> None:
    """However long the branch was there."""
    kim = (identity("github", "kim"),)
    early = on(9, to=FEATURE, by="fay", at=0.5, pushers=kim)
    merge = on(3, before=2, by="eve", commits=(sha(9),))
    stored = {one.sha: [one] for one in (A, early)}
    history = History([B, merge], lambda commit: stored.get(commit, ()))
    record = recorded(pushed(merge), commit=merge.sha)
    assert names(authors(record, target(B), history)) == ["eve", "kim"]
    same = History([B, C], lambda commit: [on(3, to=FEATURE, at=0.5, by="fay", pushers=kim)] if commit == C.sha else ())
    assert names(authors(recorded(pushed(C), commit=C.sha), target(B), same)) == ["eve", "kim"]


@pytest.mark.parametrize(
    "made_new",
    [on(3, by="eve"), on(3, before=2, by="eve", forced=True), on(3, to=RELEASE, by="eve"), on(3, to=TAG, before=2, by="eve")],
)  # fmt: skip
def test_where_the_branch_point_is_unknown_everybody_since_what_runs_counts(made_new: Push) -> None:
    """A created ref, a forced push and a moved tag do not say what they build on; what was pushed later is in none of them."""
    feature, late = on(9, to=FEATURE, before=1, by="fay", at=2), on(4, to=FEATURE, before=9, by="kim")
    found = made(made_new, [A, B, feature, made_new, late], target(A))
    assert names(found) == ["bob", "eve", "fay"]
    assert found.gap is None


def test_a_way_back_by_any_ref_is_enough() -> None:
    """A forced push to a commit that was reached in order elsewhere."""
    feature = on(3, to=FEATURE, before=1, by="eve")
    forced = on(3, before=2, by="kim", at=4, forced=True)
    stranger = on(8, to="refs/heads/x", before=1, by="fay", at=3.5)
    assert names(made(forced, [A, B, feature, stranger, forced], target(A))) == ["eve", "kim"]


def test_a_missing_push_is_named_until_it_is_there() -> None:
    """Whoever is known is refused as an author; of anybody else nobody can tell."""
    found = made(C, [A, C], target(A))
    assert found.gap == (
        f"the push of main to {sha(2)[:7]} is missing, and the one to {sha(3)[:7]} builds on it; "
        "redeliver it at GitHub, or override the gate"
    )
    assert found.refusal("eve", [identity("github", "eve")]) == "eve is among the authors"
    assert found.refusal("kim", [identity("github", "kim")]) == (
        f"nobody can tell whether kim is among the authors: {found.gap}"
    )
    filled = made(C, [A, replace(B, arrived=C.arrived), C], target(A))
    assert (filled.gap, names(filled)) == (None, ["bob", "eve"])
    assert filled.refusal("kim", [identity("github", "kim")]) is None


def test_the_first_push_of_a_ref_lacks_none_before_it() -> None:
    """Greenlight began to hear of it there. Two pushes of a ref that lead to nothing: the later one lacks one."""
    first = on(3, before=2, by="eve")
    assert made(first, [first]).gap is None
    assert names(made(first, [on(1, to=FEATURE, by="fay"), first])) == ["eve", "fay"]
    assert made(on(5, before=4), [first, on(5, before=4)]).gap is not None


def test_a_commit_pushed_to_another_ref_does_not_fill_a_gap() -> None:
    """Somebody pushed it to this one as well, and nobody knows who."""
    assert made(C, [A, replace(B, ref=FEATURE), C], target(A)).gap is not None


@pytest.mark.parametrize("which", [1, 2])
def test_a_list_that_was_cut_is_named(which: int) -> None:
    """Anywhere between what runs and the commit; what runs is settled."""
    history = [replace(one, cut=index == which) for index, one in enumerate(MAINLINE)]
    found = made(history[2], history, target(A))
    assert found.gap == (
        f"GitHub did not list every commit of the push of main to {sha(which + 1)[:7]}; override the gate"
    )
    assert made(C, [replace(A, cut=True), B, C], target(A)).gap is None


def test_a_list_that_was_cut_counts_where_everybody_does() -> None:
    """And so does a push that is missing there."""
    forced = on(3, before=2, by="eve", forced=True)
    cut = on(9, to=FEATURE, before=1, by="fay", at=2, cut=True)
    assert made(forced, [A, B, cut, forced], target(A)).gap is not None
    torn = [on(7, to=FEATURE, by="fay", at=1.5), on(9, to=FEATURE, before=8, by="fay", at=2)]
    found = made(forced, [A, B, *torn, forced], target(A))
    assert found.gap is not None
    assert "the push of feature" in found.gap


def test_gaps_that_are_many_are_counted() -> None:
    """One is named, the others are to be found the same way once it is filled."""
    history = [A, replace(B, cut=True), replace(C, cut=True)]
    assert str(made(C, history, target(A)).gap).endswith("(and 1 more like this)")


def older(*known: Push) -> History:
    """A history of which only the last push is since what runs; the others are read by commit."""
    refs = {one.ref for one in known}
    return History([], lambda commit: [one for one in known if one.sha == commit], lambda: refs)


def test_what_is_older_than_what_runs_is_read_where_it_is_needed() -> None:
    """Another ref goes on from a commit that was pushed before: no gap if that is stored, a gap if it never was."""
    runs = on(5, to=RELEASE, before=4, by="kim")
    ahead = on(6, before=2, by="eve")

    def history(*known: Push) -> History:
        base = older(*known)
        return History([runs, ahead], base._older, base._older_refs)

    record = recorded(pushed(ahead), commit=ahead.sha)
    assert authors(record, target(runs), history(A, B)).gap is None
    assert authors(record, target(runs), history()).gap is None
    assert authors(record, target(runs), history(A)).gap is not None


def test_the_branch_point_may_be_older_than_what_runs() -> None:
    """What runs was built on it, so only what came after it is between them."""
    runs = on(4, before=2, by="kim")
    stranger = on(9, to=FEATURE, before=1, by="fay", at=4.5)
    branch = on(5, to=RELEASE, before=2, by="eve")
    known = [A, B, replace(B, ref=RELEASE, before=None, fact="created")]
    history = History([runs, stranger, branch], lambda commit: [one for one in known if one.sha == commit])
    assert names(authors(recorded(pushed(branch), commit=branch.sha), target(runs), history)) == ["eve"]
    assert names(authors(recorded(pushed(branch), commit=branch.sha), target(runs), list(history))) == ["eve", "fay"]


def test_going_back_to_an_older_commit_asks_who_made_that_one() -> None:
    """What runs was built on it, so nothing lies in between; of another branch, all that it was built on counts."""
    known = {one.sha: [one] for one in MAINLINE}
    runs = on(4, before=3, by="kim")
    history = History([runs], lambda commit: known.get(commit, ()))
    assert names(authors(recorded(pushed(B), commit=B.sha), target(runs), history)) == ["bob"]
    elsewhere = on(5, to=RELEASE, by="kim")
    history = History([elsewhere], lambda commit: known.get(commit, ()))
    assert names(authors(recorded(pushed(B), commit=B.sha), target(elsewhere), history)) == ["ann", "bob"]


def test_whoever_a_fact_names_is_an_author() -> None:
    """The author of a pull request, say."""
    record = replace(recorded(pushed(C), commit=C.sha), people=(identity("github", "max"),))
    assert names(authors(record, target(B), MAINLINE)) == ["eve", "max"]


def test_circles_of_links_end() -> None:
    """A branch that was set back and forth."""
    back = on(1, before=2, by="kim", at=4)
    assert names(made(back, [A, B, back])) == ["ann", "bob", "kim"]


PEOPLE = st.sampled_from(EVERYBODY)


@st.composite
def repositories(draw: st.DrawFn) -> tuple[list[Push], dict[str, list[Merge]]]:
    """Pushes to a mainline and to branches that are merged into it, once or again and again, one or two at a time."""
    pushes, merges = [on(0, by=draw(PEOPLE))], dict[str, list[Merge]]()
    main, waiting, heads = 0, list[str](), dict[str, int]()
    for number in range(1, draw(st.integers(3, 9))):
        kind = draw(st.sampled_from(["branch", "push", "merge", "squash", "queue"]))
        by, pushers = draw(PEOPLE), (identity("github", draw(PEOPLE)),)
        if kind == "branch":
            ref = draw(st.sampled_from(["refs/heads/x", "refs/heads/y"]))
            pushes.append(on(number, to=ref, before=heads.get(ref), by=by, pushers=pushers))
            heads[ref] = number
            waiting = [*(other for other in waiting if other != ref), ref]
            continue
        commits = [sha(100 + number), sha(number)] if kind == "queue" else [sha(number)]
        listed = commits[:-1]
        for commit in commits if kind != "push" else ():
            if waiting:
                head = sha(heads[waiting.pop()])
                merges[commit] = [Merge(head, None, identity("github", draw(PEOPLE)))]
                listed += [head] if kind == "merge" else []
        pushes.append(on(number, before=main, by=by, pushers=pushers, commits=tuple(listed)))
        main = number
    return pushes, merges


@given(repositories())
def test_an_author_of_a_commit_is_one_of_whatever_is_built_on_it(
    repository: tuple[list[Push], dict[str, list[Merge]]],
) -> None:
    """Whatever ran before it."""
    pushes, merges = repository
    mainline = [one for one in pushes if one.ref == MAIN]
    for runs, first, later in combinations(mainline, 3):
        since = [one for one in pushes if one.heard >= runs.heard]
        history = History(
            since,
            lambda commit: [one for one in pushes if one.sha == commit],
            lambda: {one.ref for one in pushes},
            lambda commit: merges.get(commit, []),
        )
        of = [names(authors(_record(one, merges), target(runs), history)) for one in (first, later)]
        assert set(of[0]) <= set(of[1])


def _record(of: Push, merges: dict[str, list[Merge]]) -> Record:
    merged = dict(zip("7", merges.get(of.sha, []), strict=False))
    return replace(recorded(pushed(of), commit=of.sha), merged=merged)
