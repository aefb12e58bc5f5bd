"""Pauses after failures: longer each time, and over with the first success."""

from __future__ import annotations

from datetime import datetime, timedelta

from greenlight.lib.clock import Clock

FIRST, LONGEST = timedelta(seconds=10), timedelta(minutes=10)
"""How long nothing is sent after a failure; each further one doubles it."""


class Pause:
    """The pause of one receiver. Its attributes are replaced whole, so threads need no lock."""

    def __init__(self, clock: Clock) -> None:
        """Begin without a pause."""
        self._clock = clock
        self._until: datetime | None = None
        self._failures = 0

    def until(self) -> datetime | None:
        """Return when the pause ends; None if there is none."""
        until = self._until
        return until if until is not None and self._clock.now() < until else None

    def failed(self) -> datetime:
        """Begin a pause after a failure; return its end."""
        pause = min(FIRST * 2 ** min(self._failures, 10), LONGEST)
        self._failures += 1
        end: datetime = self._clock.now() + pause
        self._until = end
        return end

    def pause_until(self, until: datetime) -> None:
        """Begin a pause that the receiver asks for."""
        self._until = until

    def over(self) -> None:
        """End it, after a success."""
        self._failures, self._until = 0, None
