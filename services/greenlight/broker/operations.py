"""What operators ask of a broker and do with it: its Triggers, the story of an event, dead letters.

Whatever is given back is made of JSON's types: the command line and the HTTP API show it as it is.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from greenlight.broker import history, letters, log
from greenlight.broker.dispatcher import Dispatcher
from greenlight.broker.filters import why_not
from greenlight.broker.history import Received
from greenlight.broker.lane import Lane
from greenlight.broker.letters import FILTERS, DeadLetter
from greenlight.broker.log import ERRORS, MAX_TTL, Entry, Standing
from greenlight.events import Event
from greenlight.events.http import to_structured
from greenlight.lib.errors import Rejected
from greenlight.store import Store, Tx

AT_ONCE = 200
"""Dead letters that are replayed or discarded in one commit."""

STORIES = 20
"""Events of one id that are told of, newest first: an id is unique per source only, and may have been sent again."""

_log = logging.getLogger("greenlight.broker")

Document = dict[str, Any]

Discards = Callable[[Event], str | None]
"""Who discards a dead letter with this event, if that is known; raises where they may not."""


def nobody(event: Event) -> None:
    """Discards where people are not known: on the port that is for this machine alone."""


Deal = Callable[[Tx, int], None]
"""What is done with one dead letter inside a transaction. Raises LookupError if it is not open."""


class Operations:
    """The broker, as an operator sees it. Reads raise Unavailable (of the store), as writes do."""

    def __init__(self, store: Store, dispatcher: Dispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher

    # Triggers.

    def triggers(self) -> list[Document]:
        """How far each Trigger is; `oldest` is the age in seconds of the oldest event that it has not settled."""
        lanes = {lane.spec.key: lane for lane in self._dispatcher.lanes}
        now = self._dispatcher.clock.now().timestamp()
        with self._store.read() as connection:
            open = letters.count_open(connection)
            return [
                _standing(connection, standing, lanes.get(standing.trigger), open.get(standing.trigger, 0), now)
                for standing in log.standings(connection)
            ]

    def sizes(self) -> dict[str, int]:
        """Bytes of the events that are kept, and of those that some Trigger has not settled."""
        floor = self._dispatcher.floor()
        with self._store.read() as connection:
            return {"log": log.held(connection, 0), "backlog": log.held(connection, floor)}

    # The story of an event.

    def events(self, id: str) -> list[Document]:
        """What happened to the events with this id, newest first: who wanted them and who did not, attempts, replies."""
        lanes = {lane.spec.key: lane for lane in self._dispatcher.lanes}
        with self._store.read() as connection:
            connection.execute("BEGIN")  # one state of the log for the whole story
            found = history.by_id(connection, id, STORIES)
            return [_story(connection, it, lanes) for it in found]

    # Dead letters.

    def dead_letters(
        self, *, where: Mapping[str, str] | None = None, after: int = 0, limit: int = 100
    ) -> list[Document]:
        """What no attempt could deliver and nobody has dealt with, oldest first, with ids over `after`.

        `where`: only those with these values of `letters.FILTERS`. Raises Rejected for a name that is not there.
        """
        with self._store.read() as connection:
            return [_letter(it) for it in letters.find(connection, after, limit, _known(where or {}))]

    def dead_letter(self, id: int) -> Document:
        """One dead letter, open or not, with its event's data and every failed attempt. Raises LookupError."""
        with self._store.read() as connection:
            found = letters.get(connection, id)
            if found is None:
                raise LookupError(f"there is no dead letter {id}")
            failures = history.failures(connection, found.seq)
            return {**_letter(found), "event": _event(found.entry.event), "failures": failures.get(found.trigger, [])}

    def replay(self, id: int) -> None:
        """Deliver a dead letter again, to its Trigger alone, with the event's own id. Raises LookupError."""
        self._store.write(lambda tx: self._replay(tx, id))

    def replay_where(self, where: Mapping[str, str]) -> int:
        """The same with every open one that `where` chooses, oldest first, until there are none. Returns how many.

        What cannot be read stays where it is. Raises Rejected, for a Trigger that is not there any more too; those before
        it are on their way then.
        """
        return self._each(where, self._replay, readable=True)

    def discard(self, id: int, reason: str, who: Discards = nobody) -> None:
        """Take a dead letter away for good; who did, and why, is kept with it. Raises LookupError, and what `who` does."""
        self._store.write(lambda tx: self._discard(tx, id, reason, who))

    def discard_where(self, where: Mapping[str, str], reason: str, who: Discards = nobody) -> int:
        """The same with every open one that `where` chooses. Returns how many. Raises Rejected, and what `who` does.

        Where it refuses one, those of its commit and after it stay.
        """
        return self._each(where, lambda tx, id: self._discard(tx, id, reason, who))

    def _each(self, where: Mapping[str, str], do: Deal, *, readable: bool = False) -> int:
        """In commits of AT_ONCE. Those that die again meanwhile are new ones, and are left for the next time.

        `readable`: only those whose event can be read.
        """
        known = _known(where)
        done = after = 0
        with self._store.read() as connection:
            newest = letters.newest(connection)
        while after < newest:
            with self._store.read() as connection:
                found = [it for it in letters.find(connection, after, AT_ONCE, known) if it.id <= newest]
            if not found:
                break
            ids = [it.id for it in found if it.entry.unread is None or not readable]
            done += self._store.write(lambda tx, ids=ids: sum(_done(do, tx, id) for id in ids))  # type: ignore[misc]
            after = found[-1].id
        return done

    def _replay(self, tx: Tx, id: int) -> None:
        letter = _closed(tx, id, "replayed")
        if all(lane.spec.key != letter.trigger for lane in self._dispatcher.lanes):
            raise Rejected(
                f"the Trigger {letter.trigger} of dead letter {id} is not here any more: bring its manifest back, or "
                "discard the letter"
            )
        if letter.entry.unread is not None:
            raise Rejected(
                f"the event of dead letter {id} cannot be read ({letter.entry.unread.why}): mend its row in "
                "broker_dead_letters as docs/operations.md says, or discard the letter"
            )
        entry = Entry(log.without(letter.entry.event, ERRORS), MAX_TTL, letter.entry.headers)
        self._dispatcher.append(tx, letter.broker, self._dispatcher.arrived(entry), only=letter.trigger)

    def _discard(self, tx: Tx, id: int, reason: str, who: Discards) -> None:
        event = _open(tx, id).entry.event
        person = who(event)
        how = f"discarded: {reason}" if person is None else f"discarded by {person}: {reason}"
        letter = _closed(tx, id, how)
        text = f"dead letter {id} ({letter.trigger}, event {event.id}) was {how}"
        tx.on_commit(lambda: _log.warning("%s", text))


