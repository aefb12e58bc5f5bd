"""Commands that take a while and end in any way, and go on when the process that started them is killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from greenlight.deployer.driver import Busy, Order, Progress


class Surroundings(Protocol):
    """The parts of the world that the driver needs."""

    time: datetime

    def check(self, rule: str, holds: bool, what: str) -> None: ...


@dataclass
class Command:
    """A command that was started for a target."""

    deployment: str
    sha: str
    fence: int
    process: str
    ends: datetime
    outcome: str


@dataclass
class Site:
    """The machines and clusters on which commands run. They outlive every process."""

    world: Surroundings
    known: Callable[[str], Any]  # the ledger's row of a deployment
    plan: list[tuple[str, int]] = field(default_factory=list)  # outcome and seconds of the next commands
    commands: list[Command] = field(default_factory=list)
    by_target: dict[str, list[Command]] = field(default_factory=dict)
    canceled: set[str] = field(default_factory=set)

    def newest(self, target: str) -> Command | None:
        """Return the command that was started last for a target."""
        found = self.by_target.get(target)
        return found[-1] if found else None

    def over(self, command: Command) -> bool:
        """Return whether it has ended."""
        return command.ends <= self.world.time

    def latest_end(self) -> datetime | None:
        """Return when the last command that still runs will have ended."""
        return max((it.ends for it in self.commands if not self.over(it)), default=None)


class Driver:
    """A process's driver: it knows what this process started, as the command driver does."""

    def __init__(self, site: Site, process: str, point: Callable[[bool], None]) -> None:
        self._site, self._process, self._point = site, process, point
        self._mine: dict[str, Command] = {}

    def apply(self, order: Order) -> Progress:
        """Start the command; one of this deployment goes on, and only a later try starts it again after an error."""
        self._point(True)
        site, world = self._site, self._site.world
        target = f"{order.application}/{order.environment}"
        known, holder = self._mine.get(order.deployment), site.newest(target)
        current = known is not None and (known is holder or known.fence >= order.fence)
        if (
            known is not None
            and current
            and (not site.over(known) or known.outcome != "error" or known.fence >= order.fence)
        ):
            return self._progress(known)
        if holder is not None and not site.over(holder):
            beside = f"{order.deployment} starts beside {holder.deployment} at {target}"
            world.check("one at a time", holder.process != self._process, beside)
            raise Busy("an earlier command")
        if holder is not None and holder.fence > order.fence:
            return Progress("error", "a later try has acted")
        other = holder is not None and holder.fence == order.fence and holder.process != self._process
        world.check("fences", not other, f"{order.deployment} acts under a fence that another process acted under")
        row = site.known(order.deployment)
        world.check("ends", row is not None, f"{order.deployment} starts, and is not in the ledger")
        outcome, seconds = site.plan.pop(0) if site.plan else ("succeeded", 1)
        ends = world.time + timedelta(seconds=seconds)
        command = Command(order.deployment, order.sha, order.fence, self._process, ends, outcome)
        self._mine[order.deployment] = command
        site.by_target.setdefault(target, []).append(command)
        site.commands.append(command)
        return Progress("running")

    def watch(self, order: Order, seconds: float) -> Progress:
        """Let time go on until the command ends, for so many seconds at most."""
        self._point(False)
        world, command = self._site.world, self._mine.get(order.deployment)
        until = world.time + timedelta(seconds=seconds if command else 1)
        world.time = max(world.time, min(until, command.ends if command else until))
        self._point(False)
        return self._progress(command) if command else Progress("running")

    def cancel(self, order: Order, reason: str) -> None:
        """End the command."""
        self._point(False)
        command = self._mine.get(order.deployment)
        if command is not None and not self._site.over(command):
            command.ends, command.outcome = self._site.world.time, "failed"
            self._site.canceled.add(order.deployment)

    def check(self, config: Any) -> Sequence[str]:
        """Find nothing wrong."""
        return []

    def close(self) -> None:
        """Do nothing: commands go on."""

    def _progress(self, command: Command) -> Progress:
        return Progress(command.outcome if self._site.over(command) else "running", "simulated")
