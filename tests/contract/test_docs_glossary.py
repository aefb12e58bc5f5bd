"""docs/glossary.md explains every command, event type, field and state that users meet, and none that there is not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from greenlight.board.view import WORST
from greenlight.cli.main import main
from greenlight.events import types
from greenlight.events.schemas import dataschema

ROOT = Path(__file__).parents[2]
DOCS, SOURCE = ROOT / "docs", ROOT / "services" / "greenlight"
PAGE = (DOCS / "glossary.md").read_text()
SECTIONS = ("Words", "Commands", "Event types", "Fields", "States")
ANSWERS = [
    *(
        f"board/{name}.py"
        for name in (
            *("api", "api_deployments", "details", "notifications", "preview", "reading", "usual", "view", "waterfall"),
        )
    ),
    *(f"broker/{name}.py" for name in ("documents", "event_history", "log/history", "operations")),
]
"""The modules that make what the API answers."""


def _words(section: str) -> list[str]:
    """The first column of a section's table."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [word.strip(" `") for word in re.findall(r"^\|([^|]+)\|", text, re.MULTILINE)[2:]]


def _commands(group: click.Group, before: str = "") -> Iterator[str]:
    """Every command that does something when it is called."""
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if not isinstance(command, click.Group) or command.invoke_without_command:
                yield before + name
            if isinstance(command, click.Group):
                yield from _commands(command, f"{before}{name} ")


def _fields(path: Path) -> set[str]:
    """The keys of every JSON object that a module writes down."""
    objects = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Dict)]
    keys = {key.value for node in objects for key in node.keys if isinstance(key, ast.Constant)}
    return {key for key in keys if isinstance(key, str) and re.fullmatch("[a-z_]+", key)}


@pytest.mark.parametrize("section", SECTIONS)
def test_each_word_is_there_once_and_in_order(section: str) -> None:
    """As a reader looks for it."""
    words = _words(section)
    assert len(words) > 10
    assert words == sorted(set(words), key=str.casefold)


def test_every_command_is_explained() -> None:
    """Those of groups by their full name."""
    assert set(_words("Commands")) == set(_commands(main))  # type: ignore[arg-type]


def test_every_event_type_is_explained() -> None:
    """Those that Greenlight has a schema for, and the timer's."""
    own = {value for name, value in vars(types).items() if name.isupper() and isinstance(value, str)}
    assert set(_words("Event types")) == {type for type in own if dataschema(type)} | {types.PING}


def test_every_field_of_the_api_is_explained() -> None:
    """Those of answers, as the code writes them, and of requests, as the tables of the pages name them."""
    answered = set().union(*(_fields(SOURCE / name) for name in ANSWERS))
    pages = [(DOCS / name).read_text() for name in ("api.md", "broker.md")]
    requests = "\n".join(line for page in pages for line in page.splitlines() if line.startswith("| `"))
    named = set(re.findall(r'"([a-z_]+)"\??(?=[:,}\]])', requests)) - {"deploy", "retry", "rollback", "request"}
    assert set(_words("Fields")) == answered | named


def test_every_state_is_explained() -> None:
    """Of gates, of decisions (as docs/policy.md has them) and of deployments."""
    decisions = re.findall(r"^\| `(\w+)` \|", (DOCS / "policy.md").read_text().split("## Decisions")[1], re.MULTILINE)
    ends = {type.removeprefix("deployment.") for type in types.ENDS}
    assert set(_words("States")) == {*WORST, *decisions, *ends, "running"}


def test_the_words_of_the_vocabulary_are_explained() -> None:
    """Those by which code, pipeline file, command line, board and pages name things."""
    vocabulary = "fact signal record gate policy target candidate decision promotion deployment driver journal"
    met = "Broker Trigger fence lease ledger outbox person operator sender request rollback trace webhook worker"
    assert {*vocabulary.split(), *met.split(), "dead letter", "pipeline file", "data folder"} <= set(_words("Words"))
