"""A driver without a process: what a commit then costs is Greenlight's own work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

from greenlight.deployer.driver import Driver, Order, Progress
from greenlight.entrypoints.drivers import Drivers


class InProcess:
    """A driver whose deployments succeed at once."""

    def apply(self, order: Order) -> Progress:
        return Progress("succeeded")

    def watch(self, order: Order, seconds: float) -> Progress:
        return Progress("succeeded")

    def cancel(self, order: Order, reason: str) -> None:
        pass

    def check(self, config: Mapping[str, Any]) -> Sequence[str]:
        return ()

    def close(self) -> None:
        pass


def deploy_in_process() -> mock._patch[Any]:
    """Return a patch with which this driver makes every deployment, whatever the pipeline file says."""

    def made(drivers: Drivers, name: str) -> Driver:
        return InProcess()

    return mock.patch.object(Drivers, "__getitem__", made)
