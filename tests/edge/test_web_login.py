"""Web logins: the whole way through a real provider, what an answer must prove, and whom it leads to."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from werkzeug.test import TestResponse

from greenlight.board.login.config import GitHubConfig, LoginConfig, OidcConfig, ProxyConfig
from greenlight.board.login.outside import AT_ONCE, asking
from support.board import HERE, PUBLIC, Hands, board_of, browser
from support.flow import REPO, Shop, sha_of
from support.idp import MISSING, SECRET, Accounts, Answers, Traveller, a_key, real_provider

UNDER_WAY = "greenlight-login-8080"
ACCOUNTS: Accounts = {
    "a1": {"name": "Lena", "email": "lena@acme.example", "email_verified": True, "groups": ["legal"]},
    "a2": {"name": "Mallory", "email": "lena@acme.example", "email_verified": False},
    "a3": {"name": "Grace", "email": "grace@acme.example", "email_verified": True, "groups": ["legal", "board"]},
    "a4": {"name": "Nobody", "groups": ["legal"]},
    "a5": {"name": "Omar", "github": "omar-gh"},
    "a6": {"name": "Both", "github": "omar-gh", "email": "lena@acme.example", "email_verified": True},
    "a7": {"name": "Sue"},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A commit that waits for the legal department."""
    shop = Shop(tmp_path_factory.mktemp("shop")).start()
    shop.push("one")
    shop.settle()
    yield shop
    shop.stop()


@pytest.fixture
def shop(whole: Shop) -> Iterator[Shop]:
    """The same, with its people: lena by her address, omar by his GitHub login."""
    people = whole.folder / "config" / "people.yaml"
    before = people.read_text()
    people.write_text(before.replace("github: lena-gh", "emails: [Lena@acme.example]"))
    yield whole
    people.write_text(before)


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    if MISSING:
        pytest.skip(MISSING)
    with real_provider(HERE, ACCOUNTS) as found:
        yield found


@pytest.fixture
def answers() -> Iterator[Answers]:
    found = Answers()
    yield found
    found.close()


def secret(name: str) -> str | None:
    return SECRET


Travel = Callable[..., Traveller]


@pytest.fixture
def travel(shop: Shop, clock: Hands, issuer: str) -> Travel:
    """Makes a browser before a board that knows the real provider."""

    def make(**options: Any) -> Traveller:
        config = OidcConfig(issuer, "greenlight", "openid profile email groups", github="github", **options)
        app = board_of(shop, clock, LoginConfig(oidc=config, anonymous="nobody"), loopback=True, secret=secret)
        return Traveller(browser(app, HERE), HERE)

    return make


def said(answer: TestResponse) -> str:
    """What the page says went wrong."""
    found = re.search(r'role="alert">([^<]*)<', answer.get_data(as_text=True))
    return found[1] if found else ""


def me(browser: Any) -> dict[str, Any]:
    answer = browser.get("/api/v1/people/me")
    found: dict[str, Any] = answer.get_json() if answer.status_code == 200 else {}
    return found


# Through a real provider.


def test_a_person_logs_in_at_a_real_provider(travel: Travel) -> None:
    """By the page's link, with PKCE, back to the page that was asked for; known by the verified address."""
    it = travel()
    asked = it.board.get("/commits/acme/shop/x")
    page = it.board.get(asked.headers["Location"]).get_data(as_text=True)
    assert 'href="/login/oidc?next=/commits/acme/shop/x"' in page
    url = it.to_provider("oidc", "/commits/acme/shop/x")
    query = parse_qs(urlsplit(url).query)
    assert query["code_challenge_method"] == ["S256"]
    assert query["redirect_uri"] == [f"{HERE}/login/oidc/callback"]
    assert {"state", "nonce", "code_challenge"} <= query.keys()
    answer = it.back(it.at_provider(url, "a1"))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/commits/acme/shop/x"), said(answer)
    assert me(it.board)["id"] == "lena"
    assert it.board.get_cookie("greenlight-8080", domain="127.0.0.1") is not None
    assert it.board.get_cookie(UNDER_WAY, domain="127.0.0.1") is None


