"""`greenlight serve SERVICE`: one service, as the image runs it behind Knative.

Under gunicorn, whose clients are Knative's own; but the webhooks, which anybody on the internet may call, under the server of
`greenlight up`: Knative's queue-proxy passes on what trickles in, and each slow client would hold a thread of gunicorn's.
"""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from wsgiref.types import WSGIApplication

from greenlight.deployer.drivers.registry import DRIVERS
from greenlight.entrypoints.ledgers import ledger_of
from greenlight.entrypoints.settings import Settings
from greenlight.entrypoints.spans import keeping
from greenlight.ledger.port import Ledger
from greenlight.ledger.traced import traced
from greenlight.lib.clock import SystemClock
from greenlight.lib.errors import ConfigurationError, Unavailable
from greenlight.lib.files import keep_private, make_folder
from greenlight.lib.printable import OneRecord, printable
from greenlight.model.policy import Pipeline
from greenlight.service.adoption import adopt
from greenlight.service.configuration import PipelineFiles, read_pipeline
from greenlight.service.deps import Deps
from greenlight.service.handling import EventService
from greenlight.service.health import DOWN, MISCONFIGURED
from greenlight.service.publisher import DeferredPublisher
from greenlight.service.sink import Sink
from greenlight.telemetry.keeping import SERVICES as KEPT
from greenlight.telemetry.setup import tracer_of
from greenlight.telemetry.tracing import OFF, Tracer

if TYPE_CHECKING:
    from greenlight.board.login.config import LoginConfig
    from greenlight.board.sources import Sender

THREADS = 8
"""Requests that are handled at once; Knative sends no more (`containerConcurrency`)."""
WATCHES = 32
"""The same of the deployer: each waits up to 20 s for what was deployed, while other targets want to begin."""
DRAIN = 30
"""Seconds that requests in flight get after SIGTERM: more than the deployer's longest look at a deployment."""
_BEFORE_THE_BROKER = ("board", "reconciler")
"""Start without K_SINK. A Broker with a dead-letter sink has no address before that has one, and a Knative Service has none
before it has been ready once: a reconciler that is such a sink and waited for the Broker would be waited for by it."""
LAST = 25
"""Seconds more that Helm or a deploy command gets to end: with its container it would be killed in the middle, and a release
be locked until its time is over. Together they are within the deployer's `timeoutSeconds`, which Knative lets a pod end in."""
FLUSH = 5.0
"""Seconds that what was traced gets to be exported, and the last webhooks to be written down, when the worker ends."""
SPANS_DELAY = 10.0
"""Seconds between two writes of spans: each is a request to DynamoDB, and no caller waits for it."""

FAILED, USAGE, UNKNOWN = 1, 2, 3


def run(service: str, env: Mapping[str, str]) -> int:
    """Serve until SIGTERM.

    Returns the exit code: 0 in order, 1 the port failed, 2 misconfigured, 3 a dependency was down.
    """
    try:
        settings = Settings.from_env(env)
        if settings.sink is None and service not in _BEFORE_THE_BROKER:
            raise ConfigurationError(
                "K_SINK is not set: a SinkBinding sets it to the Broker's address, where events go"
            )
        _check(service, settings)
    except ConfigurationError as problem:
        _cannot_start(service, MISCONFIGURED, problem)
        return USAGE
    if service == "webhooks":
        return _serve_public(service, settings)
    from greenlight.entrypoints.under_gunicorn import serve

    deploys = service == "deployer"
    return serve(
        lambda: _started(service, settings),
        settings.port,
        name=service,
        threads=WATCHES if deploys else THREADS,
        drain=DRAIN + (LAST if deploys else 0),
        at_end=_await_deployments if deploys else None,
    )


def _serve_public(service: str, settings: Settings) -> int:
    from greenlight.lib.foreground import stop_on_signals
    from greenlight.service.server import serve, serve_until
    from greenlight.webhooks.turns import repository_of

    stopping = stop_on_signals()
    started = _started(service, settings)
    if isinstance(started, int):
        return started
    try:
        server = serve(started, f"0.0.0.0:{settings.port}", name=service, turn=repository_of)
    except OSError as problem:
        _cannot_start(service, MISCONFIGURED, problem)
        return USAGE
    server.start()
    in_order = serve_until(stopping, [server])
    server.stop(DRAIN)
    return 0 if in_order else FAILED


def _await_deployments() -> None:
    """Wait for the deployments that still run, in the deployer's worker, when its last request has ended."""
    from greenlight.lib.process import all_ended

    if not all_ended(LAST):
        logging.getLogger("greenlight").warning(
            "deployments that still run continue without Greenlight, or are killed with this container"
        )


