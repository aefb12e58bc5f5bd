"""HTTP/1.1 as far as a delivery needs it: one POST and its response, over connections that stay open.

Why no library: docs/decisions/0007. Rules: RFC 9112; what it forbids is refused, never guessed.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

MAX_HEAD = 64 << 10
"""Bytes of a response's status line and headers."""

CONNECT_TIMEOUT = 10.0
_READ = 64 << 10
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: .*)?")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
_BREAK = re.compile("[\r\n\0]")
_LINE = b"\r\n"
_NO_BODY = (204, 304)


class NoResponse(Exception):
    """No response came, or what came is not one. The message says which."""


class TimedOut(NoResponse):
    """The time limit was reached."""


class ClosedEarly(NoResponse):
    """The server closed the connection before the response was over."""


class _StaleConnection(NoResponse):
    """An idle connection gave nothing at all: the server had closed it, and did not take the request."""


class HttpResponse(NamedTuple):
    """A response; names of headers in lower case, the values of one that came twice joined."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpClient:
    """Post to one http or https address. Every method may be called from any thread.

    `_lock` guards `_idle` and `_closed`; while it is held no connection is opened, closed or used.
    """

    def __init__(self, url: str, keep: int, max_body: int) -> None:
        """Make a client.

        `keep`: idle connections at most; `max_body`: bytes of a response's body to read, the rest is cut.
        """
        parts = urlsplit(url)
        assert parts.hostname is not None
        secure = parts.scheme == "https"
        self._address = parts.hostname, parts.port or (443 if secure else 80)
        self._tls = ssl.create_default_context() if secure else None
        self._keep, self._max_body = keep, max_body
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()
        self._closed = False
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = parts.netloc.rpartition("@")[2]
        self._start = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: identity\r\nUser-Agent: greenlight\r\n"

    def post(self, headers: Mapping[str, str], body: bytes, limit: float) -> HttpResponse:
        """Send a body and return the response, all within `limit` seconds. Raises NoResponse."""
        end = time.monotonic() + limit
        request = self._request(headers, body)
        connection = self._take()
        if connection is not None:
            try:
                return self._exchange(connection, request, end)
            except _StaleConnection:
                pass
        return self._exchange(self._open(end), request, end)

    def close(self) -> None:
        """Close idle connections; those in use are closed afterwards."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _request(self, headers: Mapping[str, str], body: bytes) -> bytes:
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        head = "".join(lines)
        if len(_BREAK.findall(head)) != 2 * len(lines):
            raise NoResponse("a header holds a line break, which no request may carry")
        try:
            return f"{self._start}{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body
        except UnicodeEncodeError:
            raise NoResponse("a header holds characters that no request may carry") from None

    def _exchange(self, connection: _Connection, request: bytes, end: float) -> HttpResponse:
        try:
            response, stays = connection.exchange(request, end, self._max_body)
        except TimeoutError:
            connection.close()
            raise TimedOut("the time limit was reached") from None
        except (OSError, NoResponse) as problem:
            connection.close()
            if connection.used and not connection.received:
                raise _StaleConnection from None
            raise problem if isinstance(problem, NoResponse) else NoResponse(str(problem)) from None
        except BaseException:
            connection.close()
            raise
        if not stays or not self._put(connection):
            connection.close()
        return response

    def _take(self) -> _Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.usable():
                return connection
            connection.close()

    def _put(self, connection: _Connection) -> bool:
        with self._lock:
            room = not self._closed and len(self._idle) < self._keep
            if room:
                self._idle.append(connection)
            return room

    def _open(self, end: float) -> _Connection:
        try:
            plain = socket.create_connection(self._address, timeout=min(_left(end), CONNECT_TIMEOUT))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is None:
                return _Connection(plain)
            return _Connection(self._tls.wrap_socket(plain, server_hostname=self._address[0]))
        except TimeoutError:
            raise TimedOut("the connection was not made in time") from None
        except OSError as problem:
            raise NoResponse(str(problem)) from None


