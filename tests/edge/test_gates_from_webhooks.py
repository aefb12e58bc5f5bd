"""From signed webhooks to the state of a gate: which word of which sender stands, and in any order of arrival."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from greenlight.events import rfc3339
from greenlight.model.policy import GateState
from greenlight.model.rows import Fact, Override, Record
from greenlight.policy.artifacts import digests
from greenlight.policy.decide import gate_here
from greenlight.recorder.domain import fold
from support.flow import build_payload, push_payload, sha_of
from support.policy import parse, situation
from support.webhooks import Rig, gate_body, repository

POLICY = """
apiVersion: greenlight/v1
kind: Pipeline
applications:
  - name: shop
    repo: acme/shop
    branches: [main]
    tags: ["v*"]
    gates:
      tests: {github-check: {name: build, app: github-actions}}
      any_app: {github-check: {name: build}}
      ci: {github-workflow: {name: CI}}
      ci_pushed: {github-workflow: {name: CI, event: push}}
      ci_file: {github-workflow: {path: .github/workflows/ci.yml, event: push}}
      ci_at: {github-workflow: {path: .github/workflows/deploy@prod.yml}}
      b: {circleci: {workflow: build-test}}
      b_of_one: {circleci: {project: 11111111-0000-4000-8000-00000000000A, workflow: build-test}}
      unit: {circleci: {job: unit}}
      status: {github-status: {context: ci}}
      reviewed: {github-review: {count: 1}}
      scan: {webhook: scan}
      quality: {event: com.example.scan, where: {severity: none}}
    environments: [{name: live, require: [], deploy: {command: {run: [./deploy]}}}]
"""
SHOP = parse({"pipeline.yaml": POLICY}, Path("config")).applications["shop"]
SHA = sha_of("one")
ONE, TWO = "11111111-0000-4000-8000-00000000000a", "11111111-0000-4000-8000-00000000000b"
NOW = datetime.now(UTC).replace(microsecond=0)

Post = Callable[[Rig], Fact]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def at(seconds: float) -> str:
    """A time, counted from an hour ago."""
    return rfc3339(NOW - timedelta(hours=1) + timedelta(seconds=seconds))


def state(gate: str, facts: Sequence[Fact]) -> GateState:
    """The gate once the facts are in one record, whose order changes nothing."""
    found: list[GateState] = []
    for order in itertools.islice(itertools.permutations(facts), 24):
        record = Record("acme/shop", SHA)
        for fact in order:
            record = fold(record, fact)
        found.append(SHOP.gates[gate].state(situation(SHOP, record, now=datetime.now(UTC), environment="live")))
    assert all(one == found[0] for one in found), found
    return found[0]


def check(conclusion: str | None, *, id: int, suite: int | None, when: int, branch: Any = "main", **more: Any) -> Post:
    """A check run; without a conclusion it is under way."""
    run = {
        "id": id,
        "name": "build",
        "head_sha": SHA,
        "status": "completed" if conclusion else "in_progress",
        "conclusion": conclusion,
        "started_at": at(when - 5),
        "completed_at": at(when) if conclusion else None,
        "app": {"slug": more.pop("app", "github-actions")},
        "check_suite": {"id": suite, "head_branch": branch},
    }
    action = more.pop("action", "completed")
    payload = {"action": action, "check_run": run | more, "repository": repository()}
    return lambda rig: rig.fact(rig.github("check_run", payload))


def workflow(conclusion: str | None, *, id: int = 10, number: int = 1, suite: int = 1, **more: Any) -> Post:
    """A run of a GitHub Actions workflow."""
    run = {
        "id": 100 * id + number,
        "name": "CI",
        "workflow_id": id,
        "path": ".github/workflows/ci.yml",
        "event": "push",
        "check_suite_id": suite,
        "head_sha": SHA,
        "head_branch": "main",
        "run_number": number,
        "run_attempt": 1,
        "status": "completed" if conclusion else "in_progress",
        "conclusion": conclusion,
        "updated_at": at(number),
        "head_repository": {"full_name": "acme/shop"},
        **more,
    }
    payload = {"action": "completed", "workflow_run": run, "repository": repository()}
    return lambda rig: rig.fact(rig.github("workflow_run", payload))


def build(status: str, *, project: str, number: int, when: int, job: str | None = None, **more: Any) -> Post:
    """A build of a CircleCI project."""
    payload = build_payload("one", status, number=number)
    payload |= {"id": f"{project}/{number}/{when}/{job}", "happened_at": at(when), "project": {"id": project}}
    if job:
        payload |= {"type": "job-completed", "job": {"id": "j", "name": job, "status": status}}
    payload["workflow"] |= more
    return lambda rig: rig.fact(rig.circleci(payload))


def review(login: str, word: str, *, id: int, when: int, action: str = "submitted") -> Post:
    """A review of a pull request into main."""
    said = {
        "id": id,
        "user": {"login": login},
        "state": word,
        "commit_id": SHA,
        "submitted_at": at(when),
        "author_association": "MEMBER",
    }
    payload = {
        "action": action,
        "review": said,
        "pull_request": {"number": 7, "base": {"ref": "main"}},
        "repository": repository(),
    }
    return lambda rig: rig.fact(rig.github("pull_request_review", payload))


def scan(outcome: str, *, message: str, **more: Any) -> Post:
    """A scanner's report."""
    body = {key: value for key, value in (gate_body(sha=SHA, outcome=outcome, run=None) | more).items() if value}
    return lambda rig: rig.fact(rig.gate(body, id=message))


