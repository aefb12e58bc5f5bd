"""A Trigger goes away: what it is still owed becomes dead letters, to be inspected, replayed or discarded by a person.

The rows in the log say everything: which deliveries are not over, and up to where the rest of the log was looked at. Each
step is one commit, so that a crash anywhere goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from greenlight.broker import letters, log
from greenlight.broker.delivery import NO_ANSWER
from greenlight.broker.filters import FilterError, Predicate, compile_filters, everything
from greenlight.broker.letters import DeadLetter
from greenlight.broker.log import Attempt, Entry, Standing
from greenlight.store import Store, Tx

WHY = "its Trigger was taken away before it was delivered"

_log = logging.getLogger("greenlight.broker")


def depart(store: Store, standing: Standing, now: Callable[[], float]) -> int:
    """Make dead letters of everything that the Trigger `standing` is owed, then forget the Trigger. Returns how many.

    Nothing of it may be on its way any more. Raises Unavailable; what was done until then is done.
    """
    wants = _predicate(standing)
    with store.read() as connection:
        attempts = log.attempts(connection, standing.trigger)
    known = {attempt.seq for attempt in attempts}
    buried = sum(_bury_attempt(store, standing, attempt, now()) for attempt in attempts)
    after, end = standing.seq, standing.gone or standing.seq
    while after < end:
        with store.read() as connection:
            found, until = log.page(connection, standing.broker, standing.trigger, after, end)
        owed = [(seq, entry) for seq, only, entry in found if seq not in known and (only or wants(entry.event))]
        store.write(_burial(standing, owed, until, now()))
        buried += len(owed)
        after = until
    store.write(lambda tx: log.unregister(tx, standing.trigger))
    if buried:
        _log.warning("Trigger %s is gone; %d events that it was owed are dead letters now", standing.trigger, buried)
    return buried


def _predicate(standing: Standing) -> Predicate:
    try:
        return compile_filters(standing.spec)
    except FilterError:  # an older version read it otherwise; too many are better than too few
        return everything


def _bury_attempt(store: Store, standing: Standing, attempt: Attempt, at: float) -> int:
    """One delivery that was not over. A dead letter on its way to the sink stays what it is."""
    with store.read() as connection:
        entry = log.entry(connection, attempt.seq)

    def change(tx: Tx) -> None:
        if attempt.letter is not None:
            letters.tell(tx, attempt.letter, "never delivered: the Trigger was taken away")
        elif entry is not None:
            letters.bury(tx, _letter(standing, attempt.seq, entry, attempt.tries, at))
        log.forget(tx, standing.trigger, [attempt.seq])

    store.write(change)
    return int(attempt.letter is None and entry is not None)


def _burial(standing: Standing, owed: list[tuple[int, Entry]], until: int, at: float) -> Callable[[Tx], None]:
    def change(tx: Tx) -> None:
        for seq, entry in owed:
            letters.bury(tx, _letter(standing, seq, entry, 0, at))
        log.move(tx, standing.trigger, until)

    return change


def _letter(standing: Standing, seq: int, entry: Entry, attempts: int, at: float) -> DeadLetter:
    return DeadLetter(0, standing.trigger, standing.broker, seq, entry, attempts, NO_ANSWER, b"", WHY, "", at)
