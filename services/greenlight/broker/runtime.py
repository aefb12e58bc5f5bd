"""The parts that everything in one broker shares, and their behaviour while the store cannot be written."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

from greenlight.broker.limits import BrokerLimits
from greenlight.broker.metrics import Metrics
from greenlight.broker.threads import Task, ThreadPool, Timer
from greenlight.lib.clock import Clock
from greenlight.lib.errors import Unavailable
from greenlight.store import Store, Tx

T = TypeVar("T")

STORE_RETRY = 1.0
"""Seconds before something that the store refused is tried again."""

_log = logging.getLogger("greenlight.broker")


@dataclass(frozen=True)
class Runtime:
    """The store, the clock, the threads. Has no lock: its parts have."""

    store: Store
    clock: Clock
    limits: BrokerLimits
    metrics: Metrics
    pool: ThreadPool = field(default_factory=ThreadPool)
    timer: Timer = field(default_factory=Timer)

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        return self.clock.now().timestamp()

    def later(self, call: Task) -> None:
        """Call `call` when the store may work again."""
        self.timer.after(STORE_RETRY, call)

    def submit(
        self, change: Callable[[Tx], T], done: Callable[[T], None], failed: Callable[[BaseException], None]
    ) -> None:
        """Write without waiting; `done` or `failed` is called afterwards, in the store's thread."""

        def ended(future: Future[T]) -> None:
            problem = future.exception()
            if problem is None:
                done(future.result())
            else:
                failed(problem)

        try:
            self.store.submit(change).add_done_callback(ended)
        except Unavailable as problem:
            failed(problem)

    def report(self, what: str, problem: BaseException) -> None:
        """Log a write that failed, unless the store is Unavailable, which it has logged itself, once."""
        _log.log(logging.DEBUG if isinstance(problem, Unavailable) else logging.WARNING, "%s: %s", what, problem)

    def stop(self) -> None:
        """End the threads that do nothing; the others end with their task."""
        self.timer.stop()
        self.pool.stop()
