"""The JSON Schema of the pipeline file: the frame in schema.json, with what each kind of gate says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from greenlight.policy.gates import registry


@cache
def schema() -> Mapping[str, Any]:
    """The JSON Schema of the pipeline file, as a value."""
    text = resources.files("greenlight.policy").joinpath("schema.json").read_text(encoding="utf-8")
    frame: dict[str, Any] = json.loads(text)
    return {**frame, "$defs": {**frame["$defs"], "gate": registry.schema()}}


def schema_text() -> str:
    """The JSON Schema of the pipeline file, for editors."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
