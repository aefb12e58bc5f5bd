"""The arrivals that a process keeps, under a name that no other process has."""

from __future__ import annotations

import logging
import os
import socket

from greenlight.events import ids
from greenlight.ledger.port import Ledger
from greenlight.lib.clock import Clock
from greenlight.service.arrivals import KeptArrivals


def kept_arrivals(ledger: Ledger, clock: Clock, log: logging.Logger, *, alone: bool) -> KeptArrivals:
    """Return the arrivals of this process. Their name begins with the machine or pod, which may start the process again."""
    host = socket.gethostname()
    start = ids.derive("process", host, clock.now().isoformat(), os.getpid())
    return KeptArrivals(ledger.arrivals, f"{host}/{start[:8]}", clock, log, alone=alone)
