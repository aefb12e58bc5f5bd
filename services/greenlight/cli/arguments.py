"""The arguments of commands: each is checked before any request is made, so that a typing error is exit code 2."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from greenlight.cli import folder
from greenlight.model import keys

F = TypeVar("F", bound=Callable[..., Any])


class Shaped(click.ParamType[str]):
    """A text of one form."""

    def __init__(self, name: str, pattern: str, wanted: str) -> None:
        self.name, self._pattern, self._wanted = name, re.compile(pattern), wanted

    def matches(self, value: str) -> bool:
        """Return whether the text has the form."""
        return self._pattern.fullmatch(value) is not None

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not self._pattern.fullmatch(value):
            self.fail(f"{value!r} is not {self._wanted}", param, ctx)
        return value


REPO = Shaped(
    "repo", r"(?!\.{1,2}/)[A-Za-z0-9_.-]{1,100}/(?!\.{1,2}$)[A-Za-z0-9_.-]{1,100}", "OWNER/NAME, such as acme/shop"
)
SHA = Shaped("sha", r"[0-9a-fA-F]{7,64}", "a sha, or at least its first 7 digits")
NAME = Shaped("name", keys.NAME, "a name of the pipeline file: lower-case letters, digits, - and _")
TIME = Shaped(
    "time",
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})",
    "a time with its offset, such as 2026-12-04T18:00:00+01:00",
)

repo = click.argument("repo", type=REPO, metavar="[REPO]")
sha = click.argument("sha", type=SHA)
application = click.argument("application", type=NAME)
environment = click.argument("environment", type=NAME)
gate = click.argument("gate", type=NAME)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Limit(click.ParamType[int | None]):
    """The number of rows of a list to show; None: all."""

    name = "limit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value == "all":
            return None
        if not re.fullmatch(r"[1-9][0-9]{0,8}", str(value)):
            self.fail(f"{value!r} is neither a number from 1 on nor all", param, ctx)
        return int(value)


def limit(default: int) -> Callable[[F], F]:
    """Return `--limit`, how many rows of a list to show."""
    return click.option(
        "--limit", type=Limit(), metavar="N|all", default=str(default), show_default=True, help="Show so many, or all."
    )


class OfCommit(click.Command):
    """A command on a commit. REPO may be left out in a folder whose git remote `origin` names it.

    An argument with a slash is a REPO, and one of 7 to 64 hex digits a SHA; no name of the pipeline file has a slash.
    """

    or_head = False  # whether SHA may be left out together with REPO, for what is checked out

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, with the repository of the folder in front where none is given."""
        at = self._first(args)
        given = args[at] if at < len(args) else ""
        asks_help = any(word in ctx.help_option_names for word in args)
        if not (asks_help or ctx.resilient_parsing or "/" in given):
            args = [*args[:at], *self._defaults(ctx, given), *args[at:]]
        return super().parse_args(ctx, args)

    def _defaults(self, ctx: click.Context, given: str) -> list[str]:
        """Return what stands for the arguments that were left out. Raises UsageError."""
        has_sha = SHA.matches(given)
        if not has_sha and (given or not self.or_head) and not (self.or_head and NAME.matches(given)):
            return []
        repo, sha = folder.origin(), None if has_sha else folder.head()
        if repo is None or (sha is None and not has_sha):
            what = "a git repository with a remote `origin` that names one"
            raise click.UsageError(f"Missing argument 'REPO': name OWNER/NAME, or work in {what}", ctx)
        return [repo] if sha is None else [repo, sha]

    def _first(self, args: list[str]) -> int:
        """Return the place of the first word that is neither an option nor an option's value."""
        valued = {
            name
            for param in self.params
            if isinstance(param, click.Option) and not param.is_flag
            for name in param.opts
        }
        at = 0
        while at < len(args) and args[at].startswith("-"):
            if args[at] == "--":
                return at + 1
            at += 2 if args[at] in valued else 1
        return at


class OfCommitOrHead(OfCommit):
    """A command that only reads: SHA may be left out together with REPO."""

    or_head = True


def commit(command: F) -> F:
    """Take the arguments that name a commit, in a command of the class OfCommit."""
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
