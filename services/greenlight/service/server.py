"""The HTTP server of a Greenlight on one machine: waitress, made strict and given deadlines.

One thread reads every connection, so that a slow client holds a socket and nothing else; the threads of the pool only ever see
requests that have arrived whole. docs/decisions/0001-webhook-server.md has the figures that chose it.
"""

from __future__ import annotations

import errno
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from wsgiref.types import WSGIApplication

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.buffers import BytesIOBasedBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge

from greenlight.lib.descriptors import connections_left
from greenlight.lib.errors import PROBLEM, problem_json
from greenlight.service.turns import Turns

LOG = logging.getLogger("greenlight.server")
PEEK = 256 << 10
"""Bytes of a body that are looked at to tell whose turn it is."""

Turn = Callable[[bytes], str]
"""Whose turn a request is, by the beginning of its body, which nobody has checked yet."""

logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns whenever a request waits for a thread
FRAMING = 64 << 10
"""Bytes of chunk sizes, chunk extensions and trailers that a body in chunks may have beside a 64th of its own size: a client
that sends a byte a chunk costs a hundred times what its bytes are worth."""

_SETTLED = 1.0
"""Seconds after which a request that is still arriving may have to go for a new connection."""

_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may ask of the server. Sizes in bytes, times in seconds."""

    body: int = 25 << 20
    header: int = 32 << 10
    deadline: float = 10.0
    """From the first byte of a request to its last. Knative's own GitHub source was mended with 10 s as well."""
    keep_alive: float = 30.0
    connections: int = 2000
    """At most; never more than what RLIMIT_NOFILE leaves."""
    servers: int = 1
    """How many servers of this process share what it leaves."""
    arriving: int = 64 << 20
    """Of all bodies together that have arrived, whole or in part, and are not answered yet. They are held in memory."""
    threads: int = 8
    of_one: int = 4
    """Of the threads, how many answer requests of one turn at once, where there are turns."""


class Server:
    """One listening address. Bound when it is made, at work from start() to stop()."""

    def __init__(
        self, app: WSGIApplication, listen: str, *, name: str, limits: Limits, turn: Turn | None = None
    ) -> None:
        """Bind. Raises OSError if the address is taken or not ours."""
        self._map: dict[int, Any] = {}
        self._dispatcher = ThreadedTaskDispatcher() if turn is None else Turns(_by_body(turn), limits.of_one)
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

    @property
    def listening(self) -> bool:
        """Tell whether it is at work: it has been started, and neither was it stopped, nor did its thread fail."""
        return self._thread.is_alive()

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


def serve(
    app: WSGIApplication,
    listen: str,
    *,
    name: str,
    limits: Limits | None = None,
    turn: Turn | None = None,
) -> Server:
    """A server for `app` on `listen` (`HOST:PORT`, port 0 for any free one), bound and not started.

    With `turn`, which is given a request's body before anybody has looked at it, the requests for which it says the same
    wait for each other, and take turns with the others.
    """
    return Server(app, listen, name=name, limits=limits or Limits(), turn=turn)


def serve_until(
    stopping: threading.Event, servers: Sequence[Server], each_second: Callable[[], object] = lambda: None
) -> bool:
    """Wait until `stopping` is set. False as soon as a port does not listen any more, because its server failed.

    Then the process must end, and be started again: whoever asks its other ports would believe that it serves.
    """
    while not stopping.wait(1.0):
        each_second()
        if not all(server.listening for server in servers):
            LOG.critical("a port does not listen any more, for the reason above: ending, to be started again")
            return False
    return True


def _by_body(turn: Turn) -> Callable[[Any], str]:
    def key(channel: Any) -> str:
        body = channel.requests[0].get_body_stream()
        start = body.read(PEEK)
        body.seek(0)
        return turn(start)

    return key


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


def _closing(status: int, reason: str, detail: str, more: bytes = b"") -> bytes:
    """Make a whole answer, after which the connection is closed. `more`: header lines."""
    body = problem_json(status, detail).encode()
    head = b"HTTP/1.1 %d %b\r\nConnection: close\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n"
    return head % (status, reason.encode(), PROBLEM.encode(), len(body), more) + body


_LATE = _closing(408, "Request Timeout", "the request did not arrive in time")
_FULL = _closing(
    503, "Service Unavailable", "too much is arriving at once, and nothing of this was taken", b"Retry-After: 5\r\n"
)


