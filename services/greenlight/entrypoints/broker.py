"""`greenlight broker`: the embedded broker alone, a Knative broker on one machine and nothing else."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from greenlight.broker import log as broker_log
from greenlight.broker.broker import Broker
from greenlight.broker.limits import BrokerLimits
from greenlight.broker.manifest_watcher import ManifestWatcher
from greenlight.lib.errors import ConfigurationError, Unavailable
from greenlight.lib.files import keep_private, make_folder
from greenlight.lib.foreground import announce, is_loopback, log_to_stderr, stop_on_signals
from greenlight.lib.origins import OnlyPrograms, foreign
from greenlight.lib.printable import printable
from greenlight.service.http_connections import Limits as ServerLimits
from greenlight.service.server import serve, serve_until
from greenlight.store import Locked, Newer, Store
from greenlight.telemetry.setup import tracer_of

DATABASE = "broker.db"

DRAIN = 10.0
"""Seconds that deliveries in flight get to finish after SIGTERM."""

FAILED = 1
"""Exit code: the port does not listen any more."""

USAGE = 2
"""Exit code: bad usage or configuration."""


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """The command line of `greenlight broker`."""

    manifests: Path
    data: Path
    listen: str = "127.0.0.1:8080"
    services: Mapping[str, str] = field(
        default_factory=dict
    )  # NAME or NAMESPACE/NAME of a Knative Service: its address
    limits: BrokerLimits = field(default_factory=BrokerLimits)

    @classmethod
    def of(
        cls,
        manifests: Path,
        data: Path,
        *,
        listen: str,
        services: Mapping[str, str],
        workers: int,
        keep_age: float,
        keep_size: int,
        backlog_events: int,
        backlog_size: int,
    ) -> BrokerOptions:
        """Make the options from the command line. Ages in seconds, sizes in bytes."""
        limits = BrokerLimits(
            workers=workers,
            backlog_events=backlog_events,
            backlog_bytes=backlog_size,
            keep_events=keep_age,
            keep_bytes=keep_size,
        )
        return cls(manifests, data, listen, services, limits)


def run(options: BrokerOptions) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code: 0 stopped in order, 1 the port failed, 2 it cannot start."""
    log = log_to_stderr()
    try:
        if not options.manifests.is_dir():
            raise ConfigurationError(
                f"{options.manifests} is not a folder: --manifests names the one with the YAML files"
            )
        watch = ManifestWatcher([options.manifests], lambda found: broker.change(*found))
        manifests = watch.manifests
        if not manifests.brokers:
            raise ConfigurationError(
                f"there is no Broker in the YAML files below {options.manifests}: write one, as for Knative"
            )
        make_folder(options.data)
        for path in keep_private(options.data):
            log.warning("other users may read %s: remove their right, or make Greenlight's user its owner", path)
        store = Store(options.data / DATABASE, [broker_log.SCHEMA])
    except (ConfigurationError, Locked, Newer, Unavailable, OSError) as problem:
        return _cannot_start(str(problem))
    try:
        tracer = tracer_of("broker", log)
        broker = Broker(store, *manifests, services=options.services, limits=options.limits, tracer=tracer)
        loopback = is_loopback(options.listen.rpartition(":")[0].strip("[]"))
        front = OnlyPrograms(BrokerPort(broker), loopback=loopback, anybody=_HEALTH)
        server = serve(front, options.listen, name="broker", limits=ServerLimits(body=1 << 20))
    except (ConfigurationError, Unavailable) as problem:
        store.close()
        return _cannot_start(str(problem))
    except OSError as problem:
        store.close()
        return _cannot_start(f"cannot listen: {problem}. Name another address with --listen")
    stopping = stop_on_signals()
    tracer.start(None)
    broker.start()
    watch.start()
    server.start()
    announce(_ready("http://{}:{}".format(*server.address), manifests.brokers, len(manifests.triggers)))
    in_order = serve_until(stopping, [server])
    watch.stop()
    server.stop(DRAIN)
    drained = broker.drain(DRAIN)
    broker.stop()
    tracer.stop(DRAIN)
    store.close()
    log.info("stopped%s", "" if drained else "; deliveries that were cut off go on at the next start")
    return 0 if in_order else FAILED


class BrokerPort:
    """The one port: events for Brokers, and for this machine alone the operators' API; metrics and health for all.

    Flask is imported by the first request that needs it, not by the start and not by an event.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self._operators: WSGIApplication | None = None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, as a WSGI app."""
        path = environ.get("PATH_INFO") or "/"
        if path.startswith("/api/v1/") or (path in _OPEN and not _probe(environ)):
            return self._for_operators()(environ, start_response)
        return self._broker.ingress(environ, start_response)

    def _for_operators(self) -> WSGIApplication:
        with self._lock:
            if self._operators is None:
                self._operators = operators_app(self._broker)
            return self._operators


_HEALTH = ("/healthz", "/readyz")
_OPEN = (*_HEALTH, "/metrics")


def _probe(environ: WSGIEnvironment) -> bool:
    return str(environ.get("HTTP_USER_AGENT", "")).startswith("kube-probe/")


def operators_app(broker: Broker) -> WSGIApplication:
    """Make the app of `/api/v1/*`, `/healthz`, `/readyz`, `/metrics`."""
    from flask import Flask, Response, request
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

    from greenlight.broker.api import blueprint
    from greenlight.lib.problems import problem_response, refusal
    from greenlight.telemetry.metrics import FILTER_ERRORS, SPANS

    app = Flask("greenlight.broker", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 64 << 10
    app.register_blueprint(blueprint(broker.operations))
    registry = CollectorRegistry()
    registry.register(broker.metrics.collector(broker.operations))
    for counter in (FILTER_ERRORS, SPANS):
        registry.register(counter)

    @app.before_request
    def only_this_machine() -> Response | None:
        refusal = None if request.path in _OPEN else why_not_local(request.environ)
        return None if refusal is None else problem_response(403, refusal)

    @app.get("/healthz")
    def healthz() -> Response:
        return Response("ok\n", mimetype="text/plain")

    @app.get("/readyz")
    def readyz() -> Response:
        broker.ready()
        return Response("ready\n", mimetype="text/plain")

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    log = logging.getLogger("greenlight.broker")
    app.register_error_handler(Exception, lambda problem: refusal(problem, log))
    return app


def why_not_local(environ: WSGIEnvironment) -> str | None:
    """Return why a request does not count as one of a program on this machine; None if it does.

    A web page in a browser on this machine does not: it has an Origin, or a Host name that was bound to this machine.
    """
    if not is_loopback(str(environ.get("REMOTE_ADDR", ""))):
        return "ask from the machine that the broker runs on"
    if environ.get("HTTP_ORIGIN") is not None:
        return "requests of web pages are refused"
    return foreign(environ, named=True)


def _ready(url: str, brokers: Iterable[Any], triggers: int) -> str:
    addresses = " ".join(f"{url}/{broker.key}" for broker in brokers)
    return f"greenlight broker is ready, {triggers} Triggers: {addresses}\n"


def _cannot_start(problem: str) -> int:
    what = printable(str(problem), keep="\n")
    sys.stderr.write(f"greenlight broker: cannot start\n{what}\n")
    return USAGE
