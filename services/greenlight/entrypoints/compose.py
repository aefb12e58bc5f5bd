"""The whole pipeline in one process: one store, one ledger, one broker, which calls each service as a function."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast
from wsgiref.types import WSGIApplication

from greenlight.board import app as board
from greenlight.board import waterfall
from greenlight.board.login.config import LoginConfig
from greenlight.board.sources import Sender, Sources
from greenlight.broker import log as broker_log
from greenlight.broker.api import blueprint as broker_api
from greenlight.broker.broker import Broker
from greenlight.broker.manifest_watcher import ManifestWatcher
from greenlight.broker.manifests import default_folder
from greenlight.broker.outcomes import SubscriberResponse
from greenlight.broker.subscribers import LocalService, Services
from greenlight.broker.trigger_spec import TriggerSpec
from greenlight.deployer import app as deployer
from greenlight.deployer.drivers.registry import DRIVERS
from greenlight.entrypoints.arrivals import kept_arrivals
from greenlight.entrypoints.drivers import Drivers
from greenlight.entrypoints.ledgers import DATABASE
from greenlight.entrypoints.login_secrets import login_secret
from greenlight.entrypoints.pointed import pointed
from greenlight.entrypoints.settings import SPANS
from greenlight.entrypoints.spans import keeping
from greenlight.events import Event, ids, rfc3339, types
from greenlight.events.http import to_binary
from greenlight.feedback import app as feedback
from greenlight.feedback import looking
from greenlight.feedback.configuration import ConfigurationFile
from greenlight.feedback.deps import Deps as FeedbackDeps
from greenlight.feedback.github.access import GitHubAccess
from greenlight.feedback.notify.notifier import Notifier
from greenlight.flow import wanting
from greenlight.ledger.port import Ledger, Transaction
from greenlight.ledger.sqlite import ledger as sqlite
from greenlight.ledger.traced import reporting
from greenlight.lib.clock import Clock, SystemClock
from greenlight.lib.scrub import Scrubber
from greenlight.lib.ticker import Ticker
from greenlight.promoter import app as promoter
from greenlight.reconciler import app as reconciler
from greenlight.recorder import app as recorder
from greenlight.service.adoption import adopt
from greenlight.service.chain import Chain, NotFollowed
from greenlight.service.configuration import PipelineFiles, pipeline_warnings
from greenlight.service.deps import Deps
from greenlight.service.handling import EventService
from greenlight.service.http_connections import Limits
from greenlight.service.people import People
from greenlight.service.publisher import InLog
from greenlight.service.secrets import Secrets
from greenlight.service.server import Server, serve
from greenlight.store.store import Store
from greenlight.telemetry.tracing import OFF, Tracer
from greenlight.webhooks import app as webhooks
from greenlight.webhooks.polled import AcceptPolled
from greenlight.webhooks.providers.registry import FILES
from greenlight.webhooks.turns import repository_of

LEDGER_ALONE = ("recorder", "promoter")
"""Services whose handlers read and write the ledger, and nothing else: what they do is part of the chain after a fact."""

NAMESPACE = "greenlight"
"""The namespace of Greenlight's own Triggers."""


@dataclass(frozen=True)
class Folders:
    """The folders of one Greenlight."""

    config: Path  # pipeline.yaml, people.yaml: what operators edit
    data: Path  # the store, bodies, output, locks: what one process owns
    secrets: Path  # a file per sender


@dataclass(frozen=True)
class ThirdParties:
    """Triggers of third parties, with the apps that they name: they get every event and change nothing."""

    triggers: Sequence[TriggerSpec] = ()
    services: Mapping[str, WSGIApplication] = field(default_factory=dict)


