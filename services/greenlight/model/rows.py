"""The rows of the ledger. Each is frozen; what changes is replaced by a copy with the version that was read.

`repo` is lower case everywhere; times are aware datetimes in UTC; `version` is 0 for a row that is not stored yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from greenlight.events import Event
from greenlight.model.freezes import TargetFreeze
from greenlight.model.merges import Merge

DUE_AFTER = timedelta(seconds=30)
"""After this time an event that has no result yet is emitted again: no good delivery takes longer."""

Order = tuple[int | str, ...]
"""A provider's own order of the facts of one signal. Compared element by element; all facts of a signal use one shape."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a push among the others."""

    made: datetime
    heard: datetime
    depth: int = 0  # how many pushes it is on top of that stand at the same time


@dataclass(frozen=True, slots=True)
class Push:
    """A push put `sha` at the head of `ref`. Pushes order the candidates of every target (see policy.lineage)."""

    repo: str
    ref: str  # refs/heads/main, refs/tags/v1
    sha: str  # forty zeros for a deletion
    before: str | None
    pushed_at: datetime
    arrived: datetime
    fact: str  # id of the fact that says so
    forced: bool = False
    deleted: bool = False
    people: tuple[str, ...] = ()  # identities (events.ids.identity) of who authored, committed or pushed any of it
    paths: tuple[str, ...] | None = None  # what it changed, at most 1 000; None: unknown, so it may be anything
    pushers: tuple[str, ...] = ()  # identities of who pushed; in rows of before they are among `people` alone
    commits: tuple[str, ...] = ()  # the commits that it lists besides `sha`
    cut: bool = False  # it has more commits than it lists
    mergers: tuple[str, ...] = ()  # of `people`, who only pressed a button if a pull request was merged so
    rebasers: tuple[str, ...] = ()  # the same, if it was merged by rebasing
    place: Place | None = None  # where it came after pushes that claim to be later: when those were made and heard
    tree: str | None = None  # id of the tree of `sha`, where the push says it

    @property
    def heard(self) -> datetime:
        """Return when the push was made: its signed time, or its arrival, if that is earlier."""
        return min(self.pushed_at, self.arrived)

    @property
    def placed(self) -> tuple[datetime, datetime]:
        """Return when it was made and heard of, which orders it: never earlier than the push that it is on top of."""
        own = (self.heard, self.arrived)
        return own if self.place is None else max(own, (self.place.made, self.place.heard))

    @property
    def depth(self) -> int:
        """Return how many pushes of the same `placed` it is known to be on top of."""
        there = self.place is not None and self.placed == (self.place.made, self.place.heard)
        return self.place.depth if self.place is not None and there else 0


@dataclass(frozen=True, slots=True)
class Title:
    """The title and the author of a commit: kept beside everything else, so that it can be erased."""

    sha: str
    title: str  # the first line of its message, at most 200 characters
    author: str  # the author's name, at most 100 characters
    login: str | None = None  # identities of the author (events.ids.identity), by which it is found to be erased
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """An event that happened to a commit, as accepted."""

    event: Event
    repo: str
    sha: str
    at: datetime  # the earlier of the provider's time and Greenlight's: age counts from it
    accepted: datetime
    refs: tuple[str, ...] = ()  # refs it was made for; a bare name where the provider does not say branch or tag
    signal: str | None = None  # "KIND:NAME", for what can open a gate
    outcome: str | None = None  # passed, failed, or the provider's word for neither (cancelled, skipped, ...)
    order: Order = ()
    evidence: Any = None  # a URL or small object
    artifacts: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    push: Push | None = None
    tree: str | None = None  # id of the commit's tree, where a push says it
    people: tuple[str, ...] = ()  # identities that count as authors of the commit (a pull request's author, ...)
    body: str | None = None  # sha256:HEX of the provider's raw body
    foreign: bool = False  # made by or for another repository (a fork): never opens a gate
    recorded: bool = False
    repository: str | None = None  # the provider's own id of the repository, which stays when it is renamed
    titles: tuple[Title, ...] = ()  # of the commits that it lists: no part of the row, they lie beside it

    @property
    def id(self) -> str:
        """Return the event's id: H(type, repo, natural key), from signed content."""
        return self.event.id

    @property
    def type(self) -> str:
        """Return the event's type."""
        return self.event.type


