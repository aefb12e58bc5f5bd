"""The trace of a commit, as the API, the command line and its page show it."""

from __future__ import annotations

from typing import Any

from greenlight.board import details, waterfall
from greenlight.board.usual import Usual, compare
from greenlight.events import ids
from greenlight.lib.errors import Unavailable
from greenlight.model.rows import Record
from greenlight.service.deps import Deps
from greenlight.telemetry.kept import unpacked

TRACES = 20
"""Traces of one commit whose kept spans are read: its own, and those of its newest retries and rollbacks."""


def trace_of(record: Record, deps: Deps, usual: Usual) -> dict[str, Any]:
    """Return a commit's trace id and spans: those of the journals, what was kept below them, and what is usual."""
    frame = waterfall.spans(record.repo, record.sha, deps.ledger.entries(record.repo, record.sha))
    own = ids.trace_id(record.repo, record.sha)
    others = [span["attributes"]["trace_id"] for span in frame if "trace_id" in span["attributes"]]
    traces = [own, *list(dict.fromkeys(reversed(others)))[: TRACES - 1]]
    try:
        kept = [span for body in deps.ledger.spans.of(traces) for span in unpacked(body)]
    except Unavailable:  # they are details: the journals have been read
        kept = []
    spans = details.merged(frame, kept)
    details.mark_critical(spans)
    compare(spans, usual.of(deps.pipeline().of(record.repo)))
    return {"trace_id": own, "spans": spans}