@pytest.mark.parametrize(
    ("account", "options", "person", "words"),
    [
        ("a1", {}, {"id": "lena", "groups": ["legal"]}, ""),
        ("a5", {}, {"id": "omar", "groups": ["legal"]}, ""),
        ("a2", {}, {}, "nobody in people.yaml is"),
        ("a3", {}, {}, "`emails: [grace@acme.example]` or `subject: "),
        ("a6", {}, {}, "that of lena, omar in people.yaml"),
        ("a3", {"groups": "groups"}, {"name": "Grace", "groups": ["legal", "board"]}, ""),
        ("a7", {"groups": "groups"}, {}, "nobody in people.yaml is"),
        ("a1", {"groups": "groups"}, {"id": "lena", "groups": ["legal"]}, ""),
    ],
)
def test_claims_lead_to_one_person(
    travel: Travel, account: str, options: dict[str, Any], person: dict[str, Any], words: str
) -> None:
    """By GitHub login, verified address or subject; made of the claims only where they name groups; else to nobody."""
    it = travel(**options)
    answer = it.log_in(account)
    found = me(it.board)
    assert person.items() <= found.items()
    assert bool(found) == bool(person)
    assert answer.status_code == (303 if person else 403)
    assert words in said(answer).replace("&#39;", "'")


def test_a_subject_of_people_yaml_is_a_person(travel: Travel, shop: Shop, issuer: str) -> None:
    """Whose other identities the login adds."""
    people = shop.folder / "config" / "people.yaml"
    people.write_text(f"{people.read_text()}  sue: {{subject: '{issuer}#a7', groups: [board]}}\n")
    it = travel()
    it.log_in("a7")
    assert me(it.board) | {"name": ""} == {"id": "sue", "name": "", "groups": ["board"]}


def test_who_cannot_be_recognized_as_an_author_is_told_so(travel: Travel) -> None:
    """On the page, and by the refusal of the vote."""
    it = travel(groups="groups")
    it.log_in("a4")
    page = it.board.get("/login").get_data(as_text=True)
    assert "counts at no gate with <code>not: author</code>" in page
    token = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
    assert token is not None
    path = f"/api/v1/commits/{REPO}/{sha_of('one')}/approvals"
    body = {"application": "shop", "gate": "legal"}
    answer = it.board.post(path, json=body, headers={"X-CSRF-Token": token[1]})
    assert answer.status_code == 403
    assert "add `github` or `emails`" in answer.get_json()["detail"]
    it = travel()
    it.log_in("a1")
    assert "not: author" not in it.board.get("/login").get_data(as_text=True)


def test_an_answer_is_good_once_and_in_the_browser_that_began(travel: Travel, clock: Hands) -> None:
    """Replayed, in another browser, with another state, or for another login that was begun since: nothing."""
    it, other = travel(), travel()
    url = it.at_provider(it.to_provider("oidc"), "a1")
    assert other.back(url).status_code == 401
    assert it.back(url.replace("state=", "state=x")).status_code == 401, "and that login is over"
    assert it.back(url).status_code == 401
    first = it.at_provider(it.to_provider("oidc"), "a1")
    it.to_provider("oidc")
    assert it.back(first).status_code == 401
    url = it.at_provider(it.to_provider("oidc"), "a1")
    kept = it.board.get_cookie(UNDER_WAY, domain="127.0.0.1")
    assert kept is not None
    assert it.back(url).status_code == 303
    assert "no login under way" in said(it.back(url))
    it.board.set_cookie(kept.key, kept.value, domain="127.0.0.1")
    assert "does not accept" in said(it.back(url)), "nor with the old cookie: the provider knows the code"
    assert not me(other.board)


def test_a_removed_person_is_logged_out_also_where_the_claims_name_groups(travel: Travel, shop: Shop) -> None:
    """The session is hers, not that of whoever the claims would make now."""
    it = travel(groups="groups")
    it.log_in("a1")
    people = shop.folder / "config" / "people.yaml"
    people.write_text("\n".join(line for line in people.read_text().splitlines() if "  lena:" not in line) + "\n")
    assert not me(it.board)


