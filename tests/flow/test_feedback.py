"""Feedback of a whole Greenlight to a GitHub of the tests: checks, statuses and deployments, through every kind of fault."""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3
from werkzeug.test import Client

from greenlight.entrypoints.doctor.findings import WRONG
from greenlight.entrypoints.doctor.machine import _senders
from greenlight.events import Event, types
from greenlight.model.rows import Due
from support import github as fake
from support.flow import PIPELINE, REPO, Ahead, Shop, sha_of
from support.github import APP, FakeGitHub, private_key
from support.process import Up, signed

NAME = "Greenlight: shop"
BOARD = "https://greenlight.example.com"


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    yield from fake.listening()


def prepared(folder: Path, github: FakeGitHub, *, app: bool = True) -> None:
    """Write the shop's files, and who it is on GitHub."""
    Shop(folder).stop()
    as_app = f"  app: {APP}\n" if app else ""
    (folder / "config/feedback.yaml").write_text(f"github:\n  url: {github.url}\n{as_app}board: {BOARD}\n")
    name, text = ("github-app", private_key()) if app else ("github-api", github.token)
    (folder / "secrets" / name).write_text(text)


def shipped(shop: Shop, word: str, **push: Any) -> None:
    """Take a commit to production."""
    shop.push(word, **push)
    shop.build(word)
    shop.watch.end("staging", sha_of(word))
    shop.settle()
    shop.scan(word)
    shop.approve(word)
    shop.watch.end("production", sha_of(word))
    shop.settle()


