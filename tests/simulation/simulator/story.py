"""Stories: lists of steps. Each step names what it is about, so that a story that was kept still plays when there are other
steps, other services, or other calls: a step that does not fit is passed over.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from greenlight.policy.load import PolicyError

from .model import SLACK
from .outside import Commit, Report, sha_of
from .pipelines import pipeline
from .tasks import Stop
from .world import REPO, World

Step = list[Any]
"""A verb and what it needs, as JSON holds it. A point at which work stops is [number, how], or None."""

BRANCHES = ("refs/heads/main",) * 6 + ("refs/heads/release",) * 2 + ("refs/heads/feature",)
WRITERS = ("dev", "dev", "ann", "omar")
PEOPLE = ("ann", "lena", "lena", "omar")
WORDS = tuple(
    f"shop {production} {rollback}{scan}{qa}{more}"
    for production in ("strict", "lax", "lax")
    for rollback in ("manual", "automatic")
    for scan in ("", " scan")
    for qa in ("", " qa")
    for more in ("", "", "", " asked", " soak", " frozen")
)


def _understood(words: str) -> bool:
    """Return whether Greenlight reads such a pipeline file."""
    try:
        pipeline(words)
    except PolicyError:
        return False
    return True


RENAMES = _understood("store lax manual")
SECONDS = (1, 1, 1, 5, 20, 31, 31, 900, 4000)


NOT_YET: frozenset[str] = frozenset()
"""Rules that the product does not keep yet: they are not checked."""


def do(world: World, step: Step) -> None:
    """Carry out a step of a story."""
    verb, *args = step
    getattr(Steps(world), verb)(*args)


@dataclass
class Steps:
    """The possible steps, a method each."""

    world: World

    # Outside.

    def push(self, ref: str, name: str, author: str, helper: str | None, pusher: str, base: str | None) -> None:
        """Push a new commit to a ref: on its head, or forced onto `base`."""
        repository = self.world.repository
        if name not in repository.commits:
            heads = repository.heads
            parent = base or heads.get(ref) or heads.get("refs/heads/main")
            self.world.push(ref, Commit(name, parent, author, helper), pusher)

    def again(self, ref: str, name: str, pusher: str) -> None:
        """Put a known commit at the head of a ref."""
        commit = self.world.repository.commits.get(name)
        if commit is not None and self.world.repository.heads.get(ref) != name:
            self.world.push(ref, commit, pusher)

    def delete(self, ref: str, pusher: str) -> None:
        """Delete a ref."""
        self.world.push(ref, None, pusher)

    def build(self, name: str, ref: str, number: int, outcome: str) -> None:
        """End a build."""
        if name in self.world.repository.commits:
            self.world.build(name, ref, number, outcome)

    def scan(self, name: str, number: int, outcome: str) -> None:
        """End a scan."""
        if name in self.world.repository.commits:
            self.world.scan(name, number, outcome)

    def post(self, name: str, process: str, stop: list[Any] | None) -> None:
        """Deliver a webhook."""
        mail = next((it for it in self.world.mail if it.name == name), None)
        if mail is not None and process in self.world.processes:
            self.world.post(mail, process, _stop(stop))

    def lose(self, name: str) -> None:
        """Lose a webhook, which GitHub's users may send again."""
        mail = next((it for it in self.world.mail if it.name == name), None)
        if mail is not None:
            self.world.mail.remove(mail)
            self.world.sent[name] = mail
            self.world.counts["webhook lost"] += 1

    def resend(self, name: str) -> None:
        """Send a webhook again that was sent, or lost."""
        if name in self.world.sent:
            self.world.mail.append(self.world.sent[name])
            self.world.counts["webhook again"] += 1

    # People.

    def approve(self, person: str, name: str, process: str, stop: list[Any] | None) -> None:
        """Approve as a person at the gate `legal`."""
        self._about_commit("approve", "approvals", person, name, "legal", process, stop)

    def revoke(self, person: str, name: str, gate: str, process: str, stop: list[Any] | None) -> None:
        """Revoke a gate as a person."""
        self._about_commit("revoke", "revocations", person, name, gate, process, stop)

    def ask(
        self,
        person: str,
        kind: str,
        name: str | None,
        environment: str,
        minutes: int,
        paused: bool,
        process: str,
        stop: list[Any] | None,
    ) -> None:
        """Request a deployment as a person, for so many minutes if not 0.

        A rollback without a commit goes to what ran.
        """
        body: dict[str, Any] = {"kind": kind, "reason": "because"} | ({"sha": sha_of(name)} if name else {})
        body |= {"for": f"{minutes}m"} if minutes else {}
        body |= {"pause": True} if paused else {}
        application = self.world.model.application
        report = Report(
            kind, name or "", person=person, application=application, environment=environment, number=minutes * 60
        )
        self._ask(report, f"targets/{application}/{environment}/deployments", body, process, stop)

    def pause(self, person: str, environment: str, process: str, stop: list[Any] | None) -> None:
        """Pause a target as a person."""
        self._about_target("pause", person, environment, process, stop)

    def resume(self, person: str, environment: str, process: str, stop: list[Any] | None) -> None:
        """Resume a target as a person."""
        self._about_target("resume", person, environment, process, stop)

    def freeze(
        self,
        person: str,
        environment: str,
        wait: int,
        minutes: int,
        excepts: bool,
        process: str,
        stop: list[Any] | None,
    ) -> None:
        """Freeze a target as a person, from so many minutes on, for so many minutes."""
        body: dict[str, Any] = {"reason": "sale", "for": f"{minutes}m"} | ({"except": ["legal"]} if excepts else {})
        body |= {"from": (self.world.time + timedelta(minutes=wait)).isoformat()} if wait else {}
        application = self.world.model.application
        report = Report("freeze", person=person, application=application, environment=environment, number=minutes * 60)
        self._ask(report, f"targets/{application}/{environment}/freeze", body, process, stop)

    def unfreeze(self, person: str, environment: str, process: str, stop: list[Any] | None) -> None:
        """End the first of a target's freezes as a person."""
        application, freezes = self.world.model.application, self.world.model.target(environment).freezes
        body = {"freeze": next((it.id for it in freezes if not it.ended), "none")}
        report = Report("unfreeze", person=person, application=application, environment=environment)
        self._ask(report, f"targets/{application}/{environment}/unfreeze", body, process, stop)

    def cancel(self, person: str, what: str, environment: str, process: str, stop: list[Any] | None) -> None:
        """Withdraw a request, or end a deployment, as a person."""
        application = self.world.model.application
        report = Report("cancel", person=person, application=application, environment=environment, outcome=what)
        self._ask(report, f"targets/{application}/{environment}/cancel", {"what": what, "reason": "no"}, process, stop)

    def override(
        self, person: str, name: str, environment: str, gate: str, process: str, stop: list[Any] | None
    ) -> None:
        """Override a gate as an operator."""
        application = self.world.model.application
        body = {"application": application, "environment": environment, "gate": gate, "reason": "because"}
        report = Report("override", name, person=person, gate=gate, application=application, environment=environment)
        self._ask(report, f"commits/{REPO}/{sha_of(name)}/overrides", body, process, stop)

    def _about_commit(
        self, kind: str, path: str, person: str, name: str, gate: str, process: str, stop: list[Any] | None
    ) -> None:
        application = self.world.model.application
        body = {"application": application, "gate": gate, "comment": "because"}
        report = Report(kind, name, person=person, gate=gate, application=application)
        self._ask(report, f"commits/{REPO}/{sha_of(name)}/{path}", body, process, stop)

    def _about_target(self, kind: str, person: str, environment: str, process: str, stop: list[Any] | None) -> None:
        application = self.world.model.application
        report = Report(kind, person=person, application=application, environment=environment)
        self._ask(report, f"targets/{application}/{environment}/{kind}", {"reason": "because"}, process, stop)

    def _ask(self, report: Report, path: str, body: dict[str, Any], process: str, stop: list[Any] | None) -> None:
        if process in self.world.processes:
            self.world.ask(report, path, body, process, _stop(stop))

    # Events and processes.

    def deliver(self, name: str, process: str, stop: list[Any] | None) -> None:
        """Deliver an event."""
        delivery = self.world.broker.find(name)
        if delivery is not None and process in self.world.processes:
            self.world.deliver(delivery, process, _stop(stop))

    def drop(self, name: str) -> None:
        """Lose an event."""
        delivery = self.world.broker.find(name)
        if delivery is not None:
            self.world.broker.done(delivery)
            self.world.note(f"lost: {name}")
            self.world.counts["event lost"] += 1

    def double(self, name: str) -> None:
        """Deliver an event once more."""
        delivery = self.world.broker.find(name)
        if delivery is not None:
            self.world.broker.again(delivery)
            self.world.counts["event twice"] += 1

    def go(self, name: str, stop: list[Any] | None) -> None:
        """Continue work that is paused."""
        task = next((it for it in self.world.tasks.paused if it.name == name), None)
        if task is not None:
            self.world.go_on(task, _stop(stop))

    def ping(self, process: str, stop: list[Any] | None) -> None:
        """Let the reconciler look for what is due."""
        if process in self.world.processes:
            self.world.ping(process, _stop(stop))

    def edit(self, words: str) -> None:
        """Edit the pipeline file."""
        self.world.words = words
        self.world.all_words[words] = None
        self.world.model.edited()
        self.world.counts["edit"] += 1

    def notice(self, process: str, stop: list[Any] | None) -> None:
        """Let a process read the edited file."""
        if process in self.world.processes:
            self.world.notice(process, _stop(stop))

    def kill(self, process: str) -> None:
        """Kill a process as by kill -9."""
        if process in self.world.processes:
            self.world.kill(process)
            self.world.counts["kill"] += 1

    def time(self, seconds: int) -> None:
        """Let time go on."""
        self.world.time += timedelta(seconds=seconds)

    def skew(self, process: str, seconds: int) -> None:
        """Step a clock; `` is the providers'."""
        if process == "":
            self.world.provider_skew = timedelta(seconds=seconds)
        elif process in self.world.processes:
            self.world.processes[process].skew = timedelta(seconds=seconds)
        self.world.counts["clock"] += 1

    def command(self, outcome: str, seconds: int) -> None:
        """Set how the next command will end, and after how long."""
        self.world.site.plan.append((outcome, seconds))
        self.world.counts[f"command {outcome}"] += 1

    def calm(self) -> None:
        """Let nothing go wrong until all that is under way has ended; then check the rules as a whole."""
        self.world.note("CALM")
        self.world.calm()
        self.world.model.quiet()