def test_what_the_provider_refuses_is_told_without_its_words(travel: Travel) -> None:
    """Only a code of RFC 6749 is repeated."""
    it = travel()
    for error, shown in (("access_denied", "access_denied"), ("<b>call 555", "without a reason")):
        state = parse_qs(urlsplit(it.to_provider("oidc")).query)["state"][0]
        answer = it.board.get("/login/oidc/callback", query_string={"error": error, "state": state})
        assert answer.status_code == 401
        assert shown in said(answer)


# What an answer must prove: by a provider that lies.


@pytest.fixture
def lying(shop: Shop, clock: Hands, answers: Answers) -> Traveller:
    """A browser before a board whose provider answers as the test wants."""
    config = LoginConfig(oidc=OidcConfig(answers.url, "greenlight"), anonymous="nobody")
    return Traveller(browser(board_of(shop, clock, config, loopback=True, secret=secret), HERE), HERE)


def _come_back(
    it: Traveller,
    answers: Answers,
    token: Callable[[str], Any],
    metadata: Mapping[str, str] = MappingProxyType({}),
    **query: str,
) -> TestResponse:
    """Begin a login, and come back with a code for which the provider gives the token that is made of the nonce."""
    made: dict[str, Any] = {}
    answers.be_a_provider(lambda: made, **metadata)
    asked = parse_qs(urlsplit(it.to_provider("oidc")).query)
    made.update(token(asked["nonce"][0]))
    return it.board.get("/login/oidc/callback", query_string={"code": "c", "state": asked["state"][0], **query})


def _claims(answers: Answers, proof: str, **more: Any) -> dict[str, Any]:
    now = int(time.time())
    base = {"iss": answers.url, "aud": "greenlight", "sub": "1", "iat": now, "exp": now + 300, "nonce": proof}
    email = {"email": "lena@acme.example", "email_verified": True}
    return {name: value for name, value in {**base, **email, **more}.items() if value is not None}


def test_the_lying_provider_can_tell_the_truth(lying: Traveller, answers: Answers) -> None:
    """So that what is refused below is refused for its reason."""
    answer = _come_back(lying, answers, lambda nonce: _token(answers, _claims(answers, nonce)))
    assert answer.status_code == 303, said(answer)
    assert me(lying.board)["id"] == "lena"
    (form,) = [body for path, _, body in answers.asked if path == "/token"]
    assert b"code_verifier=" in form


@pytest.mark.parametrize("token", [{}, {"token_type": "Bearer"}, {"access_token": 7}, []], ids=str)
def test_a_provider_that_gives_no_token_logs_no_one_in(lying: Traveller, answers: Answers, token: Any) -> None:
    """And it is no error of the board's own."""
    answers.be_a_provider(lambda: token)
    asked = parse_qs(urlsplit(lying.to_provider("oidc")).query)
    answer = lying.board.get("/login/oidc/callback", query_string={"code": "c", "state": asked["state"][0]})
    assert (answer.status_code, "begin the login again" in said(answer)) == (401, True)


@pytest.mark.parametrize(
    "kept",
    [b"x", b"[]", b"{}", b"\xff", b"[" * 3000, b'{"state":' * 300, b'{"by": "oidc", "state": "s", "then": "/"}'],
    ids=len,
)
def test_a_cookie_that_the_board_did_not_make_is_no_login(lying: Traveller, answers: Answers, kept: bytes) -> None:
    """And no error of the board's own."""
    answers.be_a_provider(lambda: {})
    lying.board.set_cookie(UNDER_WAY, base64.urlsafe_b64encode(kept).decode(), domain="127.0.0.1")
    answer = lying.board.get("/login/oidc/callback", query_string={"code": "c", "state": "s"})
    assert (answer.status_code, "again" in said(answer)) == (401, True)


