"""Login: who reads, sessions of browsers, what other sites cannot do through them, and limits on trying."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from greenlight.board.login.config import EVERYBODY, NOBODY, LoginConfig
from greenlight.board.login.guard import local_path
from greenlight.board.login.limits import ADDRESSES, BURST, TOTAL_BURST, Limits
from support.board import HERE, PUBLIC, Hands, board_of, browser
from support.flow import TOKENS, Shop

PAUSE = "/api/v1/targets/shop/staging/pause"
AT_HOME = LoginConfig(tokens=True)
IN_PUBLIC = LoginConfig(url=PUBLIC, tokens=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A Greenlight with people; nothing is shipped."""
    shop = Shop(tmp_path_factory.mktemp("shop")).start()
    yield shop
    shop.stop()


@pytest.fixture
def shop(whole: Shop) -> Iterator[Shop]:
    """The same, with the people that it had."""
    people = whole.folder / "config" / "people.yaml"
    before = people.read_text()
    yield whole
    people.write_text(before)


@pytest.fixture
def clock() -> Hands:
    return Hands()


def log_in(client: Client, who: str = "lena", then: str = "/", csrf: str = "", **headers: Any) -> TestResponse:
    return client.post("/login/token", data={"token": TOKENS[who], "next": then, "csrf": csrf}, headers=headers)


def csrf(client: Client) -> str:
    """The token that a page's form has."""
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', client.get("/login").get_data(as_text=True))
    assert found is not None
    return found[1]


def me(client: Client) -> int:
    return client.get("/api/v1/people/me").status_code


# Who reads.


@pytest.mark.parametrize(
    ("config", "loopback", "url", "status"),
    [
        (LoginConfig(), True, HERE, 200),
        (LoginConfig(), False, PUBLIC, 303),
        (LoginConfig(url=PUBLIC), True, PUBLIC, 303),
        (LoginConfig(url=PUBLIC), True, HERE, 303),
        (LoginConfig(url=PUBLIC, anonymous=EVERYBODY), False, PUBLIC, 200),
        (LoginConfig(anonymous=NOBODY), True, HERE, 303),
    ],
    ids=str,
)
def test_who_reads_without_an_account(
    shop: Shop, clock: Hands, config: LoginConfig, loopback: bool, url: str, status: int
) -> None:
    """On loopback everybody, unless a reverse proxy stands before it, whose readers all seem to be there."""
    app = board_of(shop, clock, config, loopback=loopback)
    assert browser(app, url).get("/").status_code == status
    assert browser(app, url).get("/api/v1/commits").status_code == (200 if status == 200 else 401)
    assert browser(app, url).post(PAUSE).status_code == 401, "nobody changes anything without being known"


def test_a_browser_is_sent_to_the_login_and_a_program_gets_the_problem(shop: Shop, clock: Hands) -> None:
    """With the page that it asked for."""
    app = board_of(shop, clock, IN_PUBLIC, loopback=False)
    answer = browser(app).get("/commits/acme/shop/abc?x=1&y=%2F")
    assert (answer.status_code, answer.headers["Location"]) == (
        303,
        "/login?next=/commits/acme/shop/abc%3Fx%3D1%26y%3D%252F",
    )
    page = browser(app).get(answer.headers["Location"]).get_data(as_text=True)
    assert 'name="next" value="/commits/acme/shop/abc?x=1&amp;y=%2F"' in page
    for accept in ("application/json", "*/*", None):
        answer = browser(app).get("/", headers={"Accept": accept})
        assert (answer.status_code, answer.mimetype) == (401, "application/problem+json")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "next",
    [
        "https://evil.example/", "//evil.example", "/\\evil.example", "\\/evil.example", "/\t/evil.example",
        "javascript:alert(1)", "evil.example", "/%0d%0a\r\nX: y", "/ä", "/" + "x" * 3000, "",
    ],
)  # fmt: skip
def test_no_login_leads_to_another_site(shop: Shop, clock: Hands, next: str) -> None:
    """Neither by the page's link nor by the form."""
    client = browser(board_of(shop, clock, IN_PUBLIC, loopback=False))
    assert log_in(client, then=next).headers["Location"] == "/"
    assert 'name="next" value="/"' in client.get("/login", query_string={"next": next}).get_data(as_text=True)
    assert local_path("/commits/a/b/c?d=//e") == "/commits/a/b/c?d=//e"