class Greenlight:
    """The whole pipeline in one process, composed and, once started, at work."""

    def __init__(
        self,
        folders: Folders,
        *,
        open_reads: bool,
        log: logging.Logger,
        clock: Clock | None = None,
        third_parties: ThirdParties | None = None,
        tracer: Tracer = OFF,
        login: LoginConfig | None = None,
        spans: timedelta | None = SPANS,
    ) -> None:
        """Make it. `tracer` exports spans; `spans` is for how long they are kept beside the ledger, None: not at all."""
        clock = clock or SystemClock()
        third_parties = third_parties or ThirdParties()
        self.log, self.clock = log, clock
        self._config = folders.config
        self.pipeline = PipelineFiles(folders.config, DRIVERS, clock, log)
        self.secrets = Secrets(folders.secrets, FILES)
        self.people = People(folders.config / "people.yaml", clock=clock, log=log)
        self.store = Store(folders.data / DATABASE, [sqlite.SCHEMA, broker_log.SCHEMA])
        self.ledger = sqlite.SqliteLedger(
            self.store,
            folders.data / "bodies",
            emit=lambda emitted: self.broker.appending(emitted.event, handled=emitted.handled),
            clock=clock.now,
        )
        self.tracer = keeping(self.ledger.spans, spans, log, tracer)
        self._stopping = False
        self._webhooks_at: tuple[str, int] = ("127.0.0.1", 8081)  # until they are served
        chain = cast(Ledger, Chain(self.ledger, self._follow, log.getChild("chain")))
        common = (clock, reporting(chain, tracer), self.pipeline, InLog(), log, self.tracer)  # what every service gets
        configuration = self._feedback_file = ConfigurationFile(folders.config, clock, log)
        self._feedback = FeedbackDeps(
            *common,
            github=GitHubAccess(configuration, self.secrets, clock, log.getChild("feedback")),
            notifier=Notifier(configuration, self.secrets, self.ledger, clock, log.getChild("feedback")),
            accept=AcceptPolled(Deps(*common)),
        )
        scrub = Scrubber(live=lambda: [secret.value.decode("utf-8", "replace") for secret in self.secrets.all()])
        self.drivers = Drivers(folders.data / "deployer", scrub, clock)
        owner = ids.derive("process", str(clock.now().timestamp()), os.getpid())
        self._deploying = deployer.Deps(*common, drivers=self.drivers, owner=owner)
        self.services: Mapping[str, EventService[Any]] = {
            "recorder": recorder.create_service(Deps(*common)),
            "promoter": promoter.create_service(Deps(*common)),
            "deployer": deployer.create_service(self._deploying),
            "reconciler": reconciler.create_service(Deps(*common)),
            "feedback": feedback.create_service(self._feedback),
        }  # what events are delivered to, by the name of its Knative Service
        called = {name: as_function(service) for name, service in self.services.items()}
        self.broker, self.watch = _broker(self.store, called, third_parties, folders.config / "triggers", tracer)
        operators = broker_api(self.broker.operations, lambda: board.discards(self.pipeline()))
        self._arrivals = kept_arrivals(self.ledger, clock, log, alone=True)
        expected = partial(self._expected, folders.secrets)
        sources = Sources(self._arrivals, self.broker.operations, expected)
        login = login or LoginConfig(tokens=True)
        board_deps = board.Deps(
            *common,
            people=self.people,
            open_reads=open_reads,
            login=login,
            secret=login_secret(login, self.secrets),
            guests=[operators],
            sources=sources,
        )
        self.apps: Mapping[str, WSGIApplication] = {
            "webhooks": webhooks.create_app(webhooks.Deps(*common, secrets=self.secrets, arrivals=self._arrivals)),
            "board": board.create_app(board_deps),
        }
        self.ticker = Ticker(_pinger(self.services["reconciler"], clock), self.ledger.next_due, clock, log)

    def _expected(self, secrets: Path) -> Sequence[Sender]:
        """Return the senders that are expected, with how to set up each."""
        host, port = self._webhooks_at
        return list(pointed(f"http://{host}:{port}", secrets, self.pipeline()))

    def serve_webhooks(self, listen: str, servers: int = 1) -> Server:
        """Return a server for the webhooks on `listen`, bound; `servers` of this process share its descriptors.

        Of one repository it answers one request at a time: all of Greenlight shares one interpreter. Raises OSError if the
        address is taken or not this machine's.
        """
        limits = Limits(servers=servers, of_one=1)
        server = serve(self.apps["webhooks"], listen, name="webhooks", limits=limits, turn=repository_of)
        self._webhooks_at = server.address[:2]
        return server

    def _follow(self, event: Event) -> Collection[str]:
        """Hand an event to the services that need nothing but the ledger; return the keys of their Triggers.

        The deployer writes a deployment's intent, and starts it when the Broker delivers the event. Raises NotFollowed.
        """
        handled = []
        for edge in wanting(event):
            trigger = f"{NAMESPACE}/{edge.trigger}"
            if edge.service in LEDGER_ALONE:
                taken = self.broker.hand_over(event, trigger)
                if taken is False:
                    raise NotFollowed(trigger)
                handled += [trigger] if taken else []
            elif edge.service == "feedback":
                handled += [trigger] if feedback.idle(event, self._feedback) else []  # the network is slow
            elif event.type == types.PROMOTION_READY and not self._stopping:
                Context().run(deployer.begin, event, self._deploying)  # part of no span: the delivery has one
        return handled

    def start(self) -> None:
        """Take over from an earlier process, then continue: unfinished work first."""
        expire_leases(self.ledger, self.clock)
        self.tracer.start(lambda repo, sha: waterfall.spans(repo, sha, self.ledger.entries(repo, sha)))
        for problem in self.drivers.problems(self.pipeline()):
            self.log.warning("cannot deploy yet: %s", problem)
        for warning in pipeline_warnings(self._config, DRIVERS):
            self.log.warning("%s", warning)
        self.pipeline.on_change(lambda pipeline: adopt(pipeline, self.ledger, self.clock))
        self.pipeline.on_change(lambda pipeline: looking.plan(pipeline, self._feedback))
        self.broker.start()
        self.watch.start()
        self.ticker.start()
        self._arrivals.start()

    def look(self) -> None:
        """Read what operators edit, so that edits are in force, and errors in the log, also while nothing arrives."""
        self.pipeline()
        self.people.all()
        self._feedback_file()
        self.secrets.refresh()

    def stop(self, timeout: float) -> bool:
        """Finish the deliveries in flight within `timeout` seconds, then close the store. False if some were cut off.

        What was traced is exported in what is left of that time, at least a second.
        """
        end = self.clock.monotonic() + timeout
        self._stopping = True  # what was promoted now would begin, and no driver would start it
        self.ticker.stop()
        self.watch.stop()
        self.drivers.close()  # first, because deliveries in flight may be waiting for what goes on anyway
        drained = self.broker.drain(timeout)
        self.broker.stop()
        self._arrivals.stop(max(end - self.clock.monotonic(), 1.0))
        self.tracer.stop(max(end - self.clock.monotonic(), 1.0))
        self.store.close()
        return drained


