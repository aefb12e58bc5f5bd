"""`greenlight up`: starts the composition, serves its three ports, and stops in order."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY

from greenlight.board.login.config import LoginConfig
from greenlight.deployer.drivers.registry import DRIVERS
from greenlight.entrypoints import demo
from greenlight.entrypoints.compose import Folders, Greenlight, ThirdParties
from greenlight.entrypoints.login_settings import login_config
from greenlight.entrypoints.pointed import pointed, senders
from greenlight.entrypoints.settings import spans_of
from greenlight.lib.errors import ConfigurationError, Unavailable
from greenlight.lib.files import keep_private, make_folder
from greenlight.lib.foreground import announce, is_loopback, log_to_stderr, stop_on_signals
from greenlight.lib.origins import OnlyPrograms
from greenlight.lib.printable import printable
from greenlight.model.policy import Pipeline
from greenlight.service.configuration import read_pipeline
from greenlight.service.http_connections import Limits
from greenlight.service.secrets import Secrets, create
from greenlight.service.server import Server, serve, serve_until
from greenlight.store.errors import Locked, Newer
from greenlight.telemetry.setup import tracer_of
from greenlight.webhooks.providers.registry import FILES

DRAIN = 10.0
"""Seconds that deliveries in flight get to finish after SIGTERM."""

FAILED = 1
"""Exit code: the demo failed, or a port does not listen any more."""

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
    """The addresses of the three ports, as URLs."""

    board: str
    webhooks: str
    broker: str


def run(options: UpOptions, show_trace: Callable[[dict[str, Any]], None]) -> int:
    """Run until SIGTERM or SIGINT.

    Returns the exit code: 0 in order, 1 the demo or a port failed, 2 it cannot start.
    """
    log = log_to_stderr(logging.WARNING if options.demo else logging.INFO)  # the demo prints to stdout
    try:
        folders = _folders(options)
        for path in keep_private(folders.data):
            log.warning("other users may read %s: remove their right, or make Greenlight's user its owner", path)
        _create_secrets(folders, read_pipeline(folders.config, DRIVERS), log)
        watcher = demo.Watcher()
        greenlight = Greenlight(
            folders,
            open_reads=is_loopback(_host(options.listen)),
            log=log,
            third_parties=watcher.third_parties() if options.demo else ThirdParties(),
            tracer=tracer_of(None, log),
            login=_login(os.environ),
            spans=spans_of(os.environ),
        )
    except (ConfigurationError, Locked, Newer, Unavailable) as problem:
        what = printable(str(problem), keep="\n")
        sys.stderr.write(f"greenlight: cannot start\n{what}\n")
        return USAGE
    try:
        servers = _serve(options, greenlight)
    except OSError as problem:
        greenlight.stop(0)
        sys.stderr.write(
            f"greenlight: cannot listen: {problem}\nName another address with --listen, --webhooks-listen or --broker-listen\n"
        )
        return USAGE
    REGISTRY.register(greenlight.broker.metrics.collector(greenlight.broker.operations))
    stopping = stop_on_signals()
    _exclude_from_collection()
    greenlight.start()
    greenlight.pipeline.on_change(lambda pipeline: _add_secrets(folders, greenlight.secrets, pipeline, log))
    for server in reversed(servers):  # the board last: its /readyz speaks for all of them
        server.start()
    addresses = Addresses(*(_url(*server.address) for server in servers))
    _announce(addresses, folders, options, greenlight.pipeline())
    code = 0
    if options.demo:
        code = demo.play(addresses.board, addresses.webhooks, folders, watcher, greenlight.clock, stopping, show_trace)
    if code == 0:
        code = 0 if serve_until(stopping, servers, greenlight.look) else FAILED
    return _stop(servers, greenlight, folders, options, code)


def _login(env: Mapping[str, str]) -> LoginConfig:
    """Return how people log in. Raises ConfigurationError."""
    problems: list[str] = []
    config = login_config(env, problems, one_machine=True)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return config


def _exclude_from_collection() -> None:
    """Exclude what was imported and composed from garbage collection: it lives as long as the process."""
    gc.collect()
    gc.freeze()


def _stop(servers: list[Server], greenlight: Greenlight, folders: Folders, options: UpOptions, code: int) -> int:
    """Stop in order: first no new facts, then the deliveries in flight, then the store."""
    for server in servers:
        server.stop(DRAIN)
    drained = greenlight.stop(DRAIN)
    if options.demo:
        demo.clean(folders)
    greenlight.log.info("stopped%s", "" if drained else "; deliveries that were cut off go on at the next start")
    return code


def _serve(options: UpOptions, greenlight: Greenlight) -> list[Server]:
    """Bind the three ports, so that a taken one is known before anything starts."""
    small = Limits(body=1 << 20, servers=3)
    broker = OnlyPrograms(greenlight.broker.ingress, loopback=is_loopback(_host(options.broker_listen)))
    return [
        serve(greenlight.apps["board"], options.listen, name="board", limits=small),
        greenlight.serve_webhooks(options.webhooks_listen, servers=3),
        serve(broker, options.broker_listen, name="broker", limits=small),
    ]


def _host(listen: str) -> str:
    return listen.rpartition(":")[0].strip("[]")


def _folders(options: UpOptions) -> Folders:
    """Return the folders. The demo has folders of its own, and touches nothing of the user's."""
    data = options.data / "demo" if options.demo else options.data
    try:
        make_folder(data)
        if options.demo:
            return Folders(config=demo.prepare(data), data=data, secrets=data / "secrets")
    except OSError as problem:
        raise ConfigurationError(
            f"{data}: cannot be the data folder: {problem.strerror}. Name another with --data"
        ) from problem
    return Folders(config=options.config, data=data, secrets=options.secrets or data / "secrets")


def _create_secrets(folders: Folders, pipeline: Pipeline, log: logging.Logger) -> None:
    """Make a secret for every sender that the pipeline listens to and that has none yet."""
    try:
        made = create(folders.secrets, sorted(senders(pipeline)), FILES)
    except OSError as problem:
        raise ConfigurationError(
            f"{folders.secrets}: cannot keep secrets: {problem.strerror}. Name another folder with GREENLIGHT_SECRETS"
        ) from problem
    if made:
        log.info("made a secret for %s in %s", ", ".join(path.name for path in made), folders.secrets)


def _add_secrets(folders: Folders, secrets: Secrets, pipeline: Pipeline, log: logging.Logger) -> None:
    """Make secrets for an edited pipeline.

    A missing folder is waited for: in a new one, every sender would be unknown.
    """
    if secrets.is_unreadable():
        raise ConfigurationError(f"{folders.secrets}: cannot be read, so no secret can be added to it")
    _create_secrets(folders, pipeline, log)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _announce(addresses: Addresses, folders: Folders, options: UpOptions, pipeline: Pipeline) -> None:
    lines = [
        "greenlight is up",
        f"  board     {addresses.board}",
        f"  webhooks  {addresses.webhooks}   the only port meant for the internet: put a reverse proxy or tunnel before it",
        f"  broker    {addresses.broker}   for this machine only",
        f"  secrets   {folders.secrets}",
    ]
    if not options.demo:
        for sender in pointed(addresses.webhooks, folders.secrets, pipeline):
            trial = f"\n  for a try without a tunnel: {sender.trial}" if sender.trial else ""
            lines.append(f"{sender.how}{trial}")
    announce("\n".join(lines) + "\n")
