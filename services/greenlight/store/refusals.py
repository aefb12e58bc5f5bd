"""Messages of the log about writes that are refused, by a full disk for example."""

from __future__ import annotations

import logging
import time

from greenlight.lib.errors import Unavailable

CALM = 10.0
"""Seconds without a refusal after which writing works again. On a full disk, a small change goes in now and then."""

_log = logging.getLogger("greenlight.store")


class Refusals:
    """Log once that writing is refused, and once that it works again, whoever writes meanwhile."""

    def __init__(self) -> None:
        self._last: float | None = None  # when a write was refused, while the log says so

    def add(self, problem: BaseException) -> None:
        """Note what kept a write from the disk."""
        if isinstance(problem, Unavailable):
            if self._last is None:
                _log.error("writing is refused until this is mended: %s", problem)
            self._last = time.monotonic()

    def written(self, path: object) -> None:
        """Note a write that succeeded."""
        if self._last is not None and time.monotonic() - self._last >= CALM:
            self._last = None
            _log.warning("%s can be written again", path)
