"""The pages as a browser asks for them: what they say, how they stay current, and what people do by their forms."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from greenlight.broker.trigger_spec import TriggerSpec
from greenlight.entrypoints.compose import ThirdParties
from support.flow import NEW, PIPELINE, REPO, TOKENS, Shop, push_payload, sha_of

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """`one` runs in staging, and production waits for legal."""
    started = Shop(tmp_path_factory.mktemp("shop")).start()
    started.push("one")
    started.build("one")
    started.scan("one")
    started.watch.end("staging", sha_of("one"))
    started.settle()
    yield started
    started.stop()


@pytest.fixture
def client(shop: Shop) -> Client:
    return Client(shop.greenlight.apps["board"])


def look(client: Client, path: str, who: str | None = None) -> TestResponse:
    headers = {**BROWSER, **({"Authorization": f"Bearer {TOKENS[who]}"} if who else {})}
    return client.get(path, headers=headers)


def send(client: Client, path: str, who: str, **fields: str) -> TestResponse:
    return client.post(path, data=fields, headers={**BROWSER, "Authorization": f"Bearer {TOKENS[who]}"})


def words(answer: TestResponse) -> str:
    """Return what people read of a page, on one line."""
    text = answer.get_data(as_text=True)
    text = re.sub(r"<wbr>", "", text[text.index("<main") :])
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


COMMIT = f"/commits/{REPO}/{sha_of('one')}"


def test_the_board_says_what_runs_and_who_has_to_act(client: Client) -> None:
    """By title, with a name in the sentence; whoever may act sees that it waits for them."""
    said = words(look(client, "/"))
    assert "one" in said
    assert "anyone of legal" in said
    assert "Nobody is logged in here" in said
    said = words(look(client, "/", "lena"))
    assert "1 approval waits for you" in said
    assert "you or anyone of legal" in said
    assert "No approval waits for you" in words(look(client, "/", "dev"))


def test_the_page_of_a_commit_says_the_verdict_and_offers_what_the_person_may_do(client: Client) -> None:
    """Nobody is offered what would be refused, with the reason there instead; operators may do more."""
    for who, note, offered in (
        (None, "You are not logged in", ()),
        ("lena", "You may sign legal", ("/approve?", "/refuse?", "/override?")),
        ("dev", "You may not sign legal", ("/override?",)),
    ):
        page = look(client, COMMIT, who)
        waits = "you or anyone of legal" if who == "lena" else "anyone of legal"
        assert f"Runs in staging. Production waits for {waits} ." in words(page), who
        assert note in words(page)
        found = {link for link in ("/approve?", "/refuse?", "/override?") if link in page.get_data(as_text=True)}
        assert found == set(offered), who


@pytest.mark.parametrize("host", ["github.com", "ghe.example.com:8443", None])
def test_links_lead_to_the_github_that_pushed(tmp_path: Path, host: str | None) -> None:
    """Also to a GitHub Enterprise Server; a repository that GitHub never pushed has none."""
    shop = Shop(tmp_path).start()
    try:
        if host is None:
            shop.build("two")
        else:
            for at, (word, before) in enumerate((("one", NEW), ("two", "one"))):
                repository = {**push_payload(word, at=at)["repository"], "html_url": f"https://{host}/Acme/Shop"}
                shop.push(word, before=before, repository=repository)
                if word == "one":
                    shop.build("one")
                    shop.watch.end("staging", sha_of("one"))
        shop.settle()
        page = look(Client(shop.greenlight.apps["board"]), f"/commits/{REPO}/{sha_of('two')}")
        found = set(re.findall(r'href="(https?://[^"]+/acme/shop/[^"]+)"', page.get_data(as_text=True)))
        compare = shop.api("GET", "/targets/shop/staging/diff").get_json()["compare"]
        web, one, two = f"https://{host}/acme/shop", sha_of("one"), sha_of("two")
        linked = {f"{web}/commit/{two}", f"{web}/compare/{one[:12]}...{two[:12]}"}
        assert found == (set() if host is None else linked)
        assert compare == (None if host is None else f"{web}/compare/{one}...{two}")
    finally:
        shop.stop()


@pytest.mark.parametrize(
    "path",
    ["/", "/approvals", "/commits", f"/commits?q={sha_of('one')[:8]}", COMMIT, "/targets/shop/staging"],
)
def test_an_open_page_asks_for_its_changing_part_and_gets_it_once(client: Client, path: str) -> None:
    """The part is what stands in the page's main element; a second time it is `304`, without a body."""
    page = look(client, path)
    assert page.status_code == 200
    address = re.search(r'hx-get="([^"]+)"', page.get_data(as_text=True))
    assert address is not None
    part = client.get(address[1].replace("&amp;", "&"), headers=BROWSER)
    assert "<html" not in part.get_data(as_text=True)
    # A moment later the figures of what goes on are others.
    moving = re.compile(r'(?s)<table class="fall">.*?</table>|[\d.]+ ?(?:ms|s|min)?')
    inner, whole = (moving.sub("#", it.get_data(as_text=True)) for it in (part, page))
    assert inner.strip() in whole
    again = client.get(address[1].replace("&amp;", "&"), headers={**BROWSER, "If-None-Match": part.headers["ETag"]})
    assert (again.status_code, again.get_data()) == (304, b"")
    packed = client.get(path, headers={**BROWSER, "Accept-Encoding": "gzip"})
    assert gzip.decompress(packed.get_data()) == page.get_data()