def _known(where: Mapping[str, str]) -> Mapping[str, str]:
    for name in where:
        if name not in FILTERS:
            raise Rejected(f"dead letters cannot be chosen by {name!r}; they can by {', '.join(FILTERS)}")
    return where


def _open(tx: Tx, id: int) -> DeadLetter:
    found = letters.get(tx, id)
    if found is None or found.closed is not None:
        raise LookupError(f"there is no open dead letter {id}")
    return found


def _closed(tx: Tx, id: int, closed: str) -> DeadLetter:
    found = letters.close(tx, id, closed)
    if found is None:
        raise LookupError(f"there is no open dead letter {id}")
    return found


def _done(do: Deal, tx: Tx, id: int) -> bool:
    """Whether it was done; a letter that somebody else dealt with meanwhile is none of ours."""
    try:
        do(tx, id)
    except LookupError:
        return False
    return True


# In JSON's types.


def _standing(connection: sqlite3.Connection, standing: Standing, lane: Lane | None, dead: int, now: float) -> Document:
    cursor = standing.seq if lane is None else lane.progress.cursor()
    counts = {"lag": (standing.gone or cursor) - cursor, "in_flight": 0, "retrying": 0}
    counts = counts if lane is None else lane.progress.counts()
    oldest = log.received(connection, cursor) if counts["lag"] else None
    return {
        "trigger": standing.trigger,
        "broker": standing.broker,
        "subscriber": None if lane is None else lane.courier.subscriber.url,
        "leaving": lane is None,
        **counts,
        "oldest": None if oldest is None else round(max(now - oldest, 0.0), 3),
        "dead_letters": dead,
    }