def _stop(stop: list[Any] | None) -> Stop | None:
    return None if stop is None else Stop(*stop)


class Author:
    """Write a story, step by step, by a generator of random numbers."""

    def __init__(self, seed: int, world: World) -> None:
        self._dice, self._world = random.Random(seed), world
        self._number = self._run = 0
        self._queue: list[Step] = []
        dice = self._dice
        self._faults = dice.choice([0.0, 0.03, 0.08])
        self._pauses = dice.choice([0.0, 0.05, 0.15, 0.3])

    def step(self) -> Step:
        """Return the next step."""
        dice, world = self._dice, self._world
        if self._queue and dice.random() < 0.8:
            return self._queue.pop(0)
        choices: list[tuple[float, Callable[[], Step | None]]] = [
            (22 if world.broker.waiting() else 0, self._deliver),
            (9 if world.mail else 0, self._post),
            (6 if world.tasks.paused else 0, self._go),
            (2.5 if not self._queue else 0, self._ship),
            (2.5, self._push),
            (3.5, self._build),
            (1.5, self._scan),
            (1.5, self._approve),
            (0.5, self._revoke),
            (1.8, self._ask),
            (0.6, self._cancel),
            (0.4, self._override),
            (0.8, self._pause),
            (0.6, self._freeze),
            (2.5, self._time),
            (1.5, self._ping),
            (0.5, self._edit),
            (1.5 if self._unaware() else 0, self._notice),
            (0.4, self._kill),
            (0.4, self._skew),
            (1.0, self._command),
            (0.5 if self._faults else 0, self._lose),
            (1.2, lambda: ["calm"]),
        ]
        weights = [weight for weight, _ in choices]
        while True:
            ((_, make),) = dice.choices(choices, weights)
            step = make()
            if step is not None:
                return step

    def _stop(self) -> list[Any] | None:
        luck = self._dice.random()
        if luck < self._pauses:
            if self._dice.random() < 0.3:  # so long that others take its work for lost
                self._queue[:0] = [["time", 31], ["ping", self._process("reconciler"), None]]
            return [self._at(), "pause"]
        if luck < self._pauses + self._faults:
            return [self._at(), self._dice.choice(["die", "fail"])]
        return None

    def _at(self) -> int:
        """Return a point: before one of the first writes, or any of the first."""
        return self._dice.choice([-1, -1, -1, -2, self._dice.randint(1, 14)])

    def _process(self, service: str) -> str:
        return self._dice.choice(self._world.serving(service))

    def _deliver(self) -> Step | None:
        waiting = self._world.broker.waiting()
        first = self._dice.random() < 0.5
        delivery = waiting[0] if first else self._dice.choice(waiting)
        luck = self._dice.random()
        if luck < self._faults / 2:
            return ["drop", delivery.name]
        if luck < self._faults:
            return ["double", delivery.name]
        return ["deliver", delivery.name, self._process(delivery.edge.service), self._stop()]

    def _post(self) -> Step:
        mail = self._world.mail[0] if self._dice.random() < 0.6 else self._dice.choice(self._world.mail)
        return ["post", mail.name, self._process("webhooks"), self._stop()]

    def _lose(self) -> Step | None:
        if self._dice.random() < 0.4 and self._world.mail:
            return ["lose", self._dice.choice(self._world.mail).name]
        return ["resend", self._dice.choice(list(self._world.sent))] if self._world.sent else None

    def _go(self) -> Step:
        return ["go", self._dice.choice(self._world.tasks.paused).name, self._stop()]

    def _push(self) -> Step | None:
        dice, commits, heads = self._dice, list(self._world.repository.commits), self._world.repository.heads
        luck, ref = dice.random(), dice.choice(BRANCHES)
        if luck < 0.08 and commits:
            ref = dice.choice([ref, f"refs/tags/v{len(heads)}"])
            return ["again", ref, dice.choice(commits[-6:]), dice.choice(WRITERS)]
        if luck < 0.11 and heads:
            return ["delete", dice.choice(list(heads)), dice.choice(WRITERS)]
        self._number += 1
        base = dice.choice(commits[-6:]) if commits and dice.random() < 0.08 else None
        helper = dice.choice(["ann", "omar"]) if dice.random() < 0.15 else None
        return ["push", ref, f"c{self._number}", dice.choice(WRITERS), helper, dice.choice(WRITERS), base]

    def _ship(self) -> Step | None:
        """Push a new commit with all that opens its gates, as most commits have it; what else happens comes between."""
        dice, step = self._dice, self._push()
        if step is None or step[0] != "push":
            return step
        _, ref, name, *_ = step
        turn = self._world.repository.turns.get(ref, 0) + 1
        short = ref.removeprefix("refs/").removeprefix("heads/")
        reports: list[tuple[Step, str]] = []
        self._run += 1
        reports.append((["build", name, ref, self._run, "passed"], f"build {self._run} {name} passed"))
        if dice.random() < 0.6:
            self._run += 1
            reports.append((["scan", name, self._run, "passed"], f"scan {self._run} {name} passed"))
        posts = [self._posted(f"push {name} {short} {turn}")]
        for each, mail in reports:
            posts += [each, self._posted(mail)]
        if dice.random() < 0.2:
            posts.append(posts.pop(0))  # the push is heard of last
        self._queue += posts
        if dice.random() < 0.6:
            self._queue += [["calm"]] if dice.random() < 0.5 else []
            self._queue.append(["approve", "lena", name, self._process("board"), self._stop()])
        if dice.random() < 0.7:
            self._queue.append(["calm"])
        return step

    def _posted(self, mail: str) -> Step:
        return ["post", mail, self._process("webhooks"), self._stop()]

    def _recent(self) -> str | None:
        commits = list(self._world.repository.commits)[-4:]
        return self._dice.choice(commits) if commits else None

    def _build(self) -> Step | None:
        name, dice = self._recent(), self._dice
        if name is None:
            return None
        self._run += 1
        number = self._run if dice.random() < 0.85 else dice.randint(1, self._run)
        heads = self._world.repository.heads
        refs = [ref for ref in heads if name in self._world.repository.ancestors(heads[ref]) and "tags" not in ref]
        ref = dice.choice(sorted(refs)) if refs else "refs/heads/main"
        return ["build", name, ref, number, dice.choice(["passed"] * 6 + ["failed", "canceled"])]

    def _scan(self) -> Step | None:
        name = self._recent()
        if name is None:
            return None
        self._run += 1
        return ["scan", name, self._run, self._dice.choice(["passed"] * 5 + ["failed"])]

    def _approve(self) -> Step | None:
        name = self._recent()
        person = self._dice.choice(PEOPLE)
        return ["approve", person, name, self._process("board"), self._stop()] if name else None

    def _revoke(self) -> Step | None:
        name, gate = self._recent(), self._dice.choice(["legal", "legal", "build", "scan"])
        person = self._dice.choice(PEOPLE)
        return ["revoke", person, name, gate, self._process("board"), self._stop()] if name else None

    def _environment(self) -> str:
        return self._dice.choice(self._world.environments())

    def _ask(self) -> Step | None:
        dice, name = self._dice, self._recent()
        kind = dice.choice(["deploy", "deploy", "retry", "rollback", "rollback"])
        if kind == "rollback" and dice.random() < 0.7:
            name = None
        elif name is None:
            return None
        minutes = dice.choice([0, 0, 0, 5, 30])
        paused = kind == "rollback" and dice.random() < 0.1
        who, where = dice.choice(PEOPLE), self._environment()
        return ["ask", who, kind, name, where, minutes, paused, self._process("board"), self._stop()]

    def _cancel(self) -> Step:
        what = self._dice.choice(["request", "request", "deployment"])
        return ["cancel", self._dice.choice(PEOPLE), what, self._environment(), self._process("board"), self._stop()]

    def _override(self) -> Step | None:
        name, gate = self._recent(), self._dice.choice(["legal", "build", "scan"])
        if name is None:
            return None
        person = self._dice.choice(PEOPLE)
        return ["override", person, name, self._environment(), gate, self._process("board"), self._stop()]

    def _pause(self) -> Step:
        environment = self._environment()
        paused = self._world.model.target(environment).paused
        verb = "resume" if paused else self._dice.choice(["pause", "resume"])
        return [verb, "lena", environment, self._process("board"), self._stop()]

    def _freeze(self) -> Step:
        dice, environment, person = self._dice, self._environment(), self._dice.choice(PEOPLE)
        frozen = any(not it.ended for it in self._world.model.target(environment).freezes)
        if frozen and dice.random() < 0.4:
            return ["unfreeze", person, environment, self._process("board"), self._stop()]
        if dice.random() < 0.5:
            self._queue.insert(0, ["time", 900])  # so long that every clock says that it has begun
        wait, minutes, excepts = dice.choice([0, 0, 10]), dice.choice([30, 90, 240]), dice.random() < 0.2
        return ["freeze", person, environment, wait, minutes, excepts, self._process("board"), self._stop()]

    def _time(self) -> Step:
        return ["time", self._dice.choice(SECONDS)]

    def _ping(self) -> Step:
        return ["ping", self._process("reconciler"), self._stop()]

    def _edit(self) -> Step:
        words = self._dice.choice(WORDS)
        if self._world.words.startswith("store") or (RENAMES and self._dice.random() < 0.2):
            words = words.replace("shop", "store")
        return ["edit", words]

    def _unaware(self) -> list[str]:
        return [name for name, process in self._world.processes.items() if process.words != self._world.words]

    def _notice(self) -> Step:
        return ["notice", self._dice.choice(self._unaware()), self._stop()]

    def _kill(self) -> Step | None:
        return ["kill", self._dice.choice(list(self._world.processes))] if self._faults else None

    def _skew(self) -> Step:
        who = self._dice.choice(["", "", *self._world.processes])
        return ["skew", who, self._dice.choice([0, 0, 2, -2, 40, -40, 240, -240])]

    def _command(self) -> Step:
        outcome = self._dice.choice(["succeeded", "failed", "failed", "error", "error"])
        return ["command", outcome, self._dice.choice([0, 1, 15, 40])]


