"""The commands broker (the embedded broker alone, and its state) and dead-letters (events that were not delivered)."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click

from greenlight.cli import render, render_broker
from greenlight.cli.arguments import as_json
from greenlight.cli.client import NO, Client, Failure

_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Size(click.ParamType[int]):
    """A size in bytes, or K, M, G of them."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+)([KMG]?)", str(value))
        if match is None:
            self.fail(f"{value!r} is not a size such as 500M or 2G", param, ctx)
        return int(match[1]) * _SIZES[match[2]]


class Days(click.ParamType[float]):
    """An age in days; seconds inside."""

    name = "days"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)d?", str(value))
        if match is None:
            self.fail(f"{value!r} is not a number of days such as 7d", param, ctx)
        return float(match[1]) * 86_400


@click.group(invoke_without_command=True)
@click.option("--manifests", type=click.Path(path_type=Path), help="Folder with Broker and Trigger YAML.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder that this process owns.")
@click.option(
    "--listen", default="127.0.0.1:8080", show_default=True, help="The address for events and for the operators' API."
)
@click.option(
    "--service",
    "services",
    metavar="NAME=URL",
    multiple=True,
    help="The address of the Knative Service NAME (or NAMESPACE/NAME); may be repeated.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1000),
    default=8,
    show_default=True,
    help="Deliveries of one Trigger at the same time.",
)
@click.option(
    "--keep-age", type=Days(), default="7d", show_default=True, help="The time for which settled events are kept."
)
@click.option(
    "--keep-size", type=Size(), default="1G", show_default=True, help="The bytes of settled events that are kept."
)
@click.option(
    "--backlog-events",
    type=click.IntRange(1),
    default=2_000_000,
    show_default=True,
    help="Events that some Trigger has not settled; beyond, producers get 429.",
)
@click.option(
    "--backlog-size",
    type=Size(),
    default="4G",
    show_default=True,
    help="The bytes of events that some Trigger has not settled; beyond, producers get 429.",
)
def broker(manifests: Path | None, data: Path | None, services: tuple[str, ...], **rest: Any) -> None:
    """Run the embedded broker alone: every Broker and Trigger in the YAML of a folder, durable, until SIGTERM or Ctrl-C.

    Events come in by POST to /NAMESPACE/BROKER. Changes of the YAML are taken up at once. The subcommands ask a running broker,
    or a running `greenlight up`, at GREENLIGHT_URL.

    Example: greenlight broker --manifests knative --data .broker
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    if manifests is None or data is None:
        raise click.UsageError("name the folder with the YAML and the folder for events: --manifests DIR --data DIR")
    from greenlight.entrypoints.broker import BrokerOptions, run

    sys.exit(run(BrokerOptions.of(manifests, data, services=_services(services), **rest)))


def _services(pairs: tuple[str, ...]) -> dict[str, str]:
    known = {}
    for pair in pairs:
        name, equals, url = pair.partition("=")
        if not (name and equals and re.match(r"https?://.", url)):
            raise click.UsageError(f"--service {pair}: write it as NAME=http://HOST:PORT")
        known[name] = url
    return known


@broker.group()
def events() -> None:
    """Look at events."""


@events.command()
@click.argument("id")
@as_json
def show(id: str, as_json: bool) -> None:
    """Show what happened to the event with this ID: Triggers that wanted it or not, attempts, replies.

    Exit 1 if the log has no such event (any more).

    Example: greenlight broker events show 6f1d2c
    """
    found = Client().get("/events", id=id)
    if as_json:
        render.document(found)
    else:
        for event in found["events"]:
            render_broker.event(event)
    if not found["events"]:
        raise Failure(f"the log has no event {id!r}: it never arrived, or it was settled and has expired", NO)


@broker.command()
@as_json
def triggers(as_json: bool) -> None:
    """List Triggers, with their lag and dead letters.

    Example: greenlight broker triggers
    """
    found = Client().get("/triggers")
    if as_json:
        render.document(found)
        return
    rows = [
        (
            trigger["trigger"],
            "leaving" if trigger["leaving"] else str(trigger["subscriber"]),
            *(str(trigger[name]) for name in _COUNTS),
        )
        for trigger in found["triggers"]
    ]
    render.table(("trigger", "subscriber", *(name.replace("_", " ") for name in _COUNTS)), rows)


_COUNTS = ("lag", "in_flight", "retrying", "dead_letters")


@click.group("dead-letters")
def dead_letters() -> None:
    """List, replay and discard events that no attempt could deliver."""


_choice = [
    click.option("--trigger", help="Only dead letters of this Trigger, NAMESPACE/NAME."),
    click.option("--event", help="Only dead letters of the event with this id."),
    click.option("--type", "type_", help="Only dead letters of events of this type."),
    click.option("--source", help="Only dead letters of events from this source."),
    click.option("--code", help="Only dead letters whose last answer had this status."),
]


def chosen(command: Any) -> Any:
    """Return the options that choose dead letters."""
    for option in reversed(_choice):
        command = option(command)
    return command


@dead_letters.command("list")
@chosen
@as_json
def list_(as_json: bool, **choice: str | None) -> None:
    """List the dead letters that no person has closed, oldest first.

    Example: greenlight dead-letters list --trigger shop/orders-to-billing
    """
    found, _ = Client().rows("/dead-letters", "dead_letters", _where(choice))
    if as_json:
        render.document({"dead_letters": found})
        return
    rows = [
        (
            str(dead_letter["id"]),
            dead_letter["at"],
            dead_letter["trigger"],
            dead_letter["event"]["type"],
            dead_letter["event"]["id"],
            str(dead_letter["attempts"]),
            dead_letter["why"],
        )
        for dead_letter in found
    ]
    render.table(("id", "since", "trigger", "type", "event", "attempts", "why"), rows)
    if not rows:
        render.line("there are none", err=True)


@dead_letters.command("show")
@click.argument("id", type=int)
@as_json
def show_dead_letter(id: int, as_json: bool) -> None:
    """Show one dead letter with its event, every attempt, and the last answer.

    Example: greenlight dead-letters show 17
    """
    found = Client().get(f"/dead-letters/{id}")
    if as_json:
        render.document(found)
    else:
        render_broker.dead_letter(found)


@dead_letters.command()
@click.argument("ids", metavar="ID...", nargs=-1, type=int)
@click.option(
    "--all", "all_", is_flag=True, help="Every dead letter that the other options select; without these, all."
)
@chosen
def replay(ids: tuple[int, ...], all_: bool, **choice: str | None) -> None:
    """Deliver dead letters again, each to its own Trigger alone and with the event's own id.

    Example: greenlight dead-letters replay --all --trigger shop/orders-to-billing --code 503
    """
    done = _each("replay", ids, all_, choice, {})
    render.line(f"{done} replayed")


@dead_letters.command()
@click.argument("ids", metavar="ID...", nargs=-1, type=int)
@click.option(
    "--all", "all_", is_flag=True, help="Every dead letter that the other options select; without these, all."
)
@click.option("--reason", required=True, help="The reason; it is stored with the dead letters.")
@chosen
def discard(ids: tuple[int, ...], all_: bool, reason: str, **choice: str | None) -> None:
    """Discard dead letters for good.

    Example: greenlight dead-letters discard 17 --reason "sent by mistake"
    """
    done = _each("discard", ids, all_, choice, {"reason": reason})
    render.line(f"{done} discarded")


def _each(what: str, ids: tuple[int, ...], all: bool, choice: dict[str, str | None], body: dict[str, str]) -> int:
    where = _where(choice)
    if bool(ids) == (all or bool(where)):
        raise click.UsageError("name dead letters: by their IDs, by options that select some, or by --all")
    client, done = Client(), f"{what}ed"
    if ids:
        return sum(int(client.post(f"/dead-letters/{id}/{what}", body)[done]) for id in ids)
    return int(client.post(f"/dead-letters/{what}", {"where": where, **body})[done])


def _where(choice: dict[str, str | None]) -> dict[str, str]:
    return {name.rstrip("_"): value for name, value in choice.items() if value is not None}