def reports(requests: Iterable[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Return the requests that change something; a process that looks at a repository also asks for a token."""
    return [it for it in requests if it[0] != "GET" and not it[1].endswith("/access_tokens")]


def test_a_commit_on_its_way_is_seen_on_github(tmp_path: Path, github: FakeGitHub) -> None:
    """One check with a verdict at each step, deployments with their states, links to the board; what waits for a person
    alone does not keep anybody from merging."""
    prepared(tmp_path, github)
    shop, sha = Shop(tmp_path).start(), sha_of("one")
    try:
        shop.push("one")
        shop.settle()
        assert github.told(sha, "check") == [
            (NAME, "in_progress", None, "staging: waits for build; production: waits for build, scan, legal")
        ]
        shop.build("one")
        shop.watch.end("staging", sha)
        shop.settle()
        assert github.told(sha, "check")[-1] == (
            *(NAME, "in_progress", None, "staging: deployed; production: waits for scan, legal"),
        )
        shop.scan("one")
        shop.settle()
        assert github.told(sha, "check")[-1] == (
            *(NAME, "completed", "neutral", "staging: deployed; production: waits for legal"),
        )
        shop.approve("one")
        shop.watch.end("production", sha)
        shop.settle()
        check = github.check(sha, NAME)
        assert (check["status"], check["conclusion"]) == ("completed", "success")
        assert check["output"]["title"] == "staging: deployed; production: deployed"
        assert check["details_url"] == f"{BOARD}/commits/{REPO}/{sha}"
        assert "| legal | ✅ passed | production | given by lena" in check["output"]["summary"].replace("\\", "")
        assert github.told(sha, "deployment") == [
            ("staging", "created"),
            ("staging", "in_progress"),
            ("staging", "success"),
            ("production", "created"),
            ("production", "in_progress"),
            ("production", "success"),
        ]
    finally:
        shop.stop()


def test_the_commit_that_is_replaced_becomes_inactive_and_keeps_its_green_check(
    tmp_path: Path, github: FakeGitHub
) -> None:
    """Also in an environment that GitHub takes for production, where it does not do so by itself."""
    prepared(tmp_path, github)
    shop = Shop(tmp_path).start()
    try:
        shipped(shop, "one")
        shipped(shop, "two", before="one")
        assert [it for it in github.told(sha_of("one"), "deployment") if it[1] in ("success", "inactive")] == [
            ("staging", "success"),
            ("production", "success"),
            ("staging", "inactive"),
            ("production", "inactive"),
        ]
        assert github.check(sha_of("one"), NAME)["conclusion"] == "success"
        assert github.told(sha_of("two"), "deployment")[-1] == ("production", "success")
    finally:
        shop.stop()


def test_a_repetition_sends_nothing(tmp_path: Path, github: FakeGitHub) -> None:
    """Neither a redelivered webhook, nor an event that comes again, nor a new process."""
    prepared(tmp_path, github)
    shop = Shop(tmp_path).start()
    try:
        shipped(shop, "one")
        before = list(github.requests)
        for event in list(shop.watch.events):
            shop.greenlight.services["feedback"].handle(event)
        shop.push("one", at=1)
        shop.build("one")
        shop.settle()
    finally:
        shop.stop()
    shop = Shop(tmp_path).start()
    try:
        shop.settle()
        assert reports(github.requests) == reports(before)
    finally:
        shop.stop()


def test_a_failed_gate_and_a_failed_deployment_are_failures(tmp_path: Path, github: FakeGitHub) -> None:
    """With the reason, as plain text."""
    prepared(tmp_path, github)
    shop, sha = Shop(tmp_path).start(), sha_of("bad")
    try:
        (tmp_path / "config" / f"fail-{sha}").touch()
        shop.push("bad")
        shop.build("bad")
        assert shop.watch.end("staging", sha)["outcome"] == "failed"
        shop.settle()
        check = github.check(sha, NAME)
        assert (check["conclusion"], "exit" in check["output"]["title"]) == ("failure", True)
        assert github.told(sha, "deployment")[-1] == ("staging", "failure")
    finally:
        shop.stop()


def test_with_a_token_there_are_statuses_because_only_apps_have_checks(tmp_path: Path, github: FakeGitHub) -> None:
    """A status has no `neutral`: what waits is pending."""
    prepared(tmp_path, github, app=False)
    shop = Shop(tmp_path).start()
    try:
        shipped(shop, "one")
        states = [state for _, state, _ in github.told(sha_of("one"), "status")]
        assert (states[0], states[-1], set(states)) == ("pending", "success", {"pending", "success"})
        assert github.statuses[-1]["context"] == "greenlight/shop"
        assert github.told(sha_of("one"), "deployment")[-1] == ("production", "success")
        assert github.checks == {}
    finally:
        shop.stop()


def test_its_own_checks_and_statuses_move_nothing(tmp_path: Path, github: FakeGitHub) -> None:
    """GitHub sends a webhook for each: it is ignored."""
    prepared(tmp_path, github)
    shop, sha = Shop(tmp_path).start(), sha_of("one")
    try:
        shop.push("one")
        shop.settle()
        requests = len(github.requests)
        run = {**github.check(sha, NAME), "status": "completed", "conclusion": "success", "completed_at": fake._stamp()}
        body = {"action": "completed", "check_run": run, "repository": {"full_name": REPO, "id": 1}}
        assert shop.github("check_run", body) == {"ignored": "Greenlight itself caused it"}
        shop.settle()
        assert len(github.requests) == requests
    finally:
        shop.stop()


def test_text_from_outside_is_no_markup(tmp_path: Path, github: FakeGitHub) -> None:
    """Of the evidence, a comment or a reason: no link, no mention, no table."""
    prepared(tmp_path, github)
    shop, sha = Shop(tmp_path).start(), sha_of("one")
    evil = "| @everyone <img src=x> [a](https://evil.example) `x` \x1b[2J"
    try:
        shop.push("one")
        shop.build("one")
        shop.watch.end("staging", sha)
        shop.act(
            f"/commits/{REPO}/{sha}/overrides",
            {"application": "shop", "environment": "production", "gate": "scan", "reason": evil},
        )
        shop.settle()
        text = github.check(sha, NAME)["output"]["summary"]
        (line,) = [line for line in text.splitlines() if "everyone" in line and "| scan |" in line]
        assert "\\| @\u200beveryone \\<img src\\=x\\> \\[a\\]\\(https\\:\\/\\/evil\\.example\\)" in line
        assert "\x1b" not in text
    finally:
        shop.stop()


@pytest.mark.parametrize("fault", ["500", "cut", "lost", "slow", "limited", "not-json"])
def test_a_deployment_waits_for_no_report_and_the_report_comes_later(
    tmp_path: Path, github: FakeGitHub, fault: str
) -> None:
    """While GitHub is away the commit ships; then one report says all that happened, once."""
    prepared(tmp_path, github)
    clock = Ahead()
    shop, sha = Shop(tmp_path, clock=clock).start(), sha_of("one")
    github.headers = {"retry-after": "1"}
    try:
        github.fail(*[fault] * 500)
        shipped(shop, "one")
        assert shop.environment("one", "production")["deployment"]["outcome"] == "succeeded"
        assert len(github.requests) < 20, "it is not asked again and again"
        github.faults.clear()
        assert len(reports_due(shop)) == 1
        clock.ahead = github.ahead = timedelta(hours=1)
        ping(shop)
        github.until(lambda: ("production", "success") in github.told(sha, "deployment"))
        shop.settle()
        assert github.check(sha, NAME)["conclusion"] == "success"
        assert len(github.checks) == 1
        assert sorted(it["environment"] for it in github.deployments.values()) == ["production", "staging"]
        assert reports_due(shop) == []
    finally:
        shop.stop()


def test_an_app_that_is_not_installed_is_asked_about_once_and_reports_once_it_is(
    tmp_path: Path, github: FakeGitHub, caplog: pytest.LogCaptureFixture
) -> None:
    """One request, one error in the log that says what to do, however many commits there are."""
    prepared(tmp_path, github)
    github.installed = False
    clock = Ahead()
    shop = Shop(tmp_path, clock=clock).start()
    try:
        shipped(shop, "one")
        shipped(shop, "two", before="one")
        assert [it[1] for it in github.requests if it[1].endswith("/installation")] == [f"/repos/{REPO}/installation"]
        errors = [it for it in caplog.records if "is not reported" in it.message and it.levelname == "ERROR"]
        assert [("install it" in it.message) for it in errors] == [True]
        github.installed = True
        clock.ahead = github.ahead = timedelta(hours=1)
        ping(shop)
        github.until(lambda: ("production", "success") in github.told(sha_of("two"), "deployment"))
        shop.settle()
        assert github.check(sha_of("one"), NAME)["conclusion"] == "success"
    finally:
        shop.stop()


def test_a_commit_of_a_branch_that_is_not_shipped_keeps_no_pull_request_open(
    tmp_path: Path, github: FakeGitHub
) -> None:
    """GitHub takes `neutral` as passed, where the check is required."""
    prepared(tmp_path, github)
    shop, sha = Shop(tmp_path).start(), sha_of("one")
    try:
        shop.push("one", ref="refs/heads/feature")
        shop.settle()
        verdict = "not a candidate: not seen on a shipped ref (main)"
        assert github.told(sha, "check") == [(NAME, "completed", "neutral", verdict)]
        assert github.told(sha, "deployment") == []
    finally:
        shop.stop()


def test_two_applications_of_a_repository_have_a_check_and_environments_each(
    tmp_path: Path, github: FakeGitHub
) -> None:
    """So that none hides the other's."""
    both = PIPELINE + PIPELINE.split("applications:\n")[1].replace("name: shop", "name: till")
    Shop(tmp_path, pipeline=both).stop()
    prepared(tmp_path, github)
    shop, sha = Shop(tmp_path).start(), sha_of("one")
    try:
        shop.push("one")
        shop.build("one")
        github.until(
            lambda: (
                {"shop/staging", "till/staging"}
                <= {it[0] for it in github.told(sha, "deployment") if it[1] == "success"}
            )
        )
        shop.settle()
        assert {it["name"] for it in github.checks.values()} == {NAME, "Greenlight: till"}
        assert [it for it in github.told(sha, "deployment") if it[1] == "inactive"] == []
    finally:
        shop.stop()


def test_a_process_that_is_killed_while_it_reports_reports_once(tmp_path: Path, github: FakeGitHub) -> None:
    """After GitHub has made the check, and before Greenlight knows its number."""
    prepared(tmp_path, github)
    up, sha = Up(tmp_path), sha_of("one")
    made, go_on = threading.Event(), threading.Event()

    def hold(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/check-runs"):
            made.set()
            go_on.wait(60)

    github.hold = hold
    send(up, "push", "one")
    assert made.wait(60)
    up.kill()
    github.hold = None
    go_on.set()
    up = Up(tmp_path)
    try:
        send(up, "build", "one")
        github.until(lambda: ("staging", "success") in github.told(sha, "deployment"))
        github.until(lambda: "staging: deployed" in github.check(sha, NAME)["output"]["title"])
        assert len(github.checks) == 1
        assert len(github.deployments) == 1
    finally:
        up.stop()


def test_without_a_right_on_github_nothing_is_sent_and_nothing_waits(tmp_path: Path) -> None:
    """The events of feedback are settled with the fact: no delivery of the Broker's."""
    shop = Shop(tmp_path).start()
    try:
        shipped(shop, "one")
        assert shop.greenlight.services["feedback"].deps.github.is_configured() is False
    finally:
        shop.stop()


def send(up: Up, kind: str, word: str) -> None:
    """Send a webhook to a process."""
    _, path, body, headers = signed(up.folder, kind, word)
    assert up.http.request("POST", f"{up.webhooks}{path}", body=body, headers=headers).status == 202


def ping(shop: Shop) -> None:
    """Wake the reconciler."""
    event = Event.of(types.PING, id="ping", source="tests", time=shop.greenlight.clock.now(), data={})
    assert shop.greenlight.services["reconciler"].handle(event).status == 202


def reports_due(shop: Shop) -> list[Due]:
    """Return what feedback has put off."""
    return [it for it in shop.greenlight.ledger.due(fake.START.replace(year=2100)) if it.key.startswith("report/")]


@pytest.mark.parametrize("app", [True, False], ids=["of the App", "of a repository"])
def test_a_webhook_that_did_not_arrive_is_asked_for_again(tmp_path: Path, github: FakeGitHub, app: bool) -> None:
    """Only one of which no attempt succeeded, that may succeed, is not on its way, and was not tried too often."""
    prepared(tmp_path, github, app=app)
    minute, day = 60, 86400
    deliveries = [
        fake.delivery(1, "young", 502, age=5),
        *[fake.delivery(1000 + n, f"well {n}", 202) for n in range(250)],
        fake.delivery(2, "lost", 502, age=10 * minute),
        fake.delivery(3, "tried again", 202, again=True, age=10 * minute),
        fake.delivery(4, "tried again", 502, age=11 * minute),
        fake.delivery(5, "never right", 422),
        fake.delivery(6, "twice", 0, again=True, age=90),
        fake.delivery(7, "twice", 502, age=5 * minute),
        *[fake.delivery(10 + n, "too often", 500, again=n > 0, age=day - n) for n in range(5)],
        fake.delivery(20, "too old", 500, age=4 * day),
    ]
    github.deliveries, github.hook_deliveries = (deliveries, []) if app else ([], deliveries)
    shop = Shop(tmp_path)
    github.deliver = lambda _: shop.push("lost") and None
    shop.start()
    try:
        github.until(lambda: github.told(sha_of("lost"), "check" if app else "status"))
        shop.settle()
        assert github.redelivered == [2]
    finally:
        shop.stop()


GATES_ON_GITHUB = PIPELINE.replace(
    "build: {circleci: {workflow: build-test}}", "build: {github-check: {name: test, app: github-actions}}"
).replace("scan: {webhook: scan}", "scan: {github-workflow: {name: CI}}")


def test_results_that_no_webhook_brought_are_read_after_an_outage(tmp_path: Path, github: FakeGitHub) -> None:
    """As the same facts: the commit ships, the late webhook is a repetition, and the broken webhook is reported."""
    clock = Ahead()
    Shop(tmp_path, pipeline=GATES_ON_GITHUB).stop()
    prepared(tmp_path, github)
    shop, sha = Shop(tmp_path, clock=clock).start(), sha_of("one")
    try:
        shop.push("one")
        shop.settle()
        run = github.reported(sha, "test")
        github.runs.append(fake.workflow_run(77, sha, "CI"))
        github.reported(sha, "test-of-now", age=-7200)  # its webhook is on its way
        clock.ahead = github.ahead = timedelta(hours=1)
        ping(shop)
        shop.watch.end("staging", sha)
        shop.settle()
        assert shop.environment("one", "production")["gates"]["scan"]["state"] == "passed"
        (repository,) = json.loads(shop.api("GET", "/senders").get_data())["repositories"]
        assert repository["found_by_asking"] == 2
        before = shop.commit("one")["signals"]
        late = {**run, "check_suite": {"id": 5, "head_branch": "main"}}
        body = {"action": "completed", "check_run": late, "repository": _repository_of(github)}
        found = [it.id for it in shop.watch.events if it.type == "com.github.check_run.completed"]
        assert shop.github("check_run", body) == {"id": found[0]}
        shop.settle()
        assert shop.commit("one")["signals"] == before
        requests = len(github.requests)
        clock.ahead = github.ahead = timedelta(hours=1, minutes=10)
        ping(shop)
        github.until(lambda: len(github.requests) >= requests + 2)
        shop.settle()
        listed = [it for it in github.requests[requests:] if it[1].endswith(("/hooks", "/deliveries"))]
        assert {status for _, _, status in listed} == {304}, "asking again costs nothing of the limit"
    finally:
        shop.stop()


def looked(shop: Shop, clock: Ahead, github: FakeGitHub, minutes: int) -> list[int]:
    """Have the repository looked at, minutes from the start; return the statuses of what was asked of its heads."""
    begin = len(github.requests)
    clock.ahead = github.ahead = timedelta(minutes=minutes)
    ping(shop)
    about = ("/activity", "heads%2Fmain")
    github.until(lambda: any(path.endswith("heads%2Fmain") for _, path, _ in github.requests[begin:]))
    shop.settle()
    return [status for _, path, status in github.requests[begin:] if path.endswith(about)]


def lost(shop: Shop) -> list[tuple[str, str]]:
    """Return the branches whose head no webhook reported."""
    (repository,) = json.loads(shop.api("GET", "/senders").get_data())["repositories"]
    return [(it["ref"], it["sha"]) for it in repository["lost_pushes"]]


def test_a_push_that_no_webhook_told_of_is_shown_until_one_does(
    tmp_path: Path, github: FakeGitHub, caplog: pytest.LogCaptureFixture
) -> None:
    """Also a forced one to a commit that was the head before. It is no push: the commit does not ship."""
    clock = Ahead()
    prepared(tmp_path, github)
    shop = Shop(tmp_path, clock=clock).start()
    board = Client(shop.greenlight.apps["board"])
    one, two, main = sha_of("one"), sha_of("two"), "refs/heads/main"
    try:
        shop.push("one")
        github.moved("main", one)
        shop.settle()
        looked(shop, clock, github, 60)
        assert lost(shop) == []
        github.moved("main", two, age=-60)
        looked(shop, clock, github, 70)
        assert lost(shop) == [], "its webhook may be on its way"
        assert looked(shop, clock, github, 90) == [304, 304], "asking again costs nothing of the limit"
        assert lost(shop) == [(main, two)]
        words = f"the webhook of acme/shop is broken: GitHub's head of main is {two[:7]}, and no webhook reported it"
        assert [it.message for it in caplog.records if it.message == words] == [words]
        for page in ("/", "/setup"):
            assert words in html.unescape(board.get(page, headers={"Accept": "text/html"}).get_data(as_text=True))
        (finding,) = _senders(shop.api("GET", "/senders").get_json())
        assert (finding.state, finding.said) == (WRONG, words)
        assert 'greenlight_lost_pushes{repo="acme/shop"} 1.0' in board.get("/metrics").get_data(as_text=True)
        assert shop.api("GET", f"/commits/{REPO}/{two}").status_code == 404
        shop.push("two", before="one")
        shop.settle()
        assert lost(shop) == [], "at once"
        github.moved("main", one, age=-3600)
        looked(shop, clock, github, 180)
        assert lost(shop) == [(main, one)]
        shop.push("one", before="two", forced=True)
        looked(shop, clock, github, 190)
        assert lost(shop) == []
        assert 'greenlight_lost_pushes{repo="acme/shop"} 0.0' in board.get("/metrics").get_data(as_text=True)
    finally:
        shop.stop()


def test_where_heads_may_not_be_read_the_log_says_so_once(
    tmp_path: Path, github: FakeGitHub, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing else stops."""
    clock, github.readable = Ahead(), False
    prepared(tmp_path, github)
    shop = Shop(tmp_path, clock=clock).start()
    try:
        shop.push("one")
        shop.settle()
        looked(shop, clock, github, 60)
        looked(shop, clock, github, 120)
        assert len([it for it in caplog.records if "so no lost push is found" in it.message]) == 1
        assert lost(shop) == []
    finally:
        shop.stop()


def _repository_of(github: FakeGitHub) -> dict[str, Any]:
    return {"full_name": "Acme/Shop", "html_url": "https://github.com/Acme/Shop"}


@pytest.mark.npm
@pytest.mark.skipif(
    fake.OPENAPI is None, reason="needs npm install @octokit/openapi, and its folder in GREENLIGHT_GITHUB_OPENAPI"
)
def test_githubs_description_of_its_api_is_what_the_others_are_held_to(github: FakeGitHub) -> None:
    """It finds a wrong path, query, body and answer; so the other tests of this file, with it, show that there is none."""
    found = fake.description()
    assert found is not None
    path = f"/repos/{REPO}/check-runs"
    assert found.request("POST", path, {}, {"name": "x", "head_sha": "y", "status": "in_progress"}) == []
    assert found.request("POST", path, {}, {"name": "x", "head_sha": "y", "status": "away"}) != []
    assert found.request("POST", path, {}, {"name": "x", "head_sha": "y", "strange": 1}) != []
    assert found.request("GET", f"/repos/{REPO}/deployments", {"shaa": "x"}, None) != []
    assert found.request("GET", f"/repos/{REPO}/deploymentss", {}, None) != []
    assert found.answer("POST", path, 201, {"id": "text"}) != []
    assert urllib3.request("GET", f"{github.url}/app/hook/deliveries").status == 401
