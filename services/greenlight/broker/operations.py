"""Actions of operators on a broker: look at its Triggers and at what happened to an event, replay and discard dead letters.

Everything returned is made of JSON's types: the command line and the HTTP API show it as it is.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from greenlight.broker.documents import Document, dead_letter_document, event_document
from greenlight.broker.engine import Engine
from greenlight.broker.event_history import event_history
from greenlight.broker.log import cursor_table, dead_letters, event_table, history
from greenlight.broker.log.cursor_table import CursorRow
from greenlight.broker.log.dead_letters import FILTERS, DeadLetter
from greenlight.broker.log.stored_event import ERRORS, MAX_TTL, StoredEvent, prepare, without
from greenlight.broker.worker import TriggerWorker
from greenlight.events import Event
from greenlight.lib.errors import Rejected
from greenlight.store import Store, Tx

AT_ONCE = 200
"""Dead letters that are replayed or discarded in one commit."""

MOST_EVENTS = 20
"""Events of one id that are shown, newest first: an id is unique per source only, and may have been sent again."""

_log = logging.getLogger("greenlight.broker")

Discards = Callable[[Event], str | None]
"""Returns who discards a dead letter with this event, if that is known; raises where that person may not."""


def anonymous(event: Event) -> None:
    """Return no person: on the port that is for this machine alone, people are not known."""


Step = Callable[[Tx, int], None]
"""Replays or discards one dead letter inside a transaction. Raises LookupError if it is not open."""


class Operations:
    """Carry out operators' actions. Reads raise Unavailable (of the store), as writes do."""

    def __init__(self, store: Store, engine: Engine) -> None:
        self._store, self._engine = store, engine

    # Triggers.

    def triggers(self) -> list[Document]:
        """Return each Trigger's position.

        `oldest` is the age in seconds of the oldest event that it has not settled.
        """
        workers, now = self._engine.table.by_key, self._engine.runtime.now()
        with self._store.read() as connection:
            open = dead_letters.count_open(connection)
            return [
                _trigger_document(connection, row, workers.get(row.trigger), open.get(row.trigger, 0), now)
                for row in cursor_table.rows(connection)
            ]

    def sizes(self) -> dict[str, int]:
        """Return the bytes of the events in the log, and of those that some Trigger has not settled."""
        floor = self._engine.backlog.floor()
        with self._store.read() as connection:
            return {
                "log": event_table.bytes_after(connection, 0),
                "backlog": event_table.bytes_after(connection, floor),
            }

    def events(self, id: str) -> list[Document]:
        """Return what happened to each event with this id, newest first."""
        workers = self._engine.table.by_key
        with self._store.read() as connection:
            connection.execute("BEGIN")  # one state of the log for all of it
            found = history.by_id(connection, id, MOST_EVENTS)
            return [event_history(connection, received, workers) for received in found]

    # Dead letters.

    def dead_letters(
        self, *, where: Mapping[str, str] | None = None, after: int = 0, limit: int = 100
    ) -> list[Document]:
        """Return the open dead letters with ids over `after`, oldest first.

        `where`: only those with these values of `dead_letters.FILTERS`. Raises Rejected for a name that is not there.
        """
        with self._store.read() as connection:
            found = dead_letters.find(connection, after, limit, _checked(where or {}))
        return [dead_letter_document(dead_letter) for dead_letter in found]

    def dead_letter(self, id: int) -> Document:
        """Return one dead letter, open or not, with its event's data and every failed attempt. Raises LookupError."""
        with self._store.read() as connection:
            found = dead_letters.get(connection, id)
            if found is None:
                raise LookupError(f"there is no dead letter {id}")
            failures = history.failures(connection, found.seq).get(found.trigger, [])
        return {**dead_letter_document(found), "event": event_document(found.stored.event), "failures": failures}

    def replay(self, id: int) -> None:
        """Deliver a dead letter again, to its Trigger alone, with the event's own id. Raises LookupError or Rejected."""
        self._store.write(lambda tx: self._replay(tx, id))

    def replay_where(self, where: Mapping[str, str]) -> int:
        """Replay every open dead letter that `where` selects, oldest first. Returns how many.

        What cannot be read stays where it is. Raises Rejected, for a Trigger that was removed too; those before it are being
        delivered then.
        """
        return self._each(where, self._replay, readable=True)

    def discard(self, id: int, reason: str, who: Discards = anonymous) -> None:
        """Close a dead letter for good; the person and the reason are stored with it.

        Raises LookupError, and what `who` does.
        """
        self._store.write(lambda tx: self._discard(tx, id, reason, who))

    def discard_where(self, where: Mapping[str, str], reason: str, who: Discards = anonymous) -> int:
        """Discard every open dead letter that `where` selects. Returns how many. Raises Rejected, and what `who` does.

        Where that refuses one, those of its commit and after it stay.
        """
        return self._each(where, lambda tx, id: self._discard(tx, id, reason, who))

    def _each(self, where: Mapping[str, str], step: Step, *, readable: bool = False) -> int:
        """Take the step for each dead letter, in commits of AT_ONCE. Those that are added meanwhile are not among them.

        `readable`: only for those whose event can be read.
        """
        known = _checked(where)
        done = after = 0
        with self._store.read() as connection:
            newest = dead_letters.newest_id(connection)
        while after < newest:
            with self._store.read() as connection:
                found = [
                    dead_letter
                    for dead_letter in dead_letters.find(connection, after, AT_ONCE, known)
                    if dead_letter.id <= newest
                ]
            if not found:
                break
            ids = [dead_letter.id for dead_letter in found if dead_letter.stored.unreadable is None or not readable]
            done += self._store.write(partial(_take, step, ids))
            after = found[-1].id
        return done

    def _replay(self, tx: Tx, id: int) -> None:
        dead_letter = _close(tx, id, "replayed")
        if dead_letter.trigger not in self._engine.table.by_key:
            raise Rejected(
                f"the Trigger {dead_letter.trigger} of dead letter {id} no longer exists: restore its manifest, or "
                "discard the letter"
            )
        stored = dead_letter.stored
        if stored.unreadable is not None:
            raise Rejected(
                f"the event of dead letter {id} cannot be read ({stored.unreadable.why}): repair its row in "
                "broker_dead_letters as docs/operations.md says, or discard the letter"
            )
        again = StoredEvent(without(stored.event, ERRORS), MAX_TTL, stored.headers)
        prepared = prepare(again, self._engine.runtime.clock)
        self._engine.append(tx, dead_letter.broker, prepared, only=dead_letter.trigger)

    def _discard(self, tx: Tx, id: int, reason: str, who: Discards) -> None:
        event = _open(tx, id).stored.event
        person = who(event)
        how = f"discarded: {reason}" if person is None else f"discarded by {person}: {reason}"
        dead_letter = _close(tx, id, how)
        text = f"dead letter {id} ({dead_letter.trigger}, event {event.id}) was {how}"
        tx.on_commit(lambda: _log.warning("%s", text))