def _story(connection: sqlite3.Connection, received: Received, lanes: Mapping[str, Lane]) -> Document:
    failures, replies = history.failures(connection, received.seq), history.replies(connection, received.seq)
    dead = {it.trigger: it for it in letters.of_event(connection, received.seq)}
    standings = [it for it in log.standings(connection) if it.broker == received.broker]
    known = {it.trigger for it in standings}
    told = [
        _told(received, it, lanes.get(it.trigger), failures.get(it.trigger, []), dead.get(it.trigger))
        for it in standings
    ]
    told += [_buried(it, failures.get(it.trigger, [])) for it in dead.values() if it.trigger not in known]
    return {
        "seq": received.seq,
        "broker": received.broker,
        "received": history.when(received.at),
        "hops_left": received.entry.ttl,
        "event": _event(received.entry.event),
        "only": received.only,
        "reply_to": received.reply_to,
        "triggers": [{**it, "replies": replies.get(it["trigger"], [])} for it in told],
    }


def _told(
    received: Received, standing: Standing, lane: Lane | None, failures: Sequence[Document], dead: DeadLetter | None
) -> Document:
    """What one Trigger did with it."""
    if dead is not None:
        return _buried(dead, failures)
    told: Document = {"trigger": standing.trigger, "failures": list(failures), "dead_letter": None, "why": None}
    reason = _unwanted(received, standing)
    if reason is not None:
        return {**told, "state": "not wanted", "attempts": 0, "why": reason}
    where = "owed" if lane is None else lane.progress.where(received.seq)
    if where is None:
        return {**told, "state": "delivered", "attempts": len(failures) + 1}
    return {**told, "state": where, "attempts": len(failures)}


def _unwanted(received: Received, standing: Standing) -> str | None:
    if received.only is not None:
        return None if received.only == standing.trigger else f"it is a replay for {received.only} alone"
    if received.seq <= standing.since:
        return "it came before the Trigger did"
    if standing.gone is not None and received.seq > standing.gone:
        return "it came after the Trigger was taken away"
    return why_not(standing.spec, received.entry.event)


def _buried(letter: DeadLetter, failures: Iterable[Document]) -> Document:
    return {
        "trigger": letter.trigger,
        "state": "dead letter" if letter.closed is None else f"dead letter, {letter.closed}",
        "attempts": letter.attempts,
        "why": letter.why,
        "failures": list(failures),
        "dead_letter": letter.id,
    }


def _letter(letter: DeadLetter) -> Document:
    event = letter.entry.event
    return {
        "id": letter.id,
        "trigger": letter.trigger,
        "broker": letter.broker,
        "event": {"id": event.id, "type": event.type, "source": event.source},
        "unreadable": None if letter.entry.unread is None else letter.entry.unread.why,
        "at": history.when(letter.at),
        "attempts": letter.attempts,
        "code": letter.code,
        "why": letter.why,
        "answer": letter.answer.decode("utf-8", "replace"),
        "destination": letter.destination,
        "sink": letter.sink,
        "closed": letter.closed,
    }


def _event(event: Event) -> Document:
    """In CloudEvents' JSON format."""
    document: Document = json.loads(to_structured(event)[1])
    return document
