"""The table's settings, as `greenlight ledger create` makes it and `check` compares it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def settings() -> dict[str, Any]:
    """ledger/aws/table.json: CreateTable's parameters, and what is set afterwards."""
    found: dict[str, Any] = json.loads(files("greenlight.ledger").joinpath("infra/table.json").read_text())
    return found