def _started(service: str, settings: Settings) -> WSGIApplication | int:
    """Return the service, and its metrics; or the exit code, after printing why there is none."""
    try:
        started = app(service, settings)
        if settings.metrics is not None:
            _serve_metrics(settings.metrics)
    except ConfigurationError as problem:
        _cannot_start(service, MISCONFIGURED, problem)
        return USAGE
    except Unavailable as problem:
        _cannot_start(service, DOWN, problem)
        return UNKNOWN
    return started


def _cannot_start(service: str, title: str, problem: Exception) -> None:
    what = printable(str(problem), keep="\n")
    sys.stderr.write(f"greenlight: cannot start {service}: {title}\n{what}\n")


def _serve_metrics(port: int) -> None:
    """Serve metrics on a port of their own.

    The service's own port has other clients; that of the webhooks is open to the internet.
    """
    from greenlight.telemetry.scrapes import serve_metrics

    try:
        serve_metrics(port)
    except OSError as problem:
        raise ConfigurationError(
            f"GREENLIGHT_METRICS_PORT is {port}: cannot listen there: {problem.strerror}"
        ) from problem


def _check(service: str, settings: Settings) -> None:
    """Read every file that the service is going to read, so that errors are reported before anything is forked."""
    problems = []
    reads: list[Callable[[], object]] = [lambda: read_pipeline(settings.config, DRIVERS)]
    if service == "feedback":
        from greenlight.feedback.configuration import NAME
        from greenlight.feedback.configuration import read as read_feedback

        reads.append(lambda: read_feedback(settings.config / NAME))
    if service in ("webhooks", "feedback"):
        from greenlight.service.secrets import Secrets
        from greenlight.webhooks.providers.registry import FILES

        reads.append(lambda: Secrets(settings.secrets, FILES))
    if service == "board":
        from greenlight.service.people import read as read_people

        reads += [lambda: read_people(settings.config / "people.yaml"), lambda: _login(settings)]
    for read in reads:
        try:
            read()
        except ConfigurationError as problem:
            problems.append(str(problem))
    try:
        make_folder(settings.data)
        keep_private(settings.data)  # a volume's own folder is its driver's, so what cannot be changed is no problem
    except OSError as problem:
        problems.append(
            f"{settings.data}: cannot be the data folder: {problem.strerror}. Name another with GREENLIGHT_DATA"
        )
    if problems:
        raise ConfigurationError("\n".join(problems))


