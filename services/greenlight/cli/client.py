"""A client of a running Greenlight over HTTP."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import IO, Any, NoReturn

import click
import urllib3
from urllib3.util import parse_url

from greenlight.cli import credentials, render
from greenlight.lib.errors import NO_ROUTE, PROBLEM
from greenlight.lib.printable import printable

DEFAULT_URL = "http://127.0.0.1:8080"
NO = 1
"""Exit code: the world says no."""
USAGE = 2
"""Exit code: bad usage or configuration."""
UNKNOWN = 3
"""Exit code: could not find out."""
WAITS = 4
"""Exit code: still waiting."""

_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_TOKEN = re.compile(r"[!-~]{1,4096}")
_ADDRESS = ["Set GREENLIGHT_URL to the address of the board, which `greenlight up` prints."]
_HINTS = {401: ["The command line sends the token in GREENLIGHT_TOKEN, or the one that `greenlight login` kept."]}


class Failure(click.ClickException):
    """A failure with its message for stderr, of one line or several, and its exit code."""

    def __init__(self, message: str | Sequence[str], code: int) -> None:
        lines = [message] if isinstance(message, str) else message
        super().__init__("\n".join(map(printable, lines)))
        self.exit_code = code  # type: ignore[misc]

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message on standard error."""
        render.lines(f"Error: {self.message}", err=True)


def board_url(env: Mapping[str, str]) -> str:
    """Return the address of the board. Raises Failure."""
    url = (env.get("GREENLIGHT_URL") or DEFAULT_URL).rstrip("/")
    try:
        is_one = _URL.fullmatch(url) is not None and bool(parse_url(url).host)
    except urllib3.exceptions.LocationParseError:  # such as a port that there is not
        is_one = False
    if not is_one:
        raise Failure(f"GREENLIGHT_URL is {url!r}; it must be http(s)://HOST:PORT, such as {DEFAULT_URL}", USAGE)
    return url


class Client:
    """The board's JSON API, found by GREENLIGHT_URL, with the token of GREENLIGHT_TOKEN or `greenlight login`."""

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self.url = board_url(env)
        token = env.get("GREENLIGHT_TOKEN") or self._stored_token(env)
        if token and not _TOKEN.fullmatch(token):
            raise Failure(
                "GREENLIGHT_TOKEN has characters that no token has: `greenlight people token ID` makes one", USAGE
            )
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=3, read=30))

    def _stored_token(self, env: Mapping[str, str]) -> str | None:
        """Return the token that `greenlight login` kept for this address."""
        try:
            return credentials.token_for(self.url, env)
        except (credentials.ReadableByOthers, OSError, ValueError) as problem:
            raise Failure(f"the tokens of `greenlight login` cannot be used: {problem}", USAGE) from None

    def get(self, path: str, **query: str | None) -> dict[str, Any]:
        """Return a document.

        Raises Failure: exit code 3 where the API cannot be asked, 1 where there is no such thing.
        """
        fields = {name: value for name, value in query.items() if value is not None}
        return self._call("GET", path, fields=fields)

    def rows(
        self,
        path: str,
        name: str,
        where: Mapping[str, str | None] | None = None,
        *,
        limit: int | None = None,
        page: int = 100,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return the first `limit` rows of a list, None: all, and the cursor of what follows. It is read page by page."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            size = page if limit is None else min(page, limit - len(found))
            document = self.get(path, **(where or {}), cursor=cursor, limit=str(size))
            found += document[name]
            cursor = document["next"]
            if cursor is None or len(found) == limit:
                return found, cursor

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Post a document. Raises Failure: 1 if it is refused, 3 if the API cannot be asked."""
        return self._call("POST", path, json=dict(body))

    def readiness(self) -> dict[str, Any] | None:
        """Return None if Greenlight is ready, else the `reason` and `detail` of its answer.

        Raises Failure (exit 3) without one.
        """
        answer = self._ask("GET", "/readyz")
        if answer.status == 200 and answer.data.strip() == b"ready":
            return None
        try:
            problem = json.loads(answer.data)
            return {"reason": str(problem["reason"]), "detail": str(problem["detail"])}
        except (ValueError, TypeError, KeyError):
            raise self._another(answer) from None

    def _ask(self, method: str, path: str, **what: Any) -> urllib3.BaseHTTPResponse:
        try:
            return self._http.request(method, f"{self.url}{path}", headers=self._headers, redirect=False, **what)
        except urllib3.exceptions.HTTPError as problem:
            first = f"no Greenlight answers at {self.url}: {_short(problem)}"
            raise Failure([first, "Start one with `greenlight up`, or set GREENLIGHT_URL."], UNKNOWN) from None

    def _call(self, method: str, path: str, **what: Any) -> dict[str, Any]:
        answer = self._ask(method, f"/api/v1{path}", **what)
        try:
            document = json.loads(answer.data or b"{}", object_hook=partial(_Document, self.url))
        except ValueError:
            raise self._another(answer) from None
        if not isinstance(document, dict) or 300 <= answer.status < 400:
            raise self._another(answer)
        if answer.status < 300:
            return document
        if not answer.headers.get("Content-Type", "").startswith(PROBLEM):
            raise self._another(answer)
        detail = str(document["detail"])
        if answer.status == 405 or document.get("reason") == NO_ROUTE:
            raise Failure([f"the API is not at {self.url}: {detail}", *_ADDRESS], UNKNOWN)
        raise Failure([detail, *_HINTS.get(answer.status, ())], _code(answer.status))

    def _another(self, answer: urllib3.BaseHTTPResponse) -> Failure:
        """Return the failure for the answer of another program."""
        where = f", a redirection to {answer.headers['Location']}" if "Location" in answer.headers else ""
        return Failure([f"{self.url} answered {answer.status}{where}, but is no Greenlight", *_ADDRESS], UNKNOWN)


class _Document(dict[str, Any]):
    """A part of an answer. What it lacks is a failure: another program answered, or another version."""

    def __init__(self, url: str, members: dict[str, Any]) -> None:
        super().__init__(members)
        self._url = url

    def __missing__(self, name: str) -> NoReturn:
        what = f"{self._url} answered without {name!r}: it is another program, or a Greenlight of another version"
        raise Failure([what, *_ADDRESS], UNKNOWN)


def _code(status: int) -> int:
    """Return the exit code for a status: 401 is a usage error, another refusal is no, and 5xx is unknown."""
    if status == 401:
        return USAGE
    return UNKNOWN if status >= 500 else NO


def _short(problem: Exception) -> str:
    if isinstance(problem, urllib3.exceptions.SSLError):
        return f"it speaks no HTTPS, or its certificate is not trusted ({problem})"
    if isinstance(problem, urllib3.exceptions.ProtocolError):
        return "what listens there broke off, or does not speak HTTP"
    return str(problem).rpartition(": ")[2]