def status(word: str, branches: Sequence[str], *, when: int = 1) -> Post:
    """A commit status."""
    payload = {
        "id": when,
        "sha": SHA,
        "context": "ci",
        "state": word,
        "created_at": at(when),
        "repository": repository(),
    }
    named = [{"name": name, "commit": {"sha": SHA}} for name in branches]
    return lambda rig: rig.fact(rig.github("status", payload | {"branches": named}))


def pushed(ref: str = "refs/heads/main") -> Post:
    """The commit at the head of a ref."""
    return lambda rig: rig.fact(rig.github("push", push_payload("one") | {"ref": ref}))


FORK: Mapping[str, Any] = {"event": "pull_request", "head_repository": {"full_name": "evil/shop"}}
"""What shows that the run of a workflow is a fork's."""

CHECKS: Mapping[str, tuple[Sequence[Post], str, str, str]] = {
    "a suite that failed stands beside one that passed": (
        [check("failure", id=11, suite=1, when=119), check("success", id=12, suite=2, when=129)],
        *("tests", "failed", "check build of github-actions failed in check suite 1; run that again"),
    ),
    "a later suite of the same workflow replaces": (
        [
            check("failure", id=11, suite=1, when=119),
            check("success", id=12, suite=2, when=129),
            workflow("failure", number=3, suite=1),
            workflow("success", number=4, suite=2),
        ],
        *("tests", "passed", "check build of github-actions passed"),
    ),
    "an earlier suite of the same workflow does not": (
        [
            check("success", id=11, suite=1, when=149),
            check("failure", id=12, suite=2, when=129),
            workflow("success", number=3, suite=1),
            workflow("failure", number=4, suite=2),
        ],
        *("tests", "failed", "check suite 2 of workflow 10 (push); run that again"),
    ),
    "a suite of another workflow does not": (
        [
            check("failure", id=11, suite=1, when=119),
            check("success", id=12, suite=2, when=129),
            workflow("failure", id=20, number=3, suite=1),
            workflow("success", id=10, number=500, suite=2),
        ],
        *("tests", "failed", "in check suite 1 of workflow 20 (push); run that again"),
    ),
    "a suite of which no run is known does not": (
        [
            check("failure", id=11, suite=1, when=119),
            check("success", id=12, suite=2, when=129),
            workflow("success", number=4, suite=2),
        ],
        *("tests", "failed", "check suite 1; run that again"),
    ),
    "a suite of a fork's run, whose branch has the name of a shipped one": (
        [check("success", id=11, suite=1, when=119), workflow("success", suite=1, **FORK)],
        *("tests", "pending", "check build of github-actions was heard for a fork only, whose runs never count"),
    ),
    "what a fork's run says is no failure either": (
        [
            check("failure", id=11, suite=1, when=119),
            workflow("failure", suite=1, **FORK),
            check("success", id=12, suite=2, when=129),
        ],
        *("any_app", "passed", ""),
    ),
    "a rerun inside a suite replaces": (
        [check("failure", id=11, suite=1, when=119), check("success", id=13, suite=1, when=150)],
        *("tests", "passed", ""),
    ),
    "a rerun is pending while it runs": (
        [check("success", id=11, suite=1, when=119), check(None, id=13, suite=1, when=150)],
        *("tests", "pending", "check suite 1: in_progress"),
    ),
    "every app that makes a check of that name has to pass": (
        [
            check("failure", id=11, suite=1, when=119, app="some-ci"),
            check("success", id=12, suite=2, when=129),
        ],
        *("any_app", "failed", "check build failed in check suite 1; run that again"),
    ),
    "two workflows of one name": (
        [workflow("failure", id=20, number=3, path=".github/workflows/it.yml"), workflow("success", number=500)],
        *("ci", "failed", "GitHub workflow CI failed in .github/workflows/it.yml (started by push); run that again"),
    ),
    "a gate that names the file hears that one alone": (
        [workflow("failure", id=20, number=3, path=".github/workflows/it.yml"), workflow("success", number=500)],
        *("ci_file", "passed", "GitHub workflow .github/workflows/ci.yml started by push passed"),
    ),
    "what another event started is another source": (
        [workflow("success", number=3), workflow("failure", number=4, event="schedule")],
        *("ci", "failed", "started by schedule"),
    ),
    "a gate that names the event hears that one alone": (
        [workflow("success", number=3), workflow("failure", number=4, event="schedule")],
        *("ci_pushed", "passed", ""),
    ),
    "a later attempt replaces and is pending while it runs": (
        [workflow("success", number=3), workflow(None, number=3, run_attempt=2)],
        *("ci", "pending", "in_progress"),
    ),
    "a workflow keeps its runs when its name changes": (
        [workflow("failure", number=3), workflow("success", number=4, name="CI, new")],
        *("ci_file", "passed", ""),
    ),
    "a run of it counts under the name that it had": (
        [workflow("failure", number=3), workflow("success", number=3, run_attempt=2, name="CI, new")],
        *("ci", "passed", ""),
    ),
    "also one that fails": (
        [workflow("success", number=3), workflow("failure", number=3, run_attempt=2, name="CI, new")],
        *("ci", "failed", "failed in .github/workflows/ci.yml (started by push); run that again"),
    ),
    "a workflow whose file has an @ in its name, and is read from a ref": (
        [
            workflow("success", path=".github/workflows/deploy@prod.yml"),
            workflow("success", number=2, path=".github/workflows/deploy@prod.yml@refs/heads/main"),
        ],
        *("ci_at", "passed", ""),
    ),
    "another workflow of that file does not": (
        [workflow("success", number=3), workflow("failure", id=20, number=3, name="Nightly", path="nightly.yml")],
        *("ci", "passed", ""),
    ),
    "two projects of one repository": (
        [build("failed", project=TWO, number=12, when=129), build("success", project=ONE, number=900, when=119)],
        *("b", "failed", f"CircleCI workflow build-test failed in project {TWO}; run that again"),
    ),
    "a gate that names the project hears that one alone": (
        [build("failed", project=TWO, number=12, when=129), build("success", project=ONE, number=900, when=119)],
        *("b_of_one", "passed", ""),
    ),
    "one job of two workflows": (
        [
            build("failed", project=ONE, number=12, when=129, job="unit", name="nightly: all"),
            build("success", project=ONE, number=12, when=139, job="unit"),
        ],
        *("unit", "failed", f"failed in workflow nightly: all of project {ONE}; run that again"),
    ),
    "a comment takes no objection back": (
        [
            review("ann", "changes_requested", id=1, when=9),
            review("bob", "approved", id=2, when=19),
            review("ann", "commented", id=3, when=29),
        ],
        *("reviewed", "failed", "changes requested by ann"),
    ),
    "a comment takes no approval back": (
        [review("ann", "approved", id=1, when=9), review("ann", "commented", id=2, when=19)],
        *("reviewed", "passed", "given by ann"),
    ),
    "a dismissal comes after what it dismisses and restores nothing": (
        [
            review("ann", "changes_requested", id=1, when=9),
            review("ann", "approved", id=2, when=19),
            review("ann", "dismissed", id=2, when=19, action="dismissed"),
        ],
        *("reviewed", "pending", "needs 1 more GitHub review"),
    ),
    "a dismissal of an earlier review leaves the later one": (
        [
            review("ann", "changes_requested", id=1, when=9),
            review("ann", "dismissed", id=1, when=9, action="dismissed"),
            review("ann", "approved", id=2, when=19),
        ],
        *("reviewed", "passed", ""),
    ),
    "a status with ten other branches": (
        [pushed(), status("success", [f"t{n}" for n in range(10)])],
        *("status", "passed", ""),
    ),
    "a status without branches": ([pushed(), status("success", [])], *("status", "passed", "")),
    "a status of a tag": ([pushed("refs/tags/v1"), status("success", [])], *("status", "passed", "")),
    "a status of a commit that was seen elsewhere only": (
        [pushed("refs/heads/feature"), status("success", ["feature"])],
        *("status", "pending", "any-branch"),
    ),
    "the later status counts, whatever branches it names": (
        [pushed(), status("success", ["main"]), status("failure", [], when=2)],
        *("status", "failed", ""),
    ),
    "a check that was made before a fast-forward": (
        [check("success", id=1, suite=1, when=9, branch="feature"), pushed()],
        *("tests", "pending", "`any-branch: true` on the gate would take it"),
    ),
    "a scanner whose clock is ahead": (
        [scan("passed", message="m1", at="2099-01-01T00:00:00Z"), scan("failed", message="m2")],
        *("scan", "failed", ""),
    ),
    "a scanner that says when once and then does not": (
        [scan("passed", message="m1", at=at(0)), scan("failed", message="m2")],
        *("scan", "failed", ""),
    ),
    "a scanner that never says when": (
        [scan("passed", message="m1"), scan("failed", message="m2")],
        *("scan", "failed", ""),
    ),
    "a failure that its sender dates before a pass from the future": (
        [scan("passed", message="m1", at=at(7200)), scan("failed", message="m2", at=at(3500))],
        *("scan", "failed", "webhook scan failed, after one whose time was ahead of our clock"),
    ),
    "a pass that arrives after both lifts that": (
        [
            scan("passed", message="m1", at=at(7200)),
            scan("failed", message="m2", at=at(3500)),
            scan("passed", message="m3", at=at(7300)),
        ],
        *("scan", "passed", ""),
    ),
    "a check that fails after one from the future": (
        [check("success", id=11, suite=1, when=7200), check("failure", id=12, suite=1, when=3500)],
        *("tests", "failed", "failed, after one whose time was ahead of our clock"),
    ),
    "a check from the future whose beginning comes late": (
        [check("success", id=11, suite=1, when=7200), check(None, id=11, suite=1, when=3500)],
        *("tests", "passed", ""),
    ),
    "a status that fails after one from the future": (
        [pushed(), status("success", ["main"], when=7200), status("failure", ["main"], when=3500)],
        *("status", "failed", "failed, after one whose time was ahead of our clock"),
    ),
    "a build that fails after one from the future": (
        [build("success", project=ONE, number=1, when=7200), build("failed", project=ONE, number=1, when=3500)],
        *("b", "failed", "failed, after one whose time was ahead of our clock"),
    ),
    "a failure that arrives late is older all the same": (
        [scan("passed", message="m1", at=at(1)), scan("failed", message="m2", at=at(0))],
        *("scan", "passed", ""),
    ),
    "a run that no counter reaches": (
        [scan("passed", message="m1", run=1 << 53, at=at(1)), scan("failed", message="m2", run=5, at=at(2))],
        *("scan", "failed", ""),
    ),
    "a later pass lifts that again": (
        [
            scan("passed", message="m1", run=1 << 53, at=at(1)),
            scan("failed", message="m2", run=5, at=at(2)),
            scan("passed", message="m3", run=6, at=at(3)),
        ],
        *("scan", "passed", ""),
    ),
    "the highest run failed": (
        [scan("failed", message="m1", run=8, at=at(1)), scan("passed", message="m2", run=7, at=at(2))],
        *(
            "scan",
            "failed",
            "webhook scan failed in its highest run (8); a later report of that run, or of a higher one,",
        ),
    ),
    "a report without a run after one with": (
        [scan("passed", message="m1", run=7, at=at(1)), scan("failed", message="m2", at=at(2))],
        *("scan", "failed", ""),
    ),
    "a report with a run after one without": (
        [scan("failed", message="m1", at=at(1)), scan("passed", message="m2", run=7, at=at(2))],
        *("scan", "passed", ""),
    ),
    "of one moment the failed report stands": (
        [scan("passed", message="m1", run=7, at=at(1)), scan("failed", message="m2", at=at(1))],
        *("scan", "failed", ""),
    ),
}


