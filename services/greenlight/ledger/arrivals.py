"""The port of kept arrivals: a row of each process that answers webhooks, with the last ones. No handler reads them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from greenlight.ledger.rows_json import dumps
from greenlight.model.arrivals import ProcessArrivals

BYTES = 32_000
"""Bytes of one row as JSON, at most: what a process writes down is bounded, whatever is sent to it."""

MOST = 50
"""Rows that are read: those of the processes that wrote last."""


class ArrivalRows(Protocol):
    """A row for each process. Both methods may raise Unavailable."""

    def keep(self, row: ProcessArrivals, lasts: timedelta) -> None:
        """Store the row, for that long, in place of what its process wrote before. Raises ValueError over BYTES.

        Rows whose time is over may be removed with it.
        """
        ...

    def newest(self) -> Sequence[ProcessArrivals]:
        """Return the rows whose time is not over, the one that was written last first; MOST of them at most."""
        ...


def bounded(row: ProcessArrivals) -> str:
    """Return the row as JSON. Raises ValueError if it is larger than a row may be."""
    text = dumps(row)
    if len(text.encode()) > BYTES:
        raise ValueError(f"a row of arrivals has at most {BYTES} bytes")
    return text