def test_every_answer_has_the_security_headers(shop: Shop, clock: Hands) -> None:
    """Pages, redirects, errors and files."""
    client = browser(board_of(shop, clock, IN_PUBLIC, loopback=False))
    log_in(stranger := browser(board_of(shop, clock, IN_PUBLIC, loopback=False)), "omar")
    for who, path, status in (
        (client, "/", 303),
        (client, "/login", 200),
        (client, "/api/v1/commits", 401),
        (client, "/static/board.css", 200),
        (client, "/login/nothing", 404),
        (stranger, "/", 200),
        (stranger, "/commits/acme/shop/none", 404),
    ):
        with who.get(path) as answer:
            assert (path, answer.status_code) == (path, status)
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "same-origin"
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
            policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
            assert (policy["frame-ancestors"], policy["form-action"]) == ("'none'", "'self'")
            assert "unsafe" not in answer.headers["Content-Security-Policy"]


# Sessions.


def test_a_token_opens_the_board_in_a_browser(shop: Shop, clock: Hands) -> None:
    """The cookie is for https alone, for no script and for no other site; what follows is done in the person's name."""
    client = browser(board_of(shop, clock, IN_PUBLIC, loopback=False))
    answer = log_in(client, then="/commits/x/y/z")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/commits/x/y/z")
    name, _, rest = answer.headers["Set-Cookie"].partition("=")
    assert name == "__Host-greenlight"
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} == set(rest.split("; ")[1:])
    assert client.get("/api/v1/people/me").get_json()["id"] == "lena"
    done = client.post(PAUSE, json={"reason": "x"}, headers={"X-CSRF-Token": csrf(client)})
    assert done.status_code == 202
    assert "private" in client.get("/").headers["Cache-Control"]
    private = client.get("/api/v1/people/me")
    assert (private.headers["Cache-Control"], done.headers["Cache-Control"]) == ("private, no-cache", "no-store")
    assert private.headers["Strict-Transport-Security"]


def test_on_loopback_the_cookie_needs_no_https(shop: Shop, clock: Hands) -> None:
    """It has another name, with the port in it: browsers share the cookies of 127.0.0.1 among all ports."""
    client = browser(board_of(shop, clock, AT_HOME, loopback=True), HERE)
    cookie = log_in(client).headers["Set-Cookie"]
    assert cookie.startswith("greenlight-8080=")
    assert "Secure" not in cookie
    assert me(client) == 200


def test_a_login_in_clear_is_refused(shop: Shop, clock: Hands) -> None:
    """Where the cookie would cross a network."""
    client = browser(board_of(shop, clock, AT_HOME, loopback=False), "http://greenlight.acme.example")
    answer = log_in(client)
    assert answer.status_code == 403
    assert "GREENLIGHT_BOARD_URL" in answer.get_data(as_text=True)
    assert "Set-Cookie" not in answer.headers


def test_a_login_gets_a_new_id_and_ends_the_session_before_it(shop: Shop, clock: Hands) -> None:
    """So that an id which somebody else put into the browser, or has seen, is worth nothing."""
    app = board_of(shop, clock, IN_PUBLIC, loopback=False)
    client, thief = browser(app), browser(app)
    planted = "A" * 43
    client.set_cookie("__Host-greenlight", planted, domain="greenlight.acme.example")
    log_in(client)
    first = client.get_cookie("__Host-greenlight", domain="greenlight.acme.example")
    assert first is not None
    assert first.value != planted
    log_in(client, "omar", csrf=csrf(client))
    for id in (planted, first.value):
        thief.set_cookie("__Host-greenlight", id, domain="greenlight.acme.example")
        assert me(thief) == 401
    assert client.get("/api/v1/people/me").get_json()["id"] == "omar"


