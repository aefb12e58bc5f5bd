"""Which events a Trigger wants: Knative's filter dialects, compiled once into a function from Event to bool.

Rules: Knative Eventing, Trigger v1, `spec.filter` and `spec.filters`. Data is never looked at, only attributes.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from prometheus_client import Counter

from greenlight.broker import cesql
from greenlight.events import Event
from greenlight.telemetry import metrics

Predicate = Callable[[Event], bool]

Path = tuple[str | int, ...]
"""Where in a Trigger's document something stands: keys and list indexes."""

_log = logging.getLogger("greenlight.broker")

_NAME = re.compile(r"[a-z][a-z0-9]*")

_NOT_BOOLEAN = "notBoolean"

_FIELDS: Mapping[str, Callable[[Event], str | None]] = {
    "specversion": lambda event: "1.0",
    "id": attrgetter("id"),
    "source": attrgetter("source"),
    "type": attrgetter("type"),
    "subject": attrgetter("subject"),
    "time": attrgetter("time"),
    "datacontenttype": attrgetter("datacontenttype"),
    "datamediatype": lambda event: event.datacontenttype and event.datacontenttype.partition(";")[0].strip(),
    "dataschema": attrgetter("dataschema"),
    "schemaurl": attrgetter("dataschema"),
}

_NOT_IN_CESQL = ("datamediatype", "schemaurl")
"""Names that only Knative's own dialects give to something else."""


class FilterError(Exception):
    """A filter that cannot be used; `path` says where it stands below the Trigger's root."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


def everything(event: Event) -> bool:
    """The filter of a Trigger that has none."""
    return True


def compile_filters(spec: Mapping[str, Any], trigger: str = "") -> Predicate:
    """The predicate of a Trigger's `spec`: `filters`, and only where that is empty, `filter`. Raises FilterError.

    `filter` is checked even where `filters` overrides it, because Knative's admission does so too. `trigger`: under
    which name to count and log what goes wrong while events are judged; left out, nothing is.
    """
    legacy = _legacy(spec.get("filter"), ("spec", "filter"))
    path: Path = ("spec", "filters")
    items = spec.get("filters")
    if items is None:
        return legacy
    compiled = _items(items, path, trigger)
    return _every(compiled) if compiled else legacy


def limits(spec: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Attributes of which a Trigger's valid `spec` passes only some values, and which: see `attribute`.

    With it a broker need not ask a thousand Triggers about each event.
    """
    filters = spec.get("filters")
    if not filters:
        attributes = (spec.get("filter") or {}).get("attributes") or {}
        return {name: frozenset([text]) for name, text in attributes.items() if text}
    names = {name for item in filters for name in _named(item)} - set(_NOT_IN_CESQL)
    found = ((name, _only(name, "all", filters)) for name in sorted(names))
    return {name: values for name, values in found if values is not None}


def attribute(name: str) -> Callable[[Event], str | None]:
    """The text of an attribute as it is in a header, whatever its type: so Knative's filter, which gets headers, sees it."""
    return _FIELDS.get(name) or _extension(name)


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
    """What the event has in place of what a simple filter asks for."""
    for dialect in ("exact", "prefix", "suffix"):
        found = {name: attribute(name)(event) for name in item.get(dialect) or {}}
        if found:
            return ": " + ", ".join(
                f"{name} is {value!r}" if value else f"it has no {name}" for name, value in found.items()
            )
    if "cesql" in item:
        value, error = cesql.compile_expression(item["cesql"], _in_cesql).evaluate(event)
        return f": {error or f'it is {value!r}'}"
    return ""


def _named(item: Mapping[str, Any]) -> Iterable[str]:
    """Attributes that a filter compares with something."""
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
    """The only values of an attribute with which a filter can pass an event; None if it is not limited to some."""
    if dialect == "exact":
        return frozenset([inner[name]]) if name in inner else None
    if dialect == "cesql":
        return cesql.only_values(cesql.parse(inner).tree, name)
    if dialect not in ("all", "any"):
        return None
    limits = [_only(name, *next(iter(item.items()))) if item else None for item in inner]
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


def _items(value: Any, path: Path, trigger: str) -> list[Predicate]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise FilterError(path, f"{path[-1]} is a list of filters, each with one dialect")
    return [_item(item, (*path, index), trigger) for index, item in enumerate(value)]


def _item(value: Any, path: Path, trigger: str = "") -> Predicate:
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
        return _DIALECTS[dialect](inner, (*path, dialect), trigger)
    return everything


