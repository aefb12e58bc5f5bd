"""Objects that every phase of a deployment by Helm uses.

They are the clusters, the program, the clock, and the scrubber of output.
"""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from greenlight.deployer.clusters.access import Access
from greenlight.deployer.clusters.api import Api
from greenlight.deployer.driver import Order, Part, Progress
from greenlight.deployer.drivers.helm.program import Helm
from greenlight.deployer.drivers.helm.run import Phase, Run
from greenlight.lib.clock import Clock
from greenlight.lib.durations import duration
from greenlight.lib.process import Process
from greenlight.lib.scrub import Scrubber, secrets_in

OUTPUT = 16 * 1024
"""Characters of a deployment's output that are kept: its end."""

PAUSE = 0.5
"""Seconds between two questions to what reports nothing by itself: a cluster that does not answer, the address of `verify`,
a release that Helm has not written down yet."""

CMD = 500
"""Characters of a command line that its span has."""

PARTS = {
    Phase.BEGIN: "prepare",
    Phase.PULL: "helm pull",
    Phase.UPGRADE: "helm upgrade",
    Phase.ROLLOUT: "rollout",
    Phase.VERIFY: "verify",
}
"""What a waterfall calls the phases."""

REASON = 600
"""Characters of its reason."""


class Clusters:
    """The access to each cluster that orders name, made once. Safe for threads."""

    def __init__(self, access: Callable[[Mapping[str, Any], Path], Access]) -> None:
        self._access = access
        self._made: dict[str, Access] = {}
        self._mutex = threading.Lock()  # guards _made

    def access(self, order: Order) -> Access:
        """Return the access to the order's cluster."""
        key = json.dumps([order.cluster, str(order.directory)], sort_keys=True)
        with self._mutex:
            if key not in self._made:
                self._made[key] = self._access(order.cluster, order.directory)
            return self._made[key]

    def api(self, order: Order) -> Api:
        """Return the API server of the order's cluster."""
        return self.access(order).api()


@dataclass(frozen=True)
class Tools:
    """One object for the process."""

    clusters: Clusters
    helm: Helm
    clock: Clock
    scrub: Scrubber
    charts: Path  # the folder of charts that were pulled
    host: str  # this machine since it started: within it, a Helm that holds no lock is dead
    closed: threading.Event  # Greenlight ends
    keeping: set[str] = field(default_factory=set)  # targets where the last deployment kept fields
    waits: dict[str, float] = field(
        default_factory=dict
    )  # deployment -> monotonic, since when it waits for a foreign lock

    def follow(self, run: Run, process: Process) -> None:
        """Make this the process of the run, whose output the deployment's has from now on."""
        run.process = process
        run.printed.follow(process.log, self._scrub_of(process))

    def output(self, run: Run) -> str:
        """Return the output of the run's process, without the secrets of its environment."""
        process = run.started()
        return self._scrub_of(process)(process.output())

    def part(self, run: Run, phase: Phase, began: datetime) -> Part:
        """Return a phase that is over, as a part of the deployment, with what Helm was called with and has printed."""
        now, process = self.clock.now(), run.process
        if process is None or phase not in (Phase.PULL, Phase.UPGRADE):
            return Part(PARTS[phase], began, now)
        cmd = self._scrub_of(process)(shlex.join(["helm", *process.command[1:]]))[:CMD]
        return Part(PARTS[phase], began, now, cmd, self.output(run)[-OUTPUT:])

    def _scrub_of(self, process: Process) -> Scrubber:
        return self.scrub.also(part for name, value in process.environment.items() for part in secrets_in(value, name))

    def pause(self, seconds: float) -> None:
        """Wait for the next question, at most `seconds`, or until Greenlight ends."""
        self.closed.wait(min(PAUSE, seconds))

    def reason(self, text: str) -> str:
        """Return a reason on one line, scrubbed and cut."""
        return self.scrub(" ".join(text.split()))[:REASON]

    def cleaned(self, end: Progress, run: Run) -> Progress:
        """Return an end as it may be shown; what it says in detail is the last part of the deployment's output."""
        run.printed.finish()
        if end.output:
            run.printed.say(end.output)
        reason = None if end.reason is None else self.reason(end.reason)
        output = run.printed.text or None
        return replace(end, reason=reason, output=output, printed=run.printed.total, parts=tuple(run.parts))


def seconds_of(order: Order, name: str) -> float | None:
    """Return a setting of the pipeline file in seconds; None where it is left out."""
    given = order.config.get(name)
    return None if given is None else duration(given).total_seconds()


def conflicts_of(order: Order) -> str:
    """Return the setting for fields that others have set: `ours`, `theirs` or `fail`. A rollback always uses `ours`."""
    found: str = "ours" if order.cause == "rollback" else order.config.get("conflicts", "ours")
    return found
