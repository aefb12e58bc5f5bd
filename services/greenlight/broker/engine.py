"""The parts of one broker at work, put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from greenlight.broker.backlog import Backlog
from greenlight.broker.cursor import LogEnd
from greenlight.broker.cursor_writer import CursorWriter
from greenlight.broker.delivery import Delivery
from greenlight.broker.dispatcher import Dispatcher
from greenlight.broker.limits import BrokerLimits
from greenlight.broker.log import event_table
from greenlight.broker.log.stored_event import StoredEvent
from greenlight.broker.metrics import Metrics
from greenlight.broker.registry import Registry
from greenlight.broker.removal import Removals
from greenlight.broker.retention import Retention
from greenlight.broker.routing import RoutingTable
from greenlight.broker.runtime import Runtime
from greenlight.broker.threads import Waiters
from greenlight.broker.worker import TriggerWorker
from greenlight.lib.clock import Clock
from greenlight.store import Store


class Engine:
    """Run the parts of one broker. It has no lock of its own. Events taken before `start` are delivered after it."""

    def __init__(
        self, store: Store, clock: Clock, limits: BrokerLimits, metrics: Metrics, deliveries: Sequence[Delivery]
    ) -> None:
        """Read the position of each Trigger. Raises Unavailable."""
        self.runtime = Runtime(store, clock, limits, metrics)
        with store.read() as connection:
            last = event_table.last(connection.execute)
        self._end = LogEnd(announced=last, offered=last)
        self._waiters = Waiters()
        self.table = RoutingTable()
        self.cursors = CursorWriter(self.runtime, self._end, self.table, lambda: self._retention.schedule())
        self._removals = Removals(self.runtime, self.cursors.write_one, self.progressed)
        self.backlog = Backlog(store, limits, self._end, self.table, self._removals)
        self._retention = Retention(self.runtime, self.backlog)
        self.append = Dispatcher(self._end, self.table, self._appended).append
        self._registry = Registry(self.runtime, self._end, self.table, self._removals, self.append, self.progressed)
        self._registry.open(deliveries)
        self.backlog.measure()

    def start(self) -> None:
        """Begin delivering."""
        self._registry.start()

    def adopt(self, deliveries: Sequence[Delivery]) -> set[str]:
        """Replace the Triggers by these; see Registry.adopt."""
        return self._registry.adopt(deliveries)

    def progressed(self, worker: TriggerWorker | None = None) -> None:
        """Continue what waited until something was settled or written. Called with no lock held."""
        if self._removals.pending:
            self._removals.begin()
        self.cursors.schedule(worker)
        self._waiters.notify()

    def wait(self, until: Callable[[TriggerWorker], bool], timeout: float) -> bool:
        """Wait until `until` holds for every worker at once, at most `timeout` seconds. Returns whether it does."""
        return self._waiters.wait(lambda: all(until(worker) for worker in self.table.workers), timeout)

    def pause(self) -> None:
        """Begin no more deliveries."""
        for worker in self.table.workers:
            worker.queue.pause()

    def stop(self) -> None:
        """End the threads. What is in flight is not waited for, and is delivered again at the next start."""
        self.pause()
        self.runtime.stop()
        for worker in self.table.workers:
            worker.delivery.close()

    def _appended(self, seq: int, stored: StoredEvent) -> None:
        self.backlog.add(stored.size)
        self.cursors.appended(seq)