class _Connection:
    """One connection, used by one thread at a time."""

    def __init__(self, open: socket.socket) -> None:
        self._socket = open
        self._got, self._at = b"", 0  # bytes that were received, and how many of them were read
        self.used = False  # an exchange on it was finished
        self.received = False  # something came in this exchange

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def usable(self) -> bool:
        """Return whether an idle connection can be used: it was not closed, and nothing came without a request."""
        self._socket.setblocking(False)
        try:
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return not self._rest()
        except OSError:
            return False
        return False

    def exchange(self, request: bytes, end: float, max_body: int) -> tuple[HttpResponse, bool]:
        """Send; return the response, and whether the connection can be used again. Raises OSError or NoResponse."""
        self.received = False
        self._socket.settimeout(_left(end))
        self._socket.sendall(request)
        status, headers, version = self._head(end)
        while status < 200:
            status, headers, version = self._head(end)
        body, whole = self._body(status, headers, end, max_body)
        options = headers.get("connection", "").lower()
        self.used = True
        return HttpResponse(status, headers, body), whole and version == b"HTTP/1.1" and "close" not in options

    def _head(self, end: float) -> tuple[int, dict[str, str], bytes]:
        head = self._until(b"\r\n\r\n", end)
        first, *lines = head.split(b"\r\n")
        status = _STATUS.fullmatch(first)
        if status is None:
            raise NoResponse("the answer is not HTTP")
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or not name or name[0].isspace() or name[-1].isspace():
                raise NoResponse("the answer has a malformed header line")
            name, value = name.lower(), value.strip(" \t")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return int(status[1]), headers, first[:8]

    def _body(self, status: int, headers: Mapping[str, str], end: float, limit: int) -> tuple[bytes, bool]:
        """Read the body; return it and whether nothing but the next response can follow it."""
        coding = headers.get("transfer-encoding")
        length = headers.get("content-length")
        if status in _NO_BODY:
            return b"", True
        if coding is not None:
            if coding.lower() != "chunked" or length is not None:
                raise NoResponse("the answer's length is ambiguous")
            return self._chunks(end, limit)
        if length is None:
            return self._until_closed(end, limit), False
        if not _LENGTH.fullmatch(length):
            raise NoResponse("the answer's Content-Length is not a number")
        wanted = min(int(length), limit)
        return self._exactly(wanted, end), wanted == int(length)

    def _chunks(self, end: float, limit: int) -> tuple[bytes, bool]:
        found = bytearray()
        while True:
            size = _CHUNK.fullmatch(self._until(_LINE, end))
            if size is None:
                raise NoResponse("the answer's chunks are malformed")
            count = int(size[1], 16)
            if count == 0:
                break
            found += self._exactly(min(count, limit - len(found)), end)
            if len(found) >= limit:
                return bytes(found), False
            if self._exactly(2, end) != _LINE:
                raise NoResponse("the answer's chunks are malformed")
        while self._until(_LINE, end):  # trailers
            pass
        return bytes(found), True

    def _until_closed(self, end: float, limit: int) -> bytes:
        try:
            while self._rest() < limit:
                self._more(end)
        except ClosedEarly:
            pass
        return self._exactly(min(self._rest(), limit), end)

    def _rest(self) -> int:
        """Return the number of bytes that were received and not read."""
        return len(self._got) - self._at

    def _until(self, mark: bytes, end: float) -> bytes:
        """Read up to `mark`; return what comes before it."""
        while (stop := self._got.find(mark, self._at)) < 0:
            if self._rest() > MAX_HEAD:
                raise NoResponse(f"the answer's headers, or a line of it, have more than {MAX_HEAD} bytes")
            self._more(end)
        found, self._at = self._got[self._at : stop], stop + len(mark)
        return found

    def _exactly(self, count: int, end: float) -> bytes:
        while self._rest() < count:
            self._more(end)
        found = self._got[self._at : self._at + count]
        self._at += count
        return found

    def _more(self, end: float) -> None:
        """Receive something. Raises ClosedEarly at the end."""
        if self.received:  # the first wait has its timeout already
            self._socket.settimeout(_left(end))
        data = self._socket.recv(_READ)
        if not data:
            raise ClosedEarly("the connection was closed before the answer was over")
        self.received = True
        self._got, self._at = self._got[self._at :] + data, 0


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
