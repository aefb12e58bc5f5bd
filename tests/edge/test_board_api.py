"""The board's API: the public contract, who may do what, and what strangers get."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from greenlight.board.domain import may_discard
from greenlight.broker.trigger_spec import TriggerSpec
from greenlight.entrypoints.compose import ThirdParties
from greenlight.events import Event
from greenlight.ledger.port import Transaction
from greenlight.ledger.sqlite.ledger import SqliteLedger
from greenlight.model.rows import NewEntry
from greenlight.service.people import Person
from support.flow import PIPELINE, REPO, TOKENS, Shop, sha_of

COMMIT = f"/api/v1/commits/{REPO}/{sha_of('one')}"
TARGET = "/api/v1/targets/shop/staging"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A commit that is in staging, and waits for production."""
    shop = Shop(tmp_path).start()
    shop.push("one")
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    shop.settle()
    yield shop
    shop.stop()


def test_a_commit_has_the_shape_of_the_contract(shop: Shop) -> None:
    """Names and kinds that people script against."""
    commit = shop.commit("one")
    assert set(commit) == {"repo", "sha", "refs", "trace_id", "artifacts", "signals", "applications"}
    assert (commit["repo"], commit["refs"]) == ("acme/shop", ["refs/heads/main"])
    assert set(commit["signals"]["circleci.workflow#p:build-test"]) == {"outcome", "at", "evidence"}
    application = commit["applications"]["shop"]
    assert set(application["gates"]["build"]) == {"state", "at", "by", "evidence", "reason"}
    assert application["gates"]["legal"]["state"] == "pending"
    staging = application["environments"]["staging"]
    assert staging["decision"] == "ready", "what is deployed stays ready"
    assert {"id", "outcome", "cause", "started", "ended"} <= set(staging["deployment"])
    assert application["environments"]["production"]["deployment"] is None


def test_a_list_pages_and_filters(shop: Shop) -> None:
    """Newest first; nothing lost or twice; filters narrow."""
    for n in range(60):
        shop.push(f"c{n}", before="one")
    shop.settle()
    seen, cursor = [], ""
    while cursor is not None:
        page = json.loads(shop.api("GET", f"/commits?cursor={cursor}").get_data())
        seen += [commit["sha"] for commit in page["commits"]]
        cursor = page["next"]
    assert sorted(seen) == sorted({sha_of(f"c{n}") for n in range(60)} | {sha_of("one")})
    assert seen[0] == sha_of("c59")
    for query, count in (
        ("repo=ACME/shop", 50),
        ("repo=a/b", 0),
        ("decision=ready&environment=staging", 1),
        ("decision=waiting&environment=staging", 50),
        ("decision=waiting&environment=production", 50),
        ("decision=superseded", 0),
        ("ref=refs/heads/x", 0),
    ):
        assert len(json.loads(shop.api("GET", f"/commits?{query}").get_data())["commits"]) == count
    assert shop.api("GET", "/commits?cursor=made-up").status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/commits/{REPO}/{sha_of('one')[:7]}", 200),
        ("GET", f"/commits/ACME/Shop/{sha_of('one')}", 200),
        ("GET", f"/commits/{REPO}/{sha_of('one')[:6]}", 404),
        ("GET", f"/commits/{REPO}/{'0' * 40}", 404),
        ("GET", f"/commits/{REPO}/{sha_of('one')}/journal", 200),
        ("GET", f"/commits/{REPO}/{sha_of('one')}/trace", 200),
        ("GET", "/targets", 200),
        ("GET", "/targets/shop/staging", 200),
        ("GET", "/targets/shop/nowhere", 404),
        ("GET", "/targets/nothing/staging", 404),
        ("GET", "/targets/shop/staging/journal", 200),
        ("GET", "/people/me", 401),
        ("GET", "/nothing", 404),
        ("PUT", "/commits", 401),
    ],
)
def test_every_answer_is_json_and_every_error_a_problem(shop: Shop, method: str, path: str, status: int) -> None:
    """With a title, the status and what to do."""
    answer = shop.api(method, path)
    assert answer.status_code == status
    if status >= 400:
        assert answer.mimetype == "application/problem+json"
        assert {"title", "status", "detail"} <= set(json.loads(answer.get_data()))