def expire_leases(ledger: sqlite.SqliteLedger, clock: Clock) -> None:
    """Release the leases of an earlier process.

    This one owns the store's lock, so every holder that they name is dead.
    """
    now = clock.now()
    for target in ledger.targets():
        if target.lease is not None and target.lease.until > now:
            ledger.transact(Transaction(targets=[replace(target, lease=replace(target.lease, until=now))]))


def as_function(service: EventService[Any]) -> LocalService:
    """Return the service as the Broker calls it. Its answer is the same as over HTTP."""

    def handle(event: Event, path: str, headers: Mapping[str, str]) -> SubscriberResponse:
        outcome = service.handle(event, path, headers.get("traceparent"))
        if outcome.reply is None:
            return SubscriberResponse(outcome.status, {}, outcome.problem.encode())
        return SubscriberResponse(outcome.status, *to_binary(outcome.reply))

    return LocalService(handle)


def _broker(
    store: Store, services: Mapping[str, LocalService], third_parties: ThirdParties, own: Path, tracer: Tracer
) -> tuple[Broker, ManifestWatcher]:
    """Return the Broker, and the watcher of its manifests.

    Its Triggers are Greenlight's, the operator's in the folder `own`, and those of third parties.
    """
    watch = ManifestWatcher(
        [default_folder(), own], lambda found: broker.change(found.brokers, [*found.triggers, *third_parties.triggers])
    )
    brokers, triggers = watch.manifests
    known: Services = {**services, **third_parties.services}
    broker = Broker(store, brokers, [*triggers, *third_parties.triggers], services=known, tracer=tracer)
    return broker, watch


def _pinger(service: EventService[Any], clock: Clock) -> Callable[[], None]:
    """Return a function that hands a ping to the reconciler, as PingSource does in a cluster."""

    def ping() -> None:
        now = clock.now()
        id = ids.derive(types.PING, rfc3339(now))
        event = Event.of(types.PING, id=id, source="greenlight/ticker", time=now, data={})
        outcome = service.handle(event)
        if outcome.status >= 300:
            raise RuntimeError(f"the reconciler answered {outcome.status}")

    return ping
