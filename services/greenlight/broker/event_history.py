"""Report of what happened to one event, for operators: Triggers that wanted it or not, attempts, replies, dead letters."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from greenlight.broker.documents import Document, event_document
from greenlight.broker.filter_reasons import why_not
from greenlight.broker.log import cursor_table, dead_letters, history
from greenlight.broker.log.cursor_table import CursorRow
from greenlight.broker.log.dead_letters import DeadLetter
from greenlight.broker.log.history import Received
from greenlight.broker.worker import TriggerWorker


def event_history(connection: sqlite3.Connection, received: Received, workers: Mapping[str, TriggerWorker]) -> Document:
    """Return what happened to one event; `workers` by the key of their Trigger."""
    failures, replies = history.failures(connection, received.seq), history.replies(connection, received.seq)
    dead = {dead_letter.trigger: dead_letter for dead_letter in dead_letters.of_event(connection, received.seq)}
    rows = [row for row in cursor_table.rows(connection) if row.broker == received.broker]
    known = {row.trigger for row in rows}
    triggers = [
        _at_trigger(received, row, workers.get(row.trigger), failures.get(row.trigger, []), dead.get(row.trigger))
        for row in rows
    ]
    triggers += [
        _as_dead_letter(dead_letter, failures.get(dead_letter.trigger, []))
        for dead_letter in dead.values()
        if dead_letter.trigger not in known
    ]
    return {
        "seq": received.seq,
        "broker": received.broker,
        "received": history.timestamp(received.at),
        "hops_left": received.stored.ttl,
        "event": event_document(received.stored.event),
        "only": received.only,
        "reply_to": received.reply_to,
        "triggers": [{**trigger, "replies": replies.get(trigger["trigger"], [])} for trigger in triggers],
    }


def _at_trigger(
    received: Received,
    row: CursorRow,
    worker: TriggerWorker | None,
    failures: Sequence[Document],
    dead_letter: DeadLetter | None,
) -> Document:
    """Return what happened to the event at one Trigger; `worker` None: the Trigger was removed."""
    if dead_letter is not None:
        return _as_dead_letter(dead_letter, failures)
    document: Document = {"trigger": row.trigger, "failures": list(failures), "dead_letter": None, "why": None}
    reason = _why_not_wanted(received, row)
    if reason is not None:
        return {**document, "state": "not wanted", "attempts": 0, "why": reason}
    if row.trigger in received.handled:
        return {**document, "state": "delivered", "attempts": 1}
    state = "owed" if worker is None else worker.queue.state(received.seq)
    if state is None:
        return {**document, "state": "delivered", "attempts": len(failures) + 1}
    return {**document, "state": state, "attempts": len(failures)}


def _why_not_wanted(received: Received, row: CursorRow) -> str | None:
    if received.only is not None:
        return None if received.only == row.trigger else f"it is a replay for {received.only} alone"
    if received.seq <= row.since:
        return "it came before the Trigger did"
    if row.gone is not None and received.seq > row.gone:
        return "it came after the Trigger was removed"
    return why_not(row.spec, received.stored.event)


def _as_dead_letter(dead_letter: DeadLetter, failures: Iterable[Document]) -> Document:
    return {
        "trigger": dead_letter.trigger,
        "state": "dead letter" if dead_letter.closed is None else f"dead letter, {dead_letter.closed}",
        "attempts": dead_letter.attempts,
        "why": dead_letter.why,
        "failures": list(failures),
        "dead_letter": dead_letter.id,
    }