BODIES: dict[str, Any] = {
    f"{COMMIT}/approvals": {"application": "shop", "gate": "legal"},
    f"{COMMIT}/revocations": {"application": "shop", "gate": "legal", "comment": "no"},
    f"{TARGET}/deployments": {"kind": "deploy", "sha": sha_of("one"), "reason": "again"},
    f"{TARGET}/pause": {"reason": "holiday"},
    f"{TARGET}/resume": {},
    f"{TARGET}/freeze": {"reason": "holiday", "for": "2h"},
    f"{TARGET}/unfreeze": {},
    f"{TARGET}/cancel": {"what": "request", "reason": "not now"},
    f"{COMMIT}/overrides": {"application": "shop", "environment": "production", "gate": "scan", "reason": "it is down"},
}
FORMS = (
    "/commits/<owner>/<name>/<sha>/<any(approve, refuse, override):verb>",
    "/targets/<application>/<environment>/<any(deploy, retry, rollback, pause, resume, cancel, withdraw):verb>",
    "/targets/<application>/<environment>/<any(freeze, unfreeze):verb>",
    "/activity/dead-letters/<int:id>/<any(replay, discard):verb>",
)
"""The forms of the pages; what people may do by them is in test_pages.py."""

SOON = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
NOTHING_TO_DO = (f"{TARGET}/cancel", f"{TARGET}/unfreeze")
OPERATED = [path for path in BODIES if path.startswith(TARGET)]


def test_every_route_that_writes_is_in_the_matrix_below(shop: Shop) -> None:
    """A new one without a row fails here."""
    app = shop.greenlight.apps["board"]
    rules = {rule.rule for rule in app.url_map.iter_rules() if "POST" in rule.methods}  # type: ignore[attr-defined]
    assert rules - {"/login/token", "/logout"} == {
        "/api/v1/commits/<owner>/<name>/<sha>/approvals",
        "/api/v1/commits/<owner>/<name>/<sha>/revocations",
        "/api/v1/people/erasures",
        "/api/v1/notifications/tests",
        "/api/v1/commits/<owner>/<name>/<sha>/overrides",
        "/api/v1/policy/preview",
        "/api/v1/targets/<application>/<environment>/deployments",
        "/api/v1/targets/<application>/<environment>/cancel",
        "/api/v1/targets/<application>/<environment>/pause",
        "/api/v1/targets/<application>/<environment>/resume",
        "/api/v1/targets/<application>/<environment>/freeze",
        "/api/v1/targets/<application>/<environment>/unfreeze",
        "/api/v1/dead-letters/<int:id>/replay",
        "/api/v1/dead-letters/<int:id>/discard",
        "/api/v1/dead-letters/replay",
        "/api/v1/dead-letters/discard",
        *FORMS,
    }


def test_an_operator_erases_an_author(tmp_path: Path) -> None:
    """Titles and names go, the journal stays whole; nobody else may, and it takes a name."""
    text = PIPELINE.replace("operators: [legal, engineering]", "operators: [legal]")
    shop = Shop(tmp_path, pipeline=text).start()
    shop.push("one")
    shop.settle()
    ledger, path = shop.greenlight.ledger, "/people/erasures"
    before = ledger.journal(f"commit/{REPO}/{sha_of('one')}")
    title = ledger.titles(REPO, [sha_of("one")]).get(sha_of("one"))
    assert title is not None
    assert (title.title, title.author) == ("one", "acme-developer")
    assert "acme-developer" not in json.dumps([entry.payload for entry in before])
    body = {"github": ["Acme-Developer"]}
    assert shop.api("POST", path, body).status_code == 401
    assert shop.api("POST", path, body, who="dev").status_code == 403
    for wrong in ({}, {"github": [" "]}, {"github": "acme-developer"}, {"emails": [5]}):
        assert shop.api("POST", path, wrong, who="lena").status_code == 422
    assert ledger.titles(REPO, [sha_of("one")]).get(sha_of("one")) == title
    assert shop.act(path, body | {"emails": ["nobody@acme.example"]}) == {"erased": 1}
    assert shop.act(path, body) == {"erased": 0}
    assert ledger.titles(REPO, [sha_of("one")]).get(sha_of("one")) is None
    assert ledger.journal(f"commit/{REPO}/{sha_of('one')}") == before
    shop.stop()