@dataclass(frozen=True, slots=True)
class Last:
    """The last arrival of a signal, where it is not its newest fact."""

    outcome: str
    at: datetime
    fact: str
    arrived: datetime
    evidence: Any = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Signal:
    """The newest fact of one signal for one ref."""

    outcome: str
    order: Order
    at: datetime
    fact: str
    evidence: Any = None
    data: Mapping[str, Any] = field(default_factory=dict)  # what a gate's `where` compares
    arrived: datetime | None = None  # when it was accepted; None for one that an older version recorded
    ahead: bool = False  # its sender's time was ahead of our clock, so it counts from its arrival
    last: Last | None = None
    tied: tuple[Mapping[str, Any], ...] = ()  # the same of other facts that the provider's order does not tell from it
    failed: datetime | None = None  # when the last failure was accepted, whatever came afterwards


@dataclass(frozen=True, slots=True)
class Run:
    """The run of a GitHub Actions workflow that a check suite belongs to."""

    workflow: str  # its id and the event that started the run, as "20 (push)"
    number: int  # counted per workflow
    foreign: bool = False  # it is a fork's


@dataclass(frozen=True, slots=True)
class Approval:
    """The newest vote of one person at one gate: granted or taken back."""

    granted: bool
    person: str  # id in people.yaml
    groups: tuple[str, ...]  # the groups the person was in when it was given
    identities: tuple[str, ...]  # of the person then, for `not: author`
    at: datetime
    fact: str
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Revocation:
    """A person's statement that a gate does not hold. It stands until a later run of the signal or a new approval."""

    person: str
    at: datetime
    fact: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """An operator's decision that a gate counts as passed for this commit in one environment."""

    person: str
    at: datetime
    fact: str
    reason: str
    identities: tuple[str, ...] = ()  # of the person then, for `not: author`; rows of before name none


POLICY = "policy"
"""The person of a request that the policy makes: `rollback: automatic`."""


@dataclass(frozen=True, slots=True)
class Request:
    """A person's (or the policy's) request for a deployment of a commit to one target."""

    kind: str  # deploy, retry or rollback
    sha: str
    person: str
    at: datetime
    until: datetime  # expires then, if it was not served; a resume moves it by the length of the pause
    fact: str
    reason: str | None = None
    groups: tuple[str, ...] = ()  # the groups the person was in then, for freeze windows


@dataclass(frozen=True, slots=True)
class Attempt:
    """The record's summary of the newest deployment of its commit to one target."""

    id: str
    n: int
    outcome: str  # running, succeeded, failed, error or superseded
    cause: str  # automatic, deploy, retry, rollback
    started: datetime
    ended: datetime | None = None
    reason: str | None = None
    request: str | None = None  # the fact of the request that it served
    push: str | None = None  # fact id of the push that was newest then; a later one is a re-push
    succeeded_at: datetime | None = None  # when a deployment of this commit last succeeded here
    rolled_back: str | None = None  # who rolled back from it since it was last deployed here


@dataclass(frozen=True, slots=True)
class Record:
    """The known facts of one (repo, commit), combined. The order and repetition of facts make no difference."""

    repo: str
    sha: str
    version: int = 0
    tree: str | None = None
    pushes: Mapping[str, Push] = field(default_factory=dict)  # by ref: the newest push that put this commit there
    signals: Mapping[str, Mapping[str, Signal]] = field(default_factory=dict)  # by signal, then by ref ("" unknown)
    approvals: Mapping[str, Mapping[str, Approval]] = field(default_factory=dict)  # by "APP/GATE", then by person
    revocations: Mapping[str, Revocation] = field(default_factory=dict)  # by "APP/GATE"
    overrides: Mapping[str, Override] = field(default_factory=dict)  # by "APP/ENV/GATE"
    artifacts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # two digests for one name block
    named: Mapping[str, Mapping[str, tuple[str, ...]]] = field(
        default_factory=dict
    )  # by "NAME@DIGEST", by signal: refs
    people: tuple[str, ...] = ()  # sorted identities
    attempts: Mapping[str, Attempt] = field(default_factory=dict)  # by "APP/ENV"; not a fact's, the deployer's
    updated: datetime | None = None  # when the newest fact was accepted; orders the listing
    merged: Mapping[str, Merge] = field(default_factory=dict)  # by number: the pull requests that became this commit
    runs: Mapping[str, Run] = field(default_factory=dict)  # of GitHub Actions, by the id of their check suite


