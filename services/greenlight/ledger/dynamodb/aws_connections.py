"""Kept connections to one service of AWS: the standard library's HTTP client, and a few lines that keep it open.

A request is sent again over a new connection where a kept one turns out to be closed, so it must mean the same twice.
"""

from __future__ import annotations

import http.client
import ssl
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

CONNECT = 1.0
ANSWER = 3.0
"""Seconds that a connection, and each piece of an answer, may take."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Connections:
    """To the host of `url`, `most` of them kept open. Safe for threads: each request has a connection for itself."""

    def __init__(self, url: str, *, most: int, ca_certs: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http(s) URL")
        self._host, self._port = parts.hostname, parts.port
        self._context = ssl.create_default_context(cafile=ca_certs) if parts.scheme == "https" else None
        self._kept: deque[http.client.HTTPConnection] = deque()
        self._most = most
        weakref.finalize(self, _close, self._kept)

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer. Raises OSError or HTTPException where none comes."""
        connection = self._pop()
        if connection is not None:
            try:
                return self._exchange(connection, method, path, headers, body)
            except TimeoutError:
                raise
            except (OSError, http.client.HTTPException):
                # It was closed while nobody used it, and those beside it probably were, too.
                while (other := self._pop()) is not None:
                    other.close()
        return self._exchange(self._open(), method, path, headers, body)

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if body or method != "GET":
                connection.putheader("content-length", str(len(body)))
            connection.endheaders(body or None)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        except BaseException:
            connection.close()
            raise
        if response.will_close or len(self._kept) >= self._most:
            connection.close()
        else:
            self._kept.append(connection)
        return answer

    def _pop(self) -> http.client.HTTPConnection | None:
        try:
            return self._kept.pop()
        except IndexError:
            return None

    def _open(self) -> http.client.HTTPConnection:
        if self._context is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT)
        else:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT, context=self._context)
        connection.connect()
        connection.sock.settimeout(ANSWER)
        return connection


def _close(kept: deque[http.client.HTTPConnection]) -> None:
    for connection in kept:
        connection.close()
