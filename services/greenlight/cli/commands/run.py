"""The commands up and serve, which run Greenlight itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from greenlight.cli import arguments as args
from greenlight.cli import render

SERVICES = ("webhooks", "recorder", "promoter", "deployer", "reconciler", "board", "feedback")


@click.command()
@args.config("pipeline.yaml and people.yaml")
@args.data("Folder that this process owns.")
@click.option("--listen", default="127.0.0.1:8080", show_default=True, help="Board, API and metrics.")
@click.option(
    "--webhooks-listen",
    default="127.0.0.1:8081",
    show_default=True,
    help="Webhooks: the only port meant for the internet.",
)
@click.option(
    "--broker-listen", default="127.0.0.1:8082", show_default=True, help="The Broker, for programs on this machine."
)
@click.option("--demo", is_flag=True, help="Play the talk's story, in a data folder of its own.")
def up(config: Path, data: Path, listen: str, webhooks_listen: str, broker_listen: str, demo: bool) -> None:
    """Run the whole pipeline on one machine, until SIGTERM or Ctrl-C.

    Example: greenlight up --config config --data /var/lib/greenlight
    """
    from greenlight.entrypoints.up import UpOptions, run

    secrets = os.environ.get("GREENLIGHT_SECRETS")
    options = UpOptions(
        config=config,
        data=data,
        secrets=Path(secrets) if secrets else None,
        listen=listen,
        webhooks_listen=webhooks_listen,
        broker_listen=broker_listen,
        demo=demo,
    )
    sys.exit(run(options, render.waterfall))


@click.command()
@click.argument("service", type=click.Choice(SERVICES))
def serve(service: str) -> None:
    """Run one SERVICE on $PORT; settings come from the environment (docs/operations.md).

    Example: PORT=8080 K_SINK=http://broker/default greenlight serve recorder
    """
    from greenlight.entrypoints.serve import run

    sys.exit(run(service, os.environ))
