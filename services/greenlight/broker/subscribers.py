"""Subscribers of events: a function or an app in this process, or an address over HTTP."""

from __future__ import annotations

import functools
import io
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote, urljoin, urlsplit
from wsgiref.types import WSGIApplication

from greenlight.broker.delivery_options import Destination
from greenlight.broker.http_client import HttpClient, NoResponse, TimedOut
from greenlight.broker.outcomes import SubscriberResponse
from greenlight.events import Event
from greenlight.events.http import from_http, to_binary, to_structured, travels_whole

MAX_RESPONSE = 1 << 20
"""Bytes of a response that are read."""

MAX_TIMEOUT = 900.0
"""Seconds that any attempt may last (Knative's in-memory channel has the same limit)."""

_log = logging.getLogger("greenlight.broker")


@dataclass(frozen=True, slots=True)
class Message:
    """An event to deliver, with the HTTP headers that are passed on."""

    event: Event
    headers: Mapping[str, str] = field(default_factory=dict)
    structured: bool = False

    def as_http(self) -> tuple[dict[str, str], bytes]:
        """Return headers and body. Raises NotAnEvent for what no header can carry."""
        headers, body = to_structured(self.event) if self.structured else to_binary(self.event)
        return {**self.headers, **headers}, body


class Undelivered(Exception):
    """No response came: cannot connect, connection lost, or too late. The message tells an operator which."""


class Subscriber(Protocol):
    """One destination of events."""

    url: str  # names it in dead letters and messages

    def deliver(self, message: Message, timeout: float | None) -> SubscriberResponse:
        """Post the event and return the response. `timeout` in seconds. Raises Undelivered."""
        ...

    def close(self) -> None:
        """Close idle connections."""
        ...


@dataclass(frozen=True, slots=True)
class LocalService:
    """A service in this process: called with an event, the path of its address, and the headers that are passed on."""

    handle: Callable[[Event, str, Mapping[str, str]], SubscriberResponse]


class LocalSubscriber:
    """A function in this process, called in the delivering thread with the event itself.

    A thread cannot be stopped from outside, so `timeout` is not enforced here: only Greenlight's own functions are called.
    """

    def __init__(self, service: LocalService, url: str) -> None:
        self._handle, self.url = service.handle, url
        self._path = unquote(urlsplit(url).path) or "/"

    def deliver(self, message: Message, timeout: float | None) -> SubscriberResponse:
        """Call the function. The event is what it would be if it had come over HTTP, where that makes a difference."""
        event = message.event
        if message.structured or not travels_whole(event):
            event = from_http(*message.as_http())
        try:
            return self._handle(event, self._path, message.headers)
        except Exception:
            _log.exception("%s raised instead of answering", self.url)
            return SubscriberResponse(500, {}, b"the service raised an exception")

    def close(self) -> None:
        """Do nothing: there are no connections."""


class WsgiSubscriber:
    """A WSGI app in this process, called in the delivering thread.

    A thread cannot be stopped from outside, so `timeout` is not enforced here: only Greenlight's own apps are called.
    """

    def __init__(self, app: WSGIApplication, url: str = "http://localhost/") -> None:
        self._app = app
        self.url = url
        parts = urlsplit(url)
        self._base = {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(parts.path, "latin-1") or "/",
            "QUERY_STRING": parts.query,
            "SERVER_NAME": parts.hostname or "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": parts.netloc,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
        }

    def deliver(self, message: Message, timeout: float | None) -> SubscriberResponse:
        return self.post(*message.as_http())

    def post(self, headers: Mapping[str, str], body: bytes) -> SubscriberResponse:
        """Post any headers and body."""
        environ = {**self._base, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        for name, value in headers.items():
            environ[_cgi_name(name)] = value
        try:
            return self._call(environ)
        except Exception:
            _log.exception("%s raised instead of answering", self.url)
            return SubscriberResponse(500, {}, b"the service raised an exception")

    def close(self) -> None:
        """Do nothing: there are no connections."""

    def _call(self, environ: dict[str, Any]) -> SubscriberResponse:
        began: list[tuple[int, dict[str, str]]] = []
        chunks: list[bytes] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], None]:
            began.append((int(status[:3]), dict(headers)))
            return chunks.append

        answer = self._app(environ, start_response)
        try:
            chunks.extend(answer)
        finally:
            close = getattr(answer, "close", None)
            if close is not None:
                close()
        status, answered = began[-1]
        return SubscriberResponse(status, answered, b"".join(chunks)[:MAX_RESPONSE])


@functools.lru_cache(maxsize=1024)
def _cgi_name(header: str) -> str:
    """Return the key of a header in the environ (PEP 3333)."""
    key = header.upper().replace("-", "_")
    return key if key == "CONTENT_TYPE" else f"HTTP_{key}"


class HttpSubscriber:
    """An http or https address, with connections that stay open. Redirections are not followed."""

    def __init__(self, url: str, connections: int = 8) -> None:
        self.url = url
        self._client = HttpClient(url, connections, MAX_RESPONSE)

    def deliver(self, message: Message, timeout: float | None) -> SubscriberResponse:
        limit = min(timeout or MAX_TIMEOUT, MAX_TIMEOUT)
        try:
            return SubscriberResponse(*self._client.post(*message.as_http(), limit))
        except TimedOut as problem:
            raise Undelivered(f"no answer within {limit:g} s") from problem
        except NoResponse as problem:
            raise Undelivered(f"cannot reach {self.url}: {problem}") from problem

    def close(self) -> None:
        self._client.close()


Services = Mapping[str, LocalService | WSGIApplication | str]
"""What a `ref` to a Knative Service means here: NAME or NAMESPACE/NAME to a function, a WSGI app or a base address."""


def resolve(destination: Destination, services: Services, connections: int) -> Subscriber:
    """Return the subscriber of `destination`. Raises LookupError, with what to do, for a ref that `services` does not have."""
    ref = destination.ref
    if ref is None:
        assert destination.uri is not None
        return HttpSubscriber(destination.uri, connections)
    if (ref.api_version.partition("/")[0], ref.kind) != ("serving.knative.dev", "Service"):
        raise LookupError(
            f"{destination.where}: a ref to {ref.kind} {ref.name} ({ref.api_version}) cannot be resolved without a "
            "cluster; use a Knative Service of this pipeline, or an absolute uri"
        )
    service = services.get(f"{ref.namespace}/{ref.name}", services.get(ref.name))
    if service is None:
        known = ", ".join(sorted(services)) or "none"
        raise LookupError(
            f"{destination.where}: there is no service {ref.name} here (known: {known}); correct the name, or use an "
            "absolute uri"
        )
    if isinstance(service, str):
        return HttpSubscriber(urljoin(service, destination.uri or ""), connections)
    url = urljoin(f"http://{ref.name}.{ref.namespace}.svc.cluster.local/", destination.uri or "")
    if isinstance(service, LocalService):
        return LocalSubscriber(service, url)
    return WsgiSubscriber(service, url)
