"""The bounds of one broker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """The limits of a broker's parallel work, and of the time that it keeps settled events.

    Ages in seconds, sizes in bytes.
    """

    workers: int = 8  # deliveries of one Trigger at once, unless the Trigger says otherwise
    backlog_events: int = 2_000_000  # behind the slowest Trigger; with more, producers get 429
    backlog_bytes: int = 4 << 30
    keep_events: float = 7 * 86_400.0  # settled events
    keep_bytes: int = 1 << 30
    keep_dead_letters: float = 90 * 86_400.0
