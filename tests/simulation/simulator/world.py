"""A Greenlight in a world that one story decides: real services on a real ledger, everything around them simulated.

Webhooks come signed to the real edge, people use the real API, events go through a Broker that may repeat, reorder and lose
them. Every call that a service makes to the ledger, its driver or the Broker is a point at which others may get through, or
at which it dies or finds the ledger out of reach. See story.py for what can happen, model.py for what is right.
"""

from __future__ import annotations

import io
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

from greenlight.board import app as board
from greenlight.deployer import app as deployer
from greenlight.entrypoints.compose import LEDGER_ALONE, adopt, expire_leases
from greenlight.events import Event, types
from greenlight.flow import wanting
from greenlight.ledger.port import Conflict, Reading, Transaction
from greenlight.ledger.sqlite.ledger import SCHEMA, SqliteLedger
from greenlight.lib.errors import Rejected, Unavailable
from greenlight.promoter import app as promoter
from greenlight.reconciler import app as reconciler
from greenlight.recorder import app as recorder
from greenlight.service.chain import Chain, NotFollowed
from greenlight.service.handling import session
from greenlight.service.people import Person, read
from greenlight.service.publisher import InLog
from greenlight.service.secrets import Secrets
from greenlight.service.sink import Sink
from greenlight.webhooks import app as webhooks
from greenlight.webhooks.providers.registry import FILES

from .broker import Broker, Delivery
from .driver import Driver, Site
from .memory import MemoryStore
from .model import Model
from .outside import REPO, SECRETS, Commit, Mail, Providers, Report, Repository, sha_of
from .pipelines import pipeline, rules
from .tasks import Stop, Task, Tasks

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HANDLERS: Mapping[str, Mapping[str, Any]] = {
    "recorder": recorder.HANDLERS,
    "promoter": promoter.HANDLERS,
    "deployer": deployer.HANDLERS,
    "reconciler": reconciler.HANDLERS,
}
ONE_PROCESS = {"up": ("webhooks", "board", "recorder", "promoter", "deployer", "reconciler")}
MANY_PROCESSES = {
    "webhooks-1": ("webhooks",),
    "board-1": ("board",),
    "recorder-1": ("recorder",),
    "promoter-1": ("promoter",),
    "promoter-2": ("promoter",),
    "deployer-1": ("deployer",),
    "deployer-2": ("deployer",),
    "reconciler-1": ("reconciler",),
}
LOG = logging.getLogger("simulation")
LOG.propagate = False
LOG.addHandler(logging.NullHandler())
LOG.setLevel(logging.CRITICAL)


@cache
def people() -> Mapping[str, Person]:
    """Return people for every story: lena is an author of nothing, dev may do nothing."""
    return read(Path(__file__).parent / "people.yaml")


class Everybody:
    """People, whose token is their name."""

    def by_token(self, token: str) -> Person | None:
        return people().get(token)

    def all(self) -> Mapping[str, Person]:
        return people()


@cache
def secrets() -> Secrets:
    """Return the senders' secrets."""
    folder = tempfile.TemporaryDirectory(prefix="simulator-")
    _KEPT.append(folder)
    for name, secret in SECRETS.items():
        (Path(folder.name) / name).write_bytes(secret + b"\n")
    return Secrets(Path(folder.name), FILES)


_KEPT: list[Any] = []


@dataclass
class Process:
    """One process: its services, the pipeline files that it has read, and its clock."""

    name: str
    serves: tuple[str, ...]
    words: str
    missed: bool = (
        False  # it has read the edited file, and what follows from that has failed: the next look tries again
    )
    life: int = 1
    skew: timedelta = timedelta()


class Clock:
    """A process's clock, which may be ahead or behind, and may step."""

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process

    def now(self) -> datetime:
        return self._world.time + self._process.skew

    def monotonic(self) -> float:
        return (self._world.time - START).total_seconds()