@dataclass
class Story:
    """A story that was played."""

    many: bool
    words: str
    steps: list[Step] = field(default_factory=list)
    chain: bool = False  # one process, in which what follows from a fact is one transaction
    world: World | None = None

    @property
    def violations(self) -> list[str]:
        """Return the rules that did not hold."""
        return self.world.violations if self.world else []

    @property
    def log(self) -> list[str]:
        """Return what happened."""
        return self.world.log if self.world else []

    def text(self) -> str:
        """Return the story as it is kept in a file."""
        lines = ",\n  ".join(json.dumps(step) for step in self.steps)
        head = {"many": self.many, **({"chain": True} if self.chain else {}), "words": self.words}
        return f'{json.dumps(head)[:-1]}, "steps": [\n  {lines}\n]}}\n'


def written(
    seed: int,
    *,
    steps: int,
    off: frozenset[str] = NOT_YET,
    ledger: Callable[[Callable[[], datetime]], Any] | None = None,
) -> Story:
    """Return a story that is made up while it is played."""
    dice = random.Random(f"world {seed}")
    many = ledger is not None or dice.random() < 0.5
    story = Story(many, dice.choice(WORDS), chain=not many and dice.random() < 0.7)
    world = story.world = World(many=story.many, words=story.words, chain=story.chain, off=off, ledger=ledger)
    author = Author(seed, world)
    try:
        for _ in range(steps):
            step = author.step()
            story.steps.append(step)
            do(world, step)
            if world.violations:
                break
        else:
            finish(world)
    finally:
        world.close()
    return story