class _Room:
    """Counts the bytes of bodies that a server holds; they come and go in different threads."""

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._most = most
        self._held = 0

    def add(self, count: int) -> None:
        """Count so many bytes more; a negative count: fewer."""
        with self._lock:
            self._held += count

    @property
    def full(self) -> bool:
        """Tell whether more is held than there is room for."""
        return self._held > self._most


class _Body(BytesIOBasedBuffer):  # type: ignore[misc]
    """A body in memory: waitress's own goes to a temporary file, before anybody has looked at its signature."""

    def __init__(self, room: _Room) -> None:
        super().__init__()
        self._room, self._counted = room, 0

    def append(self, data: bytes) -> None:
        super().append(data)
        self._counted += len(data)
        self._room.add(len(data))

    def close(self) -> None:
        """Let go of it. Nothing happens the second time."""
        counted, self._counted = self._counted, 0
        self._room.add(-counted)
        super().close()


class _StrictParser(HTTPRequestParser):  # type: ignore[misc]
    """Refuses what two servers in a row may read differently: RFC 9112, sections 5.2, 6.1 and 6.3."""

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.chunked and self.error is None:
            self._bound_chunks()
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
        if any(names.count(name) > 1 for name in (b"content-length", b"transfer-encoding", b"host")):
            raise ParsingError("Content-Length, Transfer-Encoding or Host twice")
        super().parse_header(header_plus)
        if b"transfer-encoding" in names and not (self.chunked and self._chunked_once(lines)):
            raise ParsingError("Transfer-Encoding is chunked, once, and not of HTTP/1.0")
        if self.command == "POST" and b"content-length" not in names and not self.chunked:
            self._refuse(_LengthRequired("a Content-Length is needed, or a body in chunks"))
        elif self.content_length > self.adj.limits.body:
            self._refuse(self._too_large())
        elif self.body_rcv is not None:
            self.body_rcv.buf = _Body(self.adj.room)

    @property
    def held(self) -> int:
        """Count the bytes of the body that are here."""
        return 0 if self.body_rcv is None else len(self.body_rcv)

    def _chunked_once(self, lines: list[bytes]) -> bool:
        values = [line.partition(b":")[2] for line in lines if line.lower().startswith(b"transfer-encoding")]
        return all(value.strip(b" \t").lower() == b"chunked" for value in values)

    def _bound_chunks(self) -> None:
        """Bound a body in chunks like any other, and what it is wrapped in as well."""
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


class _Refusal(ErrorTask):  # type: ignore[misc]
    """What the server itself refuses, in the form that all our errors have."""

    def execute(self) -> None:
        error = self.request.error
        body = problem_json(error.code, str(error.body)).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", PROBLEM))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that knows when the request that it is receiving began, and whether it has brought one."""

    parser_class = _StrictParser
    error_task_class = _Refusal
    began: float | None = None
    served = False
    request: Any  # what is arriving; waitress's parser, None between two requests

    def received(self, data: bytes) -> bool:
        if self.began is None:
            self.began = time.monotonic()
        more: bool = super().received(data)
        if self.request is None:
            self.began, self.served = None, True
        self.server.make_room_for_bodies()
        return more

    def handle_close(self) -> None:
        """Let go of what was arriving, too: waitress leaves it to the garbage collector."""
        super().handle_close()
        if self.request is not None:
            self.request.close()

    def service(self) -> None:
        """Answer a request; those that wait behind it are not answered any more once the client has gone."""
        super().service()
        if not self.connected:
            for request in list(self.requests):
                request.close()

    @property
    def idle(self) -> bool:
        """Tell whether nothing is under way on it."""
        return self.began is None and not self.requests and not self.total_outbufs_len

    def cut_off(self, answer: bytes) -> None:
        """Give up what is arriving; say `answer` if the client reads it, and close either way.

        It costs the loop one write: were each answered by a thread of the pool, many slow clients together would keep the
        good ones waiting after all.
        """
        self.began = None
        if self.request is not None:
            self.request.close()
            self.request = None
        with self.outbuf_lock:
            self.outbufs[-1].append(answer)
            self.current_outbuf_count += len(answer)
            self.total_outbufs_len += len(answer)
            self.close_when_flushed = True


