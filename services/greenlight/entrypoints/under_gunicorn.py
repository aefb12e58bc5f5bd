"""gunicorn, configured here: nothing comes from the command line or from files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any
from wsgiref.types import WSGIApplication

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from greenlight.lib.descriptors import connections_left
from greenlight.lib.printable import OneRecord

KEEP_ALIVE = 30
"""Seconds that an idle connection is kept."""

CONNECTIONS = 1000
"""That a worker holds open at most; fewer where RLIMIT_NOFILE leaves fewer."""

_TO_GUNICORN = {2: Arbiter.APP_LOAD_ERROR, 3: Arbiter.WORKER_BOOT_ERROR}
"""Exit codes of a worker that cannot start as those on which gunicorn ends, too, instead of trying for ever."""

_FROM_GUNICORN = {None: 0, 0: 0, **{gunicorns: code for code, gunicorns in _TO_GUNICORN.items()}}


def serve(
    load: Callable[[], WSGIApplication | int],
    port: int,
    *,
    name: str,
    threads: int,
    drain: int,
    at_end: Callable[[], None] | None,
) -> int:
    """Serve what `load` makes, until SIGTERM; return the exit code, which is `load`'s if it makes nothing.

    One worker: a ledger's file has one owner, and threads are what makes its group commit work. `load` is called in it, and
    `at_end` when its last request has ended; both have to be done `drain` seconds after SIGTERM.
    """
    options: dict[str, Any] = {
        "bind": f"0.0.0.0:{port}",
        "worker_class": _Worker,
        "workers": 1,
        "threads": threads,
        "keepalive": KEEP_ALIVE,
        "worker_connections": min(CONNECTIONS, connections_left()),
        "graceful_timeout": drain,
        "proc_name": f"greenlight-{name}",
        "logger_class": _Log,
        "control_socket_disable": True,  # an endpoint that is not needed, and a file outside the data folder
    }
    if at_end is not None:
        options["worker_exit"] = lambda arbiter, worker: at_end()
    process = os.getpid()
    try:
        _Server(load, options).run()
    except SystemExit as end:
        if os.getpid() != process:
            raise  # the worker, which is a fork
        return _FROM_GUNICORN.get(end.code, 1)
    return 0


class _Log(Logger):  # type: ignore[misc]
    """gunicorn's log, which quotes what clients send: each record is one line here."""

    def setup(self, cfg: Any) -> None:
        """Set the log up once the settings are read."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(OneRecord())


class _Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's worker, but on SIGTERM it refuses new connections at once.

    The original lets them wait for no answer.
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        """Stop or begin to accept: gunicorn calls it when the worker is full, and when it has to stop."""
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                listener.close()


class _Server(BaseApplication):  # type: ignore[misc]
    def __init__(self, load: Callable[[], WSGIApplication | int], options: dict[str, Any]) -> None:
        self._load, self._options = load, options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> WSGIApplication:
        """Load the app in the worker, after the fork: threads and files belong to the worker."""
        made = self._load()
        if isinstance(made, int):
            sys.exit(_TO_GUNICORN[made])
        return made