def test_a_session_ends_when_it_is_idle_and_at_the_latest_after_its_lifetime(shop: Shop, clock: Hands) -> None:
    """An hour, and half a day."""
    client = browser(board_of(shop, clock, IN_PUBLIC, loopback=False))
    log_in(client)
    clock.move(minutes=59)
    assert me(client) == 200
    clock.move(minutes=59)
    assert me(client) == 200
    clock.move(minutes=61)
    assert me(client) == 401
    log_in(client)
    for _ in range(13):
        clock.move(minutes=54)
        assert me(client) == 200
    clock.move(minutes=20)
    assert me(client) == 401


def test_the_use_of_a_session_is_written_down_once_a_minute(
    shop: Shop, clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the page loads itself again."""
    client, written = browser(board_of(shop, clock, IN_PUBLIC, loopback=False)), []
    ledger = type(shop.greenlight.ledger)
    see = ledger.see_web_session
    monkeypatch.setattr(ledger, "see_web_session", lambda self, *row: written.append(row) or see(self, *row))
    log_in(client)
    for _ in range(40):
        clock.move(seconds=5)
        assert me(client) == 200
    assert len(written) == 3


def test_a_logout_ends_the_session_for_every_process(shop: Shop, clock: Hands) -> None:
    """Also where somebody has copied the cookie; another browser's session goes on."""
    apps = [board_of(shop, clock, IN_PUBLIC, loopback=False) for _ in range(2)]
    client, copy, other = browser(apps[0]), browser(apps[1]), browser(apps[1])
    log_in(client)
    log_in(other)
    cookie = client.get_cookie("__Host-greenlight", domain="greenlight.acme.example")
    assert cookie is not None
    copy.set_cookie(cookie.key, cookie.value, domain="greenlight.acme.example")
    assert me(copy) == 200
    answer = client.post("/logout", data={"csrf": csrf(client)})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    assert client.get_cookie("__Host-greenlight", domain="greenlight.acme.example") is None
    assert (me(copy), me(client), me(other)) == (401, 401, 200)


@pytest.mark.parametrize("edit", ["the person", "the token"])
def test_who_is_removed_is_logged_out_at_once(shop: Shop, clock: Hands, edit: str) -> None:
    """The same holds for the token by which he logged in; putting it back does not bring the session back."""
    client, other = (browser(board_of(shop, clock, IN_PUBLIC, loopback=False)) for _ in range(2))
    log_in(client)
    log_in(other, "omar")
    people = shop.folder / "config" / "people.yaml"
    before = people.read_text()
    lines = before.splitlines()
    removed = [line for line in lines if not line.startswith("  lena:")]
    replaced = [re.sub("sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, it) if "lena" in it else it for it in lines]
    people.write_text("\n".join(removed if edit == "the person" else replaced) + "\n")
    assert (me(client), me(other)) == (401, 200)
    people.write_text(before)
    assert me(client) == 401


# Other sites.


@pytest.mark.parametrize(
    ("headers", "token", "status"),
    [
        ({}, True, 202),
        ({"Sec-Fetch-Site": None}, True, 202),
        ({"Sec-Fetch-Site": None, "Origin": PUBLIC}, True, 202),
        ({"Sec-Fetch-Site": "none"}, True, 202),
        ({}, False, 403),
        ({"Sec-Fetch-Site": "cross-site"}, True, 403),
        ({"Sec-Fetch-Site": "same-site"}, True, 403),
        ({"Sec-Fetch-Site": None, "Origin": "https://evil.example"}, True, 403),
        ({"Sec-Fetch-Site": None, "Origin": "null"}, True, 403),
        ({"Sec-Fetch-Site": None, "Origin": "http://greenlight.acme.example"}, True, 403),
    ],
    ids=str,
)
def test_a_change_by_a_cookie_needs_the_sessions_token_and_the_boards_own_page(
    shop: Shop, clock: Hands, headers: dict[str, Any], token: bool, status: int
) -> None:
    """Where it is refused, nothing changed."""
    client = browser(board_of(shop, clock, IN_PUBLIC, loopback=False))
    log_in(client)
    shop.act("/targets/shop/staging/resume", {})
    sent = {"X-CSRF-Token": csrf(client)} if token else {}
    answer = client.post(PAUSE, json={"reason": "x"}, headers={**sent, **headers})
    assert answer.status_code == status
    paused = shop.api("GET", "/targets/shop/staging").get_json()["paused"]
    assert (paused is not None) == (status == 202)


def test_another_sessions_token_is_not_good(shop: Shop, clock: Hands) -> None:
    """Not even of the same person; nor is it for the logout."""
    app = board_of(shop, clock, IN_PUBLIC, loopback=False)
    client, other = browser(app), browser(app)
    log_in(client)
    log_in(other)
    for given in (csrf(other), "", "é", "0" * 64):
        assert client.post("/logout", data={"csrf": given}).status_code == 403
    assert me(client) == 200


def test_a_bearer_token_needs_no_token_of_a_form(shop: Shop, clock: Hands) -> None:
    """And says who it is, whatever the cookie says."""
    client = browser(board_of(shop, clock, IN_PUBLIC, loopback=False))
    log_in(client)
    known = {"Authorization": f"Bearer {TOKENS['dev']}"}
    assert client.get("/api/v1/people/me", headers=known).get_json()["id"] == "dev"
    assert client.post(PAUSE, json={"reason": "x"}, headers=known).status_code == 202
    assert client.get("/", headers={"Authorization": "Bearer wrong"}).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": None},
        {"Sec-Fetch-Site": None, "Origin": "https://e.example"},
    ],
    ids=str,
)
def test_no_other_site_logs_a_reader_in_as_somebody_else(shop: Shop, clock: Hands, headers: dict[str, Any]) -> None:
    """The form is for browsers alone, which say where it came from."""
    client = browser(board_of(shop, clock, IN_PUBLIC, loopback=False))
    assert log_in(client, **headers).status_code == 403
    assert me(client) == 401


def test_tokens_are_for_scripts_alone_in_a_cluster(shop: Shop, clock: Hands) -> None:
    """The page then has no form for them."""
    client = browser(board_of(shop, clock, LoginConfig(url=PUBLIC), loopback=False))
    assert log_in(client).status_code == 404
    page = client.get("/login").get_data(as_text=True)
    assert "/login/token" not in page
    assert "No way to log in" in page


# Limits.


def test_wrong_tokens_are_slowed_down_and_lock_nobody_else_out(shop: Shop, clock: Hands) -> None:
    """After so many, each has to wait; a token as Greenlight makes it, and every session, goes on from the same address."""
    from greenlight.service.people_tokens import new_token

    app = board_of(shop, clock, IN_PUBLIC, loopback=False)
    made = new_token(shop.folder / "config" / "people.yaml", "omar")
    client, seated = browser(app), browser(app)
    log_in(seated)

    def status(token: str) -> int:
        return client.get("/api/v1/people/me", headers={"Authorization": f"Bearer {token}"}).status_code

    assert [status("wrong") for _ in range(BURST)] == [401] * BURST
    refused = client.get("/api/v1/people/me", headers={"Authorization": "Bearer wrong"})
    assert refused.status_code == 429
    wait = int(refused.headers["Retry-After"])
    assert 1 <= wait <= 60
    assert client.post("/login/token", data={"token": "wrong"}).status_code == 429
    assert status("gl_" + "x" * 43) == 429
    assert (status(made), me(seated)) == (200, 200)
    assert status(TOKENS["lena"]) == 429, "one that could be guessed is not even looked up"
    clock.move(seconds=wait)
    assert status(TOKENS["lena"]) == 200
    assert status("wrong") == 401


def test_limits_hold_for_each_address_and_for_all_together_in_bounded_memory(clock: Hands) -> None:
    """Of IPv6, the network of one customer is one address."""
    limits = Limits(clock)
    for _ in range(BURST):
        limits.failed("2001:db8::1")
    assert limits.wait("2001:db8::ffff")
    assert not limits.wait("2001:db8:0:1::1")
    for _ in range(2 * TOTAL_BURST):
        limits.failed("2001:db8::2")
    assert not limits.wait("192.0.2.1"), "one address alone locks no other one out"
    for number in range(TOTAL_BURST):
        limits.failed(f"10.0.{number // 250}.{number % 250}")
    assert limits.wait("192.0.2.1"), "all together were too many"
    for number in range(ADDRESSES + 10):
        limits.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(limits._by_address) == ADDRESSES
    clock.move(minutes=3)
    assert not limits.wait("192.0.2.1")
    assert not limits.wait(None)
