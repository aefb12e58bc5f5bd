"""The dispatcher, which appends events to the log, and offers each to the Triggers that want it once it is durable."""

from __future__ import annotations

from collections.abc import Callable, Collection

from greenlight.broker.cursor import LogEnd
from greenlight.broker.log import event_table
from greenlight.broker.log.stored_event import PreparedEvent, StoredEvent
from greenlight.broker.routing import RoutingTable
from greenlight.store import Tx


class Dispatcher:
    """Append events and offer them to Triggers.

    It has no lock: the thread that commits offers them, one after the other.
    """

    def __init__(self, end: LogEnd, table: RoutingTable, committed: Callable[[int, StoredEvent], None]) -> None:
        """Make a dispatcher that calls `committed` with the number of each event, after it was offered to all."""
        self._end, self._table, self._after = end, table, committed

    def append(
        self,
        tx: Tx,
        broker: str,
        event: PreparedEvent,
        *,
        only: str | None = None,
        cause: int | None = None,
        by: str = "",
        handled: Collection[str] = (),
    ) -> None:
        """Append an event inside a transaction; it is delivered once that is durable.

        `only`: to one Trigger. `cause`, `by`: the event that it answers, and the Trigger that got that. `handled`: Triggers
        that do not get it, because their subscribers have handled it.
        """
        seq = event_table.insert(tx, broker, event.row, event.at, only=only, cause=cause, by=by, handled=handled)
        tx.on_commit(lambda: self._committed(broker, seq, event.stored, only, handled))

    def _committed(
        self, broker: str, seq: int, stored: StoredEvent, only: str | None, handled: Collection[str]
    ) -> None:
        self._end.announced = seq
        for worker in self._table.candidates(broker, stored.event, only):
            if worker.key in handled:
                continue
            if only is not None or worker.wants(stored.event):
                worker.queue.offer(seq, stored)
        self._end.offered = seq
        self._after(seq, stored)
