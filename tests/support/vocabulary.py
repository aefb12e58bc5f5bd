"""The event types of Greenlight's own that are facts, and an event of any type as its service makes it."""

from __future__ import annotations

from greenlight.events import Event, types
from greenlight.events.build import as_fact

OUR_FACTS = (
    types.GATE_PASSED,
    types.GATE_FAILED,
    types.APPROVAL_GRANTED,
    types.APPROVAL_REVOKED,
    types.GATE_OVERRIDDEN,
    types.DEPLOYMENT_REQUESTED,
)

CONCLUDED = tuple(
    text
    for name, text in vars(types).items()
    if name.isupper() and isinstance(text, str) and text not in (*OUR_FACTS, types.FACT, types.PING)
)
"""What Greenlight's services conclude."""

NOT_FACTS = (*CONCLUDED, types.PING)


def made(type: str, id: str = "1", source: str = "/s") -> Event:
    """Make an event of this type: a fact's, unless Greenlight concludes it or it is a ping."""
    event = Event(id, source, type)
    return event if type in NOT_FACTS else as_fact(event)
