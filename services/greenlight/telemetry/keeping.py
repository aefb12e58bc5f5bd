"""Spans of the last days, kept beside the ledger: what is inside the spans of a waterfall, without a tracing backend.

The thread that traces only appends a text to a bounded queue. Another thread writes what has waited, all of it at once, at
most once in DELAY. So no handler waits for it, none of it is in a handler's transaction, and what is lost with a process, or
finds no room, is a detail: the waterfall is computed from the journals.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from greenlight.lib.later import Later
from greenlight.telemetry import metrics
from greenlight.telemetry.kept import count, packed, text_of
from greenlight.telemetry.tracing import INTERNAL, OFF, Recording, Scope, Tracer, Waterfall

SERVICES = frozenset({"webhooks", "board", "recorder", "promoter", "deployer"})
"""Whose scopes are kept. The broker's hops and what finds lost work tell nothing about a commit that is well."""

DELAY = 1.0
"""Seconds between two writes."""

QUEUE = 4096
"""Scopes that may wait; each has a handful of spans."""

TOGETHER = 32
"""Scopes of one trace that are one row, at most."""

_Ended = tuple[str, bytes, int]
"""A scope's trace, its text, and how many spans that is."""

Keep = Callable[[Sequence[tuple[str, bytes]]], None]
"""Writes (trace id, bytes) for a while. Raises if it cannot."""


class Keeping(Tracer):
    """Keep what ends, and hand it on to `beside`, which may export it."""

    def __init__(
        self,
        keep: Keep,
        log: logging.Logger,
        beside: Tracer = OFF,
        *,
        delay: float | None = None,
        queue: int = QUEUE,
    ) -> None:
        self._keep, self._log, self._beside = keep, log.getChild("spans"), beside
        self._limit = queue
        self._waiting: deque[_Ended] = deque()
        self._writing = threading.Lock()
        self._refused = False
        self._later = Later(self.flush, "spans", DELAY if delay is None else delay)

    def scope(self, service: str, name: str, kind: str = INTERNAL) -> Scope:
        if service not in SERVICES:
            return self._beside.scope(service, name, kind)
        return Recording(self.ended, service, name, kind)

    def ended(self, scope: Recording) -> None:
        self._beside.ended(scope)
        if scope.service == "deployer" and all(step.key is None for step in scope.steps):
            return
        if len(self._waiting) >= self._limit:
            metrics.SPANS.labels("lost").inc(count(scope))
            return
        try:
            self._waiting.append((scope.trace, text_of(scope), count(scope)))
        except Exception:
            self._log.exception("internal error; spans are lost")
        self._later.due()

    def touched(self, repo: str, sha: str) -> None:
        self._beside.touched(repo, sha)

    def instrument(self, app: Any) -> None:
        self._beside.instrument(app)

    def below(self, traceparent: str | None) -> str | None:
        return self._beside.below(traceparent)

    def start(self, waterfall: Waterfall | None) -> None:
        self._beside.start(waterfall)
        self._later.start()

    def stop(self, timeout: float) -> None:
        self._later.stop(timeout)
        self._beside.stop(timeout)

    def flush(self) -> None:
        """Write what has ended by now."""
        with self._writing:
            scopes = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if scopes:
                self._write(scopes)

    def _write(self, scopes: Sequence[_Ended]) -> None:
        spans = sum(count for _, _, count in scopes)
        try:
            self._keep(_parts(scopes))
        except Exception as problem:
            metrics.SPANS.labels("lost").inc(spans)
            if not self._refused:
                self._log.warning("spans cannot be kept; until they can, they are lost, and counted: %s", problem)
            self._refused = True
            return
        metrics.SPANS.labels("kept").inc(spans)
        if self._refused:
            self._log.warning("spans are kept again")
        self._refused = False


def _parts(scopes: Sequence[_Ended]) -> Sequence[tuple[str, bytes]]:
    by_trace: dict[str, list[bytes]] = {}
    for trace, text, _ in scopes:
        by_trace.setdefault(trace, []).append(text)
    found = []
    for trace, texts in by_trace.items():
        rest = iter(texts)
        while some := list(islice(rest, TOGETHER)):
            found.append((trace, packed(some)))
    return found
