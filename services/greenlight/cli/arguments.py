"""The arguments of commands: each is checked before any request is made, so that a typing error is exit code 2."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Shaped(click.ParamType[str]):
    """A text of one form."""

    def __init__(self, name: str, pattern: str, wanted: str) -> None:
        self.name, self._pattern, self._wanted = name, re.compile(pattern), wanted

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not self._pattern.fullmatch(value):
            self.fail(f"{value!r} is not {self._wanted}", param, ctx)
        return value


REPO = Shaped(
    "repo", r"(?!\.{1,2}/)[A-Za-z0-9_.-]{1,100}/(?!\.{1,2}$)[A-Za-z0-9_.-]{1,100}", "OWNER/NAME, such as acme/shop"
)
SHA = Shaped("sha", r"[0-9a-fA-F]{7,64}", "a sha, or at least its first 7 digits")
NAME = Shaped("name", r"[a-z0-9][a-z0-9_-]{0,62}", "a name of the pipeline file: lower-case letters, digits, - and _")

repo = click.argument("repo", type=REPO)
sha = click.argument("sha", type=SHA)
application = click.argument("application", type=NAME)
environment = click.argument("environment", type=NAME)
gate = click.argument("gate", type=NAME)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def commit(command: F) -> F:
    """Take the arguments that name a commit."""
    return repo(sha(command))


def target(command: F) -> F:
    """Take the arguments that name a target."""
    return application(environment(command))


def config(holds: str) -> Callable[[F], F]:
    """Return `--config`, the folder that operators edit; `holds` names what the command looks for in it."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        default=Path("config"),
        show_default=True,
        help=f"Folder with {holds}.",
    )


def data(help: str) -> Callable[[F], F]:
    """Return `--data`, the folder that Greenlight owns on one machine."""
    return click.option(
        "--data", type=click.Path(path_type=Path), default=Path(".greenlight"), show_default=True, help=help
    )