def test_what_one_person_sees_is_not_kept_for_another(client: Client) -> None:
    """The same address, asked for in turns."""
    for _ in range(2):
        assert "waits for you" in words(look(client, "/", "lena"))
        assert "Nobody is logged in here" in words(look(client, "/"))


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/nope", 404, "Not Found"),
        (f"/commits/{REPO}/{'9' * 40}", 404, "no commit 9999"),
        (f"/commits/{REPO}/12", 404, "too short"),
        ("/targets/shop/nope", 404, "known are staging"),
        ("/deployments/nope", 404, "no deployment &#39;nope&#39;"),
        ("/commits?cursor=%00", 422, "cursor"),
        ("/commits?state=lost", 422, "there are waiting"),
    ],
)
def test_an_error_is_a_page_with_what_happened_and_a_way_on(client: Client, path: str, status: int, said: str) -> None:
    """For a program that asks for the same, it is JSON."""
    page = look(client, path)
    assert page.status_code == status
    assert page.content_type.startswith("text/html")
    assert said.casefold() in words(page).casefold()
    assert 'href="/"' in page.get_data(as_text=True)
    assert client.get(path).content_type == "application/problem+json"


def test_a_list_is_searched_and_filtered_by_its_address(client: Client, shop: Shop) -> None:
    """Title, author, sha; application, environment, state; and what is typed is text."""
    title = shop.greenlight.ledger.titles(REPO, [sha_of("one")])[sha_of("one")]
    link = f'href="{COMMIT}"'
    for query, found in (
        (f"q={title.title}", True),
        (f"q={title.author[:4].upper()}", True),
        (f"q={sha_of('one')[:9]}", True),
        ("q=nothing+like+it", False),
        ("application=shop&environment=staging&state=deployed", True),
        ("application=shop&environment=production&state=deployed", False),
        ("application=other", False),
        (f"author={title.author}", True),
        ("author=nobody", False),
    ):
        assert (link in look(client, f"/commits?{query}").get_data(as_text=True)) is found, query
    page = look(client, "/commits?q=%3Cscript%3Ealert(1)%3C/script%3E").get_data(as_text=True)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_form_says_what_will_happen_and_then_it_does(tmp_path: Path) -> None:
    """An approval in the browser ships the commit; a refusal of the wrong person changes nothing and says why."""
    shop = Shop(tmp_path).start()
    shop.push("one")
    shop.build("one")
    shop.scan("one")
    shop.watch.end("staging", sha_of("one"))
    client = Client(shop.greenlight.apps["board"])
    path = f"{COMMIT}/approve?application=shop&gate=legal"
    gates = shop.commit("one")["applications"]["shop"]["gates"]
    gate = next(name for name, it in gates.items() if "approval" in it["reason"])
    path = f"{COMMIT}/approve?application=shop&gate={gate}"
    assert "It is deployed to production at once" in words(look(client, path, "lena"))
    assert "You may not: dev is not in legal" in words(look(client, path, "dev"))
    assert look(client, path).headers["Location"].startswith("/login?next=")
    refused = send(client, path, "dev", application="shop", gate=gate)
    assert (refused.status_code, "dev is not in legal" in words(refused)) == (403, True)
    assert shop.commit("one")["applications"]["shop"]["gates"][gate]["state"] == "pending"
    done = send(client, path, "lena", application="shop", gate=gate, reason="fine")
    assert (done.status_code, done.headers["Location"]) == (303, COMMIT)
    shop.watch.end("production", sha_of("one"))
    said = words(look(client, COMMIT, "lena"))
    assert f"lena approved {gate}" in said
    assert "“fine”" in said
    shop.stop()


