"""The HTTP server of a Greenlight on one machine: waitress, made strict and given deadlines.

One thread reads every connection, so that a slow client holds a socket and nothing else; the threads of the pool only ever see
requests that have arrived whole. docs/decisions/0001-webhook-server.md has the figures that chose it.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any
from wsgiref.types import WSGIApplication

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher
from waitress.utilities import Error

from greenlight.runtime.errors import PROBLEM, problem_json

LOG = logging.getLogger("greenlight.server")
logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns whenever a request waits for a thread
_BODILESS = frozenset(("GET", "HEAD", "OPTIONS", "DELETE", "TRACE"))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may ask of the server. Sizes in bytes, times in seconds."""

    body: int = 25 << 20
    header: int = 32 << 10
    deadline: float = 10.0
    """From the first byte of a request to its last. Knative's own GitHub source was mended with 10 s as well."""
    keep_alive: float = 30.0
    connections: int = 2000
    threads: int = 8
    chunked: bool = False
    """Whether a body may come in chunks, without a length; it is bounded all the same."""


class Server:
    """One listening address. Bound when it is made, at work from start() to stop()."""

    def __init__(self, app: WSGIApplication, listen: str, *, name: str, limits: Limits) -> None:
        """Bind. Raises OSError if the address is taken or not ours."""
        self._map: dict[int, Any] = {}
        self._dispatcher = ThreadedTaskDispatcher()
        self._limits = limits
        bound = _bound(listen)
        self._server = _Waitress(app, self._map, bound, self._dispatcher, limits)
        self._stopping = threading.Event()
        self._deadline = 0.0
        self._thread = threading.Thread(target=self._run, name=f"{name}-server", daemon=True)
        host, port = bound.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)

    def start(self) -> None:
        """Answer requests from now on."""
        self._dispatcher.set_thread_count(self._limits.threads)
        self._server.accept_connections()
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Accept nothing more, finish the requests in flight within `timeout` seconds, close."""
        self._deadline = time.monotonic() + timeout
        self._stopping.set()
        if self._thread.is_alive():
            self._server.trigger.pull_trigger()
            self._thread.join(timeout + 1)
        self._dispatcher.shutdown(cancel_pending=True, timeout=1)
        wasyncore.close_all(self._map, ignore_all=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            wasyncore.loop(timeout=1.0, map=self._map, use_poll=True, count=1)
        self._server.accepting = False
        self._server.socket.close()
        self._server.del_channel()
        while time.monotonic() < self._deadline and any(
            channel.requests or channel.total_outbufs_len for channel in self._server.active_channels.values()
        ):
            wasyncore.loop(timeout=0.05, map=self._map, use_poll=True, count=1)


def serve(app: WSGIApplication, listen: str, *, name: str, limits: Limits | None = None) -> Server:
    """A server for `app` on `listen` (`HOST:PORT`, port 0 for any free one), bound and not started."""
    return Server(app, listen, name=name, limits=limits or Limits())


def _bound(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if not host or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise OSError(f"{listen!r} is not HOST:PORT, such as 127.0.0.1:8080 (or 0.0.0.0:8080 for every address)")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, int(port)))
    except OSError as problem:
        bound.close()
        raise OSError(f"{listen}: {problem.strerror or problem}") from problem
    return bound


class _LengthRequired(Error):  # type: ignore[misc]
    code = 411
    reason = "Length Required"


_LATE = problem_json(408, "Request Timeout", "the request did not arrive in time").encode()
_TIMED_OUT = (
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
    % (PROBLEM.encode(), len(_LATE), _LATE)
)


class _StrictParser(HTTPRequestParser):  # type: ignore[misc]
    """Refuses what two servers in a row may read differently: RFC 9112, sections 5.2, 6.1 and 6.3."""

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.error is not None:
            self.expect_continue = False  # nobody who is refused is told to go on
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
        if b"transfer-encoding" in names and not self.adj.chunks_taken:
            self._refuse(_LengthRequired("send the body with a Content-Length, not chunked"))
            return
        if names.count(b"content-length") > 1 or names.count(b"host") > 1:
            raise ParsingError("Content-Length or Host twice")
        super().parse_header(header_plus)
        if self.command not in _BODILESS and b"content-length" not in names and not self.chunked:
            self._refuse(_LengthRequired("a Content-Length is needed"))

    def _refuse(self, error: Error) -> None:
        if not hasattr(self, "command"):
            super().parse_header(b"POST / HTTP/1.1\r\n")
        self.error = error
        self.body_rcv = None
        self.content_length = 0
        self.connection_close = True


class _Refusal(ErrorTask):  # type: ignore[misc]
    """What the server itself refuses, in the form that all our errors have."""

    def execute(self) -> None:
        error = self.request.error
        body = problem_json(error.code, error.reason, str(error.body)).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", PROBLEM))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that knows when the request that it is receiving began."""

    parser_class = _StrictParser
    error_task_class = _Refusal
    began: float | None = None
    request: Any  # what is arriving; waitress's parser, None between two requests

    def received(self, data: bytes) -> bool:
        if self.began is None:
            self.began = time.monotonic()
        more: bool = super().received(data)
        if self.request is None:
            self.began = None
        return more

    def cut_off(self) -> None:
        """Say 408 if the client reads it, and close either way.

        It costs the loop one write: were each answered by a thread of the pool, many slow clients together would keep the
        good ones waiting after all.
        """
        self.began = None
        if self.request is not None:
            self.request.close()
            self.request = None
        with self.outbuf_lock:
            self.outbufs[-1].append(_TIMED_OUT)
            self.current_outbuf_count += len(_TIMED_OUT)
            self.total_outbufs_len += len(_TIMED_OUT)
            self.close_when_flushed = True


