"""The JSON Schema of the pipeline file: the frame in schema.json, with what each kind of gate and each driver declares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from greenlight.policy.driver import Drivers, DriverSection
from greenlight.policy.gates import registry


def schema(drivers: Drivers) -> Mapping[str, Any]:
    """Return the JSON Schema of a pipeline file that deploys by these drivers, as a value."""
    return _schema(*drivers.values())


def schema_text(drivers: Drivers) -> str:
    """Return the JSON Schema of a pipeline file that deploys by these drivers, for editors."""
    return json.dumps(schema(drivers), indent=2, ensure_ascii=False) + "\n"


@cache
def _schema(*drivers: type[DriverSection]) -> Mapping[str, Any]:
    text = resources.files("greenlight.policy").joinpath("schema.json").read_text(encoding="utf-8")
    frame: dict[str, Any] = json.loads(text)
    definitions = {**frame["$defs"], "gate": registry.schema(), "deploy": _deploy(drivers)}
    for driver in drivers:
        definitions |= {driver.driver: driver.schema, **driver.definitions}
    return {**frame, "$defs": definitions}


def _deploy(drivers: tuple[type[DriverSection], ...]) -> Mapping[str, Any]:
    names = [driver.driver for driver in drivers]
    return {
        "type": "object",
        "kindOf": "driver",
        "additionalProperties": False,
        "properties": {name: {"$ref": f"#/$defs/{name}"} for name in names},
        "oneOf": [{"required": [name]} for name in names],
    }
