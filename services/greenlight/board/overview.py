"""The state of all applications: what runs where, what is on its way, and what needs a person."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from greenlight.board import domain, reading, usual
from greenlight.board.brings import may_be_red, red
from greenlight.board.commits import Known, known
from greenlight.board.stops import OPEN, Missing, Need, Stop, first_waiting, revoked, stops
from greenlight.ledger.port import Reading, Unreadable
from greenlight.model.policy import GateState, Policy
from greenlight.model.rows import Attempt, DecisionRow, Target
from greenlight.policy.between import lacking
from greenlight.policy.decide import required_gates
from greenlight.policy.history import History
from greenlight.service.deps import Deps
from greenlight.service.people import Person
from greenlight.service.pushes import pushes_since
from greenlight.service.situations import situation

DECIDED = ("ready", "waiting", "blocked")
READY = ("paused", "frozen")
"""The states of a commit that goes out as soon as its target lets it."""

TURN = ("pending", "paused", "frozen", "blocked", "revoked")
"""The states of a commit that has come as far as an environment, and waits there."""

TROUBLE = ("failed", "error", "revoked", "overdue", "paused")
"""The states of a target that needs a person."""

ROWS = 25
"""Commits on their way that are shown at once; of each target, its newest is looked at in any case."""

UNKNOWN = datetime.min.replace(tzinfo=UTC)
"""A time that is not known: the earliest, so that it is looked at first."""

OVERDUE, PATIENT = 3, timedelta(minutes=2)
"""A deployment is overdue after so many times its usual time, and at least so much longer."""


@dataclass(frozen=True, slots=True)
class Row:
    """A commit on its way through the environments of one application."""

    policy: Policy
    commit: Known
    stops: Sequence[Stop]

    @property
    def first(self) -> Stop | None:
        """Return the first environment that waits for something."""
        return first_waiting(self.stops)

    @property
    def need(self) -> Need | None:
        """Return what the commit waits for first."""
        return None if self.first is None else self.first.need

    @property
    def state(self) -> str:
        """Return a key of WORDS for the whole: how it stands where it waits, else where it came last."""
        return self.first.state if self.first is not None else self.stops[-1].state

    def at(self, environment: str) -> Stop | None:
        """Return where it stands in an environment."""
        return next((stop for stop in self.stops if stop.environment == environment), None)


@dataclass(frozen=True, slots=True)
class Cell:
    """One target: what runs there, what is behind, what comes next, and what is wrong with it."""

    policy: Policy
    target: Target
    running: Known | None
    lacks: Sequence[str]  # commits on shipped refs that came since what it runs, newest first; at most between.MOST
    next: Row | None  # the newest commit that has not arrived
    failed: tuple[Known, Attempt] | None  # its newest commit, if its deployment ended so
    printed: str  # the last line of its output
    under_way: tuple[Known, Attempt] | None
    gates: Mapping[str, GateState]  # of what runs, if any may say no
    usually: timedelta | None  # how long a deployment takes here, while one is under way
    took: timedelta  # how long the one under way has taken
    unreadable: str | None

    @property
    def name(self) -> str:
        """Return "APPLICATION/ENVIRONMENT"."""
        return f"{self.policy.name}/{self.target.environment}"

    @property
    def state(self) -> str:
        """Return a key of WORDS: the worst that is true of it."""
        if self.unreadable is not None:
            return "error"
        if self.under_way is not None:
            return "overdue" if self.overdue else "running"
        if self.failed is not None:
            return self.failed[1].outcome
        if self.late:
            return "revoked"
        return "paused" if self.target.paused is not None else "succeeded"

    @property
    def late(self) -> Sequence[str]:
        """Return the gates of what runs that were revoked after it was deployed, with the reason."""
        return revoked(self.gates)

    @property
    def red(self) -> Sequence[str]:
        """Return the gates of what runs that were overridden, or have failed since."""
        return red({name: gate for name, gate in self.gates.items() if gate.state != "revoked"})

    @property
    def since(self) -> datetime:
        """Return since when it has needed a person; of one that cannot be read nobody knows, so it is the oldest."""
        if self.unreadable is not None:
            return UNKNOWN
        if self.under_way is not None:
            return self.under_way[1].started
        if self.failed is not None:
            return self.failed[1].ended or self.failed[1].started
        taken_back = [gate.at for gate in self.gates.values() if gate.state == "revoked" and gate.at is not None]
        return min(taken_back, default=self.target.paused_at or UNKNOWN)

    @property
    def behind(self) -> int:
        """Return how many commits came since what it runs; 0 where nothing runs."""
        return 0 if self.running is None else len(self.lacks)

    @property
    def overdue(self) -> bool:
        """Return whether its deployment takes far longer than usual."""
        if self.under_way is None or self.usually is None:
            return False
        return self.took > max(OVERDUE * self.usually, self.usually + PATIENT)

    @property
    def cause(self) -> str:
        """Return why its deployment failed: the reason, and the last line of the output."""
        reason = (self.failed[1].reason if self.failed else None) or "no reason was given"
        return f"{self.printed} · {reason}" if self.printed else reason

    @property
    def stop(self) -> Stop | None:
        """Return where its next commit stands here."""
        return None if self.next is None else self.next.at(self.target.environment)


@dataclass(frozen=True, slots=True)
class Overview:
    """Every target, and the commits on their way, newest first."""

    now: datetime
    cells: Mapping[str, Sequence[Cell]]  # by application, in the files' order
    rows: Sequence[Row]
    more: bool  # there are more rows

    @property
    def every_cell(self) -> Sequence[Cell]:
        """Return the targets of all applications."""
        return [cell for cells in self.cells.values() for cell in cells]

    @property
    def troubles(self) -> Sequence[Cell]:
        """Return the targets that need a person, the most urgent first.

        What went wrong comes before what a person paused on purpose. The last environment comes first, since it is
        users who have that trouble. Of the rest, what has waited longest comes first: a new row moves no old one down.
        """
        found = [it for it in self.every_cell if it.state in TROUBLE]
        return sorted(
            found, key=lambda it: (it.state == "paused", followed_by(it.policy, it.target.environment), it.since)
        )


@dataclass(frozen=True, slots=True)
class _ReadTarget:
    """One target as it was read."""

    policy: Policy
    target: Target
    unreadable: str | None
    pushes: History | None
    open: Sequence[DecisionRow]


def overview(deps: Deps, *, applications: Collection[str] | None = None) -> Overview:
    """Return what the board shows, of these applications alone or of all."""
    now, policies = deps.clock.now(), deps.pipeline().applications
    read_targets = [
        _read(policies[target.application], target, why, deps)
        for target, why in reading.every_target(deps)
        if target.application in (policies if applications is None else applications)
    ]
    wanted = _candidates(read_targets)
    shown = {key for key, _ in wanted[:ROWS]} | {key for read in read_targets for key in _newest(read)}
    records = {(read.target.repo, sha) for read in read_targets for sha in _shas(read)}
    with deps.ledger.session(Reading(records=sorted(records))):
        named = _names(read_targets, shown, deps)
        rows = {key: _row(key, read_targets, named, now, deps) for key, _ in wanted if key in shown}
        cells: dict[str, list[Cell]] = {}
        for read in read_targets:
            cells.setdefault(read.policy.name, []).append(_cell(read, rows, named, now, deps))
    on_their_way = [row for key, _ in wanted if (row := rows.get(key)) and _is_on_its_way(row)]
    return Overview(now, cells, on_their_way[:ROWS], len(wanted) > ROWS)


def followed_by(policy: Policy, environment: str) -> int:
    """Return how many environments come after one, on the longest way: 0 for the last, which users have."""
    after = [it.name for it in policy.environments.values() if environment in it.after]
    return max((1 + followed_by(policy, name) for name in after), default=0)


def signable(stop: Stop | None, person: Person | None) -> Sequence[Missing]:
    """Return the missing approvals that this person may give in an environment: they would count, and are not there yet."""
    if stop is None or stop.need is None or person is None:
        return ()
    gates, there = stop.case.policy.gates, stop.decision.gates
    return [
        missing
        for missing in stop.need.missing
        if person.id not in there[missing.gate].by
        and domain.may_approve(person, gates[missing.gate], stop.case) is None
    ]


def _read(policy: Policy, target: Target, why: str | None, deps: Deps) -> _ReadTarget:
    """Return what is read of a target; one that cannot be read has no commits, and says why."""
    if why is None:
        try:
            runs = target.running.push if target.running else None
            since = None if runs is None else runs.placed
            names = policy.name, target.environment
            rows = deps.ledger.decisions(*names, DECIDED, since=since, limit=2 * ROWS)
            open = [row for row in rows if target.running is None or row.sha != target.running.sha]
            return _ReadTarget(policy, target, None, pushes_since(deps.ledger, target), open)
        except Unreadable as problem:
            why = str(problem)
    return _ReadTarget(policy, target, why, None, ())


Key = tuple[str, str]
"""(application, sha)"""


def _candidates(read_targets: Iterable[_ReadTarget]) -> list[tuple[Key, DecisionRow]]:
    """Return the commits with an open decision in any target, newest push first."""
    newest: dict[Key, DecisionRow] = {}
    for read in read_targets:
        for row in read.open:
            if row.push is not None:
                newest.setdefault((read.policy.name, row.sha), row)
    return sorted(newest.items(), key=lambda item: item[1].push.placed if item[1].push else (), reverse=True)


def _newest(read: _ReadTarget) -> Iterable[Key]:
    """Yield the commits that a target's cell may show as the next one: the newest few, of which some were superseded."""
    return [(read.policy.name, row.sha) for row in read.open[:3]]


