"""The programs of .venv/tools, for the tests that install the wheel as a user would, and those of the audit."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parents[2] / ".venv" / "tools" / "bin"
_NEEDED = ("pipx", "uv", "pip-audit", "pip-licenses")

MISSING = [name for name in _NEEDED if not (_FOLDER / name).exists()]
"""What `make .venv/tools/installed` has not installed yet."""


def tool(name: str) -> str:
    """Return the path of one of the tools."""
    return str(_FOLDER / name)
