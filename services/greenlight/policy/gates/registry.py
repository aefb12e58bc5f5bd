"""Every kind of gate, by the name that the pipeline file gives it: each module of this package that defines one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import greenlight.policy.gates as package
from greenlight.lib.plugins import defined_in
from greenlight.policy.gates.kind import COMMON, Kind, Schema


def find() -> Iterator[type[Kind]]:
    """Yield the kinds of this package, in the order of their modules."""
    return defined_in(package, Kind, but=__name__)


KINDS: Mapping[str, type[Kind]] = {kind.kind: kind for kind in find()}
"""By name, in the order of their modules."""


def read(name: str, written: Mapping[str, Any]) -> Kind:
    """Return the gate of that name, from how it is written: a mapping that the schema has found right."""
    (kind,) = (kind for field, kind in KINDS.items() if field in written)
    return kind.read(name, written)


def schema() -> Schema:
    """Return the JSON Schema of a gate."""
    beside = {field: (kind, rules) for kind, of in KINDS.items() for field, rules in of.beside.items()}
    refused = {
        kind: {"properties": {field: {"not": {}, "errorMessage": why} for field, why in of.refused.items()}}
        for kind, of in KINDS.items()
        if of.refused
    }
    return {
        "type": "object",
        "kindOf": "gate kind",
        "additionalProperties": False,
        "properties": {
            **{kind: of.schema for kind, of in KINDS.items()},
            **{field: rules for field, (_, rules) in beside.items()},
            **COMMON,
        },
        "oneOf": [{"required": [kind]} for kind in KINDS],
        "dependentRequired": {field: [kind] for field, (kind, _) in beside.items()},
        "dependentSchemas": refused,
    }
