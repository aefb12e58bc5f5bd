"""The part of the log that some Trigger has not settled: beyond the bounds, producers have to wait."""

from __future__ import annotations

from greenlight.broker.cursor import LogEnd
from greenlight.broker.limits import BrokerLimits
from greenlight.broker.log import cursor_table, event_table
from greenlight.broker.removal import Removals
from greenlight.broker.routing import RoutingTable
from greenlight.store import Store


class Backlog:
    """The events over the lowest cursor. Measured anew when it seems full; until then what comes in is added.

    Has no lock: `_floor` and `_bytes` may be a little behind.
    """

    def __init__(
        self, store: Store, limits: BrokerLimits, end: LogEnd, table: RoutingTable, removals: Removals
    ) -> None:
        self._store, self._limits, self._end = store, limits, end
        self._table, self._removals = table, removals
        self._floor = self._bytes = 0

    def floor(self) -> int:
        """Return the number up to which no Trigger needs the log any more, removed ones included. Raises Unavailable."""
        lowest = min((worker.queue.cursor() for worker in self._table.workers), default=self._end.offered)
        if not self._removals.pending:
            return lowest
        with self._store.read() as connection:
            return min(lowest, *(row.seq for row in cursor_table.rows(connection)))

    def measure(self) -> int:
        """Measure, and return the floor. Raises Unavailable."""
        floor = self.floor()
        with self._store.read() as connection:
            self._floor, self._bytes = floor, event_table.bytes_after(connection, floor)
        return floor

    def add(self, size: int) -> None:
        """Count an event of so many bytes."""
        self._bytes += size

    def full(self) -> bool:
        """Return whether producers have to wait. Raises Unavailable."""
        if self._within_limits():
            return False
        self.measure()
        return not self._within_limits()

    def _within_limits(self) -> bool:
        events = self._end.announced - self._floor
        return events <= self._limits.backlog_events and self._bytes <= self._limits.backlog_bytes
