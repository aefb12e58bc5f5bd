"""policy: check, explain and schema, on the files themselves."""

from __future__ import annotations

from pathlib import Path

import click

from greenlight.cli import arguments as args
from greenlight.cli import render
from greenlight.cli.client import NO, USAGE, Failure
from greenlight.policy.explain import explain as explained
from greenlight.policy.load import schema_text
from greenlight.policy.model import Pipeline
from greenlight.runtime.configuration import pipeline_files, read_pipeline
from greenlight.runtime.errors import ConfigurationError

config = args.config("pipeline.yaml")


@click.group()
def policy() -> None:
    """The pipeline file: config/pipeline.yaml, or a folder of them."""


def _read(folder: Path, code: int) -> Pipeline:
    try:
        return read_pipeline(folder)
    except ConfigurationError as problem:
        raise Failure(str(problem), code) from None


@policy.command()
@config
@args.as_json
def check(config: Path, as_json: bool) -> None:
    """Say everything that is wrong with it, with file and line; exit 1 if anything is. Exit 2 if there is none.

    Example: greenlight policy check --config config
    """
    found = _read(config, NO if pipeline_files(config) else USAGE)
    digests = {name: policy.digest for name, policy in found.applications.items()}
    if as_json:
        render.document({"applications": digests})
    else:
        render.table(("application", "digest"), list(digests.items()))


@policy.command()
@click.argument("application", required=False)
@config
def explain(application: str | None, config: Path) -> None:
    """What it means, in sentences.

    Example: greenlight policy explain shop
    """
    found = _read(config, USAGE)
    if application is not None and application not in found.applications:
        raise Failure(f"no application {application!r}; there are {', '.join(found.applications)}", USAGE)
    for name in [application] if application else found.applications:
        click.echo(explained(found.applications[name]))


@policy.command()
def schema() -> None:
    """The JSON Schema, for editors.

    Example: greenlight policy schema > pipeline.schema.json
    """
    click.echo(schema_text(), nl=False)
