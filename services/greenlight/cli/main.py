"""`greenlight`: the commands, each imported only when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from greenlight.lib.printable import printable

COMMANDS = {
    "up": ("run", "the whole pipeline on one machine"),
    "broker": ("broker", "the embedded broker alone, and what it can tell"),
    "dead-letters": ("broker", "what could not be delivered: list, show, replay, discard"),
    "serve": ("run", "one service, on $PORT; what the image runs"),
    "send": ("send", "sign and send a webhook as a provider would"),
    "status": ("look", "where commits stand"),
    "why": ("look", "what a commit waits for, and who can give it"),
    "trace": ("look", "a commit's waterfall, the waiting included"),
    "journal": ("look", "a commit's facts and decisions"),
    "approve": ("act", "approve a commit at a gate"),
    "revoke": ("act", "say that a gate does not hold for a commit"),
    "deploy": ("act", "ask for a commit to be deployed"),
    "retry": ("act", "deploy a commit again that failed"),
    "rollback": ("act", "go back to a commit that ran before"),
    "pause": ("act", "hold a target"),
    "resume": ("act", "let a target go on"),
    "cancel": ("act", "withdraw a request, or end what is being deployed"),
    "override": ("act", "pass a gate for one commit in one environment"),
    "people": ("people", "who is known, and their tokens"),
    "doctor": ("doctor", "look at an installation, and say what to do"),
    "policy": ("policy", "check and explain the pipeline file"),
    "ledger": ("ledger", "the table of a ledger on DynamoDB: create, check, policies"),
}


class Lazy(click.Group):
    """Knows every command's name; imports a command's module when it is used."""

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        """Click's own."""
        with _printable():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Click's own."""
        with _printable():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"greenlight.cli.commands.{COMMANDS[name][0]}")
        command: click.Command = getattr(module, name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, help) in COMMANDS.items()])


@contextmanager
def _printable() -> Iterator[None]:
    """What click says of bad usage quotes arguments, which scripts take from refs and comments of others."""
    try:
        yield
    except click.UsageError as problem:
        problem.message = printable(problem.message)  # type: ignore[misc]
        raise


@click.command(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="greenlight-pipeline")
def main() -> None:
    """Greenlight ships a commit the moment every gate is green.

    A running one is found by GREENLIGHT_URL (default http://127.0.0.1:8080) and GREENLIGHT_TOKEN. Exit codes: 0 what was asked
    holds; 1 the world says no; 2 bad usage or configuration; 3 it could not be found out.
    """


if __name__ == "__main__":
    main()
