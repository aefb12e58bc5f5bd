"""Sessions of browsers: a cookie with a random id, and a row in the ledger under the digest of that id."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta

from flask import Request, Response

from greenlight.board.login.claims import Claims, person_of
from greenlight.board.login.config import LoginConfig
from greenlight.ledger.port import Ledger, Unreadable
from greenlight.lib.clock import Clock
from greenlight.lib.errors import Forbidden
from greenlight.lib.foreground import is_loopback
from greenlight.lib.origins import hostname
from greenlight.model.web_sessions import WebSession
from greenlight.service.people import People, Person

SEEN_EVERY = timedelta(minutes=1)
"""A session's use is written down no more often."""

UNDER_WAY, FORMS = "-login", "-forms"
"""Cookies beside the session's: of a login at a provider, and by which forms are known where a proxy logs people in."""

_ID = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a request."""

    person: Person
    claims: Claims
    csrf: str


class Sessions:
    """Begin, find and end the sessions of one board. Safe for threads."""

    def __init__(self, ledger: Ledger, people: People, clock: Clock, config: LoginConfig) -> None:
        self._ledger, self._people, self._clock, self._config = ledger, people, clock, config

    def begin(self, claims: Claims, request: Request, response: Response) -> Person:
        """Log a person in: with a new id always, and the session that the browser had is ended. Raises Forbidden."""
        self.check_transport(request)
        person = person_of(claims, self._people)
        self._end(request)
        id, now = new_id(), self._clock.now()
        until = now + min(self._config.idle, self._config.lifetime)
        self._ledger.begin_web_session(WebSession(_digest(id), person.id, claims.row(), now, now, until), now)
        self.set_cookie(response, self.cookie(request), id)
        return person

    def find(self, request: Request) -> Session | None:
        """Return the session of a request; None without one, and where it has ended or leads to its person no more."""
        id = request.cookies.get(self.cookie(request), "")
        row = self._row(id)
        if row is None:
            return None
        now, claims = self._clock.now(), Claims.of(row.claims)
        person = self._still(row, claims)
        if person is None or row.until <= now:
            self._ledger.end_web_session(row.digest)
            return None
        if now - row.seen >= SEEN_EVERY:
            until = min(now + self._config.idle, row.created + self._config.lifetime)
            self._ledger.see_web_session(row.digest, now, until)
        return Session(person, claims, csrf_of(id))

    def _row(self, id: str) -> WebSession | None:
        if not is_id(id):
            return None
        try:
            return self._ledger.web_session(_digest(id))
        except Unreadable:
            return None

    def _still(self, row: WebSession, claims: Claims) -> Person | None:
        """Return the person of a session, if what was proved at its login still leads to the same one."""
        if not self._config.offers(claims.by):
            return None
        try:
            person = person_of(claims, self._people)
        except Forbidden:
            return None
        return person if person.id == row.person else None

    def end(self, request: Request, response: Response) -> None:
        """Log out: the session is ended for every process, and the browser forgets its id."""
        self._end(request)
        self.set_cookie(response, self.cookie(request), "")

    def _end(self, request: Request) -> None:
        id = request.cookies.get(self.cookie(request), "")
        if is_id(id):
            self._ledger.end_web_session(_digest(id))

    # Cookies.

    def travels_safely(self, request: Request) -> bool:
        """Return whether a cookie crosses no network in clear."""
        return self._config.secure or is_loopback(hostname(request.host))

    def check_transport(self, request: Request) -> None:
        """Raise Forbidden where a cookie would travel in clear."""
        if not self.travels_safely(request):
            raise Forbidden(
                "logging in needs https: set GREENLIGHT_BOARD_URL to the https address of the board, "
                "or ask for 127.0.0.1 on the machine itself"
            )

    def cookie(self, request: Request, purpose: str = "") -> str:
        """Return the name of a cookie. Browsers share those of loopback among ports, so that the port is in it."""
        if self._config.secure:
            return f"__Host-greenlight{purpose}"
        return f"greenlight{purpose}-{request.host.rpartition(':')[2] if ':' in request.host else '80'}"

    def set_cookie(self, response: Response, name: str, value: str, max_age: int | None = None) -> None:
        """Set a cookie for the board alone, which no script reads; without a value, remove it."""
        response.set_cookie(
            name,
            value,
            max_age=max_age if value else 0,
            path="/",
            secure=self._config.secure,
            httponly=True,
            samesite="Lax",
        )


def new_id() -> str:
    """Return an id that cannot be guessed."""
    return secrets.token_urlsafe(32)


def is_id(text: str) -> bool:
    """Return whether a text has the form of an id."""
    return _ID.fullmatch(text) is not None


def csrf_of(id: str) -> str:
    """Return the token that forms of a session send: the session's id cannot be computed from it."""
    return hashlib.sha256(b"greenlight csrf\n" + id.encode()).hexdigest()


def _digest(id: str) -> str:
    return hashlib.sha256(id.encode()).hexdigest()