class Points:
    """A ledger as a service calls it: every call is a point."""

    def __init__(self, world: World, inner: Any) -> None:
        self._world, self._inner = world, inner

    def __getattr__(self, name: str) -> Any:
        inner, point = self._inner, self._world.tasks.point

        def call(*args: Any, **kwargs: Any) -> Any:
            point()
            return getattr(inner, name)(*args, **kwargs)  # not the same one inside a chain

        setattr(self, name, call)
        return call

    def session(self, reading: Reading) -> AbstractContextManager[None]:
        session: AbstractContextManager[None] = self._inner.session(reading)
        return session  # no point: it asks for nothing yet

    def transact(self, transaction: Transaction) -> None:
        self._world.tasks.point(write=True)
        self._world.begin_write()
        try:
            self._inner.transact(transaction)
        except Conflict:
            self._world.counts["conflict"] += 1
            raise
        self._world.written(lambda task: self._world.model.written(transaction, task))

    def accept(self, fact: Any, *args: Any, **kwargs: Any) -> bool:
        self._world.tasks.point(write=True)
        self._world.begin_write()
        accepted = self._inner.accept(fact, *args, **kwargs)
        if accepted:
            self._world.written(lambda task: self._world.model.accepted(fact, task))
        return bool(accepted)


class ToBroker(Sink):
    """The publisher of a cluster, with the simulated Broker in place of HTTP."""

    def __init__(self, world: World) -> None:
        self._world, self._ledger, self._log = world, world.ledger, LOG

    def _post(self, event: Event) -> bool:
        self._world.tasks.point(write=True)
        self._world.broker.put(event)
        return True


