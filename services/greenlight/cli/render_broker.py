"""The output of commands about the broker: what happened to an event, a dead letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greenlight.cli.render import Word, document, line


def event(value: dict[str, Any]) -> None:
    """Print what happened to one event."""
    event = value["event"]
    line(f"{event['type']} {event['id']} from {event['source']}")
    line(f"  received {value['received']} by Broker {value['broker']}, number {value['seq']}")
    if value["only"]:
        line(f"  a replay for {value['only']} alone")
    if value["reply_to"]:
        answered = value["reply_to"]
        line(f"  a reply to {answered['id'] or answered['seq']}, by {answered['trigger']}")
    for trigger in value["triggers"]:
        line(f"  {trigger['trigger']}: ", *_outcome(trigger))
        failures(trigger["failures"], "    ")
        for reply in trigger["replies"]:
            line(f"    replied {reply['type']} {reply['id']}")


def _outcome(trigger: dict[str, Any]) -> list[str | Word]:
    more = f" {trigger['dead_letter']}" if trigger["dead_letter"] else ""
    if trigger["attempts"]:
        more += f", attempts: {trigger['attempts']}"
    if trigger["why"]:
        more += f": {trigger['why']}"
    return [Word(trigger["state"], _OUTCOMES.get(trigger["state"].partition(",")[0])), more]


_OUTCOMES = {"delivered": "green", "dead letter": "red", "tried again": "yellow", "on its way": "blue"}


def failures(found: Sequence[dict[str, Any]], margin: str) -> None:
    """Print the failed attempts, a line each."""
    for failure in found:
        place = " at the dead-letter sink" if failure["sink"] else ""
        line(f"{margin}attempt {failure['number']}{place} at {failure['at']}: {failure['why']}")


def dead_letter(value: dict[str, Any]) -> None:
    """Print one dead letter, with its event."""
    line(f"dead letter {value['id']} of {value['trigger']} since {value['at']}")
    line(
        f"  {value['why']} (code {value['code']}, after {value['attempts']} attempts at {value['destination'] or 'nobody'})"
    )
    failures(value["failures"], "  ")
    for name in ("answer", "unreadable", "sink", "closed"):
        if value.get(name):
            line(f"  {name}: {value[name]}")
    document(value["event"])
