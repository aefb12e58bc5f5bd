"""Brokers, subscribers and producers for the tests of greenlight.broker."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import urllib3

from greenlight.broker import log
from greenlight.broker.broker import Broker
from greenlight.broker.limits import BrokerLimits
from greenlight.broker.manifests import load_texts
from greenlight.events import Event
from greenlight.events.http import from_http
from greenlight.service.http_connections import Limits as ServerLimits
from greenlight.service.server import Server
from greenlight.store import Store
from greenlight.telemetry.tracing import OFF, Tracer
from support.timing import PATIENCE

Response = tuple[int, Mapping[str, str], bytes]


@dataclass
class Request:
    """A request that a subscriber got."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Event:
        return from_http(self.headers, self.body)


@dataclass
class Recorder:
    """Remember requests; `answer` returns the reply to the n-th of them (from 0)."""

    answer: Callable[[int, Request], Response] = lambda n, request: (202, {}, b"")
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._news = threading.Condition()

    def take(self, request: Request) -> Response:
        with self._news:
            number = len(self.requests)
            self.requests.append(request)
            self._news.notify_all()
        return self.answer(number, request)

    def wait(self, count: int) -> list[Request]:
        """Return the requests, once there are `count` of them."""
        return self.wait_until(lambda requests: len(requests) >= count)

    def wait_until(self, holds: Callable[[list[Request]], bool]) -> list[Request]:
        """Return the requests, once this holds for them."""
        with self._news:
            assert self._news.wait_for(lambda: holds(self.requests), PATIENCE), f"only {len(self.requests)} came"
            return list(self.requests)

    def ids(self) -> list[str]:
        return [request.headers["ce-id"] for request in self.requests]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """Answer as a WSGI app."""
        headers = {name[5:].lower().replace("_", "-"): text for name, text in environ.items() if name[:5] == "HTTP_"}
        headers["content-type"] = environ.get("CONTENT_TYPE", "")
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        status, answered, content = self.take(Request(environ["PATH_INFO"], headers, body))
        start_response(f"{status} Whatever", list(answered.items()))
        return [content]


@contextlib.contextmanager
def http_server(recorder: Recorder) -> Iterator[str]:
    """Run the recorder behind a real HTTP server on 127.0.0.1; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): text for name, text in self.headers.items()}
            status, answered, content = recorder.take(Request(self.path, headers, body))
            self.send_response(status)
            for name, text in answered.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    class Listener(ThreadingHTTPServer):
        request_queue_size = (
            128  # with the default of 5, a connection among many is dropped and tried again after a second
        )

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the broker gave up waiting

    server = Listener(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def wsgi_server(app: Any) -> Iterator[str]:
    """Run a WSGI app behind a real HTTP server on 127.0.0.1; yield its address."""
    server = Server(app, "127.0.0.1:0", name="test", limits=ServerLimits())
    server.start()
    try:
        yield "http://{}:{}".format(*server.address)
    finally:
        server.stop(5)


def event(id: str = "1", type: str = "test.happened", **extensions: str | int | bool) -> Event:
    """Make a small event."""
    return Event(
        id=id,
        source="/test",
        type=type,
        datacontenttype="application/json",
        extensions=extensions,
        data=b'{"n": 1}',
    )


def reply(id: str, type: str, **headers: str) -> Response:
    """Answer 200 with an event."""
    named = {"ce-specversion": "1.0", "ce-id": id, "ce-type": type, "ce-source": "/reply"}
    return 200, {**named, **headers}, b""


BROKER = """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default, namespace: test}
"""


def trigger(name: str, subscriber: str, *, spec: str = "", annotations: str = "{}") -> str:
    """Make a Trigger; `subscriber` is an address or the name of a service; `spec`: more lines of it, in flow style."""
    ref = f"{{ref: {{apiVersion: serving.knative.dev/v1, kind: Service, name: {subscriber}}}}}"
    destination = f"{{uri: '{subscriber}'}}" if "://" in subscriber else ref
    lines = "".join(f"  {line.strip()}\n" for line in spec.strip().splitlines())
    return f"""
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {{name: {name}, namespace: test, annotations: {annotations}}}
spec:
  broker: default
  subscriber: {destination}
{lines}"""


FAST = "delivery: {retry: 3, backoffPolicy: exponential, backoffDelay: PT0.01S, timeout: PT5S}"
"""Retries that a test can wait for."""


@contextlib.contextmanager
def running(
    folder: Path,
    *triggers: str,
    services: Mapping[str, Any] | None = None,
    limits: BrokerLimits | None = None,
    broker: str = BROKER,
    synchronous: str = "NORMAL",
    tracer: Tracer = OFF,
) -> Iterator[Broker]:
    """Yield a started Broker over a store in `folder`."""
    manifests = load_texts({"test.yaml": "\n---\n".join([broker, *triggers])})
    store = Store(folder / "broker.db", [log.SCHEMA], synchronous=synchronous)
    running = Broker(
        store, manifests.brokers, manifests.triggers, services=services or {}, limits=limits, tracer=tracer
    )
    running.start()
    try:
        yield running
    finally:
        running.drain(5)
        running.stop()
        store.close()


def post(url: str, event_headers: Mapping[str, str], body: bytes = b"{}", method: str = "POST") -> Any:
    """Send one request without retries."""
    with urllib3.PoolManager(retries=False) as http:
        return http.request(method, url, headers=event_headers, body=body, redirect=False)
