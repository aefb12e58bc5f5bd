"""The command doctor: checks an installation, and says what is wrong and what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from greenlight.cli import arguments as args
from greenlight.cli import render
from greenlight.cli.client import UNKNOWN, USAGE, Client, Failure
from greenlight.lib.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from greenlight.entrypoints.doctor.findings import Finding

T = TypeVar("T")


@click.command()
@args.config("pipeline.yaml and people.yaml")
@args.data("Greenlight's folder.")
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path), help="Look at an installation in a cluster: this file's…"
)
@click.option("--context", help="… context of that name. Never its current one.")
@click.option("--eks", metavar="NAME", help="Or in the EKS cluster of that name, with this machine's AWS credentials…")
@click.option("--region", help="… in that region.")
@click.option("--in-cluster", is_flag=True, help="Look at it from a pod, as the pod's ServiceAccount.")
@click.option("--namespace", default="greenlight", show_default=True, help="The namespace of the installation.")
@args.as_json
def doctor(
    config: Path,
    data: Path,
    kubeconfig: Path | None,
    context: str | None,
    eks: str | None,
    region: str | None,
    in_cluster: bool,
    namespace: str,
    as_json: bool,
) -> None:
    """Check a live installation, and say what to do. Changes nothing.

    On this machine: the files of --config, the secrets, what deploys need, and the Greenlight at GREENLIGHT_URL. In a cluster:
    everything that docs/install.md makes. Exit 0 if all is well, 1 if something is wrong, 3 if it could not be found out.

    Example: greenlight doctor --kubeconfig ~/.kube/config --context prod
    """
    from greenlight.entrypoints.doctor.findings import verdict

    cluster = _cluster(kubeconfig, context, eks, region, in_cluster)
    look = _on_this_machine(config, data) if cluster is None else _in_a_cluster(cluster, namespace)
    findings = []
    for finding in look:
        findings.append(finding)
        if not as_json:
            _print(finding)
    code = verdict(findings)
    if as_json:
        render.document({"healthy": code == 0, "findings": [asdict(finding) for finding in findings]})
    sys.exit(code)


def _print(finding: Finding) -> None:
    room = " " * (7 - len(finding.state))
    first, *others = finding.said.split("\n")
    render.line(render.state(finding.state), f"{room}  {finding.what}: {first}")
    for more in others:
        render.line(" " * 9, more)
    if finding.todo:
        render.line(f"{' ' * 9}do: {finding.todo}")


def _cluster(
    kubeconfig: Path | None, context: str | None, eks: str | None, region: str | None, in_cluster: bool
) -> Mapping[str, Any] | None:
    """Return the cluster that the options name, as a pipeline file would name it; None: none is."""
    pairs = {"--kubeconfig and --context": (kubeconfig, context), "--eks and --region": (eks, region)}
    for words, (one, other) in pairs.items():
        if (one is None) != (other is None):
            raise Failure(f"{words} must be given together", USAGE)
    named: list[Mapping[str, Any]] = []
    if kubeconfig is not None:
        named.append({"kubeconfig": str(kubeconfig.absolute()), "context": context})
    if eks is not None:
        named.append({"eks": {"name": eks, "region": region}})
    if in_cluster:
        named.append({"in-cluster": True})
    if len(named) > 1:
        raise Failure("name one cluster: by --kubeconfig, --eks or --in-cluster", USAGE)
    return named[0] if named else None


def _in_a_cluster(named: Mapping[str, Any], namespace: str) -> Iterator[Finding]:
    from greenlight.entrypoints.doctor.cluster import installation
    from greenlight.lib.clock import SystemClock

    return installation(named, namespace, SystemClock())


def _on_this_machine(config: Path, data: Path) -> Iterator[Finding]:
    from greenlight.entrypoints.doctor.machine import machine
    from greenlight.lib.clock import SystemClock

    named = os.environ.get("GREENLIGHT_SECRETS")
    return machine(config, data, Path(named) if named else data / "secrets", SystemClock(), _Running())


class _Running:
    """Reach the Greenlight at GREENLIGHT_URL.

    Without an answer the state is unknown; a refusal needs a person's repair.
    """

    def __init__(self) -> None:
        self._client = Client()

    def readiness(self) -> Mapping[str, Any] | None:
        return self._asked(self._client.readiness)

    def get(self, path: str) -> Mapping[str, Any]:
        return self._asked(lambda: self._client.get(path))

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except Failure as failure:
            kind = Unavailable if failure.exit_code == UNKNOWN else ConfigurationError
            raise kind(failure.message) from None