def _exact(value: Any, path: Path, trigger: str) -> Predicate:
    return _every([_test(name, _same(text)) for name, text in _non_empty(value, path)])


def _prefix(value: Any, path: Path, trigger: str) -> Predicate:
    return _every([_test(name, _starting(text)) for name, text in _non_empty(value, path)])


def _suffix(value: Any, path: Path, trigger: str) -> Predicate:
    return _every([_test(name, _ending(text)) for name, text in _non_empty(value, path)])


def _all(value: Any, path: Path, trigger: str) -> Predicate:
    return _every(_items(value, path, trigger))


def _any(value: Any, path: Path, trigger: str) -> Predicate:
    inner = _items(value, path, trigger)
    if not inner:
        return everything
    return lambda event: any(test(event) for test in inner)


def _not(value: Any, path: Path, trigger: str) -> Predicate:
    if value == {}:
        # Knative admits this and its filter process dies of it.
        raise FilterError(path, "not needs a filter inside; an empty one says nothing")
    inner = _item(value, path, trigger)
    return lambda event: not inner(event)


def _cesql(value: Any, path: Path, trigger: str) -> Predicate:
    """Knative admits a function that is not there and a value that is never a Boolean; neither can ever pass an event."""
    if not isinstance(value, str):
        raise FilterError(path, f"cesql is an expression; put {value!r} in quotes")
    try:
        expression = cesql.compile_expression(value, _in_cesql)
    except cesql.ParseError as problem:
        raise FilterError(path, f"cesql, {cesql.place(value, problem.at)}: {problem}") from None
    for at, why in cesql.unknown_functions(expression.tree):
        raise FilterError(path, f"cesql, {cesql.place(value, at)}: {why}")
    if expression.kind is not None and expression.kind is not bool:
        kind = cesql.type_name(expression.kind)
        raise FilterError(path, f"cesql: the value is of type {kind}, and only true passes an event; compare it")
    for at, advice in expression.advice if trigger else ():
        _log.warning("Trigger %s, %s, %s: %s", trigger, _dotted(path), cesql.place(value, at), advice)
    return _judge(expression, _Troubles(trigger, _dotted(path)))


def _judge(expression: cesql.Expression[Event], troubles: _Troubles) -> Predicate:
    """What is not true does not pass, errors included, as Knative has it; `not` around it turns that round, there too."""
    run = expression.run

    def test(event: Event) -> bool:
        try:
            value = run(event)
        except cesql.EvaluationError as problem:
            if problem.error != "missingAttribute":  # an event that lacks an attribute is ordinary
                troubles.note(problem.error, event, problem)
            return False
        if value is True or value is False:
            return value
        kind = cesql.type_name(type(value))
        troubles.note(_NOT_BOOLEAN, event, f"the value is of type {kind}, and only true passes an event; compare it")
        return False

    return test


class _Troubles:
    """What goes wrong while an expression judges events: counted, and the first of each kind in the log."""

    def __init__(self, trigger: str, where: str) -> None:
        self._trigger, self._where = trigger, where
        self._counters: dict[str, Counter] = {}

    def note(self, error: str, event: Event, what: object) -> None:
        """Count an `error`: one of CESQL's, or that the value was no Boolean."""
        if not self._trigger:
            return
        counter = self._counters.get(error)
        if counter is None:
            counter = self._counters[error] = metrics.FILTER_ERRORS.labels(self._trigger, error)
            _log.warning(
                "Trigger %s, %s does not pass event %s: %s: %s. Further ones are only counted",
                self._trigger, self._where, event.id, error, what,
            )  # fmt: skip
        counter.inc()


_DIALECTS: Mapping[str, Callable[[Any, Path, str], Predicate]] = {
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
    get = attribute(name)

    def test(event: Event) -> bool:
        text = get(event)
        return text is not None and matches(text)

    return test


def _in_cesql(name: str) -> Callable[[Event], str | None]:
    return _extension(name) if name in _NOT_IN_CESQL else attribute(name)


def _extension(name: str) -> Callable[[Event], str | None]:
    def get(event: Event) -> str | None:
        value = event.extensions.get(name)
        if value is None or type(value) is str:
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value)

    return get


def _dotted(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:]


def _same(wanted: str) -> Callable[[str], bool]:
    return lambda text: text == wanted


def _starting(wanted: str) -> Callable[[str], bool]:
    return lambda text: text.startswith(wanted)


def _ending(wanted: str) -> Callable[[str], bool]:
    return lambda text: text.endswith(wanted)