class _Waitress(TcpWSGIServer):  # type: ignore[misc]
    """Waitress's server, which gives up what takes too long, or too much, for the good of the others."""

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
            connection_limit=sys.maxsize,  # see readable
            backlog=1024,
            channel_timeout=limits.keep_alive,
            cleanup_interval=min(1.0, limits.deadline / 4),
            max_request_header_size=limits.header,
            max_request_body_size=sys.maxsize,  # see the parser
            asyncore_use_poll=True,
            log_socket_errors=False,
            expose_tracebacks=False,
            clear_untrusted_proxy_headers=True,
        )
        # What is shorter the loop sends in one piece, once it is whole. Deprecated as an argument; without it nothing breaks.
        adjustments.send_bytes = 16 << 10
        self._room = _Room(limits.arriving)
        adjustments.limits, adjustments.room = limits, self._room  # the parser knows nothing but these
        self._connections = max(1, min(limits.connections, connections_left() // limits.servers))
        self._limits, self._pulled = limits, False
        self._crowded = False  # since the last maintenance; the log says so
        self._starved = False  # no descriptor is left, and none could be freed: there is nothing to accept with
        info = (bound.family, bound.type, bound.proto, bound.getsockname())
        super().__init__(
            app, map, False, bound, dispatcher=dispatcher, adj=adjustments, sockinfo=info, bind_socket=False
        )
        self.accepting = False

    def readable(self) -> bool:
        """Asked in every round of the loop before any connection is: what changed until now is seen in this round."""
        self._pulled = False
        if len(self.active_channels) > self._connections:
            self._make_room(
                f"{self._connections} connections are open", but=next(reversed(self.active_channels.values()))
            )
        return bool(super().readable()) and not self._starved and len(self.active_channels) <= self._connections

    def pull_trigger(self) -> None:
        """Wake the loop, unless it has been told since its round began."""
        if not self._pulled:
            self._pulled = True
            super().pull_trigger()

    def accept(self) -> Any:
        """Take a connection, and where that is one too many, let go of another one."""
        try:
            taken = super().accept()
        except OSError as problem:
            if problem.errno in _OUT_OF_FILES:
                why = f"{problem.strerror}: raise the limit of open files (ulimit -n, LimitNOFILE=)"
                self._starved = not self._make_room(why)
            raise
        if taken is not None and len(self.active_channels) >= self._connections:
            self._make_room(f"{self._connections} connections are open")
        return taken

    def make_room_for_bodies(self) -> None:
        """While more is held than there is room for, give up the oldest body that is not small beside the others.

        Who sends slowly, to hold what there is, is older than who sends quickly; what is small frees next to nothing.
        """
        while self._room.full:
            arriving = [
                channel
                for channel in self.active_channels.values()
                if channel.request is not None and channel.request.held and not channel.requests
            ]
            if not arriving:
                return
            average = sum(channel.request.held for channel in arriving) / len(arriving)
            large = [channel for channel in arriving if channel.request.held >= average / 2]
            LOG.warning("more than %d bytes of bodies are held: one was refused with 503", self._limits.arriving)
            min(large, key=lambda channel: channel.began or 0.0).cut_off(_FULL)

    def maintenance(self, now: float) -> None:
        """Cut off what is idle, and what has been arriving for longer than the deadline."""
        super().maintenance(now)
        self._crowded = self._starved = False
        late = time.monotonic() - self._limits.deadline
        for channel in list(self.active_channels.values()):
            began = channel.began
            if began is not None and began < late and not channel.requests:
                LOG.info("a request took more than %g s to arrive and was cut off", self._limits.deadline)
                channel.cut_off(_LATE)

    def _make_room(self, why: str, but: _Channel | None = None) -> bool:
        """Close the connection that is missed least: one that has brought nothing yet, one between two requests, a slow one.

        False if there is none: all but `but` have a request that is being answered, or has just begun to arrive.
        """
        if not self._crowded:
            self._crowded = True  # the log has it once a second at most
            LOG.warning("%s; idle connections are closed for new ones", why)
        channels = [channel for channel in self.active_channels.values() if channel is not but]
        slow = time.monotonic() - _SETTLED
        idle = [channel for channel in channels if channel.idle]
        late = [
            channel
            for channel in channels
            if not channel.requests and channel.began is not None and channel.began < slow
        ]
        if idle:
            min(idle, key=lambda channel: (channel.served, channel.last_activity)).handle_close()
        elif late:
            min(late, key=lambda channel: channel.began or 0.0).handle_close()
        return bool(idle or late)