@dataclass(frozen=True, slots=True)
class Lease:
    """The time-limited right of one process to change a target."""

    owner: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Running:
    """The commit that a target runs."""

    sha: str
    deployment: str
    since: datetime
    push: Push | None  # the push it is ordered by; None for a commit that was never pushed to a shipped ref


@dataclass(frozen=True, slots=True)
class Promotion:
    """A decision `ready` for one commit and target that is wanted next. id = H(application, environment, sha, n)."""

    id: str
    sha: str
    n: int
    cause: str  # automatic, deploy, retry, rollback
    policy: str  # digest
    at: datetime
    push: Push | None = None
    request: str | None = None  # fact of the request that it serves


@dataclass(frozen=True, slots=True)
class Cancellation:
    """A person's request to end a deployment that is under way."""

    deployment: str
    person: str
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Target:
    """One (application, environment): the unit of concurrency."""

    application: str
    environment: str
    repo: str
    version: int = 0
    running: Running | None = None
    newest: Push | None = None  # the newest push ever tried here: an older candidate is superseded
    history: tuple[str, ...] = ()  # shas that succeeded here, newest first, each once, at most 20
    wanted: Promotion | None = None
    deployment: str | None = None  # id of the deployment under way
    last: str | None = None  # sha of what was begun last, which indexes may not show yet
    paused: str | None = None  # who and why, as text
    paused_at: datetime | None = None
    freezes: tuple[TargetFreeze, ...] = ()  # of people; those that have ended are dropped with the next change of them
    requests: tuple[Request, ...] = ()  # what people asked for and what has not ended, oldest first
    serving: Request | None = None  # what the deployment under way serves
    held: Request | None = None  # the rollback or deploy that holds back what was not pushed after it
    cancel: Cancellation | None = None
    policy: str | None = None  # digest of the policy under which every candidate was decided
    renamed: str | None = None  # the application that has carried this target's state on
    fence: int = 0
    lease: Lease | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """One attempt to make a target run a commit. Its id is its promotion's."""

    id: str
    application: str
    environment: str
    repo: str
    sha: str
    n: int
    cause: str
    policy: str
    fence: int
    outcome: str  # running, succeeded, failed, error, superseded
    started: datetime
    version: int = 0
    deadline: datetime | None = None
    ended: datetime | None = None
    reason: str | None = None
    tries: int = 0  # how often the driver was asked to apply; errors are tried again as the same deployment
    again: datetime | None = None  # not before then, after an error
    output: str | None = None  # the end of what the driver printed, scrubbed; it grows while the deployment runs
    printed: int = 0  # characters of the whole output of the last try, whose end is `output`
    previous: str | None = None  # the sha that ran before
    request: str | None = None
    push: Push | None = None
    artifacts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """The last decision for one commit and target, as journaled: the part that depends on the commit alone."""

    application: str
    environment: str
    repo: str
    sha: str
    decision: str  # ready, waiting, blocked
    reasons: tuple[str, ...]
    at: datetime
    policy: str
    push: Push | None = None  # its place among the candidates
    recount: bool = False  # a vote that does not count, or paths not touched: it changes with what the target runs
    version: int = 0


@dataclass(frozen=True, slots=True)
class NewEntry:
    """A new entry for a journal. A stream holds each id once."""

    stream: str  # commit/OWNER/NAME/SHA or target/APPLICATION/ENVIRONMENT
    type: str
    at: datetime
    id: str
    payload: Mapping[str, Any]
    repo: str
    sha: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One link of a journal's chain: hash = SHA-256(0x01 + prev + JCS({seq, type, at, id, payload}))."""

    stream: str
    seq: int  # from 1
    type: str
    at: str  # RFC 3339, as hashed
    id: str
    payload: Mapping[str, Any]
    prev: str  # 64 hex digits, zeros first
    hash: str


@dataclass(frozen=True, slots=True)
class Due:
    """An event that is emitted again at `at`, unless it was done before. A key is due once."""

    key: str
    at: datetime
    event: Event
    attempts: int = 0
