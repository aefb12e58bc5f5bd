"""The output of commands: rich on a terminal, plain lines when piped. No command writes anything by itself.

Names, refs, comments and reasons are what others wrote. Whatever in them is not for reading, such as control characters and
line ends, is shown as an escape and never acted on, on a terminal and in a pipe, on standard output and on standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

import click

from greenlight.lib import printable
from greenlight.telemetry.layout import Bar, bars, duration

_COLOURS = {
    **dict.fromkeys(("passed", "ready", "succeeded", "ok"), "green"),
    **dict.fromkeys(("failed", "revoked", "overridden", "blocked", "wrong"), "red"),
    "error": "magenta",
    **dict.fromkeys(("pending", "waiting", "expired", "unknown"), "yellow"),
    "running": "blue",
}
_BAR = 40
_STATE = len("pending")
_NAME = 64
"""Columns of a waterfall: the line itself, and the names beside it at most."""

NOBODYS = "no application of the pipeline file is made from this repository"


@dataclass(frozen=True, slots=True)
class Word:
    """A word in its colour; as a part of a text, it is plain."""

    text: str
    colour: str | None

    def __str__(self) -> str:
        return self.text


Cell = str | Word | Sequence[str | Word]


def request(asked: Mapping[str, Any]) -> str:
    """Return a request in words: its kind and commit. A rollback leads to its commit."""
    return f"{asked['kind']} {'to' if asked['kind'] == 'rollback' else 'of'} {asked['sha'][:7]}"


def line(*parts: str | Word, err: bool = False) -> None:
    """Print one line, made of these parts; on standard error with `err`. Colours are for terminals alone."""
    _write("".join(_coloured(part) for part in parts), err=err)


def lines(text: str, *, err: bool = False) -> None:
    """Print a text of several lines, each as `line` prints it."""
    for each in text.removesuffix("\n").split("\n"):
        line(each, err=err)


def newest(count: int, what: str) -> None:
    """Print on standard error that a list is not complete, and how to see more of it."""
    shown = f"these are the newest {count} {what}" if count > 1 else f"this is the newest of the {what}"
    line(f"{shown}; --limit N or --limit all shows more", err=True)


def document(value: Any) -> None:
    """Print JSON, for programs."""
    _write(printable.document(value, indent=2))


def state(word: str) -> Word:
    """Return a state's word in its colour."""
    return Word(word, _COLOURS.get(word))


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table on a terminal, tab-separated lines otherwise."""
    if not rows:
        return
    cells = [["".join(_coloured(part) for part in _parts(cell)) for cell in row] for row in rows]
    if not _is_terminal():
        for row in cells:
            _write("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rich = Table(*head, box=None, pad_edge=False, header_style="dim" if _in_colour() else "")
    for row in cells:
        rich.add_row(*(Text.from_ansi(cell) for cell in row))
    console = Console()
    with console.capture() as drawn:
        console.print(rich)
    _write(drawn.get().removesuffix("\n"))


def redrawn(draw: Callable[[], None], changed: Callable[[], bool]) -> None:
    """Show what `draw` prints, and again after each change: in place on a terminal, below otherwise. Ctrl-C ends it.

    `changed` waits a moment, and returns whether there is something new.
    """
    if not _is_terminal():
        draw()
        while True:
            if changed():
                draw()
    from rich.live import Live
    from rich.text import Text

    def shown() -> Text:
        with _collected() as parts:
            draw()
        return Text.from_ansi("\n".join(parts))

    with Live(shown(), auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            if changed():
                live.update(shown(), refresh=True)


_collecting: list[list[str]] = []


@contextmanager
def _collected() -> Iterator[list[str]]:
    """Collect what is printed instead of printing it."""
    _collecting.append([])
    try:
        yield _collecting[-1]
    finally:
        _collecting.pop()


def _write(text: str, *, err: bool = False) -> None:
    if _collecting:
        _collecting[-1].append(text)
        return
    try:
        click.echo(text, err=err)  # noqa: TID251 - the one place
    except BrokenPipeError:
        raise  # whoever reads has enough: click ends without a word
    except OSError as problem:
        raise Unwritten(f"the output cannot be written: {problem.strerror}") from None


class Unwritten(click.ClickException):
    """The output could not be written, such as on a full disk."""

    exit_code = 3

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message on standard error, if that can be written; what is left of the output is dropped."""
        with suppress(OSError):
            click.echo(f"Error: {self.message}", err=True)  # noqa: TID251
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()  # it is None where the caller closed it