class World:
    """The whole world. `violations` are the rules that did not hold, `log` what happened."""

    def __init__(
        self,
        *,
        many: bool,
        words: str,
        chain: bool = False,
        ledger: Callable[[Callable[[], datetime]], Any] | None = None,
        off: frozenset[str] = frozenset(),
    ) -> None:
        self.time, self.many, self.words, self.all_words = START, many, words, {words: None}
        self.violations: list[str] = []
        self.log: list[str] = []
        self.counts: Counter[str] = Counter()
        self.states: Counter[str] = Counter()
        self.tasks, self.broker = Tasks(), Broker()
        self.repository = Repository()
        self.providers = Providers(self.repository)
        self.provider_skew = timedelta()
        self.mail: list[Mail] = []
        self.sent: dict[str, Mail] = {}
        self.runs = 0
        self.off = off
        self.model = Model(self)
        self.store: MemoryStore | None = None
        self.base: Any = self._sqlite() if ledger is None else ledger(lambda: self.time)
        self.inner: Any = Chain(self.base, self._follow, LOG, spent=lambda: 0.0) if chain else self.base
        self.following: Task | None = None  # what a handler that is part of a chain does
        self._followed: list[Callable[[], None]] = []  # what the model is told once the chain is stored
        self.ledger, self.beside = Points(self, self.inner), Points(self, self.base)
        self.site = Site(self, self.inner.deployment)
        layout = MANY_PROCESSES if many else ONE_PROCESS
        self.processes = {name: Process(name, serves, words) for name, serves in layout.items()}
        self.drivers = {name: self._driver(name) for name in self.processes}
        self._deps: dict[str, deployer.Deps] = {}
        self._apps: dict[tuple[str, str], Any] = {}
        for process in self.processes.values():
            adopt(pipeline(words), self.base, Clock(self, process))

    def _sqlite(self) -> SqliteLedger:
        self.store = MemoryStore([SCHEMA])
        emit = None if self.many else lambda emitted: lambda tx: self.broker.put(emitted.event, emitted.handled)
        return SqliteLedger(self.store, Path("/nonexistent"), emit=emit, clock=lambda: self.time)  # type: ignore[arg-type]

    def _driver(self, process: str) -> Driver:
        return Driver(self.site, f"{process}/{self.processes[process].life}", self.tasks.point)

    # What the services are given.

    def deps(self, name: str) -> deployer.Deps:
        """Return the dependencies of a process's handlers."""
        if name not in self._deps:
            process = self.processes[name]
            publisher: Any = ToBroker(self) if self.many else InLog()
            self._deps[name] = deployer.Deps(
                Clock(self, process),
                self.ledger,  # type: ignore[arg-type]
                lambda: pipeline(process.words),
                publisher,
                LOG,
                drivers={"command": self.drivers[name]},
                owner=f"{name}/{process.life}",
            )
        return self._deps[name]

    def app(self, kind: str, name: str) -> Any:
        """Return the webhooks' edge or the board of a process, as a WSGI app."""
        if (kind, name) not in self._apps:
            deps = self.deps(name)
            base: dict[str, Any] = {
                "clock": deps.clock, "ledger": deps.ledger, "pipeline": deps.pipeline,
                "publisher": deps.publisher, "log": LOG,
            }  # fmt: skip
            if kind == "webhooks":
                self._apps[kind, name] = webhooks.create_app(webhooks.Deps(**base, secrets=secrets()))
            else:
                self._apps[kind, name] = board.create_app(board.Deps(**base, people=Everybody(), open_reads=True))  # type: ignore[arg-type]
        return self._apps[kind, name]

    def serving(self, service: str) -> list[str]:
        """Return the processes that serve it."""
        return [name for name, process in self.processes.items() if service in process.serves]

    def environments(self) -> list[str]:
        """Return the environments of the pipeline file."""
        return list(rules(self.words).places)

    # The chain.

    def _follow(self, event: Event) -> Collection[str]:
        """Let the handlers of one process follow, in the transaction that emits the event, as `greenlight up` does."""
        handled = []
        deps, began = self.deps(next(iter(self.processes))), self.tasks.current
        for edge in wanting(event):
            if edge.service == "feedback":
                continue  # which is no part of the chain
            handler = HANDLERS[edge.service].get(event.type) or HANDLERS[edge.service].get(types.FACT)
            if edge.service in LEDGER_ALONE and handler is not None:
                handled.append(edge.trigger)
                follow = handler
            elif event.type == types.PROMOTION_READY:
                follow = deployer.begin
            else:
                continue
            if began is not None:
                self.following = copy(began)
                self.following.about = Delivery(event, edge)
            try:
                with self.tasks.together():
                    follow(event, deps)
            except Exception as problem:
                self.counts["chain given up"] += 1
                self._followed = []
                raise NotFollowed(edge.trigger) from problem
            finally:
                task, self.following = self.following, None
            if edge.service in LEDGER_ALONE:
                self._followed.append(partial(self._handled_in_chain, event, task))
        return handled

    def _handled_in_chain(self, event: Event, task: Task | None) -> None:
        if task is not None:
            self.model.handled(task, event)

    def begin_write(self) -> None:
        """Forget a chain that was not stored."""
        if self.following is None:
            self._followed = []

    def written(self, tell: Callable[[Task | None], None]) -> None:
        """Tell the model of a write: now, or once the chain that it is a part of is stored."""
        if self.following is not None:
            task = self.following
            self._followed.append(lambda: tell(task))
            return
        tell(self.tasks.current)
        followed, self._followed = self._followed, []
        self.counts["chain"] += bool(followed)
        self.counts["chain of several handlers"] += len(followed) > 4
        for tell_followed in followed:
            tell_followed()

    # What is noted.

    def note(self, what: str) -> None:
        """Add a line to the log."""
        self.log.append(f"{self.time:%H:%M:%S} {what}")

    def check(self, rule: str, holds: bool, what: str) -> None:
        """Check a rule that must hold now."""
        self.counts[f"checked {rule}"] += 1
        if not holds and rule not in self.off:
            self.violations.append(f"{rule}: {what}")
            self.note(f"VIOLATION {rule}: {what}")

    # Work.

    def work(self, name: str, process: str, work: Callable[[], Any], about: Any, stop: Stop | None) -> Task:
        """Start a piece of work. No two things happen in the same moment."""
        self.time += timedelta(milliseconds=1)
        task = Task(name, process, work, self.tasks)
        task.about, task.began = about, self.model.now
        task.started = self.time  # type: ignore[attr-defined]
        task.clock = self.time + self.processes[process].skew  # type: ignore[attr-defined]
        self.tasks.start(task, stop)
        self._after(task, stop)
        return task

    def go_on(self, task: Task, stop: Stop | None) -> None:
        """Continue work that is paused."""
        self.tasks.go_on(task, stop)
        self._after(task, stop)

    def _after(self, task: Task, stop: Stop | None) -> None:
        if stop is not None and (not task.over or task.died or isinstance(task.problem, Unavailable)):
            self.counts[f"{stop.how} at a point"] += 1
        if not task.over:
            return
        if isinstance(task.about, Delivery):
            self._delivered(task, task.about)
        elif isinstance(task.about, Mail):
            self._posted(task, task.about)
        elif isinstance(task.about, Report):
            self._asked(task, task.about)
        else:
            self._not_crashed(task)

    def _not_crashed(self, task: Task) -> None:
        if task.problem is not None and not isinstance(task.problem, Unavailable):
            self.check("no crash", False, f"{task.name}: {task.problem!r}")

    def deliver(self, delivery: Delivery, process: str, stop: Stop | None = None) -> None:
        """Hand an event to its subscriber."""
        service = delivery.edge.service
        handlers = HANDLERS[service]
        handler = handlers.get(delivery.event.type) or handlers.get(types.FACT)
        deps = self.deps(process)
        delivery.taken = True

        def work() -> Event | None:
            assert handler is not None
            with session(delivery.event, deps):
                events = handler(delivery.event, deps)
                reply = deps.publisher.settle(events)
            self.tasks.point()
            return reply

        self.note(f"{process}: {delivery.name}")
        self.work(delivery.name, process, work, delivery, stop)

    def _delivered(self, task: Task, delivery: Delivery) -> None:
        if task.died or isinstance(task.problem, Unavailable):
            if self.broker.failed(delivery):
                self.counts["dead letter"] += 1
                reconciler.on_dead_letter(delivery.event, self.deps(self.serving("reconciler")[0]))
            return
        self.broker.done(delivery)
        if isinstance(task.problem, Rejected):
            self.counts["dead letter"] += 1
            return
        self._not_crashed(task)
        if task.result is not None:
            self.broker.put(task.result)
        self.model.handled(task, delivery.event)

    def post(self, mail: Mail, process: str, stop: Stop | None = None) -> None:
        """Send a provider's webhook; one that is not acknowledged stays to be sent again."""
        clock = Clock(self, self.processes[process]).now()
        headers = self.providers.signed(mail, clock)
        app = self.app("webhooks", process)
        if mail in self.mail:
            self.mail.remove(mail)
        self.note(f"{process}: webhook {mail.name}")
        self.work(mail.name, process, lambda: self._request(app, mail.path, headers, mail.body), mail, stop)

    def _posted(self, task: Task, mail: Mail) -> None:
        status, document = task.result or (0, {})
        if status == 202 and "id" in document:
            self.sent[mail.name] = mail
            return
        self._not_crashed(task)
        if status in (0, 503):
            self.mail.append(mail)
        elif status == 202:
            self.counts[f"ignored {document.get('ignored', '')[:40]}"] += 1
        else:
            self.check("webhooks", False, f"{mail.name} was answered {status} {document}")

    def ask(self, report: Report, path: str, body: Mapping[str, Any], process: str, stop: Stop | None = None) -> Task:
        """Use the API as a person."""
        app = self.app("board", process)
        headers = {"Authorization": f"Bearer {report.person}"}
        data = json.dumps(body).encode()
        self.note(f"{process}: {report.person}: {report.kind} {report.commit} {report.gate} {report.environment}")
        name = " ".join(
            word for word in (report.kind, report.commit, report.gate, report.environment, report.person) if word
        )
        return self.work(name, process, lambda: self._request(app, f"/api/v1/{path}", headers, data), report, stop)

    def _asked(self, task: Task, report: Report) -> None:
        status, document = task.result or (0, {})
        self._not_crashed(task)
        if task.died:
            status = 0
        self.note(f"  {status} {document if status != 202 else ''}")
        self.counts[f"{report.kind} {status or 'died'}"] += 1
        self.check("answers", status < 500 or status == 503, f"{task.name} was answered {status} {document}")
        self.model.answered(report, status, document, task)

    def _request(self, app: Any, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        """Post JSON; return the status and the answer's document."""
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "POST", "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": "",
            "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body)), "SERVER_NAME": "localhost",
            "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost", "REMOTE_ADDR": "127.0.0.1",
            "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body), "wsgi.errors": io.StringIO(),
            "wsgi.version": (1, 0), "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
        }  # fmt: skip
        environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
        status: list[str] = []

        def start_response(line: str, fields: Sequence[tuple[str, str]], error: Any = None) -> Any:
            status[:] = [line]

        answer = app(environ, start_response)
        text = b"".join(answer)
        self.tasks.point()
        return int(status[0][:3]), json.loads(text) if text[:1] == b"{" else {}

    def ping(self, process: str, stop: Stop | None = None) -> None:
        """Let the reconciler look for what is due."""
        event = Event("ping", "simulator", types.PING)
        deps = self.deps(process)
        self.note(f"{process}: ping")
        self.work("ping", process, lambda: reconciler.on_ping(event, deps), None, stop)

    def notice(self, process: str, stop: Stop | None = None) -> None:
        """Let a process read the edited pipeline file."""
        it, words = self.processes[process], self.words
        name = f"notice {process}"
        if (it.words == words and not it.missed) or any(task.name == name for task in self.tasks.paused):
            return  # nothing new; or what follows from the last edit is still under way, and until then nobody looks
        it.words, it.missed = words, True
        clock = Clock(self, it)

        def adopted() -> None:
            adopt(pipeline(words), self.beside, clock)  # type: ignore[arg-type]
            it.missed = False

        self.note(f"{process}: the pipeline file is {words}")
        self.work(name, process, adopted, words, stop)
        self.model.edited()

    def kill(self, process: str) -> None:
        """Kill a process as by kill -9, and start it again: its work stops, commands that it started go on."""
        self.note(f"kill -9 {process}")
        for task in self.tasks.kill(process=process):
            self._after(task, None)
        it = self.processes[process]
        it.life, it.words, it.missed = it.life + 1, self.words, False
        self._deps.pop(process, None)
        for kind in ("webhooks", "board"):
            self._apps.pop((kind, process), None)
        self.drivers[process] = self._driver(process)
        clock = Clock(self, it)
        if not self.many:
            expire_leases(self.base, clock)
            self.model.let_go()
        adopt(pipeline(it.words), self.base, clock)
        self.model.edited()

    # What happens outside.

    def push(self, ref: str, commit: Commit | None, pusher: str) -> None:
        """Put a commit, which may be new, at the head of a ref; None deletes the ref."""
        self.time += timedelta(seconds=1)
        if commit is None and ref not in self.repository.heads:
            return
        if commit is not None:
            self.repository.commits.setdefault(commit.name, commit)
        stamp = (self.time + self.provider_skew).replace(microsecond=0)
        report = self.repository.push(ref, commit.name if commit else None, pusher, stamp)
        self.mail.append(self.providers.github_push(report))

    def build(self, commit: str, ref: str, number: int, outcome: str) -> None:
        """End a CircleCI workflow."""
        report = Report(
            "build", commit, ref, at=self.time + self.provider_skew, number=number, outcome=outcome, gate="build"
        )
        self.mail.append(self.providers.circleci(report))

    def scan(self, commit: str, number: int, outcome: str) -> None:
        """Report a scanner's verdict."""
        report = Report("scan", commit, at=self.time + self.provider_skew, number=number, outcome=outcome, gate="scan")
        self.mail.append(self.providers.scanner(report))

    # The end.

    def calm(self, rounds: int = 40) -> None:
        """Let nothing go wrong any more, and finish what is under way or due, as far as time alone does it."""
        self._finish()
        for _ in range(rounds):
            ends = self.site.latest_end()
            known = self.inner.due(self.time + timedelta(days=99), limit=50)
            due = [item.at for item in known if item.at <= self.time or self._hurries(item.key)]
            due += [self.time + timedelta(seconds=6)] if self.inner.outbox(older_than=self.time, limit=1) else []
            due += [ends] if ends else []
            if not due or self.violations:
                return
            self.time = max(self.time, min(due)) + timedelta(seconds=1)
            skews = [process.skew for process in self.processes.values() if "reconciler" in process.serves]
            self.time += max(timedelta(), -min(skews))
            self.ping(self.serving("reconciler")[0])
            self._finish()

    @staticmethod
    def _hurries(key: str) -> bool:
        """Return whether something is due because it is not finished, not because time changes it."""
        return not key.startswith(("decision/", "request/", "expires/"))

    def _finish(self) -> None:
        for task in list(self.tasks.paused):
            self.go_on(task, None)
        for process in self.processes:
            self.notice(process)
        for _ in range(3000):
            waiting = self.broker.waiting()
            if not waiting or self.violations:
                return
            self.deliver(waiting[0], self.serving(waiting[0].edge.service)[0])
        clocks = {process.skew for process in self.processes.values()}
        self.check("an end", len(clocks) > 1, "events never end")

    def close(self) -> None:
        """Close everything."""
        self.tasks.kill()
        if self.store is not None:
            self.store.close()


__all__ = ["REPO", "START", "World", "people", "rules", "sha_of"]
