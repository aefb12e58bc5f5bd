"""Which events a Trigger wants: Knative's filter dialects, compiled once into a function from Event to bool.

Rules: Knative Eventing, Trigger v1, `spec.filter` and `spec.filters`. Data is never looked at, only attributes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from greenlight.events import Event

Predicate = Callable[[Event], bool]

Path = tuple[str | int, ...]
"""Where in a Trigger's document something stands: keys and list indexes."""

_NAME = re.compile(r"[a-z][a-z0-9]*")

_FIELDS: Mapping[str, Callable[[Event], str | None]] = {
    "specversion": lambda event: "1.0",
    "id": lambda event: event.id,
    "source": lambda event: event.source,
    "type": lambda event: event.type,
    "subject": lambda event: event.subject,
    "time": lambda event: event.time,
    "datacontenttype": lambda event: event.datacontenttype,
    "datamediatype": lambda event: event.datacontenttype and event.datacontenttype.partition(";")[0].strip(),
    "dataschema": lambda event: event.dataschema,
    "schemaurl": lambda event: event.dataschema,
}


class FilterError(Exception):
    """A filter that cannot be used; `path` says where it stands below the Trigger's root."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


def everything(event: Event) -> bool:
    """The filter of a Trigger that has none."""
    return True


def compile_filters(spec: Mapping[str, Any]) -> Predicate:
    """The predicate of a Trigger's `spec`: `filters`, and only where that is empty, `filter`. Raises FilterError.

    `filter` is checked even where `filters` overrides it, because Knative's admission does so too.
    """
    legacy = _legacy(spec.get("filter"), ("spec", "filter"))
    path: Path = ("spec", "filters")
    items = spec.get("filters")
    if items is None:
        return legacy
    compiled = _items(items, path)
    return _every(compiled) if compiled else legacy


def only_types(spec: Mapping[str, Any]) -> frozenset[str] | None:
    """The only event types that a Trigger's valid `spec` can pass; None if it is not limited to some.

    With it a broker need not ask a thousand Triggers about each event.
    """
    filters = spec.get("filters")
    if not filters:
        attributes = (spec.get("filter") or {}).get("attributes") or {}
        return frozenset([attributes["type"]]) if attributes.get("type") else None
    return _types_of("all", filters)


def why_not(spec: Mapping[str, Any], event: Event) -> str | None:
    """Why the Trigger with this valid `spec` does not want `event`: its first filter that is against; None if it does."""
    if spec.get("filters"):
        for index, item in enumerate(spec["filters"]):
            if not _item(item, ("spec", "filters", index))(event):
                return f"filters[{index}] {_shown(item)} does not pass it{_instead(item, event)}"
        return None
    attributes = (spec.get("filter") or {}).get("attributes") or {}
    for name, text in attributes.items():
        if not _legacy({"attributes": {name: text}}, ("spec", "filter"))(event):
            return f"filter {name}: {text or 'any value'} does not pass it{_instead({'exact': {name: text}}, event)}"
    return None


def _shown(item: Any) -> str:
    return json.dumps(item, ensure_ascii=False, default=str)


def _instead(item: Mapping[str, Any], event: Event) -> str:
    """What the event has in place of the attributes that a simple filter asks for."""
    for dialect in ("exact", "prefix", "suffix"):
        found = {name: (_FIELDS.get(name) or _extension(name))(event) for name in item.get(dialect) or {}}
        if found:
            return ": " + ", ".join(
                f"{name} is {value!r}" if value else f"it has no {name}" for name, value in found.items()
            )
    return ""


def _types_of(dialect: str, inner: Any) -> frozenset[str] | None:
    if dialect == "exact":
        return frozenset([inner["type"]]) if "type" in inner else None
    if dialect not in ("all", "any"):
        return None
    limits = [_types_of(*next(iter(item.items()))) if item else None for item in inner]
    known = [limit for limit in limits if limit is not None]
    if dialect == "all":
        return frozenset.intersection(*known) if known else None
    return frozenset.union(*known) if known and len(known) == len(limits) else None


def _legacy(value: Any, path: Path) -> Predicate:
    """`filter.attributes`: exact matches, where an empty value asks only that the attribute is there."""
    if value is None:
        return everything
    if not isinstance(value, Mapping):
        raise FilterError(path, "filter is a mapping with the key attributes")
    for key in value:
        if key != "attributes":
            raise FilterError((*path, key), f"unknown field {key!r}; filter has only attributes")
    if value.get("attributes") is None:
        return everything
    wanted = _names_and_values(value["attributes"], (*path, "attributes"))
    tests = [_test(name, _same(text) if text else bool) for name, text in wanted]
    return _every(tests)


def _items(value: Any, path: Path) -> list[Predicate]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise FilterError(path, f"{path[-1]} is a list of filters, each with one dialect")
    return [_item(item, (*path, index)) for index, item in enumerate(value)]


def _item(value: Any, path: Path) -> Predicate:
    """One filter; an empty one passes everything, as Knative has it."""
    if not isinstance(value, Mapping):
        raise FilterError(path, "a filter is a mapping with one dialect, such as {exact: {type: my.type}}")
    for dialect in value:
        if dialect not in _DIALECTS:
            known = ", ".join(_DIALECTS)
            raise FilterError((*path, dialect), f"unknown dialect {dialect!r}; Knative has {known}")
    if len(value) > 1:
        raise FilterError(
            path, f"multiple dialects in one filter ({', '.join(value)}); give each a list item of its own"
        )
    for dialect, inner in value.items():
        return _DIALECTS[dialect](inner, (*path, dialect))
    return everything


def _exact(value: Any, path: Path) -> Predicate:
    return _every([_test(name, _same(text)) for name, text in _non_empty(value, path)])


def _prefix(value: Any, path: Path) -> Predicate:
    return _every([_test(name, _starting(text)) for name, text in _non_empty(value, path)])


def _suffix(value: Any, path: Path) -> Predicate:
    return _every([_test(name, _ending(text)) for name, text in _non_empty(value, path)])


def _all(value: Any, path: Path) -> Predicate:
    return _every(_items(value, path))


def _any(value: Any, path: Path) -> Predicate:
    inner = _items(value, path)
    if not inner:
        return everything
    return lambda event: any(test(event) for test in inner)


def _not(value: Any, path: Path) -> Predicate:
    if value == {}:
        # Knative admits this and its filter process dies of it.
        raise FilterError(path, "not needs a filter inside; an empty one says nothing")
    inner = _item(value, path)
    return lambda event: not inner(event)


def _cesql(value: Any, path: Path) -> Predicate:
    raise FilterError(path, "cesql is not supported yet; use exact, prefix, suffix, all, any and not")


_DIALECTS: Mapping[str, Callable[[Any, Path], Predicate]] = {
    "exact": _exact,
    "prefix": _prefix,
    "suffix": _suffix,
    "all": _all,
    "any": _any,
    "not": _not,
    "cesql": _cesql,
}


def _names_and_values(value: Any, path: Path) -> list[tuple[str, str]]:
    if not isinstance(value, Mapping):
        raise FilterError(path, f"{path[-1]} maps attribute names to texts")
    for name, text in value.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise FilterError(
                (*path, name),
                f"invalid attribute name {name!r}: it starts with a letter and has only lower-case letters and digits",
            )
        if not isinstance(text, str):
            raise FilterError((*path, name), f"the value of {name} is a text; put {text!r} in quotes")
    return list(value.items())


def _non_empty(value: Any, path: Path) -> list[tuple[str, str]]:
    pairs = _names_and_values(value, path)
    for name, text in pairs:
        if not text:
            # Knative admits this and then ignores the whole item, so that it passes what it should not.
            raise FilterError((*path, name), f"the value of {name} is empty, which can never match; leave it out")
    return pairs


def _every(tests: Sequence[Predicate]) -> Predicate:
    if len(tests) == 1:
        return tests[0]
    return lambda event: all(test(event) for test in tests)


def _test(name: str, matches: Callable[[str], bool]) -> Predicate:
    """Whether the attribute is there and its text matches."""
    get = _FIELDS.get(name) or _extension(name)

    def test(event: Event) -> bool:
        text = get(event)
        return text is not None and matches(text)

    return test


def _extension(name: str) -> Callable[[Event], str | None]:
    def get(event: Event) -> str | None:
        value = event.extensions.get(name)
        if isinstance(value, bool):
            return "true" if value else "false"
        return None if value is None else str(value)

    return get


def _same(wanted: str) -> Callable[[str], bool]:
    return lambda text: text == wanted


def _starting(wanted: str) -> Callable[[str], bool]:
    return lambda text: text.startswith(wanted)


def _ending(wanted: str) -> Callable[[str], bool]:
    return lambda text: text.endswith(wanted)