class _Waitress(TcpWSGIServer):  # type: ignore[misc]
    """waitress's server on a socket of ours, cutting off requests that take too long to arrive."""

    channel_class = _Channel

    def __init__(
        self,
        app: WSGIApplication,
        map: dict[int, Any],
        bound: socket.socket,
        dispatcher: ThreadedTaskDispatcher,
        limits: Limits,
    ) -> None:
        adjustments = Adjustments(
            ident=None,
            threads=limits.threads,
            connection_limit=limits.connections,
            backlog=1024,
            channel_timeout=limits.keep_alive,
            cleanup_interval=min(1.0, limits.deadline / 4),
            max_request_header_size=limits.header,
            max_request_body_size=limits.body + 1,  # waitress refuses from this size on
            asyncore_use_poll=True,
            log_socket_errors=False,
            expose_tracebacks=False,
            clear_untrusted_proxy_headers=True,
        )
        # What is shorter the loop sends in one piece, once it is whole. Deprecated as an argument; without it nothing breaks.
        adjustments.send_bytes = 16 << 10
        adjustments.chunks_taken = limits.chunked  # the parser knows nothing but these
        self._limits, self._pulled = limits, False
        info = (bound.family, bound.type, bound.proto, bound.getsockname())
        super().__init__(
            app, map, False, bound, dispatcher=dispatcher, adj=adjustments, sockinfo=info, bind_socket=False
        )
        self.accepting = False

    def readable(self) -> bool:
        """Asked in every round of the loop before any connection is: what changed until now is seen in this round."""
        self._pulled = False
        return bool(super().readable())

    def pull_trigger(self) -> None:
        """Wake the loop, unless it has been told since its round began."""
        if not self._pulled:
            self._pulled = True
            super().pull_trigger()

    def maintenance(self, now: float) -> None:
        """Cut off what is idle, and what has been arriving for longer than the deadline."""
        super().maintenance(now)
        late = time.monotonic() - self._limits.deadline
        for channel in list(self.active_channels.values()):
            began = channel.began
            if began is not None and began < late and not channel.requests:
                LOG.info("a request took more than %g s to arrive and was cut off", self._limits.deadline)
                channel.cut_off()
