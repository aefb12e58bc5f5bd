"""The HTTP server of a Greenlight on one machine: waitress, made strict and given deadlines.

One thread reads every connection, so that a slow client holds a socket and nothing else; the threads of the pool only ever see
requests that have arrived whole. docs/decisions/0001-webhook-server.md has the figures that chose it.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from wsgiref.types import WSGIApplication

from waitress import wasyncore
from waitress.task import ThreadedTaskDispatcher

from greenlight.service.http_connections import Limits, Waitress
from greenlight.service.turns import Turns

LOG = logging.getLogger("greenlight.server")
PEEK = 256 << 10
"""Bytes of a body that are looked at to tell whose turn it is."""

Turn = Callable[[bytes], str]
"""Whose turn a request is, by the beginning of its body, which is not authenticated yet."""

logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns whenever a request waits for a thread


class Server:
    """One listening address. Bound when it is made, at work from start() to stop()."""

    def __init__(
        self,
        app: WSGIApplication,
        listen: str,
        *,
        name: str,
        limits: Limits,
        turn: Turn | None = None,
    ) -> None:
        """Bind. Raises OSError if the address is taken or not this machine's."""
        self._map: dict[int, Any] = {}
        self._dispatcher = ThreadedTaskDispatcher() if turn is None else Turns(_by_body(turn), limits.of_one)
        self._limits = limits
        bound = _bound(listen)
        self._server = Waitress(app, self._map, bound, self._dispatcher, limits)
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
        """Return whether the server works: it was started, not stopped, and its thread did not fail."""
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
    """Return a server for `app` on `listen` (`HOST:PORT`, port 0 for any free one), bound and not started.

    With `turn`, which is given a request's body before anybody has looked at it, the requests for which it says the same
    wait for each other, and take turns with the others.
    """
    return Server(app, listen, name=name, limits=limits or Limits(), turn=turn)


def serve_until(
    stopping: threading.Event, servers: Sequence[Server], each_second: Callable[[], object] = lambda: None
) -> bool:
    """Wait until `stopping` is set. False as soon as a port does not listen any more, because its server failed.

    Then the process must end, and be started again: its other ports would still answer as if it served.
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
