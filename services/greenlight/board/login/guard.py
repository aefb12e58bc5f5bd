"""The guard: the one place that authenticates the board's requests.

A person comes by `Authorization: Bearer TOKEN`, else by the signed header of a reverse proxy, else by a session's cookie.
`g.person` is that person or None, `g.csrf` the token that each form sends as its hidden field `csrf` (scripts of a page: as
the header `X-CSRF-Token`). What browsers send by themselves, cookies of the board or of the proxy, another site's page can use
too; so a request that changes something needs that token, and must come from the board's own pages. A request with a Bearer
token needs neither.
"""

from __future__ import annotations

import hmac
import logging
import re
from urllib.parse import quote

from flask import Request, Response, current_app, g, redirect, request

from greenlight.board.login.claims import person_of
from greenlight.board.login.config import EVERYBODY, LOOPBACK, TOKEN, LoginConfig
from greenlight.board.login.limits import Limits
from greenlight.board.login.sessions import FORMS, Sessions, csrf_of, is_id, new_id
from greenlight.board.login.web import Secret, providers
from greenlight.ledger.port import Ledger
from greenlight.lib.clock import Clock
from greenlight.lib.errors import Forbidden, TooManyRequests, Unauthenticated
from greenlight.lib.foreground import is_loopback
from greenlight.lib.origins import foreign, hostname
from greenlight.service.health import HEALTHZ, READYZ
from greenlight.service.people import People, Person

PUBLIC = (
    "healthz",
    "readyz",
    "static",
    "pages.static",
    "login.page",
    "login.by_token",
    "login.begin",
    "login.callback",
    "login.logout",
)
"""The routes (endpoints) that answer everybody. A test compares them with the app's routes."""

_FILES = ("static", "pages.static")
_UNCHANGING = ("GET", "HEAD", "OPTIONS")
_MADE = re.compile(r"gl_[A-Za-z0-9_-]{43}")
"""A token as `greenlight people token` makes it: 256 random bits, which cannot be found by trying."""


