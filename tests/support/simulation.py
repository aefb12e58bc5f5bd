"""A Greenlight that a test moves step by step, for sequences that are written out: real handlers and a real ledger.

`play` plays a story that a seed makes up (see simulator/).
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from simulator.many import STEPS
from simulator.story import Story, written

from greenlight.board import actions
from greenlight.deployer import app as deployer
from greenlight.deployer.driver import Busy, Order, Progress
from greenlight.events import Event, types
from greenlight.events.build import as_fact, is_fact
from greenlight.ledger.dynamodb.ledger import DynamoLedger
from greenlight.ledger.journal import verify
from greenlight.ledger.port import Transaction
from greenlight.ledger.sqlite.ledger import SCHEMA, SqliteLedger
from greenlight.lib.errors import Unavailable
from greenlight.model.rows import DUE_AFTER, Deployment, Due, Fact, Push, Record, Target
from greenlight.policy import signals
from greenlight.policy.lineage import Lineage, moving, newer
from greenlight.promoter import app as promoter
from greenlight.promoter import domain as promoter_domain
from greenlight.reconciler import app as reconciler
from greenlight.recorder import app as recorder
from greenlight.service.handling import session
from greenlight.service.people import Person
from greenlight.service.situations import situation
from greenlight.store import Store
from support.policy import parse

REPO, MAIN = "acme/shop", "refs/heads/main"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BUILD = signals.circleci_workflow("build")
ENVIRONMENTS = ("staging", "production")

POLICY = """
apiVersion: greenlight/v1
kind: Pipeline
applications:
  - name: shop
    repo: acme/shop
    branches: [main, release]
    operators: [legal]
    gates:
      build: {{circleci: {{workflow: build}}}}
      legal: {{approval: {{groups: [legal], not: author, expires: 2h}}}}
    environments:
      - {{name: staging, require: [build], tries: 3, deploy: {{command: {{run: [./a]}}}}}}
      - name: production
        after: [staging]
        require: [{require}]
        tries: 2
        rollback: automatic
        deploy: {{command: {{run: [./b]}}}}
