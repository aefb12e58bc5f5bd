"""Filters of Triggers: Knative's dialects, compiled once into a function from Event to bool.

Rules: Knative Eventing, Trigger v1, `spec.filter` and `spec.filters`. Data is never looked at, only attributes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import Counter

from greenlight.broker import cesql
from greenlight.broker.event_attributes import attribute, cesql_attribute
from greenlight.events import Event
from greenlight.telemetry import metrics

Predicate = Callable[[Event], bool]

Path = tuple[str | int, ...]
"""Where in a Trigger's document something stands: keys and list indexes."""

_log = logging.getLogger("greenlight.broker")

_NAME = re.compile(r"[a-z][a-z0-9]*")

_NOT_BOOLEAN = "notBoolean"


class FilterError(Exception):
    """A filter that cannot be used; `path` says where it stands below the Trigger's root."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


def everything(event: Event) -> bool:
    """Pass every event: the filter of a Trigger that has none."""
    return True


def compile_filters(spec: Mapping[str, Any], trigger: str = "") -> Predicate:
    """Return the predicate of a Trigger's `spec`: `filters`, and only where that is empty, `filter`. Raises FilterError.

    `filter` is checked even where `filters` overrides it, because Knative's admission does so too. `trigger`: under
    which name to count and log what goes wrong while events are judged; left out, nothing is.
    """
    legacy = compile_legacy(spec.get("filter"), ("spec", "filter"))
    path: Path = ("spec", "filters")
    items = spec.get("filters")
    if items is None:
        return legacy
    compiled = _items(items, path, trigger)
    return _every(compiled) if compiled else legacy


def compile_legacy(value: Any, path: Path) -> Predicate:
    """Compile `filter.attributes`: exact matches, where an empty value asks only that the attribute is there."""
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
    return _every([_test(name, text, str.__eq__ if text else _is_there) for name, text in wanted])


def _is_there(text: str, wanted: str) -> bool:
    return bool(text)


def _items(value: Any, path: Path, trigger: str) -> list[Predicate]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise FilterError(path, f"{path[-1]} is a list of filters, each with one dialect")
    return [compile_item(item, (*path, index), trigger) for index, item in enumerate(value)]


def compile_item(value: Any, path: Path, trigger: str = "") -> Predicate:
    """Compile one filter; an empty one passes everything, as Knative has it. Raises FilterError."""
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


def _texts(matches: Callable[[str, str], bool]) -> Callable[[Any, Path, str], Predicate]:
    """Return the dialect in which each attribute named matches the text that is given for it."""

    def dialect(value: Any, path: Path, trigger: str) -> Predicate:
        return _every([_test(name, text, matches) for name, text in _non_empty(value, path)])

    return dialect


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
    inner = compile_item(value, path, trigger)
    return lambda event: not inner(event)


def _cesql(value: Any, path: Path, trigger: str) -> Predicate:
    """Compile a CESQL filter.

    Knative admits unknown functions and values that are no Boolean; neither passes an event.
    """
    if not isinstance(value, str):
        raise FilterError(path, f"cesql is an expression; put {value!r} in quotes")
    try:
        expression = cesql.compile_expression(value, cesql_attribute)
    except cesql.ParseError as problem:
        raise FilterError(path, f"cesql, {cesql.place(value, problem.at)}: {problem}") from None
    for at, why in cesql.unknown_functions(expression.tree):
        raise FilterError(path, f"cesql, {cesql.place(value, at)}: {why}")
    if expression.kind is not None and expression.kind is not bool:
        kind = cesql.type_name(expression.kind)
        raise FilterError(path, f"cesql: the value is of type {kind}, and only true passes an event; compare it")
    for at, advice in expression.advice if trigger else ():
        _log.warning("Trigger %s, %s, %s: %s", trigger, _dotted(path), cesql.place(value, at), advice)
    return _predicate(expression, _ErrorCount(trigger, _dotted(path)))


def _predicate(expression: cesql.Expression[Event], errors: _ErrorCount) -> Predicate:
    """Return a test: anything but true fails, errors too, as in Knative; a `not` around it turns that round."""
    run = expression.run

    def test(event: Event) -> bool:
        try:
            value = run(event)
        except cesql.EvaluationError as problem:
            if problem.error != "missingAttribute":  # an event that lacks an attribute is ordinary
                errors.note(problem.error, event, problem)
            return False
        if value is True or value is False:
            return value
        kind = cesql.type_name(type(value))
        errors.note(_NOT_BOOLEAN, event, f"the value is of type {kind}, and only true passes an event; compare it")
        return False

    return test


class _ErrorCount:
    """Count the errors of an expression while it judges events, and log the first of each kind."""

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
    "exact": _texts(str.__eq__),
    "prefix": _texts(str.startswith),
    "suffix": _texts(str.endswith),
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


def _test(name: str, wanted: str, matches: Callable[[str, str], bool]) -> Predicate:
    """Return a test whether the attribute is there and its text matches."""
    get = attribute(name)

    def test(event: Event) -> bool:
        text = get(event)
        return text is not None and matches(text, wanted)

    return test


def _dotted(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:]