def test_whoever_approves_is_told_what_goes_out_though_a_gate_said_no_to_it(tmp_path: Path) -> None:
    """A commit that failed goes out inside a newer one; its own page says so, and everybody sees an override."""
    shop = Shop(tmp_path).start()
    client = Client(shop.greenlight.apps["board"])

    def ships(word: str, before: str, scan: str) -> str:
        shop.push(word, before=before)
        shop.build(word)
        shop.scan(word, scan)
        shop.watch.end("staging", sha_of(word))
        shop.settle()
        return f"/commits/{REPO}/{sha_of(word)}"

    def approves(path: str) -> None:
        assert send(client, f"{path}/approve", "lena", application="shop", gate="legal").status_code == 303

    approves(ships("zero", "nothing", "passed"))
    shop.watch.end("production", sha_of("zero"))
    ships("one", "zero", "failed")
    two = ships("two", "one", "passed")
    for path in ("/", "/approvals", two, f"{two}/approve?application=shop&gate=legal"):
        assert "scan failed" in words(look(client, path, "lena")), path
    assert "brings 2 commits" in words(look(client, "/", "lena"))
    assert "it contains this commit" in words(look(client, COMMIT))
    approves(two)
    shop.watch.end("production", sha_of("two"))
    shop.settle()
    said = words(look(client, COMMIT))
    assert re.search(r"Runs in staging and production as a part of a newer commit, although +scan failed", said)
    deployment = f"/deployments/{shop.environment('two', 'production')['deployment']['id']}"
    brought = (
        r"Commits that it brings 2 · gates as they are now \w{7} two acme-developer \w{7} one scan failed acme-dev"
    )
    assert re.search(brought, words(look(client, deployment)))
    gate = {"application": "shop", "environment": "production", "gate": "scan", "reason": "false alarm"}
    asked = look(client, f"{COMMIT}/override?application=shop&environment=production", "omar")
    assert "Which gate" in words(asked)
    assert "go out" not in words(asked), "what runs contains it"
    assert "A newer commit has taken its place in production" in words(asked)
    assert send(client, f"{COMMIT}/override", "omar", **gate).status_code == 303
    target = "/targets/shop/production"
    assert "scan overridden" not in words(look(client, target))
    assert send(client, f"{target}/deploy", "omar", reason="at once", sha=sha_of("one")).status_code == 303
    approves(COMMIT)
    shop.watch.end("production", sha_of("one"))
    shop.settle()
    for path in ("/", target):
        assert "scan overridden by omar" in words(look(client, path)), path
    deployment = f"/deployments/{shop.environment('one', 'production')['deployment']['id']}"
    assert re.search(r"Commits that it takes back 1 \w{7} two acme", words(look(client, deployment)))
    shop.stop()


