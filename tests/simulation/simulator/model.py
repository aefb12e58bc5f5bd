"""The rules of a target, written from the design and from nothing of the product.

The model sees what happens outside (what was pushed, built, approved, asked for), when the ledger came to know of it, and what
the ledger says began and ended. It never asks the product for a decision. Where the design leaves something open, or only the
order of two transactions decides, it says neither yes nor no: `sure` is what must hold in any case.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from greenlight.ledger.journal import verify

from .outside import REPO, Report, name_of, sha_of, ships
from .pipelines import APPLICATIONS, EXPIRES, FROZEN, MAX_AGE, REQUEST_LASTS, TRIES, Place, Rules, pipeline, rules

ENDS = tuple(f"deployment.{end}" for end in ("succeeded", "failed", "error", "superseded", "canceled"))
REQUESTS = ("deploy", "retry", "rollback")
SLACK = timedelta(minutes=10)
"""How far clocks may be apart in a story: within that, a model is not sure what has expired."""

NEVER = 1 << 60
_EDITED = ("its application or environment is no longer in the pipeline file", "the policy was edited")
"""How the reasons begin for which a deployment ends before its next try, and its request waits again."""
"""A count that is not reached."""


@dataclass(eq=False)
class Fact:
    """A report of a provider or a person, as the ledger came to know it."""

    report: Report
    accepted: int
    arrived: datetime  # by the clock of who accepted it
    recorded: int | None = None
    id: str = ""
    begun: int = 0  # when whoever says it began to: what happened until `accepted` may have come before or after it

    @property
    def at(self) -> datetime:
        """Return when it happened, as far as it counts."""
        return self.arrived if self.report.at is None else min(self.report.at, self.arrived)


@dataclass(eq=False)
class Request:
    """A person's request, from its beginning to its end."""

    report: Report
    application: str
    begun: int  # when the person began to ask: what happened until `asked` may have come before or after it
    asked: int
    at: datetime
    own: datetime  # the same, by the clock of who accepted it
    clock: datetime  # the same, and no earlier than any push that was accepted before
    known: int | None = None  # since when nobody may overlook it
    commit: str = ""
    ended: str | None = None  # how
    ended_at: int = 0
    paused: timedelta = timedelta()  # time that the target was paused meanwhile
    lasts: timedelta = REQUEST_LASTS
    started: datetime = datetime.min  # when the person began to ask
    id: str = ""
    doubtful: bool = False  # whether it has ended depends on which of two transactions came first


@dataclass(eq=False)
class Freeze:
    """A person's freeze of a target, from its beginning to its end."""

    id: str
    begins: datetime
    until: datetime
    excepts: bool  # whether people's requests are served all the same
    ended: bool = False  # by a person


@dataclass(eq=False)
class Run:
    """A deployment."""

    id: str
    commit: str
    cause: str
    began: int
    before: str | None  # what ran
    request: Request | None
    place: Fact | None  # the push that it was ordered by
    outcome: str = "running"
    ended: int | None = None
    succeeded_at: datetime | None = None
    reason: str = ""
    canceled: bool = False  # a person asked for its end
    erred: bool = False  # it waits for its next try


@dataclass(eq=False)
class Target:
    """One environment of the application, under whatever name, as it should be."""

    name: str
    runs: list[Run] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    paused: bool = False
    paused_since: datetime | None = None
    freezes: list[Freeze] = field(default_factory=list)  # all that there were
    hold: Request | None = None  # what keeps back candidates that are not pushed after it
    doubtful_hold: bool = False
    lease: Any = None

    @property
    def under_way(self) -> Run | None:
        """Return the deployment that has not ended."""
        return next((run for run in reversed(self.runs) if run.outcome == "running"), None)

    def running(self, until: int | None = None) -> Run | None:
        """Return the deployment that succeeded last, whose commit it runs."""
        done = [run for run in self.runs if run.outcome == "succeeded" and (until is None or (run.ended or 0) <= until)]
        return max(done, key=lambda run: run.ended or 0, default=None)

    def rolled_back_from(self, begun: bool) -> set[str]:
        """Return the commits that were rolled back from, and that have not succeeded since.

        With `begun`, a rollback counts that did not succeed, too: the rules do not say.
        """
        gone: set[str] = set()
        done = [it for it in self.runs if it.outcome == "succeeded" or (begun and it.cause == "rollback")]
        for run in sorted(done, key=lambda it: NEVER if it.ended is None else it.ended):
            if run.cause == "rollback" and run.before not in (None, run.commit):
                gone.add(str(run.before))
            if run.outcome == "succeeded":
                gone.discard(run.commit)
        return gone


def _accepted(push: Fact) -> Any:
    return push.accepted


def _time(push: Fact) -> Any:
    return (push.at.replace(microsecond=0), push.accepted)