def _in_colour() -> bool:
    """Return whether colours are wanted; whether they are possible, click finds out."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _parts(cell: Cell) -> Sequence[str | Word]:
    return [cell] if isinstance(cell, str | Word) else cell


def _coloured(part: str | Word) -> str:
    text = printable.printable(str(part))
    return click.style(text, fg=part.colour) if isinstance(part, Word) and _in_colour() else text


def commit(value: dict[str, Any]) -> None:
    """Print the state of one commit, target by target, with the reasons."""
    refs = ", ".join(ref.split("/", 2)[-1] for ref in value["refs"]) or "no known ref"
    line(f"{value['repo']} {value['sha'][:7]} on {refs}")
    if not value["applications"]:
        line(f"  {NOBODYS}")
    for name, application in value["applications"].items():
        for environment, view in application["environments"].items():
            line(f"  {name}/{environment}: ", *standing(view))
            gates({gate: view["gates"][gate] for gate in view["requires"]})
            for each in view.get("freezes", ()):  # which an environment that cannot be read lacks
                if not each["begun"]:
                    line("    ", state("planned"), f" {freeze(each)}")
            _brings(value["sha"], view.get("brings"))


def gates(found: Mapping[str, Any]) -> None:
    """Print the states of gates, with the reasons."""
    for name, gate in found.items():
        room = " " * (_STATE - len(gate["state"]))
        line("    ", state(gate["state"]), f"{room} {name}: {gate['reason']}")


def _brings(sha: str, found: dict[str, Any] | None) -> None:
    """Print how many commits go out with one, and the others to which a gate said no, or which a person let through."""
    count = len(found["commits"]) + found["more"] if found else 0
    if not found or count < 2:
        return
    unknown = f"; the oldest {found['more']} were not looked at" if found["more"] else ""
    line(f"    brings {count} commits{unknown}")
    for commit in found["commits"]:
        called = f"{commit['sha'][:7]} {commit['title'] or ''}".rstrip()
        if "unreadable" in commit:
            line("      ", state("unknown"), f" {called}: {commit['unreadable']}")
        for gate, red in commit["red"].items() if commit["sha"] != sha else ():  # its own gates stand above
            line("      ", state(red["state"]), f" {gate} of {called}: {red['reason']}")


def freeze(freeze: dict[str, Any]) -> str:
    """Return a person's freeze of a target in words."""
    excepted = f", except requests of {', '.join(freeze['except'])}" if freeze["except"] else ""
    return f"freeze from {freeze['from']} until {freeze['until']}: {freeze['reason']} (by {freeze['person']}{excepted})"


def standings(value: dict[str, Any]) -> list[tuple[Cell, ...]]:
    """Return a commit's rows in a table: one for each target."""
    begin = (value["sha"][:7], value["repo"])
    rows: list[tuple[Cell, ...]] = [
        (*begin, f"{name}/{environment}", standing(view))
        for name, application in value["applications"].items()
        for environment, view in application["environments"].items()
    ]
    return rows or [(*begin, "-", NOBODYS)]


def standing(environment: dict[str, Any]) -> list[str | Word]:
    """Return `succeeded`, or the decision with its reasons, as the parts of a line."""
    deployment, words = environment["deployment"], []
    if deployment:
        words.append(deployment["outcome"])
    if not deployment or environment["decision"] != "ready":
        words.append(environment["decision"])
    requested = environment.get("requested")  # which an environment that cannot be read lacks
    if requested:
        words.append(f"requested by {requested['person']} ({requested['kind']}) until {requested['until']}")
    parts = [part for word in words for part in (", ", state(word))][1:]
    return [*parts, f": {'; '.join(environment['reasons'])}"] if environment["reasons"] else parts


def waterfall(trace: dict[str, Any]) -> None:
    """Print a commit's spans on one line of time, with how long each took. A span without end lasts until now."""
    line(f"trace {trace['trace_id']}")
    now = datetime.now(UTC)  # noqa: TID251 - what goes on is shown as it is now
    marked = any(span["attributes"].get("critical") for span in trace["spans"])
    rows = [
        ("  " * bar.depth + bar.span["name"], _drawn(bar, marked=marked), bar.length, _usually(bar.span))
        for bar in bars(trace["spans"], now)
    ]
    wide = min(max((len(name) for name, *_ in rows), default=0), _NAME)
    long = max((len(took) for _, _, took, _ in rows), default=0)
    for name, drawn, took, usually in rows:
        line(f"{name[:wide]:{wide}} {drawn:{_BAR}} {took:>{long}}{usually}")
    if marked:
        line("━ what the time until the last deployment consisted of   ─ everything else")


def _drawn(bar: Bar, *, marked: bool) -> str:
    left = min(int(bar.start * _BAR), _BAR - 1)
    width = max(int(bar.share * _BAR), 1)
    stroke = "━" if not marked or bar.span["attributes"].get("critical") else "─"
    return " " * left + (stroke * min(width, _BAR - left) if bar.share > 0 else "╵")


def _usually(span: Mapping[str, Any]) -> str:
    usual = span["attributes"].get("usually_ms")
    return f"  usually {duration(usual / 1000)}" if isinstance(usual, (int, float)) else ""
