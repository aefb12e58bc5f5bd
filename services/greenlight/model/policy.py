"""The content of a pipeline file that was found right, and the situation in which a decision is made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

from greenlight.lib.windows import Window
from greenlight.model import keys
from greenlight.model.rows import Attempt, Push, Record, Request, Target


@dataclass(frozen=True, kw_only=True)
class Gate(ABC):
    """A named requirement over what is known of a commit. Each kind is a class of its own in greenlight.policy.gates."""

    kind: ClassVar[str]  # as the pipeline file calls it
    name: str
    max_age: timedelta | None = None  # how old a fact may be
    any_branch: bool = False  # whether a run for a ref that is not shipped counts
    not_author: bool = False  # whether votes of the commit's authors do not count

    @property
    @abstractmethod
    def subject(self) -> str:
        """Return what it waits for, as a noun: "webhook scan"."""

    @property
    def sender(self) -> str | None:
        """Return the sender whose secret signs its facts, by the name of the file; None: no webhook brings them."""
        return None

    @abstractmethod
    def state(self, case: Situation) -> GateState:
        """Judge the gate by the record, in a situation. Overrides are left aside."""

    @abstractmethod
    def refused_at(self, case: Situation) -> datetime | None:
        """Return when it was last revoked, or heard to have failed, whatever it is now: an older override has ended."""

    @abstractmethod
    def explained(self) -> str:
        """Return what opens the gate and for how long, in words, for `greenlight policy explain`."""

    def has_votes(self, case: Situation) -> bool:
        """Return whether the record may have votes that count only once the target runs something else."""
        return True


Rule = tuple[str, tuple[str, ...], tuple[str, ...]]
"""What a driver may do in a namespace of a cluster: (API group, resources, verbs)."""


@dataclass(frozen=True)
class Deploy(ABC):
    """The deployment section of an environment. Each driver has a class of its own (greenlight.deployer.drivers)."""

    driver: ClassVar[str]  # as the pipeline file calls it
    rules: ClassVar[Sequence[Rule]] = ()  # what it has to be allowed in its namespace
    config: Mapping[str, Any]  # its section in the pipeline file, with defaults filled in

    @property
    def cluster(self) -> str | None:
        """Return the name of the cluster that it deploys to, if it is one of the pipeline file's."""
        return None

    @property
    def namespace(self) -> str | None:
        """Return the namespace of that cluster in which it deploys."""
        return None

    @property
    def artifacts(self) -> Sequence[str]:
        """Return the artifacts whose digests it puts in: a commit waits until facts have named them."""
        return ()

    @property
    def needs_tag(self) -> bool:
        """Return whether it puts in the name of the tag that is deployed: a commit of a branch waits for one."""
        return False

    @abstractmethod
    def explained(self) -> str:
        """Return what a deployment does, in words, for `greenlight policy explain`."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """A window of time in which nothing goes out by itself to an environment."""

    window: Window
    reason: str
    excepted: tuple[str, ...] = ()  # groups whose people's requests are served all the same

    def ends(self, now: datetime) -> datetime | None:
        """Return when the window ends that is open now; None: it is closed."""
        return self.window.ends(now)


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment of an application, with its gates and its deployment."""

    name: str
    require: tuple[str, ...]
    deploy: Deploy
    after: tuple[str, ...] = ()
    tries: int = 5  # how often an error is tried before it ends the deployment
    rollback: str = "manual"  # after a failed deployment: automatic goes back to what ran
    soak: Mapping[str, timedelta] = field(
        default_factory=dict
    )  # of those in `after`: how long ago it must have succeeded
    promote: str = "automatic"  # manual: nothing goes out by itself, a person deploys
    freeze: tuple[Freeze, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """One application: gates, environments, approvers, and what to deploy."""

    name: str
    repo: str  # lower case
    branches: tuple[str, ...]  # patterns, matched against the raw name
    tags: tuple[str, ...]
    paths: tuple[str, ...]
    circleci_project: str | None
    operators: tuple[
        str, ...
    ]  # groups whose people may deploy, retry, roll back, pause, freeze, cancel, override; empty: no person
    gates: Mapping[str, Gate]
    environments: Mapping[str, Environment]  # in the file's order
    digest: str  # sha256:HEX of `text`
    text: str  # the application as canonical JSON (RFC 8785), with the clusters it uses
    directory: str  # folder of the pipeline file: charts and cwd are below it
    clusters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # the ones it deploys to
    formerly: str | None = None  # the name that it had before: what was known under that is its own

    @property
    def names(self) -> tuple[str, ...]:
        """Return its name, and its former one."""
        return (self.name,) if self.formerly is None else (self.name, self.formerly)

    def keys(self, *rest: str) -> tuple[str, ...]:
        """Return the keys of a record that belong to this application: "APP/REST", and that of its former name."""
        return tuple(keys.of(name, *rest) for name in self.names)

    def leaves_authors_out(self, environment: str) -> bool:
        """Return whether a gate that the environment requires has `not: author`."""
        return any(self.gates[name].not_author for name in self.environments[environment].require)

    def target(self, environment: str, stored: Target | None) -> Target:
        """Return the target of an environment as it is stored, or as it begins.

        It goes on with the repository that the application has now, which may be another one, or have got another name.
        """
        target = stored or Target(self.name, environment, self.repo)
        return target if target.repo == self.repo else replace(target, repo=self.repo)

    def attempt(self, record: Record, environment: str) -> Attempt | None:
        """Return the newest deployment of a commit to an environment, under the application's name or its former one."""
        return newest_attempt([record.attempts[key] for key in self.keys(environment) if key in record.attempts])


def newest_attempt(attempts: Sequence[Attempt]) -> Attempt | None:
    """Return the newest of a commit's deployments to an environment, by number: clocks may step back."""
    return max(attempts, key=lambda attempt: (attempt.n, attempt.started), default=None)


def _not_read(files: Mapping[str, str], directory: Path) -> Pipeline:
    raise NotImplementedError("this pipeline was not read from files")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Every application of the pipeline files."""

    applications: Mapping[str, Policy]
    clusters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reread: Callable[[Mapping[str, str], Path], Pipeline] = field(default=_not_read, compare=False)
    """Reads other texts of the files, by name, with the same drivers; charts and commands are below the folder.

    Raises greenlight.policy.load.PolicyError.
    """

    def of(self, repo: str) -> Sequence[Policy]:
        """Return the applications of a repository (lower case)."""
        return [policy for policy in self.applications.values() if policy.repo == repo]

    def digest_of(self, repo: str) -> str:
        """Return the digest of all policies of a repository together: another one whenever one of them is another."""
        policies = sorted(f"{policy.name} {policy.digest}" for policy in self.of(repo))
        return f"sha256:{sha256(chr(10).join(policies).encode()).hexdigest()}"

    def now_called(self, application: str) -> Policy | None:
        """Return the application of that name, or the one that had it formerly and carries it on; None: neither."""
        renamed = (policy for policy in self.applications.values() if policy.formerly == application)
        return self.applications.get(application) or next(renamed, None)

    def knows(self, repo: str) -> bool:
        """Return whether any application is made from that repository."""
        return any(policy.repo == repo for policy in self.applications.values())


@dataclass(frozen=True, slots=True)
class PoliciesInForce:
    """The policies that the commits of a repository are decided under, those of the pipeline files that were read last.

    A process that has read other files decides nothing: what it wrote would be missing from what is decided under these.
    """

    repo: str
    digest: str  # of all of them together
    version: int = 0


@dataclass(frozen=True, slots=True)
class Situation:
    """One commit, for one target, at one time: the input of a decision."""

    policy: Policy
    environment: Environment
    record: Record
    target: Target
    pushes: Sequence[Push]  # every push of the repository since what the target runs; best as a policy.history.History
    now: datetime

    @property
    def attempt(self) -> Attempt | None:
        """Return the newest deployment of the commit to the target."""
        return self.policy.attempt(self.record, self.environment.name)

    @property
    def runs(self) -> bool:
        """Return whether the target runs the commit."""
        return self.target.running is not None and self.target.running.sha == self.record.sha

    @property
    def under_way(self) -> bool:
        """Return whether the target's deployment under way is one of the commit."""
        return self.attempt is not None and self.target.deployment == self.attempt.id

    @property
    def leaves_authors_out(self) -> bool:
        """Return whether a gate of the environment has `not: author`."""
        return self.policy.leaves_authors_out(self.environment.name)

    def of(self, record: Record) -> Situation:
        """Return the same target at the same time, for another commit."""
        return replace(self, record=record)


@dataclass(frozen=True, slots=True)
class GateState:
    """The state of a gate, now."""

    state: str  # pending, passed, failed, expired, revoked, overridden
    reason: str  # for people: what is missing and who can give it
    at: datetime | None = None
    by: tuple[str, ...] = ()  # ids in people.yaml of who approved
    evidence: Any = None
    until: datetime | None = None  # when the state ends by time alone
    facts: tuple[str, ...] = ()  # ids of the facts it rests on


@dataclass(frozen=True, slots=True)
class Standing:
    """A state with its reasons."""

    state: str  # ready, waiting, blocked, superseded
    reasons: tuple[str, ...] = ()
    needs_person: bool = False  # what it waits for can no longer come unless a person acts


@dataclass(frozen=True, slots=True)
class Decision:
    """The pure result of (record, target, policy, now)."""

    state: str  # ready, waiting, blocked, superseded
    reasons: tuple[str, ...]  # why; empty only for ready
    gates: Mapping[str, GateState]  # of the gates that the environment requires
    needs_person: bool = False  # the deployment can no longer come unless a person acts
    next_at: datetime | None = None  # when it may change by time alone
    push: Push | None = None  # the candidate's newest push to a shipped ref; None: not a candidate
    artifacts: Mapping[str, str] = field(default_factory=dict)
    own: Standing = Standing("waiting")  # what holds of the commit alone, whatever holds for the whole target
    request: Request | None = None  # what a person asked for that this would serve
    policy: str = ""  # digest
    recount: bool = False  # a vote that does not count, or paths not touched: it changes with what the target runs