def app(service: str, settings: Settings) -> WSGIApplication:
    """Return the service's app with the adapters that the settings name; it imports only its own."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneRecord())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    log, clock = logging.getLogger("greenlight"), SystemClock()
    ledger = ledger_of(settings, clock)
    pipeline = PipelineFiles(settings.config, DRIVERS, clock, log)
    exports = tracer_of(service, log)
    tracer = exports
    if service in KEPT:
        tracer = keeping(ledger.spans, settings.spans, log, exports, delay=SPANS_DELAY)
    base: dict[str, Any] = {"clock": clock, "pipeline": pipeline, "log": log, "tracer": tracer}
    base["ledger"] = traced(ledger, tracer)
    base["publisher"] = Sink(settings.sink or "http://127.0.0.1:9", ledger, log, authorities=settings.authorities)
    if service in _ASKED:
        base["publisher"] = DeferredPublisher(base["publisher"])
    if tracer is not OFF:
        _follow(tracer, ledger if exports is not OFF else None)
    if service in _ADOPTERS:
        pipeline.on_change(lambda edited: base["publisher"].publish(adopt(edited, ledger, clock)))
    made = _APPS[service](base, settings)
    if not isinstance(made, EventService):
        return made
    from greenlight.service.edge import event_app

    return event_app(made)


def _follow(tracer: Tracer, ledger: Ledger | None) -> None:
    """Start the tracer; with a ledger, it exports what ends in the journals.

    What is left is for the end of the worker: gunicorn lets it run to its last line.
    """
    if ledger is None:
        tracer.start(None)
    else:
        from greenlight.board import waterfall

        entries = ledger.entries
        tracer.start(lambda repo, sha: waterfall.spans(repo, sha, entries(repo, sha)))
    atexit.register(tracer.stop, FLUSH)


def _webhooks(base: dict[str, Any], settings: Settings) -> WSGIApplication:
    from greenlight.entrypoints.arrivals import kept_arrivals
    from greenlight.service.secrets import Secrets
    from greenlight.webhooks import app as webhooks
    from greenlight.webhooks.providers.registry import FILES

    arrivals = kept_arrivals(base["ledger"], base["clock"], base["log"], alone=False)
    arrivals.start()
    atexit.register(arrivals.stop, FLUSH)
    secrets = Secrets(settings.secrets, FILES, base["clock"])
    return webhooks.create_app(webhooks.Deps(**base, secrets=secrets, arrivals=arrivals))


def _board(base: dict[str, Any], settings: Settings) -> WSGIApplication:
    from greenlight.board import app as board
    from greenlight.board.sources import Sources
    from greenlight.service.people import People

    people = People(settings.config / "people.yaml", clock=base["clock"], log=base["log"])
    login, secret = _login(settings)
    sources = Sources(senders=lambda: _senders(base["pipeline"]()))
    return board.create_app(board.Deps(**base, people=people, login=login, secret=secret, sources=sources))


def _senders(pipeline: Pipeline) -> Sequence[Sender]:
    """Return the expected senders. The providers of webhooks are loaded once a person asks, and not at the start."""
    from greenlight.entrypoints.pointed import pointed_in_a_cluster

    return list(pointed_in_a_cluster(pipeline))


def _login(settings: Settings) -> tuple[LoginConfig, Callable[[str], str | None]]:
    """Return how people log in, and what gives the secrets of web logins. Raises ConfigurationError.

    Where no web login is configured, no folder is read.
    """
    from greenlight.entrypoints.login_settings import login_config

    problems: list[str] = []
    login = login_config(settings.login, problems, one_machine=False)
    if problems:
        raise ConfigurationError("\n".join(problems))
    if login.oidc is None and login.github is None:
        return login, lambda name: None
    from greenlight.entrypoints.login_secrets import login_secret
    from greenlight.service.secrets import Secrets
    from greenlight.webhooks.providers.registry import FILES

    return login, login_secret(login, Secrets(settings.secrets, FILES))


def _deployer(base: dict[str, Any], settings: Settings) -> EventService[Any]:
    import socket

    from greenlight.deployer import app as deployer
    from greenlight.entrypoints.drivers import Drivers
    from greenlight.events import ids
    from greenlight.lib.scrub import Scrubber

    drivers = Drivers(settings.data / "deployer", Scrubber(), base["clock"])
    for problem in drivers.problems(base["pipeline"]()):
        base["log"].warning("cannot deploy yet: %s", problem)
    owner = ids.derive("process", socket.gethostname(), base["clock"].now().isoformat())
    return deployer.create_service(deployer.Deps(**base, drivers=drivers, owner=owner))


def _feedback(base: dict[str, Any], settings: Settings) -> EventService[Any]:
    from greenlight.feedback import app as feedback
    from greenlight.feedback.configuration import ConfigurationFile
    from greenlight.feedback.deps import Deps as FeedbackDeps
    from greenlight.feedback.github.access import GitHubAccess
    from greenlight.feedback.looking import plan
    from greenlight.feedback.notify.notifier import Notifier
    from greenlight.service.secrets import Secrets
    from greenlight.webhooks.polled import AcceptPolled
    from greenlight.webhooks.providers.registry import FILES

    configuration = ConfigurationFile(settings.config, base["clock"], base["log"])
    secrets = Secrets(settings.secrets, FILES, base["clock"])
    clock, log = base["clock"], base["log"].getChild("feedback")
    github = GitHubAccess(configuration, secrets, clock, log)
    notifier = Notifier(configuration, secrets, base["ledger"], clock, log)
    deps = FeedbackDeps(**base, github=github, notifier=notifier, accept=AcceptPolled(Deps(**base)))
    base["pipeline"].on_change(lambda pipeline: plan(pipeline, deps))
    return feedback.create_service(deps)


def _recorder(base: dict[str, Any], settings: Settings) -> EventService[Any]:
    from greenlight.recorder import app as recorder

    return recorder.create_service(Deps(**base))


def _promoter(base: dict[str, Any], settings: Settings) -> EventService[Any]:
    from greenlight.promoter import app as promoter

    return promoter.create_service(Deps(**base))


def _reconciler(base: dict[str, Any], settings: Settings) -> EventService[Any]:
    from greenlight.reconciler import app as reconciler

    return reconciler.create_service(Deps(**base))


_ASKED = ("webhooks", "board")
"""Whose callers are not the Broker: they are answered once it is written, whatever the Broker does."""

_ADOPTERS = ("promoter", "reconciler")
"""Who has what waits decided again after an edit of the pipeline. Each process reads its files by itself, some a minute before
others: the promoter, because it then decides as the edit says; the reconciler, because it wakes a promoter that sleeps."""

_APPS: Mapping[str, Callable[[dict[str, Any], Settings], WSGIApplication | EventService[Any]]] = {
    "webhooks": _webhooks,
    "board": _board,
    "deployer": _deployer,
    "recorder": _recorder,
    "promoter": _promoter,
    "reconciler": _reconciler,
    "feedback": _feedback,
}
