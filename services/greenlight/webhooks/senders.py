"""A sender's own trace: it becomes a link, because everything about a commit is in the commit's trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from greenlight.events.context import Context, parse
from greenlight.events.legacy import honeycomb_trace
from greenlight.model.rows import Fact


def contexts(headers: Mapping[str, str], fact: Fact) -> Sequence[Context]:
    """Return the places in the sender's own traces: from the header, and the attribute; 2019's forms of both."""
    found = (
        parse(headers.get("traceparent")),
        _honeycomb(headers.get("x-honeycomb-trace")),
        parse(fact.details.get("traceparent")),
        _honeycomb(fact.event.extensions.get("honeycombtrace")),
    )
    return list(dict.fromkeys(context for context in found if context is not None))


def _honeycomb(text: object) -> Context | None:
    named = honeycomb_trace(text) if isinstance(text, str) else None
    return parse(Context(*named).traceparent) if named else None