class Model:
    """The known facts, and the rules."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.now = 0
        self.facts: dict[str, Fact] = {}
        self.by_commit: dict[str, list[Fact]] = {}
        self.pushes: list[Fact] = []
        self.targets: dict[str, Target] = {}
        self.noticed: dict[str, int] = {}  # by commit: the count at which the promoter last looked at it
        self.known_runs: dict[str, tuple[Target, Run]] = {}
        self.requests: dict[str, Request] = {}
        self.since = dict.fromkeys(rules(world.words).places, 0)  # when an environment came into the pipeline file
        self.edited_at = 0  # when a process last read another pipeline file

    def target(self, environment: str) -> Target:
        """Return the target; a new one if nothing is known of it."""
        if environment not in self.targets:
            self.targets[environment] = Target(environment)
        return self.targets[environment]

    @property
    def application(self) -> str:
        """Return the application of the pipeline file."""
        return rules(self._world.words).application

    # What happens.

    def accepted(self, fact: Any, task: Any) -> None:
        """Note that the ledger accepted a fact."""
        self.now += 1
        about = getattr(task.about, "about", task.about) if task is not None else None
        if not isinstance(about, Report):
            self._own(fact, task)
            return
        known = Fact(about, self.now, fact.accepted, id=fact.id, begun=task.began)
        self.facts[fact.id] = known
        if about.kind in REQUESTS:
            self._request(about, task, fact.id, name_of(fact.sha))
        else:
            self.by_commit.setdefault(about.commit, []).append(known)
        if about.kind == "push":
            self.pushes.append(known)

    def _own(self, fact: Any, task: Any) -> None:
        """Note a request that the policy makes in a person's place."""
        details = fact.details
        report = Report(
            "rollback",
            name_of(fact.sha),
            application=details.get("application", "shop"),
            environment=details.get("environment", ""),
            person="policy",
        )
        self.facts[fact.id] = Fact(report, self.now, fact.accepted, id=fact.id)
        self._request(report, task, fact.id, report.commit)

    def _request(self, report: Report, task: Any, id: str, commit: str) -> None:
        target = self.target(report.environment)
        if report.kind == "rollback" and report.person != "policy":
            ways = [*self.ways_back(target), *self.ways_back(target, begun=True)]
            right = commit in ways if report.commit == "" else self._succeeded(target, commit)
            self._world.check(
                "way back", right, f"{report.person} goes back to {commit} in {target.name}: {ways} are right"
            )
        request = Request(
            report,
            report.application,
            self._began_at(task),
            self.now,
            self._world.time,
            self._clock(task),
            self._clock(task),
            commit=commit,
            id=id,
        )
        request.lasts = timedelta(seconds=report.number) if report.number else REQUEST_LASTS
        request.started = task.started if task is not None else request.at
        request.clock = max([request.clock, *(push.arrived for push in self.pushes)])
        target.requests.append(request)
        self.requests[id] = request
        if task is not None:
            task.request = request

    def written(self, transaction: Any, task: Any) -> None:
        """Note that a transaction was committed."""
        self.now += 1
        for fact in getattr(transaction, "facts", ()):
            self.accepted(fact, task)
            if fact.id in self.requests:
                self.requests[fact.id].known = self.now
        for id in transaction.recorded:
            fact = self.facts.get(id)
            if fact is None:
                continue
            self._world.check("recorded once", fact.recorded is None, f"{id} was recorded twice")
            fact.recorded = self.now
            if id in self.requests and self.requests[id].known is None:
                self.requests[id].known = self.now
        for entry in transaction.entries:
            if entry.type in ("target.paused", "target.resumed"):
                self._paused(entry, task)
            if entry.type in ("target.frozen", "target.unfrozen"):
                self._freeze(entry, task)
        report = task.about if task is not None and isinstance(task.about, Report) else None
        if report is not None and report.kind == "cancel" and transaction.targets:
            self._canceled(report, transaction)
        for row in transaction.targets:
            self._lease(row, task)
        for row in transaction.deployments:
            if row.version == 0:
                self._began(row, task)
            if row.outcome != "running":
                self._ended(row, task)
            elif row.version:
                self._tried(row)

    def _lease(self, row: Any, task: Any) -> None:
        """Check that the holder of a target keeps it until its time is up, by the clock of whoever takes it over."""
        target = self.target(row.environment)
        held, target.lease = target.lease, row.lease
        if held is None or row.lease is None or held.owner == row.lease.owner or task is None:
            return
        up = held.until <= max(self._clock(task), task.clock)
        self._world.check("lease", up, f"{row.lease.owner} takes {row.environment} from {held.owner}")

    def let_go(self) -> None:
        """Release every target: the only process is dead."""
        for target in self.targets.values():
            target.lease = None

    def handled(self, task: Any, event: Any) -> None:
        """Note that a service has handled an event."""
        places = rules(self._world.processes[task.process].words).places
        if event.type == "commit.recorded" or (event.type in ENDS and event.extensions["environment"] in places):
            commit = name_of(str(event.extensions["commit"]))
            self.noticed[commit] = max(self.noticed.get(commit, 0), task.began)

    def answered(self, report: Report, status: int, document: Any, task: Any) -> None:
        """Note that a person got an answer."""
        request = getattr(task, "request", None)
        if request is not None and status == 202:
            answered = name_of(document["sha"]) if "sha" in document else request.commit
            self._world.check("way back", answered == request.commit, f"{report.kind} was answered with {answered}")

    def _canceled(self, report: Report, transaction: Any) -> None:
        """Note that a person withdrew the newest request, or ends the deployment under way."""
        target = self.target(report.environment)
        if report.outcome == "deployment":
            if target.under_way is not None:
                target.under_way.canceled = True
            return
        ids = [entry.payload.get("request") for entry in transaction.entries if entry.type == "request.canceled"]
        for request in (self.requests[id] for id in ids):
            later = [it for it in target.requests if it.ended is None and it.asked > request.asked]
            newest = all(self._perhaps_expired(target, it) for it in later)
            self._world.check("newest request", newest, f"{report.person} canceled a request that was not the newest")
            self._end(request, "canceled")

    @staticmethod
    def _succeeded(target: Target, commit: str) -> bool:
        return any(run.commit == commit and run.outcome == "succeeded" for run in target.runs)

    @staticmethod
    def ways_back(target: Target, *, begun: bool = False) -> list[str]:
        """Return the commits to which a rollback without a name may lead.

        They are what ran before, while or after a deployment that did not succeed; else the newest other commit that
        succeeded and was not rolled back from.
        """
        running, last = target.running(), target.runs[-1] if target.runs else None
        if last is None or running is None:
            return []
        gone = target.rolled_back_from(begun)
        if last.outcome != "succeeded" and last.commit != running.commit and running.commit not in gone:
            return [running.commit]
        done = sorted(
            (it for it in target.runs if it.outcome == "succeeded"), key=lambda it: it.ended or 0, reverse=True
        )
        left = [it.commit for it in done if it.commit not in (running.commit, last.commit) and it.commit not in gone]
        return left[:1]

    def _paused(self, entry: Any, task: Any) -> None:
        target = self.target(entry.payload["environment"])
        paused = entry.type == "target.paused"
        if paused and not target.paused:
            target.paused_since = task.started if task is not None else self._world.time
        if not paused and target.paused and target.paused_since is not None:
            for request in target.requests:
                if request.ended is None:
                    request.paused += self._world.time - max(target.paused_since, request.at)
            target.paused_since = None
        target.paused = paused

    def _freeze(self, entry: Any, task: Any) -> None:
        payload = entry.payload
        target = self.target(payload["environment"])
        if entry.type == "target.unfrozen":
            next(it for it in target.freezes if it.id == payload["freeze"]).ended = True
            return
        begins, until = (datetime.fromisoformat(payload[name]) for name in ("from", "until"))
        asked = timedelta(seconds=task.about.number)
        self._world.check(
            "freeze", until - begins == asked, f"{target.name} is frozen for {until - begins}, not {asked}"
        )
        target.freezes.append(Freeze(entry.id, begins, until, bool(payload["except"])))

    # Deployments begin.

    def _began(self, row: Any, task: Any) -> None:
        target, commit = self.target(row.environment), name_of(row.sha)
        check, who = self._world.check, f"{commit} in {row.environment} ({row.cause})"
        self._world.states[f"began {row.cause}"] += 1
        self._world.note(f"INTENT {row.id[:6]} {who} n={row.n}")
        check("one at a time", target.under_way is None, f"{who} begins while another deployment is under way")
        policy = self._rules(row.policy)
        check("known policy", policy is not None, f"{who} begins under a policy that never was")
        running = target.running()
        request = self.requests.get(row.request) if row.request else None
        run = Run(row.id, commit, row.cause, self.now, running.commit if running else None, request, self.place(commit))
        if policy is not None and row.environment in policy.places:
            self._gates_hold(target, policy.places[row.environment], run, task, who)
            by_policy = request is not None and request.report.person == "policy"
            check(
                "frozen",
                by_policy or not self._frozen(policy.places[row.environment], task),
                f"{who} begins in a freeze",
            )
            by_people = self._frozen_by_people(target, request is not None, task)
            check("frozen by people", by_policy or not by_people, f"{who} begins though a person froze the target")
            check("after", self._after_holds(target, policy.places[row.environment], run, task), f"{who} skips a stage")
        if request is None:
            check("request", row.cause == "automatic", f"{who} was asked for by nobody")
            by_people = policy is not None and row.environment in policy.places and policy.places[row.environment].asked
            check("manual", not by_people, f"{who} begins by itself where people promote")
            self._may_go_by_itself(target, run, task, who)
        else:
            self._is_asked_for(target, run, request, task, who)
        self._requests_end(target, run)
        self._holds(target, run)
        target.runs.append(run)
        self.known_runs[row.id] = (target, run)

    def _may_go_by_itself(self, target: Target, run: Run, task: Any, who: str) -> None:
        check, began = self._world.check, self._began_at(task)
        check("paused", not target.paused, f"{who} begins though the target is paused")
        standing = self.standing(run.commit) or self.standing(run.commit, began)  # what came meanwhile may be unseen
        check(
            "candidate", bool(standing), f"{who} is no candidate: it was never pushed to a shipped ref, or was undone"
        )
        for earlier in target.runs:
            older = earlier.commit != run.commit and self.surely_older(run.commit, earlier.commit, earlier.place, began)
            check("not older", not older, f"{who} is older than {earlier.commit}, which was deployed here")
        waiting = [it for it in target.requests if it.ended is None and it.known is not None and it.known <= began]
        for request in (it for it in waiting if it.report.person != "policy"):
            if not self._perhaps_expired(target, request) and not request.doubtful:
                late = self.surely_not_after(run.commit, request)
                check("request first", not late, f"{who} goes before what {request.report.person} asked for")
        if target.hold is not None and not target.doubtful_hold:
            late = self.surely_not_after(run.commit, target.hold)
            check(
                "held", not late, f"{who} goes though {target.hold.report.person}'s {target.hold.report.kind} holds it"
            )
        for other in self._newer_and_ready(target, run, began):
            check("newest first", False, f"{who} goes though the newer {other} is ready")

    def _is_asked_for(self, target: Target, run: Run, request: Request, task: Any, who: str) -> None:
        check = self._world.check
        check("request once", request.ended is None, f"{who} serves a request that has ended: {request.ended}")
        check("request", request.commit in ("", run.commit), f"{who} is not what was asked for: {request.commit}")
        check(
            "request", run.cause in (request.report.kind, "automatic"), f"{who} was asked for as {request.report.kind}"
        )
        person = request.report.person != "policy"
        through = run.cause == "rollback" and person
        check("paused", not target.paused or through, f"{who} begins though the target is paused")
        asleep = self._world.time - task.started if task is not None else timedelta()  # since it looked at the time
        expired = self._waited(target, request) - asleep > request.lasts + SLACK
        check("expired", not expired, f"{who} serves a request that has expired")
        later = [it for it in target.requests if it.ended is None and it.asked > request.asked and it.known is not None]
        later = [it for it in later if it.known < request.asked] if not person else later
        if person:
            sooner = [it for it in later if not self._surely_expired(target, it) and it.report.person != "policy"]
            check("newest request", not sooner, f"{who} serves a request that a later one took the place of")
        if not person:
            last = target.runs[-1] if target.runs else None
            check("automatic", last is not None and last.outcome == "failed", f"{who} goes back though nothing failed")
            check("automatic", run.commit == run.before, f"{who} goes back to what did not run")

    def _requests_end(self, target: Target, run: Run) -> None:
        for request in target.requests:
            if request.ended is not None:
                continue
            if request is run.request:
                self._end(request, "served")
            elif run.request is not None and run.request.report.person == "policy" != request.report.person:
                continue
            elif run.request is not None and request.asked < run.request.asked:
                self._end(request, "a later request began")
            elif run.request is None and self.surely_after(run.commit, request):
                self._end(request, "a newer commit began")
            elif run.request is None and not self.surely_not_after(run.commit, request):
                request.doubtful = True

    def _end(self, request: Request, how: str) -> None:
        request.ended, request.ended_at = how, self.now

    def _holds(self, target: Target, run: Run) -> None:
        """Note whether the deployment keeps candidates back from now on."""
        request = run.request
        if request is None:
            target.hold, target.doubtful_hold = None, False
            return
        if request.report.kind == "retry":
            return
        if request.report.person == "policy":
            target.doubtful_hold = True
            return
        if request.report.kind == "rollback":
            target.hold, target.doubtful_hold = request, False
            return
        others = [it for it in self.candidates() if it != run.commit]
        if any(self.surely_older(run.commit, other, None, request.asked) for other in others):
            target.hold, target.doubtful_hold = request, False
        else:
            target.doubtful_hold = True

    def _tried(self, row: Any) -> None:
        """Check that no next try begins once a gate has failed or was revoked."""
        target, run = self.known_runs[row.id]
        erred, run.erred = run.erred, row.again is not None
        policy = self._rules(row.policy)
        if not erred or run.erred or policy is None or row.environment not in policy.places:
            return
        for gate in policy.places[row.environment].require:
            sure, why = self.gate(gate, target, run.commit, self._world.time, ages=False)
            refused = sure is False and why.endswith(("revoked", "failed"))
            who = f"{run.commit} in {target.name}"
            self._world.check("next try", not refused, f"{who} is tried again though {gate} is not open: {why}")

    # Deployments end.

    def _ended(self, row: Any, task: Any) -> None:
        check = self._world.check
        found = self.known_runs.get(row.id)
        if found is None:
            check("ends", False, f"{row.id} ends and never began")
            return
        target, run = found
        who = f"{run.commit} in {target.name}"
        check("ends", run.outcome == "running", f"{who} ended twice")
        run.outcome, run.ended, run.reason = row.outcome, self.now, row.reason or ""
        self._world.states[f"ended {row.outcome}"] += 1
        self._world.note(f"END {row.id[:6]} {who} {row.outcome} {row.reason or ''}")
        if row.outcome == "superseded" and run.request is not None and run.reason.startswith(_EDITED):
            run.request.ended = None  # it is decided anew
        if row.outcome == "succeeded":
            run.succeeded_at = self._world.time
        commands = [it for it in self._world.site.commands if it.deployment == row.id]
        last = commands[-1] if commands else None
        if row.outcome in ("succeeded", "failed") and row.id not in self._world.site.canceled:
            true = last is not None and self._world.site.over(last) and last.outcome == row.outcome
            unseen = last is not None and last.fence < row.fence  # started after a later holder had looked
            check("true end", true or unseen, f"{who} is written down as {row.outcome}, and its command is {last}")
        if row.outcome == "error" and last is not None:
            true = self._world.site.over(last) and last.outcome == "error"
            check(
                "true end", true or last.process != self._driver(task), f"{who} is an error, and its command is {last}"
            )
        if run.canceled:
            kept = row.outcome in ("canceled", "succeeded", "superseded")
            check("canceled", kept, f"{who} was canceled by a person, and is written down as {row.outcome}")
        if row.outcome == "canceled":
            check("true end", run.canceled, f"{who} is written down as canceled, and nobody asked for it")
        if row.outcome == "error":
            policy = self._rules(row.policy)
            tries = TRIES[target.name] if policy else 0
            check("tries", row.tries >= tries, f"{who} was given up after {row.tries} tries of {tries}")

    # Gates.

    def _gates_hold(self, target: Target, place: Place, run: Run, task: Any, who: str) -> None:
        earliest = getattr(task, "clock", self._world.time)
        earliest = min(earliest, self._clock(task))
        back = run.cause == "rollback"
        for gate in place.require:
            sure, why = self.gate(gate, target, run.commit, earliest, ages=not back)
            rule = "not the author" if why.startswith("only authors") else "gates"
            self._world.check(rule, sure is not False, f"{who} begins though {gate} is not open: {why}")

    def _clock(self, task: Any) -> datetime:
        process = self._world.processes[task.process] if task is not None else None
        return self._world.time + process.skew if process else self._world.time

    def gate(
        self, gate: str, target: Target, commit: str, now: datetime, *, until: int | None = None, ages: bool = True
    ) -> tuple[bool | None, str]:
        """Return if a gate is open, with the reason: True and False are sure, None is not."""
        until = self.now if until is None else until
        known = [it for it in self.by_commit.get(commit, []) if it.recorded is not None and it.recorded <= until]
        overridden = [
            it
            for it in known
            if it.report.kind == "override" and it.report.gate == gate and it.report.environment == target.name
        ]
        authors = self.authors(target, commit) if overridden and "legal" in self._required(target) else set()
        if any(it.report.person not in authors for it in overridden):
            return None, "overridden"
        if any(it.report.application not in ("", self.application) for it in known if it.report.gate == gate):
            return None, "people spoke of it under the application's former name"
        revoked = max(
            (it for it in known if it.report.kind == "revoke" and it.report.gate == gate),
            key=lambda it: it.accepted,
            default=None,
        )
        if gate == "legal":
            return self._approved(target, commit, known, revoked, now, until)
        words = [it for it in known if it.report.kind == gate and (gate != "build" or ships(it.report.ref))]
        if not words:
            return False, "nothing was heard"
        newest = max(words, key=lambda it: (it.report.number, it.at, it.report.outcome == "failed"))
        equals = [it for it in words if it.report.number == newest.report.number]
        if revoked is not None:
            later = [it for it in words if (it.recorded or 0) > revoked.begun]
            if not later:
                return False, "it was revoked"
            if newest not in later or newest.at <= revoked.at + SLACK:
                return None, "it was revoked, and heard of again"
        if len({it.report.outcome for it in equals}) > 1 and len({it.at for it in equals}) < len(equals):
            return None, "two verdicts of one run"
        ahead = newest.report.at is not None and newest.report.at > newest.arrived
        if ahead and any(it.report.outcome != newest.report.outcome for it in words):
            return None, "its time was ahead of the clock, and another verdict may be the newer one"
        if newest.report.outcome != "passed":
            return False, f"run {newest.report.number} is {newest.report.outcome}"
        if gate == "scan":
            if max(words, key=lambda it: it.at).report.outcome != "passed":
                return None, "a run of an earlier number claims to be later"
            if now > newest.at + MAX_AGE and ages:
                return False, "too old"
            if now > newest.at + MAX_AGE - SLACK:
                return None, "nearly too old"
        return True, ""

    def _required(self, target: Target) -> tuple[str, ...]:
        places = rules(self._world.words).places
        return places[target.name].require if target.name in places else ()

    def _approved(
        self, target: Target, commit: str, known: list[Fact], revoked: Fact | None, now: datetime, until: int
    ) -> tuple[bool | None, str]:
        words = [it for it in known if it.report.kind == "approve" and it.report.gate == "legal"]
        words = [it for it in words if revoked is None or it.accepted > revoked.begun]
        if not words:
            return False, "nobody approved it" if revoked is None else "it was revoked"
        authors = self.authors(target, commit)
        valid = [it for it in words if it.report.person not in authors]
        if not valid:
            return False, f"only authors approved it: {sorted(authors)}"
        fresh = [it for it in valid if now < it.arrived + EXPIRES]
        if not fresh:
            return False, "the approvals have expired"
        fresh = [it for it in fresh if revoked is None or it.accepted > revoked.accepted]
        safe = [it for it in fresh if now < it.arrived + EXPIRES - SLACK and it.report.person == "lena"]
        safe = [
            it for it in safe if revoked is None or it.begun > revoked.accepted
        ]  # else either may be the newer word
        if safe and self._nothing_missing():
            return True, ""
        return None, "perhaps"

    def authors(self, target: Target, commit: str) -> set[str]:
        """Return who surely made something of what is deployed with the commit."""
        repository, running = self._world.repository, target.running()
        listed = {name for push in self.pushes if push.recorded is not None for name in push.report.listed}
        before = set(repository.ancestors(running.commit)) if running else set()
        whole = running is not None and not self._begins_here(commit, before)
        between = [it for it in repository.ancestors(commit) if it not in before and (it in listed or whole)]
        made = [repository.commits[it] for it in between]
        return {who for it in made for who in (it.author, it.helper) if who}

    def _begins_here(self, commit: str, before: set[str]) -> bool:
        """Return whether the ledger's first push of a ref put the commit there, on top of an unknown commit.

        Then the branch point is unknown, and no gap is to be seen: who is in a stored push counts, and nobody else can.
        """
        recorded = [it for it in self.pushes if it.recorded is not None]
        heads = {it.report.after for it in recorded} | before
        mine = [it for it in recorded if it.report.after == commit]
        return any(
            it.report.before and it.report.before not in heads
            and not any(each.report.ref == it.report.ref and each.report.turn < it.report.turn for each in recorded)
            for it in mine
        )  # fmt: skip

    def _nothing_missing(self) -> bool:
        known = {(it.report.ref, it.report.turn) for it in self.pushes if it.recorded is not None}
        true = {(ref, turn) for ref, last in self._world.repository.turns.items() for turn in range(1, last + 1)}
        return true <= known

    def _after_holds(self, target: Target, place: Place, run: Run, task: Any) -> bool:
        began = self._began_at(task)
        if run.cause == "rollback":
            return True
        passed = all(
            any(self.passed_stage(name, run.commit, until) for until in range(began, self.now + 1))
            for name in place.after
        )
        return passed and all(self._soaked(name, place, run.commit, self._world.time + SLACK) for name in place.after)

    def passed_stage(self, name: str, commit: str, until: int) -> bool:
        """Return whether the last deployment of the commit there has succeeded, and was not rolled back from since."""
        target = self.target(name)
        mine = [run for run in target.runs if run.commit == commit and run.began <= until]
        if not mine or mine[-1].outcome != "succeeded" or (mine[-1].ended or 0) > until:
            return False
        back = [run for run in target.runs if run.cause == "rollback" and run.before == commit and run.commit != commit]
        return not any(run.began > (mine[-1].ended or 0) and run.began <= until for run in back)

    def _frozen(self, place: Place, task: Any) -> bool:
        """Return whether a freeze window surely was open all the time since the task looked at the clock."""
        opens, closes = FROZEN
        looked = task.started if task is not None else self._world.time
        return place.frozen and opens + SLACK <= looked and self._world.time <= closes - SLACK

    def _frozen_by_people(self, target: Target, asked: bool, task: Any) -> bool:
        """Return whether a person's freeze surely held all the time since the task looked at the clock, of a request too."""
        looked = task.started if task is not None else self._world.time
        return any(
            it.begins + SLACK <= looked and self._world.time <= it.until - SLACK
            for it in target.freezes
            if not it.ended and not (asked and it.excepts)
        )

    def _perhaps_frozen(self, target: Target) -> bool:
        """Return whether a person's freeze may hold now."""
        now = self._world.time
        return any(not it.ended and it.begins - SLACK <= now <= it.until + SLACK for it in target.freezes)

    def _soaked(self, name: str, place: Place, commit: str, at: datetime) -> bool:
        """Return whether the last success of the commit in a stage is old enough at a time."""
        ends = [run.succeeded_at for run in self.target(name).runs if run.commit == commit]
        last = max((end for end in ends if end is not None), default=None)
        return last is not None and last + place.soak <= at

    # Which commit is newer.

    def candidates(self) -> Iterator[str]:
        """Yield the commits that a push put at the head of a shipped ref."""
        return iter(dict.fromkeys(it.report.after for it in self._shipped() if it.report.after))

    def _shipped(self, until: int | None = None) -> list[Fact]:
        return [
            it for it in self.pushes
            if ships(it.report.ref) and it.recorded is not None and (until is None or it.recorded <= until)
        ]  # fmt: skip

    def places(self, commit: str, until: int | None = None) -> list[Fact]:
        """Return the pushes that may give a commit its place among the candidates."""
        mine = [it for it in self._shipped(until) if it.report.after == commit]
        made = [
            it for it in mine if it.report.before is None
        ]  # a ref that is created on what is known does not move it
        first = {min(made, key=key).id: min(made, key=key) for key in (_accepted, _time) if made}
        moving = [it for it in mine if it.report.before is not None]
        return [*moving, *(it for it in first.values() if not moving or it.accepted < moving[0].accepted)]

    def place(self, commit: str) -> Fact | None:
        """Return the newest of them; of refs that were created on the commit, the one that surely counts."""
        found = self.places(commit)
        moving = [it for it in found if it.report.before is not None]
        return max(moving, key=_time) if moving else min(found, key=_time, default=None)

    def standing(self, commit: str, until: int | None = None) -> list[Fact]:
        """Return its pushes that no forced push or deletion has surely undone."""
        mine = [it for it in self._shipped(until) if it.report.after == commit]
        resets = [it for it in self._shipped(until) if it.report.forced or it.report.after is None]
        return [
            push
            for push in mine
            if not any(
                it.report.ref == push.report.ref and it.report.after != commit and self._sure(it, push) for it in resets
            )
        ]

    def surely_older(self, commit: str, than: str, place: Fact | None, until: int | None = None) -> bool:
        """Return whether every push of `commit` surely came before every push of `than`, or before `place` if it is given."""
        mine, others = self.places(commit), [place] if place is not None else self.places(than, until)
        return bool(mine and others) and all(self._sure(other, it) for it in mine for other in others)

    def _sure(self, newer: Fact, older: Fact) -> bool:
        """Return whether one push surely came after another."""
        if newer is older:
            return False
        at = newer.at.replace(microsecond=0)
        if newer.report.ref != older.report.ref:
            return at > max(self._times(older))
        if newer.report.turn < older.report.turn:
            return False
        turns = {
            it.report.turn: it for it in self.pushes if it.report.ref == newer.report.ref and it.recorded is not None
        }
        between = [turns.get(turn) for turn in range(older.report.turn, newer.report.turn + 1)]
        heads = [it.report.after for it in between if it is not None]
        accepted = [it.accepted for it in between if it is not None]
        linked = None not in between and None not in heads and len(set(heads)) == len(heads)
        in_order = accepted == sorted(accepted)  # a link that comes late moves others, which the times must confirm
        return not self._leads(newer, older) and ((linked and in_order) or at > max(self._times(older)))

    def _leads(self, one: Fact, other: Fact) -> bool:
        """Return whether links of their ref lead from one push to another.

        Then the other seems to be made on top of it.
        """
        seen, ahead = set(), [other.report.before]
        while ahead:
            name = ahead.pop()
            if name is None or name in seen:
                continue
            seen.add(name)
            if name == one.report.after:
                return True
            ahead += [
                it.report.before for it in self.pushes if it.report.ref == one.report.ref and it.report.after == name
            ]
        return False

    def _times(self, push: Fact) -> list[datetime]:
        """Return the times of a push and of those on its ref that it comes after, or seems to come after."""
        here = [it for it in self.pushes if it.report.ref == push.report.ref and it.recorded is not None]
        before = [it for it in here if it.report.turn <= push.report.turn or self._leads(it, push)]
        return [it.at.replace(microsecond=0) for it in before]

    def surely_not_after(self, commit: str, request: Request) -> bool:
        """Return whether a commit was surely not pushed after a request."""

        def earlier(push: Fact) -> bool:
            known = push.recorded is not None and push.recorded < request.begun
            return push.accepted < request.begun and (known or push.arrived <= request.own)

        mine = [it for it in self._shipped() if it.report.after == commit]
        heads = [it for it in self.pushes if earlier(it) and it.report.after and it.recorded is not None]
        return all(earlier(it) or (not it.report.forced and self._behind(it, heads)) for it in mine)

    def _behind(self, push: Fact, heads: list[Fact]) -> bool:
        """Return whether links surely lead from what was pushed to a head that was accepted earlier."""
        links: dict[str, set[str]] = {}
        for it in self.pushes:
            if it.recorded is not None and it.report.before and it.report.after and not it.report.forced:
                links.setdefault(it.report.before, set()).add(it.report.after)
        seen, ahead = set(), list(links.get(str(push.report.after), ()))
        while ahead:
            name = ahead.pop()
            if name not in seen:
                seen.add(name)
                ahead += links.get(name, ())
        return any(head.report.after in seen for head in heads)

    def surely_after(self, commit: str, request: Request) -> bool:
        """Return whether a commit was surely pushed after a request, by the clocks of who accepted both, too."""
        mine = [it for it in self._shipped() if it.report.after == commit]
        earlier = [it for it in self.pushes if it.accepted < request.asked or it.arrived <= request.clock]
        related = {name for it in earlier for name in self._world.repository.ancestors(it.report.after)}
        later = any(it.accepted > request.asked and it.arrived > request.clock for it in mine)
        return later and commit not in related

    # Requests.

    def _surely_expired(self, target: Target, request: Request) -> bool:
        return self._waited(target, request) > request.lasts + SLACK

    def _perhaps_expired(self, target: Target, request: Request) -> bool:
        return self._waited(target, request) + (request.at - request.started) > request.lasts - SLACK

    def _waited(self, target: Target, request: Request) -> timedelta:
        waited: timedelta = self._world.time - request.at - request.paused
        if target.paused and target.paused_since is not None:
            waited -= self._world.time - max(target.paused_since, request.at)
        return waited

    # What should happen by itself.

    def _newer_and_ready(self, target: Target, run: Run, began: int) -> Iterator[str]:
        """Yield candidates before this one that a promoter has looked at since all that they wait for was there."""
        if any(it.begins - SLACK <= self._world.time for it in target.freezes):
            return  # it may have looked during a freeze, and what was announced before that goes on
        for other in self.candidates():
            looked = min(self.noticed.get(other, 0), began)
            if other == run.commit or not looked:
                continue
            if self.surely_older(run.commit, other, None, looked) and self._ready(target, other, looked):
                yield other

    def _ready(self, target: Target, commit: str, looked: int) -> bool:
        """Return whether a candidate surely was ready when a promoter looked at it, and surely is now."""
        policy = rules(self._world.words)
        if target.name not in policy.places:
            return False
        if any(process.words != self._world.words for process in self._world.processes.values()):
            return False
        place = policy.places[target.name]
        if place.asked or place.soak or place.frozen:
            return False  # nothing begins by itself there, or not before time has passed and somebody has looked again
        if self._perhaps_frozen(target):
            return False
        if not self._known_here(target, commit) or self._moved_late(commit):
            return False
        if not self._open(target, place, commit, looked) or not self._open(target, place, commit, self.now):
            return False
        if looked < self.edited_at:
            return False  # the look was under another pipeline file, or before the environment was there
        if any(looked < it.began for name in place.after for it in self.target(name).runs if it.commit == commit):
            return False  # it was on its way in a stage before, and no promoter has looked since that ended
        if target.hold is not None or target.doubtful_hold:
            blocking = [it for it in target.requests if it.ended] if target.doubtful_hold else [target.hold]
            if not all(self.surely_after(commit, it) for it in blocking if it is not None):
                return False
        waiting = [it for it in target.requests if it.ended is None]
        if not all(self.surely_after(commit, it) for it in waiting):
            return False
        return self._newer_than_all(target, commit)

    def _known_here(self, target: Target, commit: str) -> bool:
        """Return whether the target surely knows the commit.

        A new environment finds only what is at the head of a ref.
        """
        since = self.since.get(target.name, 0)
        mine = [it for it in self._shipped() if it.report.after == commit]
        if all(it.accepted > since for it in mine):
            return True
        last = {it.report.ref: it.report.turn for it in sorted(self.pushes, key=lambda it: it.report.turn)}
        return any(last[it.report.ref] == it.report.turn for it in mine)

    def _moved_late(self, commit: str) -> bool:
        """Return whether a push before it came late, and by its time seems to be after it.

        Only links show what it changes.
        """
        return any(
            it.report.ref == mine.report.ref and it.report.turn < mine.report.turn
            and it.accepted > mine.accepted and it.at > mine.at
            for mine in self._shipped() if mine.report.after == commit
            for it in self.pushes
        )  # fmt: skip

    def edited(self) -> None:
        """Note that the pipeline file was edited, or read by a process.

        A new environment exists once all have read it.
        """
        self.now += 1
        self.edited_at = self.now
        places = rules(self._world.words).places
        here = {name: self.since.get(name, NEVER) for name in places}
        if all(process.words == self._world.words for process in self._world.processes.values()):
            here = {name: self.now if since == NEVER else since for name, since in here.items()}
        self.since = here

    def _open(self, target: Target, place: Place, commit: str, until: int) -> bool:
        if not self.standing(commit, until) or not self._stands_for_sure(commit):
            return False
        if not all(self.passed_stage(name, commit, until) for name in place.after):
            return False
        latest = self._world.time + SLACK
        return all(self.gate(gate, target, commit, latest, until=until)[0] is True for gate in place.require)

    def _stands_for_sure(self, commit: str) -> bool:
        """Return whether no forced push or deletion of one of its refs may have undone it."""
        mine = [it for it in self._shipped() if it.report.after == commit]
        resets = [it for it in self._shipped() if it.report.forced or it.report.after is None]
        undone = (it.report.ref == push.report.ref and it.report.after != commit for it in resets for push in mine)
        return not any(undone)

    def _newer_than_all(self, target: Target, commit: str) -> bool:
        for earlier in target.runs:
            if earlier.commit == commit or not self.surely_older(earlier.commit, commit, None):
                return False
            if earlier.place is not None and not all(self._sure(it, earlier.place) for it in self.places(commit)):
                return False
        return True

    def quiet(self) -> None:
        """Check, when nothing is under way or due, that what should have happened has happened."""
        policy = rules(self._world.words)
        for name in policy.places:
            self._quiet(self.target(name), policy.places[name])

    def _quiet(self, target: Target, place: Place) -> None:
        check, here = self._world.check, f"in {target.name}"
        self._expire(target)
        if target.under_way is not None:
            return
        waiting = [it for it in target.requests if it.ended is None]
        if waiting and not target.paused:
            newest = max(waiting, key=lambda it: it.asked)
            if not self._perhaps_expired(target, newest) and self._servable(target, place, newest):
                check("served", False, f"{newest.commit} was asked for {here} by {newest.report.person}, and is ready")
        if target.paused:
            return
        ready = [it for it in self.candidates() if self._ready(target, it, self.now)]
        check("newest out", not ready, f"{ready} are ready {here}, and nothing begins")

    def _servable(self, target: Target, place: Place, request: Request) -> bool:
        if not self.standing(request.commit) or request.report.person == "policy" or request.doubtful:
            return False
        latest = self._world.time + SLACK
        gates = all(self.gate(gate, target, request.commit, latest)[0] is True for gate in place.require)
        passed = all(self.passed_stage(name, request.commit, self.now) for name in place.after) and not place.soak
        passed |= request.report.kind == "rollback"  # to what succeeded there, so it has passed them before
        return gates and passed and not place.frozen and not self._perhaps_frozen(target)

    def _expire(self, target: Target) -> None:
        for request in target.requests:
            if request.ended is None and self._surely_expired(target, request):
                self._end(request, "expired")

    def end(self) -> None:
        """Check, at the end of a story, that everything accepted is recorded, and everything begun has ended."""
        check, ledger = self._world.check, self._world.inner
        for fact in self.facts.values():
            check("nothing lost", fact.recorded is not None, f"{fact.report} was accepted and never recorded")
        for environment, target in self.targets.items():
            check("ends", target.under_way is None, f"{environment} is still being deployed to")
            journal = []
            for application in APPLICATIONS:
                entries = ledger.journal(f"target/{application}/{environment}")
                check("journal", verify(entries).holds, f"the journal of {environment} is broken")
                journal += entries
            known = {entry.payload.get("deployment") for entry in journal}
            check(
                "journal",
                all(run.id in known for run in target.runs),
                f"the journal of {environment} lacks a deployment",
            )
            done = {entry.payload.get("deployment") for entry in journal if entry.payload.get("ended")}
            check("journal", all(run.id in done for run in target.runs), f"the journal of {environment} lacks an end")
        for commit in self.by_commit:
            journal = ledger.journal(f"commit/{REPO}/{sha_of(commit)}")
            check("journal", verify(journal).holds, f"the journal of {commit} is broken")

    # Helpers.

    def _driver(self, task: Any) -> str:
        return f"{task.process}/{self._world.processes[task.process].life}" if task is not None else ""

    def _began_at(self, task: Any) -> int:
        return task.began if task is not None else self.now

    def _rules(self, digest: str) -> Rules | None:
        """Return the rules of the policy of that digest, if a story had it in force."""
        for words in self._world.all_words:
            for name, policy in pipeline(words).applications.items():
                if policy.digest == digest:
                    return rules(words) if rules(words).application == name else None
        return None
