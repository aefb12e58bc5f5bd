"""Requests to an API server: authenticated, bounded in time and size, repeated once with new credentials after a 401."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import urllib3

from greenlight.deployer.clusters.endpoint import ApiEndpoint, client_of
from greenlight.deployer.clusters.refusals import failure
from greenlight.lib.errors import Unavailable

if TYPE_CHECKING:
    from kubernetes.client.api_client import ApiClient

TIMEOUT = (3.0, 10.0)
"""Seconds to connect in, and seconds for which the server may send nothing."""

MAX_BYTES = 64 << 20
"""Of one answer that is no watch. The pods of a thousand nodes are less than half of it."""


@dataclass(frozen=True, slots=True)
class Request:
    """Hold one request, with the headers that depend on its kind."""

    method: str
    path: str  # with its query
    body: Any = None  # as JSON
    content: str = "application/json"  # the body's media type
    accept: str = "application/json"
    timeout: tuple[float, float] = TIMEOUT

    def __str__(self) -> str:
        return f"{self.method} {self.path.partition('?')[0]}"


class Transport:
    """Send requests to one API server. `endpoint` is called before every request, so it has to keep what it knows.

    Every method raises a kind of Refused where the API server refuses, Unavailable where it cannot be reached, and
    ConfigurationError where it does not accept the credentials: those are forgotten after a 401, and the request is
    repeated once with new ones.
    """

    def __init__(self, endpoint: Callable[[], ApiEndpoint], forget: Callable[[], None]) -> None:
        self._endpoint, self._forget = endpoint, forget
        self._lock = threading.Lock()
        self._client: tuple[ApiEndpoint, ApiClient] | None = None

    def read(self, request: Request) -> tuple[bytes, urllib3.BaseHTTPResponse]:
        """Return the body, at most MAX_BYTES of it, and the answer with its headers."""
        answer = self.open(request)
        return self._body(request, answer), answer

    def open(self, request: Request) -> urllib3.BaseHTTPResponse:
        """Return a successful answer whose body is still to be read."""
        answer = self._send(request)
        if answer.status == 401:
            answer.drain_conn()
            self._forget()
            answer = self._send(request)
        if 200 <= answer.status < 300:
            return answer
        raise failure(str(request), answer.status, self._body(request, answer))

    def _send(self, request: Request) -> urllib3.BaseHTTPResponse:
        endpoint = self._endpoint()
        client = self._client_of(endpoint)
        from kubernetes.client.exceptions import ApiException  # imported by now

        headers = urllib3.HTTPHeaderDict({"Accept": request.accept})
        if request.body is not None:
            headers["Content-Type"] = request.content
        if endpoint.token:
            headers["Authorization"] = f"Bearer {endpoint.token}"
        for name, value in endpoint.impersonation:
            headers.add(name, value)
        url = client.configuration.host + request.path
        try:
            answer = client.call_api(request.method, url, headers, request.body, _request_timeout=request.timeout)
        except (urllib3.exceptions.HTTPError, ApiException) as problem:
            # ApiException is what the package makes of a TLS failure; elsewhere that is the reason of another error.
            if isinstance(problem, ApiException) or isinstance(
                getattr(problem, "reason", problem), urllib3.exceptions.SSLError
            ):
                self._forget()  # the server's certificates may have been renewed
            raise Unavailable(f"the API server at {endpoint.server} cannot be reached: {_text(problem)}") from problem
        response: urllib3.BaseHTTPResponse = answer.response
        return response

    def _body(self, request: Request, answer: urllib3.BaseHTTPResponse) -> bytes:
        parts, size = [], 0
        try:
            for part in answer.stream(1 << 16):
                size += len(part)
                if size > MAX_BYTES:
                    answer.close()
                    raise Unavailable(f"{request}: the answer has more than {MAX_BYTES >> 20} MiB")
                parts.append(part)
        except urllib3.exceptions.HTTPError as problem:
            raise Unavailable(f"{request}: the answer broke off: {problem}") from problem
        return b"".join(parts)

    def _client_of(self, endpoint: ApiEndpoint) -> ApiClient:
        """Return the client with its connections; a new one where anything but the token has changed."""
        connection = endpoint.connection()
        with self._lock:
            if self._client is None or self._client[0] != connection:
                self._client = (connection, client_of(connection))
            return self._client[1]


def _text(problem: Exception) -> str:
    return str(getattr(problem, "reason", problem))
