"""`greenlight up`: starts the composition, serves its three ports, and stops in order."""

from __future__ import annotations

import gc
import ipaddress
import logging
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from greenlight.embedded import demo
from greenlight.embedded.compose import Folders, Greenlight, Strangers
from greenlight.policy.model import Pipeline
from greenlight.runtime.configuration import read_pipeline
from greenlight.runtime.errors import ConfigurationError
from greenlight.runtime.secrets import create
from greenlight.runtime.server import Limits, Server, serve
from greenlight.store.errors import Locked

DRAIN = 10.0
"""Seconds that deliveries in flight get to finish after SIGTERM."""

USAGE = 2
"""Exit code: bad usage or configuration."""


@dataclass(frozen=True, slots=True)
class UpOptions:
    """The command line of `greenlight up`."""

    config: Path
    data: Path
    secrets: Path | None = None  # default: DATA/secrets
    listen: str = "127.0.0.1:8080"
    webhooks_listen: str = "127.0.0.1:8081"
    broker_listen: str = "127.0.0.1:8082"
    demo: bool = False


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the three ports are, as URLs."""

    board: str
    webhooks: str
    broker: str


def run(options: UpOptions, show_trace: Callable[[dict[str, Any]], None]) -> int:
    """Run until SIGTERM or SIGINT. The exit code: 0 stopped in order, 1 the demo's story failed, 2 it cannot start."""
    log = _log(logging.WARNING if options.demo else logging.INFO)  # the story is told on stdout
    try:
        folders = _folders(options)
        _create_secrets(folders, read_pipeline(folders.config))
        watcher = demo.Watcher()
        greenlight = Greenlight(
            folders,
            open_reads=_loopback(options.listen),
            log=log,
            strangers=watcher.strangers() if options.demo else Strangers(),
        )
    except (ConfigurationError, Locked) as problem:
        sys.stderr.write(f"greenlight: cannot start\n{problem}\n")
        return USAGE
    try:
        servers = _serve(options, greenlight)
    except OSError as problem:
        greenlight.stop(0)
        sys.stderr.write(
            f"greenlight: cannot listen: {problem}. Name another address with --listen, --webhooks-listen or --broker-listen\n"
        )
        return USAGE
    stopping = _stop_on_signals()
    _settle_memory()
    greenlight.start()
    for server in servers:
        server.start()
    addresses = Addresses(*(f"http://{server.address[0]}:{server.address[1]}" for server in servers))
    _announce(addresses, folders, options)
    code = 0
    if options.demo:
        code = demo.tell(addresses.board, addresses.webhooks, folders, watcher, greenlight.clock, stopping, show_trace)
    if code == 0:
        stopping.wait()
    return _stop(servers, greenlight, folders, options, code)


def _settle_memory() -> None:
    """Take what was imported and composed out of the garbage collector's rounds: it lives as long as the process."""
    gc.collect()
    gc.freeze()


def _stop(servers: list[Server], greenlight: Greenlight, folders: Folders, options: UpOptions, code: int) -> int:
    """First no new facts, then the deliveries in flight, then the store."""
    for server in servers:
        server.stop(DRAIN)
    drained = greenlight.stop(DRAIN)
    if options.demo:
        demo.clean(folders)
    greenlight.log.info("stopped%s", "" if drained else "; deliveries that were cut off go on at the next start")
    return code


def _serve(options: UpOptions, greenlight: Greenlight) -> list[Server]:
    """Bind the three ports, so that a taken one is known before anything starts."""
    return [
        serve(greenlight.apps["board"], options.listen, name="board", limits=Limits(body=1 << 20)),
        serve(greenlight.apps["webhooks"], options.webhooks_listen, name="webhooks", limits=Limits()),
        serve(greenlight.broker.ingress, options.broker_listen, name="broker", limits=Limits(body=1 << 20)),
    ]


def _folders(options: UpOptions) -> Folders:
    data = options.data / "demo" if options.demo else options.data
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    secrets = options.secrets or data / "secrets"
    config = demo.prepare(data) if options.demo else options.config
    return Folders(config=config, data=data, secrets=secrets)


def _create_secrets(folders: Folders, pipeline: Pipeline) -> None:
    """Make a secret for every sender that the pipeline listens to and that has none yet."""
    names = {"github", "circleci"}
    for policy in pipeline.applications.values():
        for gate in policy.gates.values():
            if gate.kind == "webhook":
                names.add(f"gate-{gate.wants['name']}")
            elif gate.kind == "event" and gate.wants.get("sender"):
                names.add(f"events-{gate.wants['sender']}")
    create(folders.secrets, sorted(names))


def _announce(addresses: Addresses, folders: Folders, options: UpOptions) -> None:
    sys.stdout.write(
        f"greenlight is up\n"
        f"  board     {addresses.board}\n"
        f"  webhooks  {addresses.webhooks}   the only port meant for the internet: put a reverse proxy or tunnel before it\n"
        f"  broker    {addresses.broker}   for this machine only\n"
        f"  secrets   {folders.secrets}\n"
    )
    if not options.demo:
        sys.stdout.write(
            f"Point GitHub at it: repository settings, webhooks: https://YOUR-HOST/webhooks/github, content type "
            f"application/json, the secret in {folders.secrets}/github\n"
            f"  for a try without a tunnel: gh webhook forward --repo OWNER/NAME --events push,check_run,status,workflow_run "
            f'--url {addresses.webhooks}/webhooks/github --secret "$(cat {folders.secrets}/github)"\n'
            f"Point CircleCI at it: project settings, webhooks: https://YOUR-HOST/webhooks/circleci, workflow-completed and "
            f"job-completed, the secret in {folders.secrets}/circleci\n"
        )
    sys.stdout.flush()


def _stop_on_signals() -> threading.Event:
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopping


def _loopback(listen: str) -> bool:
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _log(level: int) -> logging.Logger:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    log = logging.getLogger("greenlight")
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False
    return log
