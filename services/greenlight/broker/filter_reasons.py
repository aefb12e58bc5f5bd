"""Reasons, for operators, why a filter does not pass an event."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from greenlight.broker import cesql
from greenlight.broker.event_attributes import attribute, cesql_attribute
from greenlight.broker.filters import compile_item, compile_legacy
from greenlight.events import Event


def why_not(spec: Mapping[str, Any], event: Event) -> str | None:
    """Return why the Trigger with this valid `spec` does not want `event`: its first filter that fails; None if it does."""
    if spec.get("filters"):
        for index, item in enumerate(spec["filters"]):
            if not compile_item(item, ("spec", "filters", index))(event):
                return f"filters[{index}] {_shown(item)} does not pass it{_instead(item, event)}"
        return None
    attributes = (spec.get("filter") or {}).get("attributes") or {}
    for name, text in attributes.items():
        if not compile_legacy({"attributes": {name: text}}, ("spec", "filter"))(event):
            return f"filter {name}: {text or 'any value'} does not pass it{_instead({'exact': {name: text}}, event)}"
    return None


def _shown(item: Any) -> str:
    return json.dumps(item, ensure_ascii=False, default=str)


def _instead(item: Mapping[str, Any], event: Event) -> str:
    """Return what the event has in place of what a simple filter asks for."""
    for dialect in ("exact", "prefix", "suffix"):
        found = {name: attribute(name)(event) for name in item.get(dialect) or {}}
        if found:
            return ": " + ", ".join(
                f"{name} is {value!r}" if value else f"it has no {name}" for name, value in found.items()
            )
    if "cesql" in item:
        value, error = cesql.compile_expression(item["cesql"], cesql_attribute).evaluate(event)
        return f": {error or f'it is {value!r}'}"
    return ""