@pytest.mark.parametrize("name", CHECKS)
def test_the_newest_word_of_every_source_has_to_pass(rig: Rig, name: str) -> None:
    """Whatever arrives first."""
    posts, gate, expected, reason = CHECKS[name]
    found = state(gate, [post(rig) for post in posts])
    assert (found.state, reason in found.reason) == (expected, True), found


@pytest.mark.parametrize(
    ("gate", "first", "again"),
    [
        (
            "tests",
            check("failure", id=11, suite=1, when=9),
            check("failure", id=11, suite=1, when=9, action="rerequested"),
        ),
        (
            "reviewed",
            *(review("ann", "changes_requested", id=1, when=9, action=did) for did in ("submitted", "edited")),
        ),
    ],
)
def test_what_repeats_an_earlier_failure_ends_no_override(rig: Rig, gate: str, first: Post, again: Post) -> None:
    """A person asked for another run, or corrected the text of a review. It says what an earlier webhook lost, though."""
    failed = first(rig)
    given = Override("lena", datetime.now(UTC), "o", "because")
    repeated = again(rig)
    for facts in ([failed, repeated], [repeated]):
        record = Record("acme/shop", SHA, overrides={f"shop/live/{gate}": given})
        for fact in facts:
            record = fold(record, fact)
        case = situation(SHOP, record, now=datetime.now(UTC), environment="live")
        assert SHOP.gates[gate].state(case).state == "failed"
        assert gate_here(case, SHOP.gates[gate]).state == "overridden"
    assert repeated.id != failed.id


