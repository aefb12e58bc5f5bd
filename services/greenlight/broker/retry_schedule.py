"""The schedule of one Trigger's retries."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from greenlight.broker.threads import Timer

PACE = 0.02
"""Seconds between two retries of one Trigger that fall due together, or a thousand at once would take the others' time."""


class RetrySchedule:
    """Call `due` with each delivery when its time has come, one each PACE seconds.

    The fields are the timer thread's alone.
    """

    def __init__(self, timer: Timer, due: Callable[[int], None]) -> None:
        self._timer, self._due = timer, due
        self._waiting: deque[int] = deque()  # their time has come
        self._pacing = False

    def after(self, seconds: float, seq: int) -> None:
        """Have the delivery `seq` begin in `seconds`."""
        self._timer.after(max(seconds, 0.0), lambda: self._arrived(seq))

    def _arrived(self, seq: int) -> None:
        self._waiting.append(seq)
        if not self._pacing:
            self._pacing = True
            self._begin_next()

    def _begin_next(self) -> None:
        """Begin the retry that waits longest; the next follows PACE later, however late this one is."""
        if self._waiting:
            self._due(self._waiting.popleft())
            self._timer.after(PACE, self._begin_next)
        else:
            self._pacing = False