def _checked(where: Mapping[str, str]) -> Mapping[str, str]:
    for name in where:
        if name not in FILTERS:
            raise Rejected(f"dead letters cannot be chosen by {name!r}; they can by {', '.join(FILTERS)}")
    return where


def _open(tx: Tx, id: int) -> DeadLetter:
    found = dead_letters.get(tx, id)
    if found is None or found.closed is not None:
        raise LookupError(f"there is no open dead letter {id}")
    return found


def _close(tx: Tx, id: int, closed: str) -> DeadLetter:
    found = dead_letters.close(tx, id, closed)
    if found is None:
        raise LookupError(f"there is no open dead letter {id}")
    return found


def _take(step: Step, ids: Sequence[int], tx: Tx) -> int:
    """Take the step for each of `ids`; return for how many: others may have been closed meanwhile."""
    return sum(_taken(step, tx, id) for id in ids)


def _taken(step: Step, tx: Tx, id: int) -> bool:
    try:
        step(tx, id)
    except LookupError:
        return False
    return True


def _trigger_document(
    connection: sqlite3.Connection, row: CursorRow, worker: TriggerWorker | None, dead: int, now: float
) -> Document:
    """Return the position of a Trigger; `worker` None: it was removed, and something is pending for it."""
    cursor = row.seq if worker is None else worker.queue.cursor()
    counts = {"lag": (row.gone or cursor) - cursor, "in_flight": 0, "retrying": 0}
    counts = counts if worker is None else worker.queue.counts()
    oldest = event_table.time_after(connection, cursor) if counts["lag"] else None
    return {
        "trigger": row.trigger,
        "broker": row.broker,
        "subscriber": None if worker is None else worker.delivery.subscriber.url,
        "leaving": worker is None,
        **counts,
        "oldest": None if oldest is None else round(max(now - oldest, 0.0), 3),
        "dead_letters": dead,
    }