@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_dead_letters_are_dealt_with_by_people(shop: Shop, verb: str) -> None:
    """By nobody else: an event is a hint, so that a replay can ship nothing that the ledger does not say."""
    client, body = Client(shop.greenlight.apps["board"]), {"where": {}, "reason": "tidying up"}
    if verb == "replay":
        del body["reason"]
    assert client.post(f"/api/v1/dead-letters/{verb}", json=body).status_code == 401
    assert client.get("/api/v1/dead-letters").json == {"dead_letters": [], "next": None}
    known = {"Authorization": f"Bearer {TOKENS['dev']}"}
    assert client.post(f"/api/v1/dead-letters/{verb}", json=body, headers=known).status_code == 202
    assert client.post(f"/api/v1/dead-letters/7/{verb}", json={}, headers=known).status_code in (404, 422)


OTHER = """
  - name: other
    repo: acme/other
    branches: [main]
    operators: [engineering]
    gates: {}
    environments: [{name: live, require: [], deploy: {command: {run: [sh, deploy.sh]}}}]
"""


@pytest.mark.parametrize(
    ("about", "who"),
    [
        ({"application": "shop", "repo": "acme/shop"}, {"lena"}),
        ({"repo": "acme/shop"}, {"lena"}),
        ({"application": "other"}, {"dev"}),
        ({"repo": "acme/other"}, {"dev"}),
        ({"application": "gone", "repo": "acme/other"}, {"dev"}),
        ({"repo": "acme/unknown"}, {"lena", "dev"}),
        ({}, {"lena", "dev"}),
    ],
    ids=str,
)
def test_a_dead_letter_is_discarded_by_an_operator_of_its_application(
    tmp_path: Path, about: dict[str, str], who: set[str]
) -> None:
    """Where its event belongs to none, by one of any. Who did it, and why, is kept with it."""
    refuse = ThirdParties(
        [TriggerSpec.to_service("refuse", "refuse")],
        {"refuse": lambda environ, start: (start("422 No", []) and []) or []},
    )
    text = PIPELINE.replace("operators: [legal, engineering]", "operators: [legal]") + OTHER
    shop = Shop(tmp_path, third_parties=refuse, pipeline=text).start()
    client = Client(shop.greenlight.apps["board"])
    event = Event(id="e", source="/test", type="test.happened", extensions=about)
    for person in ("lena", "dev"):
        shop.greenlight.broker.publish(event)
        shop.settle()
        (letter,) = client.get("/api/v1/dead-letters").json["dead_letters"]
        headers = {"Authorization": f"Bearer {TOKENS[person]}"}
        for path, body in ((f"/{letter['id']}/discard", {}), ("/discard", {"where": {}})):
            answer = client.post(f"/api/v1/dead-letters{path}", json={**body, "reason": "known"}, headers=headers)
            if person in who:
                break
            assert answer.status_code == 403
            assert f"{person} does not operate" in answer.json["detail"]
        after = client.get(f"/api/v1/dead-letters/{letter['id']}").json["closed"]
        assert after == (f"discarded by {person}: known" if person in who else None)
        shop.greenlight.broker.operations.discard_where({}, "the next one", lambda event: None)
    shop.stop()


def test_without_operators_nobody_discards(shop: Shop) -> None:
    """The refusal says what to add."""
    lena = Person("lena", "Lena", None, (), ("legal",), ())
    policies = [replace(it, operators=()) for it in shop.greenlight.pipeline().applications.values()]
    for about in ({}, {"application": "shop"}):
        refused = may_discard(lena, policies, about)
        assert refused is not None
        assert "operators:" in refused


@pytest.mark.parametrize("path", BODIES)
def test_who_may_write(shop: Shop, path: str) -> None:
    """No token and a wrong one: 401. Known and not entitled: 403. Entitled: 202, or 422 where there is nothing to do."""
    client = Client(shop.greenlight.apps["board"])

    def status(**headers: str) -> int:
        return client.post(path, json=BODIES[path], headers=headers).status_code

    done = 422 if path in NOTHING_TO_DO else 202
    assert status() == 401
    assert status(Authorization="Bearer gl_wrong") == 401
    assert status(Authorization=f"Basic {TOKENS['lena']}") == 401
    assert status(Authorization=f"Bearer {TOKENS['dev']}") == (done if path in OPERATED else 403)
    assert status(Authorization=f"Bearer {TOKENS['lena']}") == done


