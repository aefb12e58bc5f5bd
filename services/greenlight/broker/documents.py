"""Events and dead letters in JSON's types, as the HTTP API and the command line show them."""

from __future__ import annotations

import json
from typing import Any

from greenlight.broker.log import history
from greenlight.broker.log.dead_letters import DeadLetter
from greenlight.events import Event
from greenlight.events.http import to_structured

Document = dict[str, Any]


def event_document(event: Event) -> Document:
    """Return an event in CloudEvents' JSON format."""
    document: Document = json.loads(to_structured(event)[1])
    return document


def dead_letter_document(dead_letter: DeadLetter) -> Document:
    """Return a dead letter without its event's data."""
    event, unreadable = dead_letter.stored.event, dead_letter.stored.unreadable
    return {
        "id": dead_letter.id,
        "trigger": dead_letter.trigger,
        "broker": dead_letter.broker,
        "event": {"id": event.id, "type": event.type, "source": event.source},
        "unreadable": None if unreadable is None else unreadable.why,
        "at": history.timestamp(dead_letter.at),
        "attempts": dead_letter.attempts,
        "code": dead_letter.code,
        "why": dead_letter.why,
        "answer": dead_letter.answer.decode("utf-8", "replace"),
        "destination": dead_letter.destination,
        "sink": dead_letter.sink,
        "closed": dead_letter.closed,
    }