class Guard:
    """Authenticate every request of one board. Safe for threads."""

    def __init__(
        self,
        config: LoginConfig,
        people: People,
        ledger: Ledger,
        clock: Clock,
        log: logging.Logger,
        *,
        on_loopback: bool,
        secret: Secret,
    ) -> None:
        """Build it.

        `on_loopback`: whether the port listens on loopback only; `secret` gives the secrets of web logins.
        """
        self.config, self.people, self.clock, self.log = config, people, clock, log
        self.sessions = Sessions(ledger, people, clock, config)
        self.limits = Limits(clock)
        self.providers = providers(config, secret, clock)
        self._proxy = None
        if config.proxy is not None:
            from greenlight.board.login.proxy import Proxy

            self._proxy = Proxy(config.proxy, clock)
        behind = config.url is not None and not is_loopback(hostname(config.url.partition("://")[2]))
        local = config.anonymous == LOOPBACK and on_loopback and not behind  # a proxy's readers all come from loopback
        self._reads_are_free = local or config.anonymous == EVERYBODY
        self._named = on_loopback

    def __call__(self) -> Response | None:
        """Check whose request it is, before any other code sees it.

        Returns a redirect for a browser that has to log in. Raises Forbidden, Unauthenticated, TooManyRequests.
        """
        g.person, g.session, g.csrf, g.new_cookie = None, None, "", None
        if request.path in (HEALTHZ, READYZ):
            return None
        if (why := foreign(request.environ, named=self._named, own=self.config.url)) is not None:
            raise Forbidden(why)
        if request.endpoint in _FILES:
            return None  # they are the same for everybody, and each page has several
        g.person = self._by_bearer(request)
        if g.person is None:
            self._by_proxy(request)
        if g.person is None:
            self._by_session(request)
        if g.person is None and not self._open_to_all():
            if self.can_ask_to_log_in():
                return to_login()
            raise Unauthenticated(
                "the token is missing: send `Authorization: Bearer TOKEN`; `greenlight people token ID` makes one"
            )
        return None

    def can_ask_to_log_in(self) -> bool:
        """Return whether the request is a browser's that wants a page, and that is not logged in."""
        if g.person is not None or "Authorization" in request.headers or request.method not in ("GET", "HEAD"):
            return False
        if request.path.startswith("/api/") or "part" in request.args:
            return False
        return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"

    def _open_to_all(self) -> bool:
        if request.endpoint in PUBLIC:
            return True
        return self._reads_are_free and request.method in ("GET", "HEAD") and request.path != "/api/v1/people/me"

    def _by_bearer(self, request: Request) -> Person | None:
        """Return the person of the header; None without one. Raises Unauthenticated, TooManyRequests."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not token:
            return None
        person = self.known(token.strip(), request) if scheme.lower() == "bearer" else None
        if person is None:
            raise Unauthenticated(
                "this token belongs to no person; it may have been replaced: `greenlight people token ID` makes a new one"
            )
        return person

    def known(self, token: str, request: Request) -> Person | None:
        """Return the person with a token, and count a wrong one. Raises TooManyRequests.

        A token that cannot be found by trying is looked up however many were wrong before: a sender of wrong ones does not
        lock out others at the same address. Any other token has to wait.
        """
        wait = self.limits.wait(request.remote_addr)
        person = self.people.by_token(token) if not wait or _MADE.fullmatch(token) else None
        if person is None:
            self.fail(request)
        return person

    def may_try(self, request: Request) -> None:
        """Raise TooManyRequests where too many logins from there have failed."""
        if wait := self.limits.wait(request.remote_addr):
            raise TooManyRequests(f"too many failed logins from this address: try again in {wait} s", wait)

    def fail(self, request: Request) -> None:
        """Count a failed login. Raises TooManyRequests where there were too many."""
        try:
            self.may_try(request)
        finally:
            self.limits.failed(request.remote_addr)

    def _by_proxy(self, request: Request) -> None:
        claims = None if self._proxy is None else self._proxy.claims(request.headers)
        if claims is None:
            return
        person = person_of(claims, self.people)
        id = request.cookies.get(self.sessions.cookie(request, FORMS), "")
        if not is_id(id):
            id = g.new_cookie = new_id()
        self._admit(person, csrf_of(id), request)

    def _by_session(self, request: Request) -> None:
        session = self.sessions.find(request)
        if session is not None:
            g.session = session
            self._admit(session.person, session.csrf, request)

    def _admit(self, person: Person, csrf: str, request: Request) -> None:
        """Take the request as the person's whose browser sends it. Raises Forbidden if another site's page may be behind it."""
        if request.method not in _UNCHANGING:
            check_site(request)
            given = request.headers.get("X-CSRF-Token") or request.form.get("csrf", "")
            if not hmac.compare_digest(given.encode("utf-8", "replace"), csrf.encode()):
                raise Forbidden(
                    "the form is not of this session (its field `csrf` is missing or old): load the page again, and repeat it"
                )
        g.person, g.csrf = person, csrf

    @property
    def by_token(self) -> bool:
        """Return whether the login page takes tokens."""
        return self.config.offers(TOKEN)

    def can_log_in(self, request: Request) -> bool:
        """Return whether a browser can log in here at all."""
        return bool(self.by_token or self.providers) and self.sessions.travels_safely(request)

    def callback(self, name: str, request: Request) -> str:
        """Return the address to which a provider sends the browser back. Raises Forbidden where a login is not safe."""
        self.sessions.check_transport(request)
        return f"{self.config.url or request.host_url.rstrip('/')}/login/{name}/callback"


def check_site(request: Request) -> None:
    """Raise Forbidden where the browser says that another site's page sends this request. `foreign` has seen its Origin."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("the page of another site sent this request, so nothing was done")


def to_login() -> Response:
    """Return a redirect to the login, which leads back to the page that is asked for."""
    query = request.query_string.decode("latin-1")
    then = quote(request.path + ("?" + query if query else ""), safe="/")
    return current_app.make_response(redirect(f"/login?next={then}", 303))


def local_path(text: str | None) -> str:
    """Return a path to go on to after the login; `/` for anything that a browser would take for another site's address."""
    text = text or "/"
    plain = all(" " < character < "\x7f" for character in text) and "\\" not in text
    return text if plain and text.startswith("/") and not text.startswith("//") and len(text) <= 2000 else "/"