@pytest.mark.parametrize("path", [*OPERATED, f"{COMMIT}/overrides"])
@pytest.mark.parametrize(("operators", "dev", "lena"), [("operators: [legal]", 403, 202), ("", 403, 403)])
def test_operators_are_who_the_policy_says(tmp_path: Path, path: str, operators: str, dev: int, lena: int) -> None:
    """Where groups are named, others are refused; where none is, everybody."""
    pipeline = PIPELINE.replace("operators: [legal, engineering]", operators)
    shop = Shop(tmp_path, pipeline=pipeline).start()
    shop.push("one")
    shop.settle()
    client = Client(shop.greenlight.apps["board"])
    for who, status in (("dev", dev), ("lena", lena)):
        answer = client.post(path, json=BODIES[path], headers={"Authorization": f"Bearer {TOKENS[who]}"})
        assert answer.status_code == (422 if status == 202 and path in NOTHING_TO_DO else status)
    shop.stop()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"for": "2h"}, "a freeze needs a reason"),
        ({"reason": "x"}, "a freeze needs its end"),
        ({"reason": "x", "for": "2h", "until": "2099-01-01T00:00:00Z"}, "not both"),
        ({"reason": "x", "for": "367d"}, "at most 366d"),
        ({"reason": "x", "for": "2h", "from": "9999-12-31T23:00:00Z"}, "must end within 366 days"),
        ({"reason": "x", "until": "2099-01-01T00:00:00+01:00"}, "must end within 366 days"),
        ({"reason": "x", "until": "2020-01-01T00:00:00Z"}, "2020-01-01 00:00:00 UTC is over"),
        ({"reason": "x", "from": SOON, "until": SOON}, "must end after it begins"),
        ({"reason": "x", "until": "2099-01-01T00:00:00"}, "a time with its offset"),
        ({"reason": "x", "until": "tomorrow"}, "a time with its offset"),
        ({"reason": "x", "until": 7}, "until is missing, or not a text"),
        ({"reason": "x", "for": "2h", "except": "legal"}, "not a list"),
        ({"reason": "x", "for": "2h", "except": ["Legal!"]}, "names of groups"),
        ({"reason": "x", "for": "2h", "except": ["legal"] * 21}, "at most 20"),
    ],
)
def test_a_freeze_that_cannot_be_is_refused_with_what_would_be_right(shop: Shop, body: Any, said: str) -> None:
    """And nothing is frozen."""
    answer = shop.api("POST", "/targets/shop/production/freeze", body, who="lena")
    assert (answer.status_code, said in answer.json["detail"]) == (422, True), answer.json["detail"]
    assert shop.api("GET", "/targets/shop/production").json["freezes"] == []


def test_a_target_has_a_few_freezes_and_each_is_ended_by_its_id(shop: Shop) -> None:
    """Asked for again, a freeze is the same one. The most is 10, and one of several has to be named."""
    path = "/targets/shop/production"
    ids = [shop.act(f"{path}/freeze", {"reason": f"r{n}", "from": SOON, "for": f"{n}h"})["id"] for n in range(1, 11)]
    assert shop.act(f"{path}/freeze", {"reason": "r3", "from": SOON, "for": "3h"})["id"] == ids[2]
    shown = shop.api("GET", path).json["freezes"]
    assert [(it["id"], it["reason"], it["person"], it["begun"]) for it in shown] == [
        (id, f"r{n}", "lena", False) for n, id in enumerate(ids, 1)
    ]
    for body, verb, said in (
        ({"reason": "one more", "for": "2h"}, "freeze", "has 10 freezes of people already"),
        ({}, "unfreeze", f"{ids[0][:7]} (r1)"),
        ({"freeze": "none"}, "unfreeze", "name one freeze"),
    ):
        answer = shop.api("POST", f"{path}/{verb}", body, who="lena")
        assert (answer.status_code, said in answer.json["detail"]) == (422, True)
    for id in ids:
        assert shop.act(f"{path}/unfreeze", {"freeze": id[:7]})["id"] == id
    assert shop.api("GET", path).json["freezes"] == []