def _said(rig: Rig, id: str, severity: Any, *, message: str = "", **more: Any) -> Fact:
    data = {"repo": "acme/shop", "sha": SHA, "severity": severity}
    sent = {"specversion": "1.0", "id": id, "source": "/lab", "type": "com.example.scan", "data": data, **more}
    return rig.fact(
        rig.event(
            json.dumps(sent).encode(), {"Content-Type": "application/cloudevents+json"}, id=message or f"msg_{id}"
        )
    )


@pytest.mark.parametrize("ids", [("1", "2"), ("2", "1")])
def test_of_events_of_one_moment_the_one_that_fails_stands(rig: Rig, ids: tuple[str, str]) -> None:
    """Whatever they are called: only the gate's `where` tells which it is. A later one lifts it."""
    facts = [_said(rig, id, word, time=at(1)) for id, word in zip(ids, ("none", "high"), strict=True)]
    assert state("quality", facts).state == "failed"
    assert state("quality", [*facts, _said(rig, "3", "none", time=at(2))]).state == "passed"


def test_a_field_that_a_gate_asks_for_is_found_among_any_number(rig: Rig) -> None:
    """A whole report has hundreds, and the gate's may be the last."""
    data = {"repo": "acme/shop", "sha": SHA, **{f"rule {n}": 0 for n in range(300)}, "severity": "none"}
    fact = _said(rig, "1", "none", data=data)
    assert state("quality", [fact]).state == "passed"
    assert len(fact.details["data"]) <= 64