def test_the_form_of_a_rollback_names_the_gates_that_have_not_passed_by_now(tmp_path: Path) -> None:
    """For each commit that it can lead to. The gates refuse what they refused before, and nothing else."""
    shop = Shop(tmp_path, pipeline=PIPELINE.replace("require: [build]", "require: [scan]")).start()
    client, target = Client(shop.greenlight.apps["board"]), "/targets/shop/staging"
    for before, word in pairwise(("nothing", "zero", "one", "two")):
        shop.push(word, before=before)
        shop.scan(word)
        shop.watch.end("staging", sha_of(word))
    said = words(look(client, f"{target}/rollback", "omar"))
    assert "It begins at once" in said
    assert "scan" not in said, "every gate is green"
    assert send(client, f"{target}/rollback", "omar", sha=sha_of("one"), reason="slow").status_code == 303
    assert shop.watch.end("staging", sha_of("one"), n=1)["outcome"] == "succeeded"
    for word in ("zero", "two"):
        shop.scan(word, "failed", run=2)
    gate = {"application": "shop", "environment": "staging", "gate": "scan", "reason": "false alarm"}
    assert send(client, f"/commits/{REPO}/{sha_of('two')}/override", "omar", **gate).status_code == 303
    until = f"{datetime.now(UTC) + timedelta(days=9):%Y-%m-%d}"
    assert (
        send(client, f"{target}/freeze", "omar", reason="sale", until=f"{until}T00:00", zone="UTC").status_code == 303
    )
    shop.settle()
    page = look(client, f"{target}/rollback", "omar")
    said = words(page)
    assert re.search(r"two \w{7} acme-developer · rolled back from by omar scan overridden by omar zero", said)
    assert re.search(r"zero \w{7} acme-developer · succeeded [\d: -]+ UTC scan failed", said)
    assert f'value="{sha_of("zero")}" required checked' in page.get_data(as_text=True), "as without a choice"
    assert f"The target is frozen until {until} 00:00:00 UTC: sale (by omar). The request waits for that" in said
    answer = send(client, f"{target}/rollback", "omar", sha=sha_of("zero"), reason="slow")
    assert (answer.status_code, "cannot be rolled back to: scan" in words(answer)) == (422, True)
    body = {"kind": "rollback", "sha": sha_of("two"), "reason": "slow"}
    red = shop.act(f"{target}/deployments", body, "omar")["red"]
    assert [(name, it["state"], it["by"]) for name, it in red.items()] == [("scan", "overridden", ["omar"])]
    shop.stop()


OTHERS = """
  - name: docs
    repo: acme/shop
    branches: [main]
    operators: [legal, engineering]
    gates: {}
    environments:
      - {name: live, require: [], deploy: {command: {run: [sh, deploy.sh], timeout: 30s}}}
  - name: blog
    repo: acme/shop
    branches: [main]
    operators: [legal, engineering]
    gates:
      legal: {approval: {groups: [legal], count: 1, not: author}}
    environments:
      - {name: live, require: [legal], deploy: {command: {run: [sh, deploy.sh], timeout: 30s}}}
"""


def test_what_needs_a_person_is_listed_by_urgency(tmp_path: Path) -> None:
    """Failures before pauses, the last environment before others, then what has waited longest; not as the file has them."""
    shop = Shop(tmp_path, pipeline=PIPELINE.replace("require: [build]\n", "require: [build, legal]\n") + OTHERS).start()
    client = Client(shop.greenlight.apps["board"])
    for target in ("blog/live", "shop/production"):
        assert send(client, f"/targets/{target}/pause", "omar", reason="sale").status_code == 303
    for word in ("one", "two"):
        (shop.folder / "config" / f"fail-{sha_of(word)}").touch()
    shop.push("one")
    shop.build("one")
    shop.approve("one")
    for environment in ("staging", "live"):
        assert shop.watch.end(environment, sha_of("one"))["outcome"] == "failed"
    shop.push("two", before="one")
    shop.build("two")
    assert shop.watch.end("live", sha_of("two"))["outcome"] == "failed"
    shop.settle()
    page = look(client, "/", "lena").get_data(as_text=True)
    urgent = re.findall(r'<p class="what"><a href="/targets/([^"]+)"', page)
    assert urgent == ["docs/live", "shop/staging", "blog/live", "shop/production"]
    assert re.findall(r"(\w+) → (\w+)", page[page.index('id="inbox"') :]) == [("blog", "live"), ("shop", "staging")]
    shop.stop()


