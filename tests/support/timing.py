"""Costs of calls, for tests that compare a cost with another one measured beside it; never with a number of seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 120.0
"""Seconds that a test waits for what must come: far more than ten times what an idle machine needs for any of it, so that only
what never comes fails."""


def cpu_seconds(call: Callable[[], object], times: int = 3) -> float:
    """Return the least CPU that `call` takes in a few calls.

    What else the machine does can only make one of them dearer.
    """
    spent = []
    for _ in range(times):
        before = time.process_time()
        call()
        spent.append(time.process_time() - before)
    return min(spent)
