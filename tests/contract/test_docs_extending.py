"""docs/extending.md: the diffs of a provider and of an event type apply to the source, and what they add works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = {
    "A provider of webhooks": ("buildkite", 2),
    "An event type": ("skipped", 3),
}
"""What the section adds, which support.extending checks; and in how many files."""


def _diffs(section: str) -> list[str]:
    text = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (found,) = [part for part in text if part.startswith(f"{section}\n")]
    return re.findall(r"^```diff\n(.*?)^```", found, re.DOTALL | re.MULTILINE)


def test_every_diff_is_in_a_section_that_is_checked() -> None:
    """None is left out."""
    assert PAGE.count("```diff") == sum(len(_diffs(section)) for section in SECTIONS)


@pytest.mark.parametrize("section", SECTIONS)
def test_what_a_section_adds_works(section: str, tmp_path: Path) -> None:
    """In a copy of the source, by as many files as the page says."""
    what, files = SECTIONS[section]
    source, run = tmp_path / "services", tmp_path / "run"
    run.mkdir()
    shutil.copytree(ROOT / "services", source, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "knative", tmp_path / "knative")
    diffs = _diffs(section)
    assert len({re.search(r"^\+\+\+ b/(.*)$", diff, re.MULTILINE)[1] for diff in diffs}) == files  # type: ignore[index]
    apart = os.environ | {"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, env=apart, input="".join(diffs), text=True, check=True)
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(source), str(ROOT / "tests")]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "support.extending", str(source), what, str(run)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
