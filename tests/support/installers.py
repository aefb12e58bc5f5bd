"""uv and pipx, for the tests that install the wheel as a user would."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_HERE = Path(__file__).parents[2] / ".venv" / "tools" / "bin"

PROGRAMS = ("pipx", "uvx")


def installer(name: str) -> str:
    """The path of one of PROGRAMS: what `make .venv/tools/installed` installed, else what this machine has."""
    found = _find(name)
    assert found is not None, name
    return found


def missing() -> list[str]:
    """The names of those that are not there."""
    return [name for name in PROGRAMS if _find(name) is None]


def _find(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([str(_HERE), os.environ.get("PATH", os.defpath)]))
