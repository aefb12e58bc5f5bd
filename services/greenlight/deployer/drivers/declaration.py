"""The declaration of a driver: its section in the pipeline file, and how the driver itself is made."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

from greenlight.deployer.driver import Driver
from greenlight.lib.clock import Clock
from greenlight.lib.scrub import Scrubber
from greenlight.policy.driver import DriverSection


@dataclass(frozen=True)
class Declaration(DriverSection):
    """A driver. Every service reads declarations with the pipeline file, so their modules import nothing heavy."""

    @classmethod
    @abstractmethod
    def make(cls, state: Path, scrub: Scrubber, clock: Clock) -> Driver:
        """Make the driver, which keeps its files below `state`; what only it needs is imported here."""
