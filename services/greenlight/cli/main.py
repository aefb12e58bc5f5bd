"""The command `greenlight`: its commands, each imported only when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from greenlight.lib.printable import printable
from greenlight.policy.shape import closest

COMMANDS = {
    "up": ("run", "run the whole pipeline on one machine"),
    "broker": ("broker", "run the embedded broker alone; show events and Triggers"),
    "dead-letters": ("broker", "list, show, replay and discard dead letters"),
    "serve": ("run", "run one service on $PORT, as the image does"),
    "send": ("send", "sign and send a webhook as a provider would"),
    "status": ("status", "show the state of commits"),
    "targets": ("targets", "show what runs in each environment"),
    "history": ("history", "show the deployments to a target"),
    "logs": ("logs", "print or follow the output of a deployment"),
    "diff": ("diff", "show the commits that a deployment would bring"),
    "open": ("open", "open the board or a commit's page in a browser"),
    "why": ("look", "show what a commit waits for, and who can give it"),
    "trace": ("look", "show a commit's waterfall, with the waiting"),
    "journal": ("look", "print a commit's facts and decisions"),
    "approve": ("act", "approve a commit at a gate"),
    "revoke": ("act", "revoke a gate of a commit"),
    "deploy": ("act", "request the deployment of a commit"),
    "retry": ("act", "request another deployment of a commit that failed"),
    "rollback": ("act", "go back to a commit that ran before"),
    "pause": ("act", "stop deployments to a target"),
    "resume": ("act", "end a pause of a target"),
    "freeze": ("act", "let nothing go out to a target for a time"),
    "unfreeze": ("act", "end a freeze of a target before its time"),
    "cancel": ("act", "withdraw a request, or end a running deployment"),
    "override": ("act", "pass a gate for one commit in one environment"),
    "login": ("login", "keep your token for a board"),
    "logout": ("login", "forget the token for a board"),
    "people": ("people", "list people, make tokens, erase data of authors"),
    "notify": ("notify", "try the destinations of notifications"),
    "doctor": ("doctor", "check an installation, and suggest repairs"),
    "verify": ("verify", "check the hash chain of a journal in a file"),
    "policy": ("policy", "check and explain the pipeline file"),
    "ledger": ("ledger", "create and check the table of a ledger on DynamoDB"),
}


_FUNCTIONS = {"open": "open_page"}
"""The functions of commands whose names mean something else in Python."""


class Lazy(click.Group):
    """Know every command's name; import a command's module when it is used."""

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        """Make the context, as Click does."""
        with _printable():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Invoke the command, as Click does."""
        with _printable():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"greenlight.cli.commands.{COMMANDS[name][0]}")
        command: click.Command = getattr(module, _FUNCTIONS.get(name, name.replace("-", "_")))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is answered with the one that was probably meant."""
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"there is no command {args[0]!r}; {closest(args[0], list(COMMANDS))}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, help) in COMMANDS.items()])


@contextmanager
def _printable() -> Iterator[None]:
    """Escape click's messages about bad usage.

    They quote arguments, which scripts take from refs and comments of third parties.
    """
    try:
        yield
    except click.UsageError as problem:
        problem.message = printable(problem.message)  # type: ignore[misc]
        raise


@click.command(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="greenlight-pipeline")
def main() -> None:
    """Ship a commit the moment every gate is green.

    A running one is found by GREENLIGHT_URL (default http://127.0.0.1:8080) and GREENLIGHT_TOKEN. Exit codes: 0 what was asked
    holds; 1 the world says no; 2 bad usage or configuration; 3 it could not be found out; 4 it still waits.
    """


if __name__ == "__main__":
    main()