@pytest.mark.parametrize(
    ("token", "userinfo", "who"),
    [
        ({"email": None, "email_verified": None}, {"email": "lena@acme.example", "email_verified": True}, "lena"),
        ({"email_verified": None}, {"email": "mallory@acme.example", "email_verified": True}, None),
        ({"email_verified": None}, {"email": "lena@acme.example", "email_verified": True}, "lena"),
        ({"email_verified": False}, {"email": "lena@acme.example", "email_verified": True}, None),
        ({"email": None}, {"email": "lena@acme.example"}, None),
        ({}, {"email": "mallory@acme.example", "email_verified": False}, "lena"),
    ],
)
def test_an_address_is_verified_by_whoever_names_it(
    lying: Traveller, answers: Answers, token: dict[str, Any], userinfo: dict[str, Any], who: str | None
) -> None:
    """The ID token or the userinfo, and never another address: in some directories people write theirs themselves."""
    answers.by_path["/userinfo"] = {"sub": "1", **userinfo}
    more = {"userinfo_endpoint": f"{answers.url}/userinfo"}
    answer = _come_back(lying, answers, lambda nonce: _token(answers, _claims(answers, nonce, **token)), more)
    assert (answer.status_code, me(lying.board).get("id")) == (303 if who else 403, who)


def _token(answers: Answers, claims: dict[str, Any], **header: Any) -> dict[str, Any]:
    return {"access_token": "a", "token_type": "Bearer", "id_token": answers.sign(claims, **header)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://other.example"}, {"aud": "another"}, {"aud": ["greenlight", "other"]}, {"nonce": "x"},
        {"nonce": None}, {"exp": 1}, {"exp": None}, {"iat": None}, {"sub": ""}, {"sub": None}, {"sub": 7},
        {"sub": "x" * 300}, {"azp": "another"}, {"at_hash": "xxxx"},
    ],
    ids=str,
)  # fmt: skip
def test_a_token_must_be_for_this_login(lying: Traveller, answers: Answers, wrong: dict[str, Any]) -> None:
    """Of the issuer, for this client, for this login's nonce, in its time, about somebody."""
    answer = _come_back(lying, answers, lambda nonce: _token(answers, _claims(answers, nonce, **wrong)))
    assert answer.status_code == 401
    assert not me(lying.board)


@pytest.mark.parametrize("forged", ["none", "by the public key as a secret", "by another key", "no token", "a text"])
def test_a_token_must_be_signed_by_the_providers_key(lying: Traveller, answers: Answers, forged: str) -> None:
    """By a private key; `none` and shared secrets are no signatures, whatever the header says."""

    def token(nonce: str) -> dict[str, Any]:
        claims = _claims(answers, nonce)
        good = _token(answers, claims)
        _head, body, _ = good["id_token"].split(".")
        made = {
            "none": lambda: "eyJhbGciOiJub25lIn0." + body + ".",
            "by the public key as a secret": lambda: answers.by_hmac(body),
            "by another key": lambda: answers.sign(claims, a_key("2")),
            "no token": lambda: "",
            "a text": lambda: "a.b.c",
        }[forged]()
        return {**good, "id_token": made}

    answer = _come_back(lying, answers, token)
    assert answer.status_code == 401
    assert not me(lying.board)


def test_an_answer_of_another_issuer_is_mixed_in(lying: Traveller, answers: Answers) -> None:
    """RFC 9207."""
    answer = _come_back(
        lying, answers, lambda nonce: _token(answers, _claims(answers, nonce)), iss="https://other.example"
    )
    assert (answer.status_code, "begin the login again" in said(answer)) == (401, True)


def test_a_rotated_key_is_asked_for_again(lying: Traveller, answers: Answers, clock: Hands) -> None:
    """At most once a minute."""
    assert _come_back(lying, answers, lambda nonce: _token(answers, _claims(answers, nonce))).status_code == 303
    answers.key = a_key("2")
    clock.move(minutes=2)
    answer = _come_back(lying, answers, lambda nonce: _token(answers, _claims(answers, nonce), kid="2"))
    assert answer.status_code == 303, said(answer)


