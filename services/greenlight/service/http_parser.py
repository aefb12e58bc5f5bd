"""Requests as they arrive: waitress's parser, made strict, and bodies that stay in memory and within bounds."""

from __future__ import annotations

import threading

from waitress.buffers import BytesIOBasedBuffer
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge

from greenlight.lib.errors import PROBLEM, problem_json

FRAMING = 64 << 10
"""Bytes of chunk sizes, chunk extensions and trailers that a body in chunks may have beside a 64th of its own size: a client
that sends a byte a chunk costs a hundred times what its bytes are worth."""


_TLS = b"\x16\x03"
"""How a client begins that takes the port for one of HTTPS. It would wait for the end of a header that never comes."""


class LengthRequired(Error):  # type: ignore[misc]
    code = 411
    reason = "Length Required"


class BodyMemory:
    """Count the bytes of bodies that a server holds; they come and go in different threads."""

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._most = most
        self._held = 0

    def add(self, count: int) -> None:
        """Add a number of bytes; a negative number removes them."""
        with self._lock:
            self._held += count

    @property
    def full(self) -> bool:
        """Return whether more is held than there is room for."""
        return self._held > self._most


class Body(BytesIOBasedBuffer):  # type: ignore[misc]
    """A body in memory: waitress's own goes to a temporary file, before anybody has looked at its signature."""

    def __init__(self, room: BodyMemory) -> None:
        super().__init__()
        self._room, self._counted = room, 0

    def append(self, data: bytes) -> None:
        super().append(data)
        self._counted += len(data)
        self._room.add(len(data))

    def close(self) -> None:
        """Release the memory. A second call does nothing."""
        counted, self._counted = self._counted, 0
        self._room.add(-counted)
        super().close()


class StrictParser(HTTPRequestParser):  # type: ignore[misc]
    """Refuse what two servers in a row may read differently: RFC 9112, sections 5.2, 6.1 and 6.3."""

    def received(self, data: bytes) -> int:
        if data.startswith(_TLS) and not self.headers_finished and not self.header_plus:
            self.error = BadRequest("this port speaks HTTP, not HTTPS: the address begins with http://")
            self.completed = True
            return len(data)
        consumed: int = super().received(data)
        if self.chunked and self.error is None:
            self._bound_chunks()
        if self.error is not None:
            self.expect_continue = False  # a client that is refused does not go on
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        if b"\x00" in header_plus:
            raise ParsingError("NUL in the header")
        lines = header_plus.split(b"\r\n")[1:]
        if any(line[:1] in (b" ", b"\t") for line in lines):
            raise ParsingError("folded header lines are obsolete")
        names = [line.partition(b":")[0].strip().lower() for line in lines if line]
        if b"transfer-encoding" in names and b"content-length" in names:
            raise ParsingError("Content-Length and Transfer-Encoding together")
        if any(names.count(name) > 1 for name in (b"content-length", b"transfer-encoding", b"host")):
            raise ParsingError("Content-Length, Transfer-Encoding or Host twice")
        super().parse_header(header_plus)
        if b"transfer-encoding" in names and not (self.chunked and self._chunked_once(lines)):
            raise ParsingError("Transfer-Encoding must be chunked, given once, and not in HTTP/1.0")
        if self.command == "POST" and b"content-length" not in names and not self.chunked:
            self._refuse(LengthRequired("a Content-Length is needed, or a body in chunks"))
        elif self.content_length > self.adj.limits.body:
            self._refuse(self._too_large())
        elif self.body_rcv is not None:
            self.body_rcv.buf = Body(self.adj.room)

    @property
    def held(self) -> int:
        """Return the number of bytes of the body that have arrived."""
        return 0 if self.body_rcv is None else len(self.body_rcv)

    def _chunked_once(self, lines: list[bytes]) -> bool:
        values = [line.partition(b":")[2] for line in lines if line.lower().startswith(b"transfer-encoding")]
        return all(value.strip(b" \t").lower() == b"chunked" for value in values)

    def _bound_chunks(self) -> None:
        """Bound a body in chunks like any other, and the framing around it as well."""
        body = self.held
        if body > self.adj.limits.body:
            self.error, self.completed = self._too_large(), True
        elif self.body_bytes_received - body > FRAMING + body // 64:
            self.error, self.completed = BadRequest("the chunks are too small: send larger ones, or a length"), True

    def _too_large(self) -> Error:
        return RequestEntityTooLarge(f"a body has at most {self.adj.limits.body} bytes here")

    def _refuse(self, error: Error) -> None:
        self.error = error
        self.body_rcv = None
        self.content_length = 0
        self.connection_close = True


class Refusal(ErrorTask):  # type: ignore[misc]
    """The server's own refusals, in the same form as all errors of Greenlight."""

    def execute(self) -> None:
        error = self.request.error
        body = problem_json(error.code, str(error.body)).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", PROBLEM))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)
