"""The Triggers of a broker: they are added, changed and removed while events flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from greenlight.broker.cursor import LogEnd
from greenlight.broker.delivery import Delivery
from greenlight.broker.log import cursor_table, retry_table
from greenlight.broker.log.retry_table import Retry
from greenlight.broker.removal import Removals
from greenlight.broker.routing import RoutingTable
from greenlight.broker.runtime import Runtime
from greenlight.broker.settlement import Append
from greenlight.broker.worker import TriggerWorker
from greenlight.store import Tx


class Registry:
    """Change the RoutingTable, in the commits that write the same to the log: so no event falls between the two.

    Has no lock: `adopt` is called by one thread at a time.
    """

    def __init__(
        self,
        runtime: Runtime,
        end: LogEnd,
        table: RoutingTable,
        removals: Removals,
        append: Append,
        progressed: Callable[[TriggerWorker], None],
    ) -> None:
        """Keep `append`, which takes replies, and `progressed`, to call when something was settled or written."""
        self._runtime, self._end, self._table, self._removals = runtime, end, table, removals
        self._append, self._progressed = append, progressed
        self._started = False

    def open(self, deliveries: Sequence[Delivery]) -> None:
        """Begin with these Triggers; remove those that an earlier run had besides. Raises Unavailable."""
        known = {delivery.spec.key for delivery in deliveries}
        with self._runtime.store.read() as connection:
            gone = [row.trigger for row in cursor_table.rows(connection) if row.trigger not in known]
        self._runtime.store.write(partial(_mark_removed, gone))
        self._removals.pending.update(dict.fromkeys(gone))
        self._add(deliveries)

    def start(self) -> None:
        """Begin delivering."""
        self._started = True
        for worker in self._table.workers:
            worker.start()
        self._removals.begin()

    def adopt(self, deliveries: Sequence[Delivery]) -> set[str]:
        """Replace the Triggers by these. Raises Unavailable.

        Returns the keys of those that have to wait: an earlier Trigger of that name is still being removed.
        """
        workers = dict(self._table.by_key)
        for key in workers.keys() - {delivery.spec.key for delivery in deliveries}:
            self._remove(workers[key])
        for delivery in deliveries:
            worker = workers.get(delivery.spec.key)
            if worker is not None and worker.spec != delivery.spec:
                self._change(worker, delivery)
        new = [delivery for delivery in deliveries if delivery.spec.key not in workers]
        waiting = {delivery.spec.key for delivery in new} & self._removals.pending.keys()
        self._add([delivery for delivery in new if delivery.spec.key not in waiting])
        self._removals.begin()
        return waiting

    def _add(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        with self._runtime.store.read() as connection:
            retries = {
                delivery.spec.key: retry_table.of_trigger(connection, delivery.spec.key) for delivery in deliveries
            }
        self._runtime.store.write(partial(self._register, deliveries, retries))

    def _register(self, deliveries: Sequence[Delivery], retries: dict[str, list[Retry]], tx: Tx) -> None:
        """Write the rows, and add the workers from that commit on."""
        specs = [delivery.spec for delivery in deliveries]
        positions = [cursor_table.register(tx, spec.key, spec.broker_key, spec.spec) for spec in specs]
        tx.on_commit(partial(self._registered, deliveries, positions, retries))

    def _registered(
        self, deliveries: Sequence[Delivery], positions: Sequence[int], retries: dict[str, list[Retry]]
    ) -> None:
        workers = [
            TriggerWorker(
                self._runtime, self._end, delivery, position, retries[delivery.spec.key], self._append, self._progressed
            )
            for delivery, position in zip(deliveries, positions, strict=True)
        ]
        self._table.replace([*self._table.workers, *workers])
        for worker in workers if self._started else ():
            worker.start()

    def _change(self, worker: TriggerWorker, delivery: Delivery) -> None:
        spec = delivery.spec
        self._runtime.store.write(lambda tx: cursor_table.register(tx, spec.key, spec.broker_key, spec.spec))
        worker.change(delivery)
        self._table.replace(self._table.workers)

    def _remove(self, worker: TriggerWorker) -> None:
        def removed() -> None:
            self._removals.pending[worker.key] = worker
            self._table.replace([other for other in self._table.workers if other is not worker])

        def change(tx: Tx) -> None:
            worker.remove(tx)
            tx.on_commit(removed)

        try:
            self._runtime.store.write(change)
        except BaseException:
            if self._started:
                worker.start()  # it is still there, and its manifest may come back
            raise


def _mark_removed(triggers: Sequence[str], tx: Tx) -> None:
    for trigger in triggers:
        cursor_table.mark_removed(tx, trigger)