def test_an_approval_is_the_same_fact_until_something_changed(shop: Shop) -> None:
    """Repeating it repeats its id; after a revocation it is a new one."""
    body = {"application": "shop", "gate": "legal"}
    first = shop.act(f"/commits/{REPO}/{sha_of('one')}/approvals", body)["id"]
    assert shop.act(f"/commits/{REPO}/{sha_of('one')}/approvals", body)["id"] == first
    shop.settle()
    assert shop.act(f"/commits/{REPO}/{sha_of('one')}/approvals", body)["id"] == first
    shop.act(f"/commits/{REPO}/{sha_of('one')}/revocations", body | {"comment": "no"})
    shop.settle()
    assert shop.commit("one")["applications"]["shop"]["gates"]["legal"]["state"] == "revoked"
    assert shop.act(f"/commits/{REPO}/{sha_of('one')}/approvals", body)["id"] != first
    shop.settle()
    assert shop.commit("one")["applications"]["shop"]["gates"]["legal"]["state"] == "passed"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (f"{COMMIT}/approvals", {"application": "shop", "gate": "nope"}, 404),
        (f"{COMMIT}/approvals", {"application": "nope", "gate": "legal"}, 404),
        (f"{COMMIT}/approvals", {"application": "shop", "gate": "scan"}, 403),
        (f"{COMMIT}/approvals", {"gate": "legal"}, 422),
        (f"{COMMIT}/approvals", {"application": "shop", "gate": "legal", "comment": "x" * 3000}, 422),
        (f"{COMMIT}/revocations", {"application": "shop", "gate": "legal"}, 422),
        (f"{TARGET}/deployments", {"kind": "destroy", "sha": sha_of("one"), "reason": "x"}, 422),
        (f"{TARGET}/deployments", {"kind": "deploy", "sha": sha_of("one")}, 422),
        (f"{TARGET}/deployments", {"kind": "retry", "sha": sha_of("one"), "reason": "x"}, 422),
        (f"{TARGET}/deployments", {"kind": "rollback", "reason": "x"}, 422),
        (f"{TARGET}/pause", {}, 422),
        (f"{TARGET}/unfreeze", {}, 422),
        (f"{TARGET}/explode", {}, 404),
        (f"{COMMIT}/approvals", [], 400),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(shop: Shop, path: str, body: Any, status: int) -> None:
    """With a reason that says what would be right."""
    before = shop.commit("one")
    client = Client(shop.greenlight.apps["board"])
    answer = client.post(path, json=body, headers={"Authorization": f"Bearer {TOKENS['lena']}"})
    assert answer.status_code == status, answer.get_data(as_text=True)
    assert json.loads(answer.get_data())["detail"]
    shop.settle()
    assert shop.commit("one")["applications"]["shop"]["environments"] == before["applications"]["shop"]["environments"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/api/v1/commits", "/api/v1/triggers"])
def test_a_405_says_what_is_allowed(shop: Shop, path: str) -> None:
    """RFC 9110, 15.5.6: it must."""
    headers = {"Authorization": f"Bearer {TOKENS['lena']}"}
    answer = Client(shop.greenlight.apps["board"]).put(path, headers=headers)
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


def test_pages_of_strangers_cannot_speak_through_a_readers_browser(shop: Shop) -> None:
    """Neither from another origin, nor by a name that was rebound to this machine."""
    client = Client(shop.greenlight.apps["board"])
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/", headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.get("/", headers={"Origin": "null"}).status_code == 403
    assert client.get("/", headers={"Host": "[evil"}).status_code == 403
    token = {"Authorization": f"Bearer {TOKENS['lena']}"}
    answer = client.post(
        f"{TARGET}/pause", data="reason=x", content_type="application/x-www-form-urlencoded", headers=token
    )
    assert answer.status_code == 400


def test_reading_needs_a_person_where_it_is_not_free(shop: Shop) -> None:
    """On any address but loopback."""
    from dataclasses import fields, replace

    from greenlight.board import app as board
    from greenlight.service.publisher import InLog

    it = shop.greenlight
    deps = board.Deps(it.clock, it.ledger, it.pipeline, InLog(), it.log, people=it.people)
    assert "open_reads" in {field.name for field in fields(deps)}
    client = Client(board.create_app(replace(deps, open_reads=False)))
    assert client.get("/", headers={"Host": "board.example"}).status_code == 401
    assert client.get("/api/v1/commits").headers["WWW-Authenticate"] == "Bearer"
    assert client.get("/metrics").status_code == 401
    assert client.get("/healthz").status_code == 200
    assert (
        client.get("/api/v1/people/me", headers={"Authorization": f"Bearer {TOKENS['lena']}"}).get_json()["id"]
        == "lena"
    )


def test_the_pages_say_what_a_person_must_know_and_escape_the_rest(shop: Shop) -> None:
    """Decisions, who can give what, and a branch's name as text."""
    (shop.folder / "config" / f"fail-{sha_of('two')}").touch()
    shop.push("two", before="one")
    shop.build("two")
    shop.watch.end("staging", sha_of("two"))
    shop.act("/targets/shop/production/pause", {"reason": "<script>alert(1)</script>"})
    shop.settle()
    client = Client(shop.greenlight.apps["board"])
    index = client.get("/")
    text = index.get_data(as_text=True)
    assert "anyone of legal" in text
    assert 'class="tag failed"' in text
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "default-src &#39;none&#39;" not in index.headers["Content-Security-Policy"]
    assert "script-src 'self';" in index.headers["Content-Security-Policy"]
    assert "unsafe" not in index.headers["Content-Security-Policy"]
    page = client.get(f"/commits/{REPO}/{sha_of('two')}").get_data(as_text=True)
    assert "exit status 3" in page
    assert "the new version does not answer" in page
    assert "Where the time went" in page
    shop.act(
        f"/commits/{REPO}/{sha_of('two')}/revocations", {"application": "shop", "gate": "build", "comment": "<i>no</i>"}
    )
    shop.settle()
    page = client.get(f"/commits/{REPO}/{sha_of('two')}").get_data(as_text=True)
    assert "lena revoked build" in page.replace("<wbr>", "")
    assert "“&lt;i&gt;no&lt;/i&gt;”" in page, "the journal says who and why"
    with client.get("/static/board.css") as sheet:
        assert sheet.status_code == 200


def test_what_is_taken_back_after_the_deployment_is_shown_as_too_late(shop: Shop) -> None:
    """The commit stays deployed; the decision stays ready; the reason says what nobody may overlook."""
    shop.act(
        f"/commits/{REPO}/{sha_of('one')}/revocations", {"application": "shop", "gate": "build", "comment": "flaky"}
    )
    shop.settle()
    staging = shop.environment("one", "staging")
    assert (staging["decision"], staging["deployment"]["outcome"]) == ("ready", "succeeded")
    assert staging["reasons"][0].startswith("too late: build was revoked by lena")
    production = shop.environment("one", "production")
    assert production["decision"] == "blocked"
    assert not any("too late" in reason for reason in production["reasons"])
    assert "too late:</b> build was revoked" in Client(shop.greenlight.apps["board"]).get("/").get_data(as_text=True)


def test_a_page_of_commits_reads_what_they_share_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets and pushes are read as often for fifty commits as for one; what other threads read meanwhile is not counted."""
    read: list[str] = []
    here = threading.get_ident()
    for name in ("target", "targets", "pushes", "decisions"):
        method = getattr(SqliteLedger, name)

        def counted(self: SqliteLedger, *words: Any, name: str = name, method: Any = method, **options: Any) -> Any:
            if threading.get_ident() == here:
                read.append(name)
            return method(self, *words, **options)

        monkeypatch.setattr(SqliteLedger, name, counted)

    def reads(path: str) -> list[str]:
        read.clear()
        assert Client(shop.greenlight.apps["board"]).get(path).status_code == 200
        return sorted(read)

    pages = ("/", "/api/v1/commits", "/api/v1/targets")
    few = [reads(path) for path in pages]
    for n in range(60):
        shop.push(f"c{n}", before="one")
    shop.settle()
    assert [reads(path) for path in pages] == few
    assert reads("/api/v1/targets") == ["targets"]


def test_the_page_of_a_commit_with_thousands_of_entries_shows_the_newest_and_says_so(shop: Shop) -> None:
    """As many rows as ever; with all of them, nothing is said."""
    board, path = Client(shop.greenlight.apps["board"]), f"/commits/{REPO}/{sha_of('one')}?everything"
    assert "are shown" not in board.get(path).get_data(as_text=True)
    now = datetime.now(UTC)
    for start in range(0, 6000, 1000):
        entries = [
            NewEntry(f"commit/{REPO}/{sha_of('one')}", "com.github.status", now, f"n{n:04}", {}, REPO, sha_of("one"))
            for n in range(start, start + 1000)
        ]
        shop.greenlight.ledger.transact(Transaction(entries=entries))
    page = board.get(path).get_data(as_text=True)
    assert "the newest 500 entries" in page
    assert page.count(">com.github.status") == 500
