"""The dependencies of every service. A service that needs more has a Deps of its own, derived from this one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from greenlight.ledger.port import Ledger
from greenlight.lib.clock import Clock
from greenlight.model.policy import Pipeline
from greenlight.service.publisher import Publisher
from greenlight.telemetry.tracing import OFF, Tracer


@dataclass(frozen=True)
class Deps:
    """The shared dependencies, made once; `pipeline()` is the configuration in force now."""

    clock: Clock
    ledger: Ledger
    pipeline: Callable[[], Pipeline]
    publisher: Publisher
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("greenlight"))
    tracer: Tracer = OFF
