"""Time as a trigger: a thread that sleeps until something is due."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from greenlight.lib.clock import Clock

SHORTEST = 0.05
"""Seconds between two ticks at least, so that what stays due does not become a busy loop."""


class Ticker:
    """Call `tick` when `next_due()` has come, and every `every` seconds, since work may have become due."""

    def __init__(
        self,
        tick: Callable[[], None],
        next_due: Callable[[], datetime | None],
        clock: Clock,
        log: logging.Logger,
        *,
        every: float = 1.0,
    ) -> None:
        self._tick, self._next_due, self._clock, self._log, self._every = tick, next_due, clock, log, every
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)

    def start(self) -> None:
        """Tick once now, then go on until stopped."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait for a tick in progress."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        said = ""
        while not self._stopping.is_set():
            try:
                self._tick()
                wait, said = self._wait(), ""
            except Exception as problem:
                if str(problem) != said:
                    self._log.exception("a tick failed; one comes every %s s, and this is logged once", self._every)
                wait, said = self._every, str(problem)
            self._stopping.wait(wait)

    def _wait(self) -> float:
        due = self._next_due()
        if due is None:
            return self._every
        return min(max((due - self._clock.now()).total_seconds(), SHORTEST), self._every)
