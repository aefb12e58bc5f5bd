"""A port of its own for Prometheus, in a process whose other port is not for Prometheus."""

from __future__ import annotations

import threading
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app


class _Scrape(WSGIRequestHandler):
    timeout = 5.0  # seconds for each piece of a request

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: each scrape would be a line."""


class _Scrapes(WSGIServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Write nothing: a client that went away, or was too slow, asks again."""


def serve_metrics(port: int) -> None:
    """Serve metrics on `port` from now on, one request at a time, so that it needs one descriptor. Raises OSError."""
    server = _Scrapes(("", port), _Scrape)
    server.set_app(make_wsgi_app())
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