def _shas(read: _ReadTarget) -> Iterable[str]:
    """Yield the commits of a target whose record is read in any case."""
    yield from (sha for _, sha in _newest(read))
    running = read.target.running and read.target.running.sha
    yield from (sha for sha in (running, read.target.newest and read.target.newest.sha, read.target.last) if sha)


def _names(read_targets: Sequence[_ReadTarget], shown: Collection[Key], deps: Deps) -> Mapping[tuple[str, str], Known]:
    """Return the commits that are shown, with title and author, by (repository, sha)."""
    wanted: dict[str, set[str]] = {}
    repos = {read.policy.name: read.policy.repo for read in read_targets}
    for application, sha in shown:
        wanted.setdefault(repos[application], set()).add(sha)
    for read in read_targets:
        running = [read.target.running.sha] if read.target.running else []
        newest = [read.target.newest.sha] if read.target.newest else []
        last = [read.target.last] if read.target.last else []
        wanted.setdefault(read.policy.repo, set()).update((*running, *newest, *last))
    return {(repo, sha): one for repo, shas in wanted.items() for sha, one in known(repo, shas, deps).items()}


def _row(
    key: Key, read_targets: Sequence[_ReadTarget], named: Mapping[tuple[str, str], Known], now: datetime, deps: Deps
) -> Row | None:
    """Return a commit with where it stands in each environment that can be read; None if its record cannot be."""
    application, sha = key
    targets = [read for read in read_targets if read.policy.name == application]
    policy = targets[0].policy
    try:
        record = deps.ledger.record(policy.repo, sha)
        if record is None:
            return None
        places = stops(
            situation(policy, record, read.target, deps.ledger, now, pushes=read.pushes)
            for read in targets
            if read.pushes is not None
        )
    except Unreadable:
        return None
    commit = replace(named[policy.repo, sha], refs=tuple(sorted(record.pushes)), pushed=_pushed(places))
    return Row(policy, commit, places) if places else None


