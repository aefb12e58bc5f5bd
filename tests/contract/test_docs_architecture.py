"""docs/architecture.md names every folder and the right files, and its layers are those that the imports are held to."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "services" / "greenlight"
PAGE = (ROOT / "docs" / "architecture.md").read_text()

TASKS = {
    "a scanner's report without an outcome is refused": ("webhooks/providers/gates.py", "outcome must be"),
    "a push of GitHub becomes a fact": ("webhooks/providers/github.py", "def _push("),
    "a webhook's signature is checked": ("lib/signing.py", "def check_github("),
    "a secret is rotated by adding a line to its file": ("service/secrets.py", "class Secrets"),
    "of two facts of one signal, the newer one counts": ("recorder/domain.py", "def fold("),
    "an author's approval does not count": ("policy/gates/approval.py", "def state("),
    "of two candidates, the newer one is found": ("policy/lineage.py", "def newer("),
    "a person's request expires": ("policy/requests.py", "def expired("),
    "a lease is renewed": ("deployer/domain.py", "lease=Lease(owner"),
    "a secret in a command's output is hidden": ("lib/scrub.py", "class Scrubber"),
    "Helm is started with its arguments": ("deployer/drivers/helm/program.py", "def upgrade_arguments("),
    "a pod that crashes again and again is recognised": ("deployer/rollout/pods.py", "CrashLoopBackOff"),
    "a kubeconfig's exec plugin is run": ("deployer/clusters/exec_plugin.py", "class ExecPlugin"),
    "a delivery is tried again after a pause": ("broker/retry_schedule.py", "class RetrySchedule"),
    "a function of CESQL is computed": ("broker/cesql/functions.py", "def find("),
    "changes that wait are committed together": ("store/store.py", "def _commit("),
    "unfinished work is emitted again": ("reconciler/app.py", "def _emit_again("),
    "a person pauses a target": ("board/actions.py", "def set_paused("),
    "a person freezes a target": ("board/freezing.py", "def freeze("),
    "the bars of a commit's waterfall are placed": ("telemetry/layout.py", "def bars("),
    "`greenlight why` prints what a commit waits for": ("cli/commands/look.py", "def why("),
}
"""Tasks of somebody who looks for the file to read: the file, and what is in it. Whoever has read the page names the file."""


def _folders() -> set[str]:
    return {
        f"{path.relative_to(SOURCE)}/" for path in SOURCE.rglob("*") if path.is_dir() and path.name != "__pycache__"
    }


def test_every_folder_is_named_and_no_other() -> None:
    """In the tables of folders."""
    rows = re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE) + re.findall(r"^\|.*$", PAGE, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z_/]+/)`", row)}
    assert named == _folders()


def test_the_layers_are_those_that_the_imports_are_held_to() -> None:
    """The first table, from top to bottom."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract.get("exhaustive")]
    table = PAGE.split("## Folders")[1].split("Folders inside folders")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    found = [[name.removesuffix("/").removesuffix(".py") for name in re.findall(r"`([^`]+)`", cell)] for cell in cells]
    assert [sorted(layer) for layer in found] == [sorted(layer.split(" | ")) for layer in layers]


def test_every_file_that_the_page_names_is_there() -> None:
    """Below services/greenlight, or in the repository."""
    for name in re.findall(r"`([a-z_/]+\.py)`", PAGE):
        assert (SOURCE / name).exists() or name in ("app.py", "domain.py", "declaration.py"), name


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_done_where_the_answer_says(task: str) -> None:
    """The answers stay right when code moves."""
    file, text = TASKS[task]
    assert text in (SOURCE / file).read_text()
