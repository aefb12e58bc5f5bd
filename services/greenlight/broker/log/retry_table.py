"""The tables broker_attempts, of deliveries that have a row beside the cursor, and broker_failures, of failed attempts."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from greenlight.store import Tx


@dataclass(frozen=True, slots=True)
class Retry:
    """A delivery with a row of its own: `tries` attempts failed, the next is at `next_at`, in seconds since 1970.

    `dead_letter`: the id of the dead letter that is sent to the dead-letter sink; None: the event goes to the subscriber.
    """

    seq: int
    dead_letter: int | None
    tries: int
    next_at: float

    def supersedes(self, other: Retry) -> bool:
        """Return whether this is as far as `other`, or farther."""
        return (self.dead_letter is not None, self.tries) >= (other.dead_letter is not None, other.tries)


def save(tx: Tx, trigger: str, retry: Retry) -> None:
    """Write a row. It never goes back to an earlier attempt."""
    tx.execute(
        "INSERT INTO broker_attempts (trigger, seq, letter, tries, next_at) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET letter = excluded.letter, tries = excluded.tries, next_at = excluded.next_at "
        "WHERE (excluded.letter IS NOT NULL, excluded.tries) >= (letter IS NOT NULL, tries)",
        (trigger, retry.seq, retry.dead_letter, retry.tries, retry.next_at),
    )


def delete(tx: Tx, trigger: str, seqs: Sequence[int]) -> None:
    """Delete the rows of deliveries that are settled."""
    tx.executemany("DELETE FROM broker_attempts WHERE trigger = ? AND seq = ?", [(trigger, seq) for seq in seqs])


def save_failure(tx: Tx, trigger: str, retry: Retry, at: float, code: int, why: str) -> None:
    """Write why an attempt failed; `retry.tries` counts it."""
    tx.execute(
        "INSERT OR REPLACE INTO broker_failures VALUES (?, ?, ?, ?, ?, ?, ?)",
        (retry.seq, trigger, retry.dead_letter or 0, retry.tries, at, code, why),
    )


def of_trigger(connection: sqlite3.Connection, trigger: str) -> list[Retry]:
    """Return the rows of one Trigger."""
    rows = connection.execute(
        "SELECT seq, CAST(letter AS INTEGER), CAST(tries AS INTEGER), CAST(next_at AS REAL) FROM broker_attempts"
        " WHERE trigger = ?",
        (trigger,),
    )
    return [Retry(*row) for row in rows]
