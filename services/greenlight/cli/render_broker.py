"""What is printed of the broker: the story of an event, a dead letter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click


def story(value: dict[str, Any]) -> None:
    """What happened to one event."""
    event = value["event"]
    click.echo(f"{event['type']} {event['id']} from {event['source']}")
    click.echo(f"  received {value['received']} by Broker {value['broker']}, number {value['seq']}")
    if value["only"]:
        click.echo(f"  a replay for {value['only']} alone")
    if value["reply_to"]:
        answered = value["reply_to"]
        click.echo(f"  a reply to {answered['id'] or answered['seq']}, by {answered['trigger']}")
    for it in value["triggers"]:
        click.echo(f"  {it['trigger']}: {_outcome(it)}")
        failures(it["failures"], "    ")
        for reply in it["replies"]:
            click.echo(f"    replied {reply['type']} {reply['id']}")


def _outcome(told: dict[str, Any]) -> str:
    words = click.style(told["state"], fg=_OUTCOMES.get(told["state"].partition(",")[0]))
    if told["dead_letter"]:
        words += f" {told['dead_letter']}"
    if told["attempts"]:
        words += f", attempts: {told['attempts']}"
    return words + (f": {told['why']}" if told["why"] else "")


_OUTCOMES = {"delivered": "green", "dead letter": "red", "tried again": "yellow", "on its way": "blue"}


def failures(found: Sequence[dict[str, Any]], margin: str) -> None:
    """Attempts that failed, a line each."""
    for it in found:
        place = " at the dead-letter sink" if it["sink"] else ""
        click.echo(f"{margin}attempt {it['number']}{place} at {it['at']}: {it['why']}")


def dead_letter(value: dict[str, Any]) -> None:
    """One dead letter, with its event."""
    click.echo(f"dead letter {value['id']} of {value['trigger']} since {value['at']}")
    click.echo(
        f"  {value['why']} (code {value['code']}, after {value['attempts']} attempts at {value['destination'] or 'nobody'})"
    )
    failures(value["failures"], "  ")
    for name in ("answer", "sink", "closed"):
        if value[name]:
            click.echo(f"  {name}: {value[name]}")
    click.echo(json.dumps(value["event"], ensure_ascii=False, indent=2))