def test_what_a_form_needs_is_asked_for_and_what_was_typed_stays(client: Client) -> None:
    """A pause without a reason is refused in the form; with one it is done, and the target's page says so."""
    path = "/targets/shop/production/pause"
    missing = send(client, path, "omar", reason=" ")
    assert missing.status_code == 422
    assert "A pause needs a reason" in words(missing)
    assert send(client, path, "omar", reason="<b>release week</b>").status_code == 303
    page = look(client, "/targets/shop/production")
    assert "&lt;b&gt;release week&lt;/b&gt;" in page.get_data(as_text=True)
    assert "Resume…" in words(look(client, "/targets/shop/production", "omar"))
    assert "It is not paused" not in words(look(client, "/targets/shop/production/resume", "omar"))
    assert send(client, "/targets/shop/production/resume", "omar").status_code == 303
    for verb in ("cancel", "withdraw", "rollback"):
        said = words(look(client, f"/targets/shop/production/{verb}", "omar"))
        assert "You may not:" in said, verb


def test_a_text_of_a_form_is_as_long_as_one_of_the_api(shop: Shop, client: Client) -> None:
    """At most 2000 characters, of which a line end is one; a longer one changes nothing."""
    of_target, sha = "/targets/shop/production", sha_of("one")
    forms = [
        *((f"{COMMIT}/{verb}", "lena") for verb in ("approve", "refuse", "override")),
        *((f"{of_target}/{verb}", "omar") for verb in ("deploy", "rollback", "pause", "resume", "cancel", "withdraw")),
        *((f"{of_target}/{verb}", "omar") for verb in ("freeze", "unfreeze")),
    ]
    fields = {"application": "shop", "gate": "legal", "environment": "production", "sha": sha}
    fields |= {"until": "2099-01-01T08:00", "zone": "UTC"}

    def entries() -> list[int]:
        return [len(shop.greenlight.ledger.journal(it)) for it in ("target/shop/production", f"commit/{REPO}/{sha}")]

    before = entries()
    for path, who in forms:
        answer = send(client, path, who, reason="x" * 2001, **fields)
        assert (answer.status_code, "longer than 2000 characters" in words(answer)) == (422, True), path
    answer = send(client, f"{of_target}/freeze", "omar", reason="x", **fields, **{"except": "Legal!"})
    assert (answer.status_code, "names of groups" in words(answer)) == (422, True)
    assert entries() == before
    assert send(client, f"{of_target}/pause", "omar", reason="\r\n".join("x" * 1000)).status_code == 303
    assert send(client, f"{of_target}/resume", "omar").status_code == 303


