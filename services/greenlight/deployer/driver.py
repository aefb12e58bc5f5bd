"""The driver's port: how a deployment is done. `command` is one; `helm` is another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol


class Busy(Exception):
    """The target is still held by what an earlier life of ours started. Try later; the message says which process."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a driver is asked to do. Everything an event could have chosen in it was checked before."""

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
    cluster: Mapping[str, Any] = field(default_factory=dict)  # what the pipeline file says of the cluster it names


@dataclass(frozen=True, slots=True)
class Progress:
    """What it came to. failed: the world said no. error: we or a dependency broke, so it is tried again."""

    outcome: str  # running, succeeded, failed, error
    reason: str | None = None
    output: str | None = None  # the end of what was printed, scrubbed, at most 16 KiB


class Driver(Protocol):
    """Starts and watches deployments; one object for the whole process, used from many threads."""

    def apply(self, order: Order) -> Progress:
        """Start, and return at once: running, or an end already. A deployment that runs already goes on.

        Raises Busy while something else that an earlier process started holds the target.
        """
        ...

    def watch(self, order: Order, seconds: float) -> Progress:
        """Wait at most `seconds` for news; an end comes back at once, and again whenever it is asked for."""
        ...

    def cancel(self, order: Order, reason: str) -> None:
        """End it: it fails with `reason`."""
        ...

    def check(self, config: Mapping[str, Any]) -> Sequence[str]:
        """Return what is wrong with a configuration on this machine, a sentence each; empty if nothing."""
        ...

    def close(self) -> None:
        """Let go: what is watched is waited for no longer. What runs goes on running, and holds its target."""
        ...
