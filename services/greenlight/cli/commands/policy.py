"""The commands policy check, explain, rbac and schema, which read the files themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from greenlight.cli import arguments as args
from greenlight.cli import render
from greenlight.cli.client import NO, USAGE, Client, Failure
from greenlight.entrypoints.drivers import DRIVERS
from greenlight.lib.documents import text_of
from greenlight.lib.errors import ConfigurationError
from greenlight.model.policy import Pipeline
from greenlight.policy.explain import explain as explained
from greenlight.policy.schema import schema_text
from greenlight.service.configuration import missing_files, pipeline_files, pipeline_warnings, read_pipeline

config = args.config("pipeline.yaml")


@click.group()
def policy() -> None:
    """Check and explain the pipeline file: config/pipeline.yaml, or a folder of them."""


def _read(folder: Path, code: int) -> Pipeline:
    try:
        return read_pipeline(folder, DRIVERS)
    except ConfigurationError as problem:
        raise Failure(str(problem).split("\n"), code) from None


@policy.command()
@config
@click.option("--running", is_flag=True, help="Also print what the running Greenlight would deploy with these files.")
@args.as_json
def check(config: Path, running: bool, as_json: bool) -> None:
    """List everything that is wrong with the file, with file and line; exit 1 if anything is. Exit 2 if there is none.

    What works and is not wise, such as a secret that stands in the file, is a warning on standard error.

    Example: greenlight policy check --config config --running
    """
    found = _read(config, NO if _is_there(config) else USAGE)
    missing = missing_files(config, DRIVERS)
    if missing:
        raise Failure([str(problem) for problem in missing], NO)
    warnings = [str(warning) for warning in pipeline_warnings(config, DRIVERS)]
    for warning in warnings:
        render.line(f"warning: {warning}", err=True)
    digests = {name: policy.digest for name, policy in found.applications.items()}
    changes = _preview(config) if running else []
    if as_json:
        render.document({"applications": digests, "warnings": warnings} | ({"changes": changes} if running else {}))
        return
    render.table(("application", "digest"), list(digests.items()))
    for change in changes:
        what = f"would deploy {change['sha'][:7]} ({change['cause']})" if change["sha"] else "would deploy nothing"
        render.line(f"{change['application']}/{change['environment']} {what}")
    if running and not changes:
        render.line("nothing changes for the running Greenlight")


def _is_there(config: Path) -> bool:
    try:
        return bool(pipeline_files(config))
    except OSError:
        return False  # reading says why


def _preview(config: Path) -> list[dict[str, Any]]:
    """Return what the running Greenlight would deploy if these files were in force."""
    files = {file.name: text_of(file) for file in pipeline_files(config)}
    changes: list[dict[str, Any]] = Client().post("/policy/preview", {"files": files})["targets"]
    return changes


@policy.command()
@click.argument("application", required=False)
@config
def explain(application: str | None, config: Path) -> None:
    """Explain the pipeline file in sentences.

    Example: greenlight policy explain shop
    """
    found = _read(config, USAGE)
    if application is not None and application not in found.applications:
        raise Failure(f"no application {application!r}; there are {', '.join(found.applications)}", USAGE)
    for name in [application] if application else found.applications:
        render.lines(explained(found.applications[name]))


@policy.command()
@config
@click.option("--cluster", help="One of the pipeline file's clusters; needed if it has several.")
@click.option("--group", help="Bind to this group of users: for a cluster that the deployer does not run in.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    metavar="GROUP/RESOURCE",
    help="A further resource that charts contain; may be repeated.",
)
def rbac(config: Path, cluster: str | None, group: str | None, kinds: tuple[str, ...]) -> None:
    """Print Kubernetes Roles by which the deployer may change the pipeline file's namespaces, and nothing else.

    Example: greenlight policy rbac --kind gateway.networking.k8s.io/httproutes | kubectl apply -f -
    """
    import yaml

    from greenlight.policy.rbac import needed, roles

    found = _read(config, USAGE)
    if cluster is None and len(found.clusters) == 1:
        (cluster,) = found.clusters
    if cluster is None or cluster not in found.clusters:
        known = ", ".join(found.clusters) or "none"
        raise Failure(f"name a cluster with --cluster; the pipeline file has {known}", USAGE)
    if group is None and "in-cluster" not in found.clusters[cluster]:
        raise Failure(
            f"the deployer does not run in {cluster}: name with --group its group there, such as the group of"
            " its EKS access entry",
            USAGE,
        )
    also = [(api, resource) for api, slash, resource in (kind.rpartition("/") for kind in kinds)]
    subject: dict[str, str] = {"kind": "ServiceAccount", "name": "deployer", "namespace": "greenlight"}
    if group is not None:
        subject = {"kind": "Group", "name": group, "apiGroup": "rbac.authorization.k8s.io"}
    there = needed(found, cluster)
    if not there:
        raise Failure(f"no environment is deployed to a namespace of {cluster}", NO)
    render.lines(yaml.safe_dump_all(roles(there, subject, also), sort_keys=False))


@policy.command()
def schema() -> None:
    """Print the JSON Schema, for editors.

    Example: greenlight policy schema > pipeline.schema.json
    """
    render.lines(schema_text(DRIVERS))
