"""The interface of a driver, which makes deployments. `command` is one; `helm` is another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


class Busy(Exception):
    """A process of an earlier Greenlight still holds the target. Try later; the message names the process."""


@dataclass(frozen=True, slots=True)
class Order:
    """The instructions for a driver. Everything an event could have chosen in it was checked before."""

    deployment: str
    application: str
    environment: str
    repo: str
    sha: str
    fence: int
    n: int
    traceparent: str
    config: Mapping[str, Any]  # the environment's `deploy`, as the policy says it
    directory: Path  # the folder of the pipeline file
    artifacts: Mapping[str, str] = field(default_factory=dict)
    deadline: datetime | None = None
    cause: str = "automatic"  # or what a person asked for: deploy, retry, rollback, which the policy may ask for, too
    ref: str | None = None  # of the push by which the commit is a candidate; None: no push that git can have made
    cluster: Mapping[str, Any] = field(default_factory=dict)  # what the pipeline file says of the cluster it names


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a deployment that is over: a command, or another step of its driver."""

    name: str
    began: datetime
    ended: datetime
    cmd: str = ""  # the command line, scrubbed
    output: str = ""  # the end of what it printed, scrubbed


@dataclass(frozen=True, slots=True)
class Progress:
    """A driver's result.

    failed: the new version is at fault. error: Greenlight or a dependency is, so it is tried again.
    """

    outcome: str  # running, succeeded, failed, error
    reason: str | None = None
    output: str | None = None  # the end of what was printed, scrubbed, at most 16 KiB
    printed: int | None = None  # characters of the whole output, up to that end; None: not known
    parts: Sequence[Part] = field(default=(), compare=False)  # what the try consisted of, as far as it is known


@dataclass(frozen=True, slots=True)
class Output:
    """The output of a deployment under way, as far as it may be shown."""

    text: str  # its end, scrubbed, at most 16 KiB
    printed: int  # characters of all of it


@runtime_checkable
class Prints(Protocol):
    """A driver whose output can be read while a deployment runs."""

    def output(self, order: Order) -> Output | None:
        """Return what the deployment has printed by now; None: that cannot be known, or may not be shown before its end."""
        ...


class Driver(Protocol):
    """Start and watch deployments; one object for the whole process, used from many threads."""

    def apply(self, order: Order) -> Progress:
        """Start, and return at once: running, or an end already. A deployment that runs already continues.

        Raises Busy while something else that an earlier process started holds the target.
        """
        ...

    def watch(self, order: Order, seconds: float) -> Progress:
        """Wait at most `seconds` for news. An end is returned at once, and again at every later call."""
        ...

    def cancel(self, order: Order, reason: str) -> None:
        """End the deployment: it fails with `reason`."""
        ...

    def check(self, config: Mapping[str, Any]) -> Sequence[str]:
        """Return what is wrong with a configuration on this machine, a sentence each; empty if nothing."""
        ...

    def close(self) -> None:
        """Stop waiting for what is watched. What runs goes on running, and holds its target."""
        ...