@pytest.mark.parametrize("bad", ["another issuer", "a clear endpoint", "too large", "a redirect", "away", "an error"])
def test_a_provider_that_cannot_be_used_is_named(
    lying: Traveller, answers: Answers, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is followed, and nothing without end is read; the login page says which provider it is."""
    answers.be_a_provider(dict)
    found = answers.by_path["/.well-known/openid-configuration"]

    def redirecting(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", f"{answers.url}/elsewhere")
        request.send_header("Content-Length", "0")
        request.end_headers()

    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            for _ in range(1 << 12):
                request.wfile.write(b" " * 4096)
        except OSError:
            found["cut"] = True

    def failing(request: BaseHTTPRequestHandler) -> None:
        request.send_response(500)
        request.send_header("Content-Length", "0")
        request.end_headers()

    if bad == "another issuer":
        found["issuer"] = "https://other.example"
    elif bad == "a clear endpoint":
        found["token_endpoint"] = "ftp://x/token"
    elif bad == "away":
        del answers.by_path["/.well-known/openid-configuration"]
    else:
        way = {"too large": endless, "a redirect": redirecting, "an error": failing}[bad]
        answers.by_path["/.well-known/openid-configuration"] = way
    answer = lying.board.get("/login/oidc")
    assert answer.status_code in (401, 503)
    assert answers.url in said(answer)
    assert "/elsewhere" not in [path for path, _, _ in answers.asked]
    assert lying.board.get("/login").status_code == 200


def test_a_provider_that_drips_is_given_up(lying: Traveller, answers: Answers, clock: Hands) -> None:
    """However often a little more of its answer comes."""
    sent: list[int] = []

    def dripping(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            for number in range(10_000):
                clock.move(seconds=3)
                request.wfile.write(b" ")
                sent.append(number)
        except OSError:
            pass

    answers.by_path["/.well-known/openid-configuration"] = dripping
    answer = lying.board.get("/login/oidc")
    assert (answer.status_code, "ReadTimeout" in said(answer)) == (503, True)


def test_a_provider_does_not_hold_every_thread_of_the_board(lying: Traveller, answers: Answers) -> None:
    """Who comes while so many wait for it is asked to come again; everything else is answered."""
    answers.be_a_provider(dict)
    with ExitStack() as waiting:
        for _ in range(AT_ONCE):
            waiting.enter_context(asking("it"))
        refused = lying.board.get("/login/oidc")
        assert (refused.status_code, "at once" in said(refused)) == (503, True)
        assert lying.board.get("/login").status_code == 200
    assert lying.board.get("/login/oidc").status_code == 303


# GitHub.


def test_a_person_logs_in_by_github(shop: Shop, clock: Hands, answers: Answers) -> None:
    """Known by the login; a verified address counts as well, and one that is not verified as nothing."""
    config = LoginConfig(github=GitHubConfig("id", answers.url), anonymous="nobody")
    it = Traveller(browser(board_of(shop, clock, config, loopback=True, secret=secret), HERE), HERE)

    def as_github(login: str, *emails: dict[str, Any]) -> TestResponse:
        answers.by_path["/login/oauth/access_token"] = {"access_token": "t", "token_type": "bearer"}
        answers.by_path["/api/v3/user"] = {"login": login, "id": 7, "name": None}
        answers.by_path["/api/v3/user/emails"] = list(emails)
        state = parse_qs(urlsplit(it.to_provider("github")).query)["state"][0]
        return it.board.get("/login/github/callback", query_string={"code": "c", "state": state})

    assert as_github("Omar-GH").status_code == 303
    assert me(it.board)["id"] == "omar"
    posted = next(body for path, _, body in answers.asked if path == "/login/oauth/access_token")
    assert b"client_secret=" + SECRET.encode() in posted
    assert b"code_verifier=" in posted
    lena = {"email": "lena@acme.example", "verified": True, "primary": False}
    assert as_github("somebody", lena).status_code == 303
    assert me(it.board)["id"] == "lena"
    refused = as_github("somebody", {**lena, "verified": False})
    assert refused.status_code == 403
    assert "`github: somebody` or `subject: " in said(refused)
    del answers.by_path["/api/v3/user/emails"]
    state = parse_qs(urlsplit(it.to_provider("github")).query)["state"][0]
    answers.by_path["/api/v3/user"] = {"login": "omar-gh", "id": 7}
    assert it.board.get("/login/github/callback", query_string={"code": "c", "state": state}).status_code == 303
    answers.by_path["/login/oauth/access_token"] = {"error": "bad_verification_code"}
    state = parse_qs(urlsplit(it.to_provider("github")).query)["state"][0]
    assert it.board.get("/login/github/callback", query_string={"code": "c", "state": state}).status_code == 401


# A reverse proxy.


def test_a_reverse_proxy_signs_who_it_is(shop: Shop, clock: Hands, answers: Answers) -> None:
    """No other header says it; forms need their token, because the proxy's cookie is sent by itself, too."""
    answers.by_path["/keys"] = answers.keys
    proxy = ProxyConfig("X-Proxy-Jwt", "https://proxy.example", "board", f"{answers.url}/keys", groups="groups")
    app = board_of(shop, clock, LoginConfig(url=PUBLIC, proxy=proxy), loopback=False)
    it = browser(app, PUBLIC)
    good = {"iss": proxy.issuer, "aud": "board", "sub": "9", "exp": time.time() + 300, "groups": ["legal"]}

    def asked(path: str = "/api/v1/people/me", **claims: Any) -> TestResponse:
        return it.get(path, headers={"X-Proxy-Jwt": answers.sign({**good, **claims})})

    assert asked(email="lena@acme.example", email_verified=True).get_json()["id"] == "lena"
    made = asked().get_json()
    assert (made["id"].partition("-")[0], made["groups"]) == ("proxy", ["legal"])
    assert asked(groups=[]).status_code == 403
    for wrong in ({"iss": "x"}, {"aud": "x"}, {"exp": 1}, {"sub": ""}):
        assert asked(**wrong).status_code == 401
    plain = {"X-Forwarded-User": "lena", "X-Forwarded-Email": "lena@acme.example", "X-Auth-Request-User": "lena"}
    assert it.get("/api/v1/people/me", headers=plain).status_code == 401
    page = asked("/targets/shop/staging/pause").get_data(as_text=True)
    token = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
    assert token is not None
    head = {"X-Proxy-Jwt": answers.sign(good)}
    path = f"/api/v1/commits/{REPO}/{sha_of('one')}/revocations"
    body = {"application": "shop", "gate": "legal", "comment": "x"}
    assert it.post(path, json=body, headers=head).status_code == 403
    assert it.post(path, json=body, headers={**head, "X-CSRF-Token": token[1]}).status_code == 202
    other = browser(app, PUBLIC)
    assert other.post(path, json=body, headers={**head, "X-CSRF-Token": token[1]}).status_code == 403


def test_a_proxys_keys_that_cannot_be_asked_for_are_no_reason_to_let_anybody_in(
    shop: Shop, clock: Hands, answers: Answers
) -> None:
    """503 until they can; those that were known stay good for a while."""
    proxy = ProxyConfig("X-Proxy-Jwt", "https://proxy.example", "board", f"{answers.url}/keys")
    it = browser(board_of(shop, clock, LoginConfig(url=PUBLIC, proxy=proxy), loopback=False), PUBLIC)
    claims = {"iss": proxy.issuer, "aud": "board", "sub": "9", "exp": time.time() + 9000}
    head = {"X-Proxy-Jwt": answers.sign({**claims, "email": "lena@acme.example", "email_verified": True})}

    def failing(request: BaseHTTPRequestHandler) -> None:
        request.send_response(500)
        request.send_header("Content-Length", "0")
        request.end_headers()

    answers.by_path["/keys"] = failing
    assert [it.get("/api/v1/people/me", headers=head).status_code for _ in range(3)] == [503] * 3
    assert len(answers.asked) == 1, "nobody asks again at once"
    answers.by_path["/keys"] = answers.keys
    clock.move(seconds=6)
    assert it.get("/api/v1/people/me", headers=head).status_code == 200
    answers.by_path["/keys"] = failing
    clock.move(minutes=61)
    assert it.get("/api/v1/people/me", headers=head).status_code == 200