"""
STRICT, LAX = (
    parse({"pipeline.yaml": POLICY.format(require=require)}, Path("config")) for require in ("build, legal", "build")
)
FREEZE = "freeze: [{from: 2026-03-01 12:10, to: 2026-03-01 12:30, zone: UTC, reason: sale}]"
FROZEN = parse(
    {
        "pipeline.yaml": POLICY.format(require="build").replace(
            "require: [build], tries", f"require: [build], {FREEZE}, tries"
        )
    },
    Path("config"),
)
"""A freeze window opens for staging ten minutes after the start, for twenty."""


class Died(Exception):
    """The process that handled an event has died; its deliverer does not know how far it came."""


@dataclass
class Clock:
    """A clock that stands still until the world moves it."""

    time: datetime = START

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return (self.time - START).total_seconds()


class Ledger:
    """The real ledger, at whose writes other handlers run and handlers die."""

    def __init__(self, inner: Any, world: World) -> None:
        self._inner, self._world = inner, world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def transact(self, transaction: Transaction) -> None:
        self._world.meanwhile()
        self._world.may_die()
        self._inner.transact(transaction)
        self._world.written(transaction)
        self._world.may_die()

    def accept(self, fact: Fact, body: bytes | None, due: Due) -> bool:
        return self._inner.accept(fact, body, due)


class Emitting:
    """A ledger on DynamoDB, whose outbox is emptied onto the bus as a publisher does it."""

    def __init__(self, inner: DynamoLedger, world: World) -> None:
        self._inner, self._world = inner, world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def transact(self, transaction: Transaction) -> None:
        self._inner.transact(transaction)
        self._publish(transaction.emit)

    def accept(self, fact: Fact, body: bytes | None, due: Due) -> bool:
        accepted = self._inner.accept(fact, body, due)
        if accepted:
            self._publish([fact.event])
        return accepted

    def _publish(self, events: Sequence[Event]) -> None:
        self._world.bus += events
        self._inner.published([event.id for event in events])


class NoPublisher:
    """A publisher without work: emitted events are on the bus already."""

    def publish(self, events: Sequence[Event]) -> None:
        pass

    def settle(self, events: Sequence[Event]) -> Event | None:
        return None


@dataclass
class Command:
    """A command that a driver started."""

    deployment: str
    fence: int
    ends: datetime
    outcome: str


@dataclass
class Driver:
    """Commands that take a while, end in any way, and go on when the process that started them is killed."""

    world: World
    runs: dict[str, Command] = field(default_factory=dict)  # of this life, by deployment
    held: dict[str, Command] = field(default_factory=dict)  # by target: who has its lock, of whatever life
    fences: dict[str, int] = field(default_factory=dict)
    starts: list[tuple[str, str, int]] = field(default_factory=list)  # target, sha, fence
    outcomes: list[str] = field(default_factory=list)  # of the next commands, where a test wants them so

    def apply(self, order: Order) -> Progress:
        self.world.meanwhile()
        known = self.runs.get(order.deployment)
        if known is not None and (self._end(known) is None or known.outcome != "error" or known.fence == order.fence):
            return Progress(self._end(known) or "running", "simulated")
        target = f"{order.application}/{order.environment}"
        holder = self.held.get(target)
        if holder is not None and self._end(holder) is None:
            orphan = holder is not self.runs.get(holder.deployment)
            self.world.check(orphan, f"{order.deployment} starts beside {holder.deployment} at {target}")
            raise Busy("an earlier command")
        self.world.check(order.fence >= self.fences.get(target, 0), f"an older fence acts at {target}")
        row = self.world.inner.deployment(order.deployment)
        self.world.check(row is not None and row.outcome == "running", f"{order.deployment} starts after its end")
        dice = self.world.dice
        outcome = "succeeded" if self.world.calm else dice.choice(["succeeded"] * 4 + ["failed", "error", "error"])
        outcome = self.outcomes.pop(0) if self.outcomes else outcome
        ends = self.world.clock.time + timedelta(seconds=dice.choice([0, 1, 15, 40]))
        self.runs[order.deployment] = self.held[target] = Command(order.deployment, order.fence, ends, outcome)
        self.fences[target] = order.fence
        self.starts.append((target, order.sha, order.fence))
        return Progress("running")

    def watch(self, order: Order, seconds: float) -> Progress:
        self.world.meanwhile()
        run, now = self.runs.get(order.deployment), self.world.clock.time
        self.world.clock.time = max(
            now, min(now + timedelta(seconds=seconds), run.ends if run else now + timedelta(seconds=1))
        )
        return Progress((self._end(run) if run else None) or "running", "simulated")

    def _end(self, run: Command) -> str | None:
        return run.outcome if run.ends <= self.world.clock.time else None

    def cancel(self, order: Order, reason: str) -> None: ...

    def check(self, config: Any) -> Sequence[str]:
        return []

    def close(self) -> None: ...


PEOPLE = [Person(name, name, name, (), ("legal",), ()) for name in ("ann", "lena", "omar")]


class World:
    """The world around the handlers. `violations` are the invariants that did not hold."""

    def __init__(self, seed: int, folder: Path, dynamo: Callable[[Clock], DynamoLedger] | None = None) -> None:
        self.dice = random.Random(seed)
        self.clock, self.calm, self.depth, self.lives = Clock(), False, 0, 1
        self.bus: list[Event] = []
        self.violations: list[str] = []
        self.log: list[str] = []
        self.pushes: list[Push] = []
        self.runs = 0
        self.pipeline = STRICT
        self.store: Store | None = None
        self.inner: Any = Emitting(dynamo(self.clock), self) if dynamo else self._sqlite(folder / f"{seed}.db")
        self.ledger = Ledger(self.inner, self)
        self.driver = Driver(self)
        self.ended: set[str] = set()

    def _sqlite(self, file: Path) -> SqliteLedger:
        self.store = Store(file, [SCHEMA], synchronous="NORMAL")
        return SqliteLedger(
            self.store,
            file.parent / "bodies",
            emit=lambda emitted: lambda tx: self.bus.append(emitted.event),
            clock=self.clock.now,
        )

    # what the handlers are given

    def deps(self) -> deployer.Deps:
        return deployer.Deps(
            self.clock,
            self.ledger,  # type: ignore[arg-type]
            lambda: self.pipeline,
            NoPublisher(),
            logging.getLogger("simulation"),
            drivers={"command": self.driver},
            owner=f"life {self.lives}",
        )

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.violations.append(f"{self.clock.time:%H:%M:%S} {what}")

    # faults

    def may_die(self) -> None:
        if not self.calm and self.dice.random() < 0.03:
            raise Died

    def meanwhile(self) -> None:
        """Let another handler run first."""
        if not self.calm and self.depth < 3 and self.bus and self.dice.random() < 0.25:
            self.deliver()

    def note(self, what: str) -> None:
        self.log.append(f"{self.clock.time:%H:%M:%S} {'  ' * self.depth}{what}")

    def deliver(self) -> None:
        """Deliver one event that is under way to its handler; it may get lost, or come again."""
        event = self.bus.pop(self.dice.randrange(len(self.bus)))
        if not self.calm and self.dice.random() < 0.05:
            self.note(f"lost {event.type}")
            return
        if not self.calm and self.dice.random() < 0.05:
            self.bus.append(event)
        self.note(f"{event.type} {event.id if is_fact(event) else event.json()}")
        self.depth += 1
        try:
            for module in (recorder, promoter, deployer):
                handlers: Any = module.HANDLERS
                handler = handlers.get(event.type) or (handlers.get(types.FACT) if is_fact(event) else None)
                if handler is not None:
                    deps = self.deps()
                    with session(event, deps):
                        handler(event, deps)
        except (Died, Unavailable) as fault:
            self.note(f"  {fault!r} in {event.type}")
            if self.dice.random() < 0.7 or self.calm:
                self.bus.append(event)
        finally:
            self.depth -= 1

    def ping(self) -> None:
        with suppress(Died, Unavailable):
            reconciler.on_ping(Event("ping", "test", types.PING), self.deps())

    # what happens outside

    def accept(self, fact: Fact) -> None:
        self.inner.accept(fact, None, Due(f"fact/{fact.id}", self.clock.time + DUE_AFTER, fact.event))

    def tell_push(self, push: Push, sha: str) -> None:
        """Send GitHub's push, which for a deletion is about the commit that was there."""
        self.pushes.append(push)
        self.note(f"push {sha[-3:]} {push.ref} forced={push.forced} deleted={push.deleted}")
        event, now = as_fact(Event(push.fact, "github", "com.github.push")), self.clock.time
        self.accept(
            Fact(event, REPO, sha, now, now, (push.ref,), push=push, people=() if push.deleted else push.people)
        )

    def tell_build(self, sha: str, run: int, outcome: str) -> None:
        """Send CircleCI's result of a run."""
        id = f"build-{sha[-3:]}-{run}-{outcome}"
        self.note(f"build {run} of {sha[-3:]} {outcome}")
        event = as_fact(Event(id, "circleci", f"com.circleci.{outcome}"))
        now = self.clock.time
        self.accept(Fact(event, REPO, sha, now, now, ("main",), BUILD, outcome, (run, 0)))

    # what must hold

    def written(self, transaction: Transaction) -> None:
        """Note that a transaction of a handler was committed."""
        for row in transaction.deployments:
            if row.version == 0:
                self.note(f"INTENT {row.id[:6]} {row.sha[-3:]} {row.environment} {row.cause} n={row.n}")
                self._intent(row)
            if row.outcome != "running":
                self.note(f"END {row.id[:6]} {row.sha[-3:]} {row.environment} {row.outcome} {row.reason}")
                self.check(row.id not in self.ended, f"{row.id} ended twice")
                self.ended.add(row.id)

    def _intent(self, row: Deployment) -> None:
        policy = next(it for it in (STRICT, LAX, FROZEN) if it.applications["shop"].digest == row.policy)
        gates = policy.applications["shop"].environments[row.environment].require
        self.check("build" not in gates or self._built(row.sha), f"{row.sha[-3:]} was begun without a green build")
        self.check("legal" not in gates or row.cause == "rollback" or self._approved(row.sha),
                   f"{row.sha[-3:]} was begun without approval")  # fmt: skip
        if row.environment == "production" and row.cause != "rollback":
            ran = [it for it in self.inner.deployments("shop", "staging", limit=1000) if it.sha == row.sha]
            self.check(any(it.outcome == "succeeded" for it in ran), f"{row.sha[-3:]} was never in staging")
        if row.request is None:
            mine, pushes = row.push, Lineage.of(self.pushes)
            target = self.inner.target("shop", row.environment)
            earlier = [
                it for it in self.inner.deployments("shop", row.environment, limit=1000) if it.outcome == "succeeded"
            ]
            for it in earlier:
                self.check(it.push is None or it.sha == row.sha or mine is None or newer(mine, it.push, pushes),
                           f"{row.sha[-3:]} is older than {it.sha[-3:]}, which was deployed")  # fmt: skip
            if target is not None and target.running is not None and target.running.sha != row.sha and mine:
                again = [it for it in pushes if it.sha == target.running.sha and it.ref in (MAIN, "refs/heads/release")]
                last = max(moving(again), key=pushes.place, default=None)
                self.check(last is None or newer(mine, last, pushes), f"{row.sha[-3:]} is older than what runs")

    def _known(self, sha: str) -> list[Fact]:
        entries = self.inner.journal(f"commit/{REPO}/{sha}")
        return [fact for fact in (self.inner.fact(entry.id) for entry in entries) if fact is not None]

    def _built(self, sha: str) -> bool:
        builds = [fact for fact in self._known(sha) if fact.signal == BUILD]
        rank = {"passed": 0, "canceled": 1, "failed": 2}
        newest = max(builds, key=lambda fact: (fact.order, rank[fact.outcome or ""]), default=None)
        return newest is not None and newest.outcome == "passed"

    def _approved(self, sha: str) -> bool:
        words = [fact for fact in self._known(sha) if fact.type.startswith("approval.")]
        no = max((fact.at for fact in words if fact.type == types.APPROVAL_REVOKED), default=START - timedelta(1))
        since = self.clock.time - timedelta(hours=2)
        return any(fact.type == types.APPROVAL_GRANTED and fact.at > max(no, since) for fact in words)

    def _newest(self, sha: str) -> datetime:
        record = self.inner.record(REPO, sha)
        refs = (MAIN, "refs/heads/release")
        times = [push.pushed_at for ref, push in record.pushes.items() if ref in refs] if record else []
        return max(times, default=START - timedelta(1))

    def settle(self) -> None:
        """Stop faults, and let time go on until nothing is under way or due; then everything must be finished."""
        self.calm = True
        self.note("CALM")
        for environment in ENVIRONMENTS:  # what waits for its next try may wait for a person for ever
            actions.set_paused("shop", environment, False, None, PEOPLE[0], replace(self.deps(), ledger=self.inner))
        self.rest(3600)
        self._everything_is_finished()

    def rest(self, seconds: float) -> None:
        """Let time go on; what is under way is delivered, what is due is emitted again."""
        until = self.clock.time + timedelta(seconds=seconds)
        while self.clock.time < until:
            for _ in range(10_000):
                if not self.bus or self.clock.time >= until:
                    break
                self.deliver()
                self.clock.time += timedelta(seconds=0.1)
            self.clock.time = min(self.clock.time + timedelta(seconds=31), until)
            self.ping()
        for _ in range(1000):
            if self.bus:
                self.deliver()

    def _everything_is_finished(self) -> None:
        self.check(not self.bus, f"events never end: {sorted({event.type for event in self.bus})}")
        left = [due.key for due in self.inner.due(self.clock.time + timedelta(days=99), limit=1000)]
        left = [key for key in left if not key.startswith(("decision/", "request/"))]
        self.check(not left, f"due for ever: {left}")
        pushes = [push.sha for push in self.pushes if not push.deleted]
        for environment in ENVIRONMENTS:
            target = self.inner.target("shop", environment) or Target("shop", environment, REPO)
            self.check(target.wanted is None, f"{environment} still wants something")
            self.check(target.deployment is None, f"{environment} is still being deployed to")
            for row in self.inner.deployments("shop", environment, limit=1000):
                self.check(row.outcome != "running", f"{row.id} never ended")
            for sha in dict.fromkeys(pushes):
                record = self.inner.record(REPO, sha)
                if record is not None:
                    self._nothing_is_left_to_decide(environment, record, target)
            self.check(verify(self.inner.journal(f"target/shop/{environment}")).holds, f"{environment}: a broken chain")
        for sha in dict.fromkeys(pushes):
            self.check(verify(self.inner.journal(f"commit/{REPO}/{sha}")).holds, f"{sha}: a broken chain")
        for push in self.pushes:
            fact = self.inner.fact(push.fact)
            self.check(fact is not None and fact.recorded, f"{push.fact} was lost")

    def _nothing_is_left_to_decide(self, environment: str, record: Record, target: Target) -> None:
        policy, now = self.pipeline.applications["shop"], self.clock.time
        last = self.inner.decision("shop", environment, REPO, record.sha)
        again = promoter_domain.consider(situation(policy, record, target, self.inner, now), last)
        who = f"{record.sha[-3:]} in {environment}"
        self.check(again.target is None, f"{who} is ready, and nobody promotes it: {last and last.decision}")
        own = again.decision.own.state
        stale = again.row is not None and last is not None and last.decision != own
        self.check(not stale or again.decision.state == "superseded",
                   f"{who} is {own} now, and was left {last and last.decision}")  # fmt: skip

    def close(self) -> None:
        if self.store is not None:
            self.store.close()


def play(seed: int, folder: Path, *, steps: int = STEPS) -> Story:
    """Play the story of a seed to its end, or to the first rule that does not hold: see its `violations` and `log`.

    Nothing of it is kept in `folder`: its ledger is in memory.
    """
    return written(seed, steps=steps)