def kept(text: str) -> Story:
    """Return a story in the form of a file."""
    document = json.loads(text)
    return Story(document["many"], document["words"], document["steps"], document.get("chain", False))


def played(
    many: bool,
    words: str,
    steps: Sequence[Step],
    *,
    chain: bool = False,
    off: frozenset[str] = NOT_YET,
    all: bool = False,
) -> Story:
    """Return a kept story, played again; to the first rule that does not hold unless `all`."""
    story = Story(many, words, [*steps], chain)
    world = story.world = World(many=many, words=words, chain=chain, off=off)
    try:
        for step in steps:
            do(world, step)
            if world.violations and not all:
                break
        else:
            finish(world)
    finally:
        world.close()
    return story


def finish(world: World) -> None:
    """Bring a story to its end: nothing goes wrong any more, and everything is finished."""
    steps = Steps(world)
    steps.calm()
    for environment in world.environments():
        target = world.model.target(environment)
        if target.paused:
            steps.resume("lena", environment, world.serving("board")[0], None)
        frozen = [it.until for it in target.freezes if not it.ended]
        world.time = max([world.time, *(until + SLACK + timedelta(seconds=1) for until in frozen)])
    steps.calm()
    world.model.end()


def shortened(story: Story, *, off: frozenset[str] = NOT_YET, tries: int = 2000) -> Story:
    """Return a short story in which the same rule does not hold."""
    rule = story.violations[0].partition(":")[0]

    def breaks(steps: Sequence[Step]) -> bool:
        nonlocal tries
        tries -= 1
        again = played(story.many, story.words, steps, chain=story.chain, off=off)
        return bool(again.violations) and again.violations[0].startswith(f"{rule}:")

    steps = story.steps
    if not breaks(steps):
        return story
    size = max(len(steps) // 2, 1)
    while size and tries > 0:
        at = 0
        while at < len(steps) and tries > 0:
            fewer = [*steps[:at], *steps[at + size :]]
            if breaks(fewer):
                steps = fewer
            else:
                at += size
        size = size // 2 if size > 1 else 0
    for at, step in enumerate(steps):
        if tries > 0 and isinstance(step[-1], list):
            plain = [*steps[:at], [*step[:-1], None], *steps[at + 1 :]]
            if breaks(plain):
                steps = plain
    return played(story.many, story.words, steps, chain=story.chain, off=off)
