"""Reviews of a merged pull request count for the commit that merged it, whatever arrives first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from greenlight.events.ids import identity
from greenlight.model.policy import GateState, Pipeline
from greenlight.model.rows import Running, Target
from greenlight.policy.authors import Authors, authors
from greenlight.recorder import app as recorder
from greenlight.service.deps import Deps
from greenlight.service.publisher import InLog
from greenlight.service.pushes import pushes_since
from support.flow import NEW, push_payload, sha_of
from support.policy import parse, situation
from support.webhooks import Rig, repository

POLICY = """
apiVersion: greenlight/v1
kind: Pipeline
applications:
  - name: shop
    repo: acme/shop
    branches: [main]
    gates:
      reviewed: {github-review: {count: 1}}
      two: {github-review: {count: 2}}
    environments: [{name: live, require: [], deploy: {command: {run: [./deploy]}}}]
"""
OLD, HEAD, MERGE, COPY = "old", "head", "merge", "copy"
"""Of a pull request: a commit that was reviewed and then followed by another, the last one, what merged it, its like."""

QUEUE = "github-merge-queue[bot]"
"""Who pushes and merges from GitHub's merge queue."""


@pytest.fixture
def pipeline() -> Pipeline:
    return parse({"pipeline.yaml": POLICY}, Path("config"))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def review(
    login: str, word: str, commit: str, *, id: int, action: str = "submitted", pull: int = 7, base: str = "main"
) -> tuple[str, Any]:
    said = {
        "id": id,
        "user": {"login": login},
        "state": word,
        "commit_id": sha_of(commit),
        "submitted_at": f"2026-01-01T12:{id:02}:00Z",
        "author_association": "MEMBER",
    }
    about = {"number": pull, "base": {"ref": base}, "head": {"sha": sha_of(commit)}}
    return "pull_request_review", {
        "action": action,
        "review": said,
        "pull_request": about,
        "repository": repository(),
    }


def merged(
    *, head: str = HEAD, commit: str = MERGE, by: str = "kim", author: str = "dev", pull: int = 7
) -> tuple[str, Any]:
    request = {
        "number": pull,
        "merged": True,
        "merge_commit_sha": sha_of(commit),
        "head": {"sha": sha_of(head), "repo": {"full_name": "acme/shop"}},
        "base": {"ref": "main"},
        "user": {"login": author},
        "merged_by": {"login": by},
        "updated_at": "2026-01-01T13:00:00Z",
    }
    return "pull_request", {"action": "closed", "pull_request": request, "repository": repository()}


def push(commit: str, *, ref: str = "main", tree: str | None = None) -> tuple[str, Any]:
    payload = push_payload(commit) | {"ref": f"refs/heads/{ref}"}
    if tree is not None:
        payload["head_commit"] |= {"tree_id": sha_of(f"tree of {tree}")}
    return "push", payload


def play(rig: Rig, pipeline: Pipeline, sends: Sequence[tuple[str, Any]]) -> set[str]:
    """Post the webhooks and record each; the commits that are to be decided."""
    deps = Deps(rig.clock, rig.ledger, lambda: pipeline, InLog(), rig.log)
    decided: set[str] = set()
    for event, payload in sends:
        fact = rig.fact(rig.github(event, payload))
        decided |= {str(one.json()["sha"]) for one in recorder.on_fact(fact.event, deps)}
    return decided


def state(rig: Rig, pipeline: Pipeline, commit: str = MERGE, gate: str = "reviewed") -> GateState:
    shop = pipeline.applications["shop"]
    record = rig.ledger.record("acme/shop", sha_of(commit))
    assert record is not None
    return shop.gates[gate].state(situation(shop, record, now=datetime.now(UTC), environment="live"))