def _pushed(stops: Sequence[Stop]) -> datetime | None:
    return next((stop.decision.push.heard for stop in stops if stop.decision.push is not None), None)


def _is_on_its_way(row: Row) -> bool:
    """Return whether the commit still has somewhere to go by itself or after an action of a person."""
    return row.need is not None and any(stop.state in OPEN for stop in row.stops)


def _cell(
    read: _ReadTarget, rows: Mapping[Key, Row | None], named: Mapping[tuple[str, str], Known], now: datetime, deps: Deps
) -> Cell:
    policy, target = read.policy, read.target
    running = named[policy.repo, target.running.sha] if target.running else None
    following = [row for each in read.open if (row := rows.get((policy.name, each.sha))) is not None]
    here = [(row, stop) for row in following if (stop := row.at(target.environment)) is not None]
    waits = [row for states in (READY, TURN, ("none",)) for row, stop in here if stop.state in states]
    failed = None if target.newest is None else _failed(read, named, deps)
    under_way = _attempt(read, target.last, named, deps) if target.deployment else None
    return Cell(
        policy,
        target,
        running,
        () if read.pushes is None else lacking(policy, target, read.pushes),
        next(iter(waits), None),
        failed,
        last_line(failed[1], deps) if failed is not None and failed[1].outcome == "failed" else "",
        under_way,
        _gates_of_what_runs(read, now, deps),
        usual.deployment(target, deps) if under_way is not None else None,
        now - under_way[1].started if under_way is not None else timedelta(),
        read.unreadable,
    )


def _gates_of_what_runs(read: _ReadTarget, now: datetime, deps: Deps) -> Mapping[str, GateState]:
    """Return the gates of what runs, if any may say no: it stays, and this must not be overlooked."""
    runs = read.target.running
    if runs is None or read.pushes is None:
        return {}
    try:
        record = deps.ledger.record(read.policy.repo, runs.sha)
        if record is None or not may_be_red(record):
            return {}
        return required_gates(situation(read.policy, record, read.target, deps.ledger, now, pushes=read.pushes))
    except Unreadable:
        return {}


def _failed(read: _ReadTarget, named: Mapping[tuple[str, str], Known], deps: Deps) -> tuple[Known, Attempt] | None:
    """Return the newest commit that was tried here, if its deployment failed and no later one of it succeeded."""
    newest = read.target.newest.sha if read.target.newest else None
    tried = _attempt(read, newest, named, deps)
    return tried if tried is not None and tried[1].outcome in ("failed", "error") else None


def _attempt(
    read: _ReadTarget, sha: str | None, named: Mapping[tuple[str, str], Known], deps: Deps
) -> tuple[Known, Attempt] | None:
    try:
        record = deps.ledger.record(read.policy.repo, sha) if sha else None
    except Unreadable:
        return None
    attempt = read.policy.attempt(record, read.target.environment) if record is not None else None
    return None if attempt is None or sha is None else (named[read.policy.repo, sha], attempt)


def last_line(attempt: Attempt, deps: Deps) -> str:
    """Return the last line that the driver printed: what a failure is most often understood by, where its reason lacks it."""
    try:
        row = deps.ledger.deployment(attempt.id)
    except Unreadable:
        return ""
    lines = [line.strip() for line in (row.output or "").splitlines() if line.strip()] if row is not None else []
    return lines[-1][:200] if lines and lines[-1] not in (attempt.reason or "") else ""
