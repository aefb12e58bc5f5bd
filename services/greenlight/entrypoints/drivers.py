"""The drivers by name, each made when a pipeline first uses it: deploying by commands never imports what Helm needs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from greenlight.deployer.driver import Driver
from greenlight.deployer.drivers.registry import DRIVERS
from greenlight.lib.clock import Clock
from greenlight.lib.scrub import Scrubber
from greenlight.model.policy import Deploy, Pipeline

__all__ = ["DRIVERS", "Drivers"]


class Drivers(Mapping[str, Driver]):
    """Every driver that is installed; what they keep lies below `state`."""

    def __init__(self, state: Path, scrub: Scrubber, clock: Clock) -> None:
        self._state, self._scrub, self._clock = state, scrub, clock
        self._mutex = threading.Lock()
        self._made: dict[str, Driver] = {}

    def __getitem__(self, name: str) -> Driver:
        with self._mutex:
            if name not in self._made:
                self._made[name] = DRIVERS[name].make(self._state, self._scrub, self._clock)
            return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in DRIVERS

    def __iter__(self) -> Iterator[str]:
        return iter(DRIVERS)

    def __len__(self) -> int:
        return len(DRIVERS)

    def problems(self, pipeline: Pipeline) -> Sequence[str]:
        """Return what this machine lacks for the pipeline's deployments, a sentence each.

        It also makes the drivers in use.
        """
        return [
            f"{policy.name}/{environment.name}: {problem}"
            for policy in pipeline.applications.values()
            for environment in policy.environments.values()
            for problem in (
                *self[environment.deploy.driver].check(environment.deploy.config),
                *_missing(environment.deploy, Path(policy.directory)),
            )
        ]

    def close(self) -> None:
        """Close the drivers; what runs goes on."""
        for driver in self._made.values():
            driver.close()


def _missing(deploy: Deploy, directory: Path) -> Iterator[str]:
    """Yield what a section of the pipeline file names and this machine lacks."""
    declared = DRIVERS[deploy.driver](deploy.config)
    yield from (fault.message for fault in declared.missing(directory))
    yield from declared.unresolved(directory)