STORY = [review("ann", "approved", HEAD, id=1), merged(), push(MERGE)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_review_counts_for_the_commit_that_merged_its_pull_request(
    rig: Rig, pipeline: Pipeline, order: Sequence[int]
) -> None:
    """In any order of arrival, and that commit is decided."""
    decided = play(rig, pipeline, [STORY[number] for number in order])
    found = state(rig, pipeline)
    assert (found.state, found.by) == ("passed", ("ann",))
    assert sha_of(MERGE) in decided
    assert state(rig, pipeline, HEAD).state == "passed"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_review_counts_although_the_pull_request_was_for_another_branch_first(
    rig: Rig, pipeline: Pipeline, order: Sequence[int]
) -> None:
    """An objection, too: what counts is the branch into which the pull request was merged."""
    for word, expected in (("approved", "passed"), ("changes_requested", "failed")):
        sends = [review("ann", word, HEAD, id=2 if word == "approved" else 3, base="below"), *STORY[1:]]
        play(rig, pipeline, [sends[number] for number in order])
        assert state(rig, pipeline).state == expected
    assert state(rig, pipeline, HEAD).state == "pending"


def test_reviews_of_another_pull_request_do_not_count(rig: Rig, pipeline: Pipeline) -> None:
    """Whoever gave them."""
    play(rig, pipeline, [review("ann", "approved", "elsewhere", id=1, pull=8), merged(), push(MERGE)])
    assert state(rig, pipeline).state == "pending"


def test_an_objection_to_an_earlier_commit_stands_and_an_approval_of_it_is_no_vote(
    rig: Rig, pipeline: Pipeline
) -> None:
    """Until the one who objected approves the last commit."""
    sends = [review("ann", "changes_requested", OLD, id=1), review("bob", "approved", OLD, id=2)]
    play(rig, pipeline, [*sends, review("eve", "approved", HEAD, id=3), push(MERGE), merged()])
    assert (state(rig, pipeline).state, state(rig, pipeline).reason) == ("failed", "changes requested by ann")
    play(rig, pipeline, [review("ann", "approved", HEAD, id=4)])
    assert state(rig, pipeline, gate="two").by == ("eve", "ann")
    play(rig, pipeline, [review("eve", "dismissed", HEAD, id=3, action="dismissed")])
    needs = state(rig, pipeline, gate="two")
    assert needs.state == "pending"
    assert "bob's review does not count: it was of an earlier commit of the pull request" in needs.reason


WEB_FLOW = {"name": "GitHub", "email": "noreply@github.com", "username": "web-flow"}
"""In whose name GitHub commits what people merge on its pages."""


def test_the_reason_says_whose_review_does_not_count(rig: Rig, pipeline: Pipeline) -> None:
    """Of a pull request for a branch that is not shipped, and of those who are not of the repository, up to three."""
    outsiders = [review(f"guest-{n}", "approved", MERGE, id=10 + n) for n in range(5)]
    for _, payload in outsiders:
        payload["review"]["author_association"] = "NONE"
    play(rig, pipeline, [review("ann", "approved", MERGE, id=1, base="develop"), *outsiders, push(MERGE)])
    needs, *notes = state(rig, pipeline).reason.split("; ")
    assert needs == "needs 1 more GitHub review"
    assert [note.partition("'s review does not count: ")[0] for note in notes] == [
        *(
            "guest-0",
            "guest-1",
            "guest-2",
            "and 2 more like this",
            "ann",
            "`any-branch: true` on the gate would take it",
        )
    ]
    assert "it was for refs/heads/develop, which shop does not ship" in notes[4]
    assert "no owner, member or collaborator" in notes[0]


def on_github(commit: str, method: str, *, by: str = "kim", author: str = "dev", **more: Any) -> tuple[str, Any]:
    """The push that GitHub makes when somebody merges on its pages: the commit is its own account's, the pusher who merged."""
    payload = push_payload(commit)
    made = {"author": _who(by if method == "merge" else author), "committer": WEB_FLOW, **more}
    payload["head_commit"] |= made
    listed = [{**payload["head_commit"], "id": sha_of("head"), "author": _who(author), "committer": _who(author)}]
    payload["commits"] = [*(listed if method == "merge" else []), payload["head_commit"]]
    pusher = _who(by)
    return "push", payload | {
        "pusher": {"name": pusher["username"], "email": pusher["email"]},
        "sender": {"login": pusher["username"]},
    }


def _who(login: str) -> dict[str, str]:
    return {"name": login, "email": f"{login}@acme.example", "username": login}


def found_authors(rig: Rig, commit: str, *, runs: str | None) -> Authors:
    """The authors of a commit, where nothing or another commit runs."""
    record = rig.ledger.record("acme/shop", sha_of(commit))
    target = Target("shop", "live", "acme/shop", running=_running(rig, runs) if runs else None)
    assert record is not None
    return authors(record, target, pushes_since(rig.ledger, target))


def makers(rig: Rig, commit: str = MERGE, *, runs: str | None = None) -> set[str]:
    """The logins that `not: author` leaves out."""
    people = found_authors(rig, commit, runs=runs).people
    return {login for login in ("kim", "dev", "max", "eve") if identity("github", login) in people}


def _running(rig: Rig, commit: str) -> Running:
    record = rig.ledger.record("acme/shop", sha_of(commit))
    assert record is not None
    push = next(iter(record.pushes.values()))
    return Running(push.sha, "d", push.pushed_at, push)


def made_by(login: str, commit: str, before: str, *, ref: str = "main", tree: str | None = None) -> tuple[str, Any]:
    """A push of a commit that its pusher made."""
    event, payload = push(commit, ref=ref, tree=tree)
    payload["commits"] = [payload["head_commit"] | {"author": _who(login), "committer": _who(login)}]
    about = {"head_commit": payload["commits"][0], "pusher": _who(login), "sender": {"login": login}}
    return event, payload | about | {"before": before if before == NEW else sha_of(before)}


@pytest.mark.parametrize("method", ["merge", "squash"])
@pytest.mark.parametrize("first", [0, 1])
def test_merging_alone_is_no_authorship(rig: Rig, pipeline: Pipeline, method: str, first: int) -> None:
    """Whose pull request it was, and who pushed to its branch, are authors; who pressed the button is not."""
    sends = [merged(by="kim"), on_github(MERGE, method)]
    branch = "push", push_payload(HEAD) | {"ref": "refs/heads/feature", "pusher": {"name": "max"}, "sender": {}}
    play(rig, pipeline, [branch, sends[first], sends[1 - first]])
    assert makers(rig) == {"dev", "max"}


def rebased(*commits: str, by: str, author: str = "dev", last: str = "") -> tuple[str, Any]:
    """The push of commits that their pusher committed, and somebody else wrote, the last one of them `last`."""
    payload = push_payload(commits[-1])
    listed = [
        payload["head_commit"] | {"id": sha_of(one), "author": _who(author), "committer": _who(by)} for one in commits
    ]
    listed[-1] |= {"author": _who(last or author)}
    return "push", payload | {"commits": listed, "head_commit": listed[-1], "pusher": _who(by), "sender": {"login": by}}


def test_merging_alone_is_no_authorship_where_github_rebases(rig: Rig, pipeline: Pipeline) -> None:
    """It commits in the name of who pressed the button. Who pushed such commits and the merged one itself made them."""
    play(rig, pipeline, [rebased("first", MERGE, by="kim"), merged(by="kim")])
    assert makers(rig) == {"dev"}
    play(rig, pipeline, [rebased("another", COPY, by="kim", last="kim"), merged(commit=COPY, by="kim", pull=8)])
    assert "kim" in makers(rig, COPY)
    for head in ("picked", "last"):
        play(rig, pipeline, [rebased("picked", "last", by="eve"), merged(head=head, commit="last", by="eve", pull=9)])
        assert "eve" in makers(rig, "last")
    play(rig, pipeline, [rebased("alone", by="max"), merged(commit="alone", by="kim", pull=10)])
    assert "max" in makers(rig, "alone")


def test_without_a_merged_pull_request_whoever_pushed_is_an_author(rig: Rig, pipeline: Pipeline) -> None:
    """What a commit says of its committer anybody can write."""
    play(rig, pipeline, [on_github(MERGE, "squash")])
    assert makers(rig) == {"kim", "dev"}


def test_who_only_opened_a_pull_request_from_what_others_pushed_is_no_author_of_it(
    rig: Rig, pipeline: Pipeline
) -> None:
    """To bring a release back into another branch, say. Who opened one that was merged is an author of the merge."""
    event, payload = merged(head=MERGE, author="kim")
    payload["pull_request"] |= {"merged": False, "merge_commit_sha": sha_of("a test of the merge")}
    play(rig, pipeline, [made_by("dev", MERGE, NEW), (event, payload)])
    assert makers(rig) == {"dev"}


def test_who_merges_a_pull_request_of_their_own_is_an_author(rig: Rig, pipeline: Pipeline) -> None:
    """Also of a later commit, and where a trailer of the squash names them."""
    event, payload = merged(by="kim")
    payload["pull_request"]["user"]["login"] = "kim"
    play(rig, pipeline, [(event, payload), on_github(MERGE, "squash", author="kim")])
    assert makers(rig) == {"kim"}
    play(rig, pipeline, [("push", push_payload("later", before=MERGE))])
    assert "kim" in makers(rig, "later")


def test_who_merges_what_they_are_a_co_author_of_is_an_author(rig: Rig, pipeline: Pipeline) -> None:
    """The message of the squash says so."""
    said = on_github(MERGE, "squash", message="x\n\nCo-authored-by: Kim <kim@users.noreply.github.com>")
    play(rig, pipeline, [merged(by="kim"), said])
    assert makers(rig) == {"kim", "dev"}


def test_who_merged_something_else_is_an_author_of_what_they_push(rig: Rig, pipeline: Pipeline) -> None:
    """The pull request has to be merged by who pushed."""
    play(rig, pipeline, [merged(by="eve"), on_github(MERGE, "squash", by="kim")])
    assert makers(rig) == {"kim", "dev"}


@pytest.mark.parametrize("ref", ["main", "gh-readonly-queue/main/pr-7-a"])
def test_who_put_a_pull_request_into_the_merge_queue_is_no_author(rig: Rig, pipeline: Pipeline, ref: str) -> None:
    """GitHub names them as the author of the merge commit, and the queue as who pushed it; of a squash the author stays."""
    by_queue = {"pusher": {"name": QUEUE, "email": None}, "sender": {"login": QUEUE}, "ref": f"refs/heads/{ref}"}
    for method, commit, pull in (("merge", MERGE, 7), ("squash", COPY, 8)):
        event, payload = on_github(commit, method)
        play(rig, pipeline, [(event, payload | by_queue), merged(commit=commit, pull=pull, author="max")])
        assert makers(rig, commit) == {"dev", "max"}
    play(rig, pipeline, [merged(commit="another", pull=9, by="eve"), on_github("another", "merge", by="kim")])
    assert "kim" in makers(rig, "another")


@pytest.mark.parametrize("pushes", [[("first", MERGE)], [("first",), (MERGE,)]])
def test_who_is_an_author_of_a_pull_request_is_one_of_what_follows_it(
    rig: Rig, pipeline: Pipeline, pushes: Sequence[Sequence[str]]
) -> None:
    """Also where a merge queue pushes several at once: who opened each, and who pushed to its branch."""
    sends = [made_by("zoe", "base", NEW), made_by("eve", "one", NEW, ref="feature")]
    before = "base"
    for commits in pushes:
        event, payload = push(commits[-1])
        listed = [
            payload["head_commit"] | {"id": sha_of(commit), "author": _who("dev"), "committer": WEB_FLOW}
            for commit in commits
        ]
        by = {"pusher": {"name": QUEUE}, "sender": {"login": QUEUE}, "before": sha_of(before)}
        sends.append((event, payload | by | {"commits": listed, "head_commit": listed[-1]}))
        before = commits[-1]
    first = merged(head="one", commit="first", by=QUEUE, author="max")
    play(rig, pipeline, [*sends, first, merged(head="two", by=QUEUE, pull=8)])
    assert makers(rig, runs="base") == {"dev", "max", "eve"}
    if len(pushes) > 1:
        assert makers(rig, runs="first") == {"dev"}


def test_a_branch_that_is_merged_again_and_again_has_the_authors_since_what_runs(rig: Rig, pipeline: Pipeline) -> None:
    """Who pushed what an earlier pull request of it brought is none, once that runs."""
    play(rig, pipeline, [made_by("zoe", "base", NEW), made_by("eve", "one", "base", ref="develop")])
    for number, (head, commit, before) in enumerate([("one", "first", "base"), ("two", MERGE, "first")]):
        event, payload = on_github(commit, "merge", by="zoe")
        payload["commits"][0]["id"] = sha_of(head)
        request = merged(head=head, commit=commit, by="zoe", pull=7 + number)
        play(rig, pipeline, [(event, payload | {"before": sha_of(before)}), request])
        play(rig, pipeline, [made_by("max", "two", "one", ref="develop")] if number == 0 else [])
    assert makers(rig, runs="first") == {"dev", "max"}
    assert makers(rig, runs="base") == {"dev", "max", "eve"}


def test_what_an_earlier_pull_request_of_a_branch_brought_may_be_well_before_what_runs(
    rig: Rig, pipeline: Pipeline
) -> None:
    """What runs is a correction that was pushed after it."""
    branch = [made_by("eve", "one", NEW, ref="develop"), made_by("max", "two", "one", ref="develop")]
    first, second = merged(head="one", commit="first"), merged(head="two", pull=8)
    main = [made_by("zoe", "base", NEW), made_by("kim", "first", "base"), made_by("kim", "fix", "first")]
    play(rig, pipeline, [*branch[:1], *main, first, branch[1], made_by("dev", MERGE, "fix"), second])
    assert makers(rig, runs="fix") == {"dev", "max"}
    assert makers(rig, runs="base") == {"dev", "max", "kim", "eve"}


def test_a_push_to_a_merged_branch_that_is_missing_leaves_authors_unknown(rig: Rig, pipeline: Pipeline) -> None:
    """A squash lists none of its commits. The gap is named, and filled by the push."""
    branch = [made_by("dev", "one", NEW, ref="feature"), made_by("dev", HEAD, "two", ref="feature")]
    play(rig, pipeline, [made_by("zoe", "base", NEW), *branch, made_by("dev", MERGE, "base"), merged()])
    gap = found_authors(rig, MERGE, runs="base").gap
    assert gap is not None
    assert gap.startswith(f"the push of feature to {sha_of('two')[:7]} is missing")
    play(rig, pipeline, [made_by("eve", "two", "one", ref="feature")])
    assert found_authors(rig, MERGE, runs="base").gap is None
    assert makers(rig, runs="base") == {"dev", "eve"}


def test_who_made_the_same_content_on_a_branch_is_an_author_of_a_squash_that_somebody_else_pushes(
    rig: Rig, pipeline: Pipeline
) -> None:
    """GitHub made no such commit and knows of no merge: the tree shows where it is from."""
    branch = [made_by("eve", "one", NEW, ref="feature"), made_by("dev", HEAD, "one", ref="feature", tree="x")]
    play(rig, pipeline, [made_by("zoe", "base", NEW), *branch, made_by("kim", MERGE, "base", tree="x")])
    assert makers(rig, runs="base") == {"kim", "dev", "eve"}
    play(rig, pipeline, [made_by("max", COPY, MERGE, tree="y")])
    assert makers(rig, COPY, runs=MERGE) == {"max"}


ALIKE = [review("ann", "approved", HEAD, id=1), push(HEAD, ref="feature", tree="x"), push(COPY, tree="x")]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_review_counts_for_every_commit_with_the_same_tree(
    rig: Rig, pipeline: Pipeline, order: Sequence[int]
) -> None:
    """It is the same content. In any order of arrival; and for no other tree."""
    decided = play(rig, pipeline, [*(ALIKE[number] for number in order), push("other", tree="y")])
    assert state(rig, pipeline, COPY).by == ("ann",)
    assert state(rig, pipeline, "other").state == "pending"
    assert sha_of(COPY) in decided


def test_a_repetition_changes_nothing(rig: Rig, pipeline: Pipeline) -> None:
    """Neither a redelivery nor an event that comes twice."""
    play(rig, pipeline, STORY)
    before = rig.ledger.record("acme/shop", sha_of(MERGE))
    play(rig, pipeline, STORY)
    assert rig.ledger.record("acme/shop", sha_of(MERGE)) == before
