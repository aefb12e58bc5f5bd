"""The port of kept spans: details of the last days, beside the ledger. No handler reads or writes them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Protocol

MOST = 200
"""Parts of one trace that are read: the newest."""


class Spans(Protocol):
    """Parts of traces, as bytes. Both methods may raise Unavailable."""

    def keep(self, parts: Sequence[tuple[str, bytes]], lasts: timedelta) -> None:
        """Store parts (trace id, bytes), each for that long, and drop some of what has lasted longer or is too much.

        Some may be lost where the store has no capacity now.
        """
        ...

    def of(self, traces: Collection[str]) -> Sequence[bytes]:
        """Return the parts of these traces that are kept, in the order in which they came; at most MOST of each."""
        ...