@pytest.mark.parametrize(
    ("value", "words"), [(["none"], "a list"), ({"of": "none"}, "an object"), ("none" * 100, "400 characters long")]
)
def test_a_field_that_cannot_be_compared_is_not_called_missing(rig: Rig, value: Any, words: str) -> None:
    """The gate fails, and its reason says what the sender has to change."""
    fact = _said(rig, "1", value)
    assert state("quality", [fact]).reason == f"event com.example.scan: severity is {words}"


def test_an_id_that_a_sender_uses_again_hides_no_later_report(rig: Rig) -> None:
    """Only the same report is a repetition, whatever message brings it."""
    first = _said(rig, "1", "none", time=at(1), message="m1")
    assert _said(rig, "1", "none", time=at(1), message="m2").id == first.id
    assert state("quality", [first, _said(rig, "1", "high", time=at(1), message="m3")]).state == "failed"
    facts = [
        first,
        _said(rig, "1", "high", time=at(2), message="m4"),
        _said(rig, "1", "none", time=at(3), message="m5"),
    ]
    assert (len({fact.id for fact in facts}), state("quality", facts).state) == (3, "passed")


def test_an_event_of_the_future_hides_nothing_that_is_said_later(rig: Rig) -> None:
    """It counts from its arrival; what its sender said is kept."""
    first = _said(rig, "1", "none", time="2030-01-01T00:00:00Z")
    assert first.details["ahead"].startswith("2030-01-01T00:00:00")
    assert first.at <= first.accepted
    assert state("quality", [first, _said(rig, "2", "high", time=rfc3339(datetime.now(UTC)))]).state == "failed"