def test_a_target_is_frozen_and_unfrozen_by_forms(client: Client) -> None:
    """Times are local in the zone that the form names. What is wrong is said in the form, and what was typed stays."""
    path = "/targets/shop/production"
    past, first, second, third = (f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}" for days in (-9, 9, 12, 13))
    form = {"reason": "<b>sale</b>", "until": f"{first}T08:00", "zone": "Asia/Kolkata", "except": "legal"}
    for wrong, said in (
        ({"until": ""}, "A freeze needs its end"),
        ({"until": "Monday"}, "`until` must be a date with a time"),
        ({"until": f"{first}T08:00+01:00"}, "`until` must be a date with a time"),
        ({"zone": "Asia/Kolkatta"}, "is not a time zone; did you mean"),
        ({"until": f"{past}T08:00"}, "is over"),
        ({"from": f"{second}T08:00"}, "must end after it begins"),
        ({"reason": " "}, "A freeze needs a reason"),
    ):
        answer = send(client, f"{path}/freeze", "omar", **{**form, **wrong})
        assert (answer.status_code, said in words(answer)) == (422, True), said
        assert 'value="legal" checked' in answer.get_data(as_text=True)
    assert "There is no freeze" in words(send(client, f"{path}/unfreeze", "omar"))
    assert send(client, f"{path}/freeze", "omar", **form).status_code == 303
    planned = {**form, "from": f"{second}T08:00", "until": f"{third}T08:00", "zone": "UTC"}
    assert send(client, f"{path}/freeze", "omar", **planned).status_code == 303
    page = look(client, path, "omar")
    assert "&lt;b&gt;sale&lt;/b&gt;" in page.get_data(as_text=True)
    said = words(page)
    assert f"frozen until {first} 02:30:00 UTC" in said
    assert f"Planned freeze {second} 08:00 to {third} 08:00 UTC, by omar" in said
    assert "(except requests of legal) · end it…" in said
    assert "omar froze production from" in said
    links = re.findall(r"/targets/shop/production/unfreeze\?freeze=(\w+)", page.get_data(as_text=True))
    for id in links:
        assert f'value="{id}" required checked' in look(client, f"{path}/unfreeze?freeze={id}", "omar").get_data(
            as_text=True
        )
        assert send(client, f"{path}/unfreeze", "omar", freeze=id).status_code == 303
    assert len(links) == 2
    said = words(look(client, path, "omar"))
    assert ("frozen until" in said, "omar ended omar’s freeze of production" in said) == (False, True)


def test_webhooks_and_their_verdicts_are_shown_with_the_reason(client: Client, shop: Shop) -> None:
    """Accepted with its commit, ignored and refused with the reason; a forged one hides no other."""
    webhooks = Client(shop.greenlight.apps["webhooks"])
    forged = {"X-GitHub-Event": "push", "X-Hub-Signature-256": f"sha256={'0' * 64}"}
    for _ in range(300):
        assert webhooks.post("/webhooks/github", json={}, headers=forged).status_code == 401
    said = words(look(client, "/activity"))
    assert "unauthenticated 401" in said
    assert "Every event is delivered." in said
    said = words(look(client, "/setup"))
    assert "Point GitHub at it" in said
    assert "Last heard" in said
    assert f"{REPO} {sha_of('one')[:7]}" in said
    assert "The last refused webhook at /webhooks/github came just now : 401" in said


def refusing() -> ThirdParties:
    """A subscriber that refuses every event, so that none is tried again."""

    def app(environ: Mapping[str, Any], start_response: Any) -> list[bytes]:
        start_response("400 Bad Request", [])
        return [b"<i>not for me</i>"]

    return ThirdParties([TriggerSpec.to_service("refusing", "refusing")], {"refusing": app})


def test_a_dead_letter_is_replayed_or_discarded_in_the_browser(tmp_path: Path) -> None:
    """Whoever operates its application may discard it, with a reason; it is gone then, and the page says what happened."""
    shop = Shop(tmp_path, third_parties=refusing()).start()
    shop.push("one")
    shop.settle()
    client = Client(shop.greenlight.apps["board"])
    (letter,) = shop.api("GET", "/dead-letters").json["dead_letters"][:1]
    path = f"/activity/dead-letters/{letter['id']}"
    assert "dead letter" in words(look(client, "/activity"))
    assert letter["event"]["type"] in words(look(client, path, "omar"))
    assert "&lt;i&gt;not for me&lt;/i&gt;" in look(client, path, "omar").get_data(as_text=True)
    assert send(client, f"{path}/replay", "omar").headers["Location"] == "/activity"
    shop.settle()
    (letter,) = shop.api("GET", "/dead-letters").json["dead_letters"][:1]
    path = f"/activity/dead-letters/{letter['id']}"
    assert send(client, f"{path}/discard", "omar").status_code == 422
    assert send(client, f"{path}/discard", "omar", reason="the receiver is gone").status_code == 303
    assert "It is closed" in words(look(client, path, "omar"))
    assert look(client, "/activity/dead-letters/99999").status_code == 404
    shop.stop()
