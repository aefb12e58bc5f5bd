"""One deployment by Helm: its state, and what is done next."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from pathlib import Path
from typing import Any

from greenlight.deployer.driver import Order, Part, Progress
from greenlight.deployer.drivers.helm import live_release
from greenlight.deployer.drivers.helm.charts import Chart
from greenlight.deployer.drivers.helm.hooks import Hooks
from greenlight.deployer.drivers.helm.program import Prepared
from greenlight.deployer.drivers.helm.verification import Verification
from greenlight.deployer.lock import TargetLock
from greenlight.deployer.printed import Printed
from greenlight.deployer.rollout.proof import Rollout
from greenlight.lib.process import Process


class Phase(Enum):
    """The next step of a deployment.

    ::

        BEGIN ──▶ PULL ──▶ UPGRADE ──▶ ROLLOUT ──▶ VERIFY ──▶ the end
          ├─ the chart is here ─▲         ▲
          └─ the release runs this ───────┘

    Any phase may end the deployment; then `Run.end` is set, and no phase follows.
    """

    BEGIN = auto()  # look at the release's record, and decide whether Helm has anything to do
    PULL = auto()  # wait for the chart
    UPGRADE = auto()  # wait for `helm upgrade`, and for its hooks
    ROLLOUT = auto()  # wait until everything in the manifest is up
    VERIFY = auto()  # the steps of `verify`


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a deployment: chart and values, fixed at the beginning."""

    chart: Chart
    values: Mapping[str, Any]
    marks: Mapping[str, str]  # labels that Helm puts on the revision, without their prefix


@dataclass
class Run:
    """One deployment, from the first look at its release to its end. Only the holder of `turn` changes its phase."""

    order: Order
    lock: TargetLock
    folder: Path
    timeout: float  # seconds
    printed: Printed  # the deployment's output
    phase: Phase = Phase.BEGIN
    plan: Plan | None = None
    prepared: Prepared | None = None  # the upgrade, before it may act
    process: Process | None = None  # of this phase
    process_began: float = 0.0  # monotonic
    hooks: Hooks | None = None  # of the upgrade
    rollout: Rollout | None = None
    verification: Verification | None = None
    before: live_release.Release | None = None  # the release as it is in the cluster before the upgrade
    began: datetime | None = None  # this phase
    parts: list[Part] = field(default_factory=list)  # the phases that are over
    unreachable: float | None = None  # monotonic, since when the cluster does not answer
    canceled: str | None = None  # the reason
    end: Progress | None = None
    turn: threading.Lock = field(default_factory=threading.Lock)

    @property
    def target(self) -> str:
        """Return the target's name in the names of files."""
        return target_name(self.order)

    def planned(self) -> Plan:
        """Return the plan, which the first phase has made."""
        assert self.plan is not None, "made in the phase BEGIN"
        return self.plan

    def started(self) -> Process:
        """Return the process of this phase."""
        assert self.process is not None, "started before the phase that waits for it"
        return self.process

    def drop(self) -> None:
        """End the upgrade that was not to act, if there is one."""
        prepared, self.prepared = self.prepared, None
        if prepared is not None:
            prepared.drop()

    def close(self) -> None:
        """Stop following the cluster."""
        for followed in (self.rollout, self.hooks):
            if followed is not None:
                followed.close()


def target_name(order: Order) -> str:
    """Return the target's name in the names of files."""
    return f"{order.application}--{order.environment}"
