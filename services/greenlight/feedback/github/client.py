"""Requests to GitHub's API: bounded in time and size, conditional where they can be, and none while GitHub asks to wait."""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import urllib3

from greenlight.events import rfc3339
from greenlight.feedback.github.errors import GitHubUnavailable, Refused
from greenlight.feedback.pause import Pause
from greenlight.lib.clock import Clock
from greenlight.lib.printable import printable
from greenlight.telemetry import metrics

VERSION = "2022-11-28"
TIMEOUT = urllib3.Timeout(connect=3.0, read=8.0)
LARGEST, CHUNK = 8 << 20, 64 << 10
"""Bytes of an answer that are read, and at once."""

LONGEST = 10.0
"""Seconds that an answer may take to come in: a slow one holds no thread for longer."""

KEPT, BESIDE = 16 << 20, 1 << 10
"""Bytes of answers that are kept with their ETag, so that asking again costs nothing of the rate limit, and what is counted
for each one beside its content: most pages of a list are asked for once, since their address moves with the list."""

UNSAID = timedelta(minutes=1)
"""How long to wait where GitHub limits the rate without saying how long, as its documentation asks for."""

FURTHEST = timedelta(hours=1)
"""The longest wait that an answer may ask for: GitHub's windows are an hour."""

RESERVE = 200
"""Requests of the rate limit that are left for reports: what is only looked up stops there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of GitHub's that is a success."""

    value: Any
    more: str | None = None  # the path of the next page, with its query


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer that can be asked for by its ETag, as it came in: unfolded, it would take several times the memory."""

    etag: str
    content: bytes
    more: str | None

    @property
    def size(self) -> int:
        """Return the bytes that it counts for."""
        return len(self.content) + BESIDE

    def answer(self) -> Answer:
        """Return the answer. Raises ValueError for what is not JSON."""
        return Answer(json.loads(self.content) if self.content else None, self.more)


class Client:
    """One GitHub. Every method may be called from any thread."""

    def __init__(self, url: str, clock: Clock, log: logging.Logger) -> None:
        """Make a client of the API at `url`."""
        self._url, self._clock, self._log = url, clock, log.getChild("github")
        self._http = urllib3.PoolManager(maxsize=8, retries=False, timeout=TIMEOUT)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # the one that was used last comes last
        self._kept_bytes = 0
        self._lock = threading.Lock()
        self._pause = Pause(clock)
        self._left: int | None = None  # of the rate limit, as the last answer said

    def is_scarce(self) -> bool:
        """Return whether what is left of the rate limit is for reports."""
        return self._left is not None and self._left < RESERVE

    def get(self, path: str, token: str, **query: str | int) -> Answer:
        """Return the answer to a GET. Raises GitHubUnavailable, Refused."""
        return self._send("GET", _with(path, query), token, None)

    def post(self, path: str, token: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the value of the answer to a POST. Raises GitHubUnavailable, Refused."""
        return self._send("POST", path, token, body).value

    def patch(self, path: str, token: str, body: Mapping[str, Any]) -> Any:
        """Return the value of the answer to a PATCH. Raises GitHubUnavailable, Refused."""
        return self._send("PATCH", path, token, body).value

    def _send(self, method: str, path: str, token: str, body: Mapping[str, Any] | None) -> Answer:
        self._may_send()
        kept = self._kept.get(path) if method == "GET" else None
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {token}",
            "X-GitHub-Api-Version": VERSION,
            "User-Agent": "greenlight",
            **({"If-None-Match": kept.etag} if kept else {}),
            **({"Content-Type": "application/json"} if body is not None else {}),
        }
        try:
            response = self._http.request(
                method,
                self._url + path,
                body=json.dumps(body).encode() if body is not None else None,
                headers=headers,
                redirect=False,
                preload_content=False,
            )
            try:
                content = self._read(response)
            finally:
                response.drain_conn() if response.length_remaining == 0 else response.close()
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            metrics.GITHUB.labels(method, "none").inc()
            raise self._failed(f"{method} {path}: no answer: {type(problem).__name__}") from problem
        metrics.GITHUB.labels(method, str(response.status)).inc()
        return self._answer(method, path, response, content, kept)

    def _read(self, response: urllib3.BaseHTTPResponse) -> bytes:
        """Read an answer, at most a byte more than LARGEST. Raises TimeoutError after LONGEST."""
        content, until = bytearray(), self._clock.monotonic() + LONGEST
        while len(content) <= LARGEST and (part := response.read1(CHUNK)):
            content += part
            if self._clock.monotonic() > until:
                raise TimeoutError(f"an answer of more than {LONGEST:.0f} s")
        return bytes(content)

    def _answer(self, method: str, path: str, response: Any, content: bytes, kept: _Kept | None) -> Answer:
        headers, what = response.headers, f"{method} {path.partition('?')[0]}"
        self._left = _number(headers.get("x-ratelimit-remaining"))
        if response.status in (403, 429) and (again := self._limited(headers, content)) is not None:
            self._pause.pause_until(again)
            raise GitHubUnavailable(f"{what}: the rate limit is reached", again)
        if response.status >= 500:
            raise self._failed(f"{what}: {response.status}")
        self._pause.over()
        if response.status == 304 and kept is not None:
            self._keep(path, kept)
            return kept.answer()
        if not 200 <= response.status < 300:
            raise Refused(response.status, f"{what}: {response.status}: {_message(content)}")
        if len(content) > LARGEST:
            raise Refused(response.status, f"{what}: an answer of more than {LARGEST} bytes")
        found = _Kept(headers.get("etag", ""), content, self._next(headers.get("link", "")))
        try:
            answer = found.answer()
        except ValueError:
            raise self._failed(f"{what}: the answer is not JSON") from None
        if method == "GET" and found.etag:
            self._keep(path, found)
        return answer

    def _keep(self, path: str, value: _Kept) -> None:
        """Keep an answer as the one that was used last, and as many of those before as there is room for."""
        with self._lock:
            before = self._kept.pop(path, None)
            self._kept[path] = value
            self._kept_bytes += value.size - (before.size if before is not None else 0)
            while self._kept_bytes > KEPT:
                self._kept_bytes -= self._kept.popitem(last=False)[1].size

    def _may_send(self) -> None:
        until = self._pause.until()
        if until is not None:
            raise GitHubUnavailable("GitHub is not asked again yet", until)

    def _failed(self, why: str) -> GitHubUnavailable:
        again = self._pause.failed()
        self._log.warning("%s; not asked again before %s", why, rfc3339(again))
        return GitHubUnavailable(why, again)

    def _limited(self, headers: Mapping[str, str], content: bytes) -> datetime | None:
        """Return until when the rate is limited; None if the answer is another refusal."""
        now = self._clock.now()
        after, reset = _number(headers.get("retry-after")), _number(headers.get("x-ratelimit-reset"))
        if after is not None:
            again = now + timedelta(seconds=min(after, FURTHEST.total_seconds()))
        elif headers.get("x-ratelimit-remaining") == "0" and reset is not None and reset < 1 << 40:
            again = datetime.fromtimestamp(reset, UTC)
        elif b"rate limit" in content[:2000].lower():
            again = now + UNSAID
        else:
            return None
        again = min(max(again, now + timedelta(seconds=1)), now + FURTHEST)
        self._log.warning("the rate limit is reached; nothing is sent for %d s", (again - now).total_seconds())
        return again

    def _next(self, link: str) -> str | None:
        """Return the path of the next page, if a Link header names one of this API."""
        for part in link.split(","):
            address, _, relation = part.partition(";")
            address = address.strip().strip("<>")
            if 'rel="next"' in relation and address.startswith(f"{self._url}/"):
                return address.removeprefix(self._url)
        return None


def pages(get: Callable[..., Answer], path: str, most: int, **query: str | int) -> list[Any]:
    """Return the values of at most `most` pages, in order. Raises as `get` does."""
    found, answer = [], get(path, **query)
    for _ in range(most - 1):
        found.append(answer.value)
        if answer.more is None:
            return found
        answer = get(answer.more)
    return [*found, answer.value]


def _with(path: str, query: Mapping[str, str | int]) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 16 else None


def _message(content: bytes) -> str:
    """Return what GitHub says is wrong, shortened, for the log."""
    try:
        value = json.loads(content)
        text = f"{value.get('message', '')} {value.get('errors', '')}" if isinstance(value, dict) else ""
    except (ValueError, RecursionError):
        text = ""
    return printable(text.strip()[:300]) or "no reason was given"