FEATURE = "refs/heads/feature"


@pytest.mark.parametrize(
    ("made_for", "counting"),
    [
        ([FEATURE], []),
        (["refs/heads/main"], ["1"]),
        ([None], ["1"]),
        ([FEATURE, "refs/heads/main"], ["2"]),
        ([FEATURE, None], ["2"]),
        (["refs/heads/main", None], ["1", "2"]),
    ],
)
def test_an_artifact_counts_if_it_was_made_for_a_shipped_ref(
    rig: Rig, made_for: Sequence[str | None], counting: Sequence[str]
) -> None:
    """What a pull request was built into is not deployed, and blocks nothing where the branch is built again."""
    facts: list[Fact] = []
    for number, ref in enumerate(made_for, 1):
        data = {"repo": "acme/shop", "sha": SHA, "severity": "none", "artifacts": {"shop": f"sha256:{number:064}"}}
        facts.append(_said(rig, str(number), "none", data=data | ({"ref": ref} if ref else {})))
    wide = POLICY.replace("{event: com.example.scan,", "{event: com.example.scan, any-branch: true,")
    anywhere = parse({"pipeline.yaml": wide}, Path("config")).applications["shop"]
    for order in itertools.permutations(facts):
        record = Record("acme/shop", SHA)
        for fact in order:
            record = fold(record, fact)
        assert digests(SHOP, record).get("shop", ()) == tuple(f"sha256:{int(number):064}" for number in counting)
        assert len(digests(anywhere, record)["shop"]) == len(facts)


def test_an_artifact_of_an_older_ledger_counts_as_it_did(rig: Rig) -> None:
    """Its rows do not say for which ref it was named."""
    data = {"repo": "acme/shop", "sha": SHA, "ref": FEATURE, "artifacts": {"shop": f"sha256:{1:064}"}}
    record = Record("acme/shop", SHA, artifacts={"shop": (f"sha256:{1:064}",)})
    assert digests(SHOP, record) == record.artifacts
    assert digests(SHOP, fold(record, _said(rig, "1", "none", data=data))) == record.artifacts


AHEAD: Mapping[str, Post] = {
    "push": lambda rig: rig.fact(
        rig.github("push", push_payload("one") | {"repository": repository(pushed_at=4_000_000_000)})
    ),
    "check": check("success", id=1, suite=1, when=9000),
    "workflow": workflow("success", updated_at=at(9000)),
    "status": status("success", ["main"], when=9000),
    "review": review("ann", "approved", id=1, when=9000),
    "circleci": build("success", project=ONE, number=1, when=9000),
    "scanner": scan("passed", message="m1", at=at(9000)),
}


@pytest.mark.parametrize("name", AHEAD)
def test_a_time_ahead_of_our_clock_is_taken_for_the_arrival_cut_to_the_second(rig: Rig, name: str) -> None:
    """Whoever gives it; the fact keeps it among its details."""
    fact = AHEAD[name](rig)
    assert fact.push is None or fact.push.pushed_at == fact.at
    assert fact.at == fact.accepted.replace(microsecond=0)
    assert datetime.fromisoformat(fact.details["ahead"]) > fact.accepted
    assert not any(isinstance(part, int) and part > fact.accepted.timestamp() * 1e6 for part in fact.order)
