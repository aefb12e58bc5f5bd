"""Protection from web pages that send requests through the browser of a person who can reach this machine.

A page comes with an Origin that is not the address it asks (RFC 6454, section 7), or it was loaded under a name of its own
that was then bound to this machine (DNS rebinding); that name is in its Host.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from greenlight.lib.errors import PROBLEM, problem_json
from greenlight.lib.foreground import is_loopback

_UNREGISTERED = (".localhost", ".svc", ".svc.cluster.local", ".internal")
"""The ends of host names that cannot be registered, so that no page of the internet is loaded under one: those of loopback
(RFC 6761), of a cluster's Services, and of private networks (ICANN, 2024), such as `host.docker.internal`."""


def foreign(environ: WSGIEnvironment, *, named: bool, own: str | None = None) -> str | None:
    """Return why a request may be a web page's, to be shown to its sender; None if it is not.

    Its Origin, if it has one, must be the address that it asks, or `own`, the one (SCHEME://HOST) under which browsers reach
    it through a reverse proxy. With `named`, that address must be a name that no page of the internet can be loaded under,
    too: one of loopback, of a Service of a cluster, or of a private network; or that of `own`.
    """
    asked = str(environ.get("HTTP_HOST", ""))
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and origin.lower() != own:
        authority = _authority(origin)
        if authority != asked.lower() or (own is not None and authority == _authority(own)):
            return "requests of other origins are refused"
    if own is not None and asked.lower() == _authority(own):
        return None
    host = hostname(asked)
    if named and not is_loopback(host) and not host.endswith(_UNREGISTERED):
        return f"this machine is not called {host[:64]!r} here: ask for 127.0.0.1 or localhost"
    return None


class OnlyPrograms:
    """A WSGI app on a port for programs alone, without authentication: 403 for web pages.

    `loopback`: whether it listens there; `anybody`: the paths that are for all.
    """

    def __init__(self, app: WSGIApplication, *, loopback: bool, anybody: Container[str] = ()) -> None:
        self._app, self._loopback, self._anybody = app, loopback, anybody

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer as a WSGI app.

        On an address that is not loopback a program may use any host name; a browser sends an Origin.
        """
        if environ.get("PATH_INFO") in self._anybody:
            return self._app(environ, start_response)
        refusal = foreign(environ, named=self._loopback or "HTTP_ORIGIN" in environ)
        return self._app(environ, start_response) if refusal is None else _forbidden(refusal, start_response)


def _forbidden(detail: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = problem_json(403, detail).encode()
    start_response("403 Forbidden", [("Content-Type", PROBLEM), ("Content-Length", str(len(body)))])
    return [body]


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def hostname(authority: str) -> str:
    """Return the host of HOST:PORT, without brackets; empty where there is none."""
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""
