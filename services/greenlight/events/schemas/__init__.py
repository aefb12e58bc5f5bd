"""A JSON Schema for the data of every event type of Greenlight. Unknown members are allowed, so that v1 may grow."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
_TYPES = frozenset(file.name.removesuffix(".v1.json") for file in _FOLDER.glob("*.v1.json"))


def dataschema(type: str) -> str | None:
    """Return the `dataschema` that events of this type carry; None for a type of a third party."""
    return f"urn:greenlight:schema:{type}:v1" if type in _TYPES else None


@cache
def schema(type: str) -> dict[str, Any]:
    """Return the schema of this type's data. Raises KeyError for a type of a third party."""
    if type not in _TYPES:
        raise KeyError(type)
    document: dict[str, Any] = json.loads((_FOLDER / f"{type}.v1.json").read_text(encoding="utf-8"))
    return document
