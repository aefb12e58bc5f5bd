"""Requests to a provider of logins: bounded in time and size, without redirects, proxies or passwords of the environment.

Authlib's client is a session of `requests`, so that `requests` carries them all.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from requests.adapters import HTTPAdapter

from greenlight.board.login.provider import LoginFailed
from greenlight.lib.clock import Clock
from greenlight.lib.errors import Unavailable

CONNECT, READ, WHOLE = 3.0, 5.0, 10.0
"""Seconds for connecting, for each read, and for a whole answer."""

LARGEST = 1 << 20
"""Bytes of an answer."""

AT_ONCE = 4
"""Requests to providers at once, so that a slow one does not hold every thread of the board."""

FRESH = 3600.0
"""Seconds that a document which seldom changes is kept."""

PAUSE = 5.0
"""Seconds after a failure in which no request is sent, so that those who wait for the answer do not all ask in turn."""

_turns = threading.BoundedSemaphore(AT_ONCE)


class BoundedAdapter(HTTPAdapter):
    """Send requests that end in time, and read no more of an answer than is allowed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **more: Any) -> Any:
        """Use the machine's certificates, too: a provider of a company often has one of its own."""
        return super().init_poolmanager(*arguments, ssl_context=ssl.create_default_context(), **more)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        """Send a request and read the whole answer. Raises requests.RequestException."""
        until = self._clock.monotonic() + WHOLE
        response = super().send(request, **{**options, "stream": True, "timeout": (CONNECT, READ)})
        body = bytearray()
        try:
            while chunk := response.raw.read1(64 << 10, decode_content=True):
                body += chunk
                if len(body) > LARGEST:
                    raise requests.exceptions.ContentDecodingError(f"the answer is larger than {LARGEST} bytes")
                if self._clock.monotonic() > until:
                    raise requests.exceptions.ReadTimeout(f"the answer took longer than {WHOLE:.0f} s")
        finally:
            response.close()
        response._content = bytes(body)
        return response


def bounded(session: requests.Session, clock: Clock) -> requests.Session:
    """Return the session, which from now on sends bounded requests only."""
    session.trust_env = False  # no proxy and no .netrc of the user who started the board
    session.max_redirects = 0
    for scheme in ("https://", "http://"):
        session.mount(scheme, BoundedAdapter(clock))
    return session


@contextmanager
def asking(whom: str) -> Iterator[None]:
    """Ask a provider within the context. Raises Unavailable where it does not answer, or too many ask at once."""
    if not _turns.acquire(blocking=False):
        raise Unavailable(f"too many logins ask {whom} at once: try again in some seconds")
    try:
        yield
    except requests.RequestException as problem:
        raise Unavailable(f"{whom} cannot be asked: {type(problem).__name__}; try again in some seconds") from problem
    finally:
        _turns.release()


def token_for(
    session: OAuth2Session, url: str, whom: str, answer: Mapping[str, str], kept: Mapping[str, str]
) -> Mapping[str, Any]:
    """Return what a provider gives for the code in its answer. Raises requests.RequestException, LoginFailed."""
    try:
        found: Mapping[str, Any] = session.fetch_token(
            url, grant_type="authorization_code", code=answer["code"], code_verifier=kept["verifier"]
        )
        if not isinstance(found["access_token"], str):
            raise ValueError
    except (OAuthError, ValueError, KeyError) as problem:
        raise LoginFailed(f"{whom} does not accept the login's code: begin the login again") from problem
    return found


def document(session: requests.Session, url: str, whom: str, **options: Any) -> Any:
    """Return a JSON document. Raises requests.RequestException, and LoginFailed for what is no such document."""
    answer = session.get(url, headers={"Accept": "application/json"}, **options)
    if answer.status_code >= 500:
        answer.raise_for_status()
    try:
        if answer.status_code != 200:
            raise ValueError
        return answer.json()
    except ValueError:
        raise LoginFailed(f"{whom} answered {answer.status_code} to a request for {url}") from None


class CachedDocument:
    """A document that is fetched again after an hour, or when it lacks what is looked for, at most once a minute.

    While it is fetched, and while the server does not answer, others get the one before.
    """

    def __init__(self, fetch: Callable[[], Mapping[str, Any]], clock: Clock) -> None:
        self._fetch, self._clock = fetch, clock
        self._lock = threading.Lock()
        self._found: tuple[float, Mapping[str, Any]] | None = None
        self._failed: tuple[float, Exception] | None = None

    def __call__(self, *, missed: bool = False) -> Mapping[str, Any]:
        """Return the document; `missed`: something that should be in it is not."""
        before = self._found
        if before is not None and self._clock.monotonic() < before[0] + (60.0 if missed else FRESH):
            return before[1]
        if not self._lock.acquire(blocking=before is None):
            assert before is not None
            return before[1]
        try:
            if self._found is before:
                if self._failed is not None and self._clock.monotonic() < self._failed[0] + PAUSE:
                    raise self._failed[1]
                self._found = self._clock.monotonic(), self._fetch()
        except (requests.RequestException, Unavailable) as problem:
            if before is None:
                if self._failed is None or self._failed[1] is not problem:
                    self._failed = self._clock.monotonic(), problem
                raise
            self._found = self._clock.monotonic() - FRESH + 60.0, before[1]
        finally:
            self._lock.release()
        assert self._found is not None
        return self._found[1]
