"""The attribute values that a filter requires, so that a broker need not ask a thousand Triggers about each event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from greenlight.broker import cesql
from greenlight.broker.event_attributes import NOT_IN_CESQL


def required_values(spec: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Return the attributes of which a Trigger's valid `spec` passes only some values, and these; see `attribute`."""
    filters = spec.get("filters")
    if not filters:
        attributes = (spec.get("filter") or {}).get("attributes") or {}
        return {name: frozenset([text]) for name, text in attributes.items() if text}
    names = {name for item in filters for name in _named(item)} - set(NOT_IN_CESQL)
    found = ((name, _only(name, "all", filters)) for name in sorted(names))
    return {name: values for name, values in found if values is not None}


def _named(item: Mapping[str, Any]) -> Iterable[str]:
    """Return the attributes that a filter compares with something."""
    for dialect, inner in item.items():
        if dialect == "exact":
            yield from inner
        elif dialect == "cesql":
            yield from _mentioned(cesql.parse(inner).tree)
        elif dialect in ("all", "any"):
            for each in inner:
                yield from _named(each)


def _mentioned(tree: cesql.Node) -> Iterable[str]:
    if tree.kind == "attribute":
        yield str(tree.value)
    for child in tree.children:
        yield from _mentioned(child)


def _only(name: str, dialect: str, inner: Any) -> frozenset[str] | None:
    """Return the only values of an attribute with which a filter can pass; None if it is not limited to some."""
    if dialect == "exact":
        return frozenset([inner[name]]) if name in inner else None
    if dialect == "cesql":
        return cesql.only_values(cesql.parse(inner).tree, name)
    if dialect not in ("all", "any"):
        return None
    found = [_only(name, *next(iter(item.items()))) if item else None for item in inner]
    known = [values for values in found if values is not None]
    if dialect == "all":
        return frozenset.intersection(*known) if known else None
    return frozenset.union(*known) if known and len(known) == len(found) else None
