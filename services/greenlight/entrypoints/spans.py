"""The tracer of a process that keeps spans."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial

from greenlight.ledger.spans import Spans
from greenlight.telemetry.keeping import Keeping
from greenlight.telemetry.tracing import Tracer


def keeping(
    spans: Spans, lasts: timedelta | None, log: logging.Logger, tracer: Tracer, *, delay: float | None = None
) -> Tracer:
    """Return a tracer that keeps spans for that long, and hands them on to `tracer`; None: `tracer` itself.

    `delay`: seconds between two writes; None: as long as on one machine.
    """
    return tracer if lasts is None else Keeping(partial(spans.keep, lasts=lasts), log, tracer, delay=delay)
