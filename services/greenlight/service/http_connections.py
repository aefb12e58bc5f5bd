"""The connections of the server: each has a deadline, and makes room for new ones where there are too many."""

from __future__ import annotations

import errno
import logging
import socket
import sys
import time
from dataclasses import dataclass
from typing import Any
from wsgiref.types import WSGIApplication

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from greenlight.lib.descriptors import connections_left
from greenlight.lib.errors import PROBLEM, problem_json
from greenlight.service.http_parser import BodyMemory, Refusal, StrictParser

LOG = logging.getLogger("greenlight.server")

_SETTLED = 1.0
"""Seconds after which a request that is still arriving may have to go for a new connection."""


_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class Limits:
    """The server's limits for a client. Sizes in bytes, times in seconds."""

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


def _closing(status: int, reason: str, detail: str, more: bytes = b"") -> bytes:
    """Make a whole answer, after which the connection is closed. `more`: header lines."""
    body = problem_json(status, detail).encode()
    head = b"HTTP/1.1 %d %b\r\nConnection: close\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n"
    return head % (status, reason.encode(), PROBLEM.encode(), len(body), more) + body


_LATE = _closing(408, "Request Timeout", "the request did not arrive in time")


_FULL = _closing(
    503, "Service Unavailable", "too much is arriving at once; nothing of this request was kept", b"Retry-After: 5\r\n"
)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that knows when the request that it is receiving began, and whether it has brought one."""

    parser_class = StrictParser
    error_task_class = Refusal
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
        """Release what was arriving, too: waitress leaves it to the garbage collector."""
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
        """Return whether nothing is under way on it."""
        return self.began is None and not self.requests and not self.total_outbufs_len

    def cut_off(self, answer: bytes) -> None:
        """Give up what is arriving; send `answer` if the client reads it, and close in any case.

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


class Waitress(TcpWSGIServer):  # type: ignore[misc]
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
        self._room = BodyMemory(limits.arriving)
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
        """Return whether to accept.

        It is called first in every round of the loop, which sees all that changed until now.
        """
        self._pulled = False
        if len(self.active_channels) > self._connections:
            self._make_room(
                f"{self._connections} connections are open", but=next(reversed(self.active_channels.values()))
            )
        return bool(super().readable()) and not self._starved and len(self.active_channels) <= self._connections

    def pull_trigger(self) -> None:
        """Wake the loop, unless it was woken since its round began."""
        if not self._pulled:
            self._pulled = True
            super().pull_trigger()

    def accept(self) -> Any:
        """Take a connection; if that is one too many, close another one."""
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
        """Give up the oldest of the larger bodies, as long as more is held than there is room for.

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
        """Close the least useful connection: one that has brought nothing yet, one between two requests, a slow one.

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
