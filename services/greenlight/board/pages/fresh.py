"""Results that are kept while nothing changes: an open page asks again every two seconds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from greenlight.service.deps import Deps

T = TypeVar("T")

KEPT = 512
"""Results that are kept; of more, the one that was asked for longest ago goes."""

PAUSE = 1.0
"""Seconds for which a page that is open shows what was read, even while the ledger changes all the time."""

UNSEEN = 2.0
"""Seconds for which it does so where it is not known whether the ledger changed."""


@dataclass(frozen=True, slots=True)
class _Result:
    value: Any
    changes: int | None  # of the ledger, before it was read
    pipeline: object
    at: float  # monotonic seconds
    until: float


class Fresh:
    """Keep results by key. Safe for threads: two that miss at once both read."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._lock = threading.Lock()
        self._results: OrderedDict[Hashable, _Result] = OrderedDict()

    def get(self, key: Hashable, read: Callable[[], T], *, lasts: Callable[[T], float], patient: bool = False) -> T:
        """Return what `read` returned, unless the ledger or the pipeline file has changed since, or its time is over.

        `lasts` says for how many seconds a result is true if nothing changes. `patient`: a result of the last PAUSE
        seconds will do in any case.
        """
        now, changes, pipeline = self._deps.clock.monotonic(), self._deps.ledger.changes(), self._deps.pipeline()
        with self._lock:
            known = self._results.get(key)
            if known is not None:
                self._results.move_to_end(key)
        if known is not None and now < known.until and known.pipeline is pipeline:
            if changes is None:
                current = patient and now - known.at < UNSEEN
            else:
                current = known.changes == changes or (patient and now - known.at < PAUSE)
            if current:
                value: T = known.value
                return value
        value = read()
        with self._lock:
            self._results[key] = _Result(value, changes, pipeline, now, now + lasts(value))
            self._results.move_to_end(key)
            while len(self._results) > KEPT:
                self._results.popitem(last=False)
        return value
