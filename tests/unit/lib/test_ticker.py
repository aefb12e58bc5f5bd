"""The thread that does what is due."""

from __future__ import annotations

import logging
import threading

import pytest

from greenlight.lib.clock import SystemClock
from greenlight.lib.ticker import Ticker
from support.timing import PATIENCE


def test_a_failure_that_lasts_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A ledger without a disk would fill the log otherwise; another failure, or one that came back, is logged."""
    problems = iter(["down", "down", "down", "broken", None, "broken", "broken"])
    over = threading.Event()

    def tick() -> None:
        problem = next(problems, "")
        if problem == "":
            over.set()
        elif problem is not None:
            raise RuntimeError(problem)

    ticker = Ticker(tick, lambda: None, SystemClock(), logging.getLogger("test"), every=0.001)
    ticker.start()
    assert over.wait(PATIENCE)
    ticker.stop()
    logged = [record.exc_info[1] for record in caplog.records if record.exc_info is not None]
    assert [str(problem) for problem in logged] == ["down", "broken", "broken"]
