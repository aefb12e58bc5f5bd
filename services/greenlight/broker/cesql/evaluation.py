"""Compilation of a tree to a function of the event (sections 3.2, 3.4, 3.6 and 3.7): one closure per node, made once.

An error ends the evaluation (section 4.1, fail fast), because a filter needs no value after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from greenlight.broker.cesql import functions, like
from greenlight.broker.cesql.arithmetic import ARITHMETIC, ORDER, checked
from greenlight.broker.cesql.syntax import COMPARISONS, Node, parse
from greenlight.broker.cesql.tokens import LOGIC
from greenlight.broker.cesql.values import CASTS, EvaluationError, Kind, Value, cast

E = TypeVar("E")

Run = Callable[[E], Any]
"""The value of a node for an event; raises EvaluationError."""

Lookup = Callable[[str], Callable[[E], Value | None]]
"""From an attribute's name, in lower case, to what an event has under it; None: it has not."""

REQUIRED = ("specversion", "id", "source", "type")
"""Attributes that every event has, so that EXISTS need not look."""


class Typed(NamedTuple, Generic[E]):
    """A closure, and the type of what it gives; None if that depends on the event."""

    kind: Kind | None
    run: Run[E]


@dataclass(frozen=True, slots=True)
class Expression(Generic[E]):
    """An expression that is ready: `run` gives the value for an event, or raises EvaluationError.

    `kind` is the type of the value, None if it depends on the event; `advice` is what the author had better know.
    """

    text: str
    tree: Node
    kind: Kind | None
    run: Run[E]
    advice: Sequence[tuple[int, str]]

    def evaluate(self, event: E) -> tuple[Value, EvaluationError | None]:
        """Return the value, and the error there was; with an error, the function's own value or the zero value of the type."""
        try:
            return self.run(event), None
        except EvaluationError as error:
            own = error.value if error.at == self.tree.at else None
            return (own if own is not None else (self.kind or bool)()), error


def compile_expression(text: str, attribute: Lookup[E]) -> Expression[E]:
    """Parse and compile. `attribute` is asked now, for what the expression names, never per event. Raises ParseError."""
    tree, advice = parse(text)
    typed = _Compiler(attribute).compile(tree)
    return Expression(text, tree, typed.kind, typed.run, advice)


class _Compiler(Generic[E]):
    def __init__(self, attribute: Lookup[E]) -> None:
        self._attribute = attribute

    def compile(self, node: Node) -> Typed[E]:
        if node.kind in LOGIC:
            return Typed(bool, self._logic(node))
        if node.kind in ("=", "!=", "<>"):
            return Typed(bool, self._equality(node))
        if node.kind in COMPARISONS:
            return Typed(bool, self._comparison(node))
        if node.kind in ARITHMETIC:
            return Typed(int, self._arithmetic(node))
        return _OTHERS[node.kind](self, node)

    def cast(self, node: Node, kind: Kind | None) -> Run[E]:
        """Compile a node, with a cast if one is needed; None: any type will do."""
        typed = self.compile(node)
        if kind is None or typed.kind is kind:
            return typed.run
        convert, at = CASTS[kind], node.at
        if node.kind == "attribute":  # what most casts are for, in one closure
            get, missing = self._attribute(str(node.value)), _missing(node)

            def fetch(event: E) -> Value:
                value = get(event)
                if value is None:
                    raise EvaluationError("missingAttribute", at, missing)
                return value if type(value) is kind else convert(value, at)

            return fetch
        run = typed.run

        def casting(event: E) -> Value:
            value = run(event)
            return value if type(value) is kind else convert(value, at)

        return casting

    # Leaves.

    def _literal(self, node: Node) -> Typed[E]:
        value = node.value
        assert value is not None
        return Typed(type(value), lambda event: value)

    def _get(self, node: Node) -> Typed[E]:
        get, at, missing = self._attribute(str(node.value)), node.at, _missing(node)

        def run(event: E) -> Value:
            value = get(event)
            if value is None:
                raise EvaluationError("missingAttribute", at, missing)
            return value

        return Typed(None, run)

    def _exists(self, node: Node) -> Typed[E]:
        name = str(node.value)
        if name in REQUIRED:
            return Typed(bool, lambda event: True)
        get = self._attribute(name)
        return Typed(bool, lambda event: get(event) is not None)

    # Operators.

    def _not(self, node: Node) -> Typed[E]:
        run = self.cast(node.children[0], bool)
        return Typed(bool, lambda event: not run(event))

    def _negate(self, node: Node) -> Typed[E]:
        run, at = self.cast(node.children[0], int), node.at
        return Typed(int, lambda event: checked(-run(event), at))

    def _logic(self, node: Node) -> Run[E]:
        runs = [self.cast(child, bool) for child in node.children]
        if node.kind == "XOR":
            return lambda event: sum([run(event) for run in runs]) % 2 == 1
        if len(runs) == 2:
            left, right = runs
            if node.kind == "AND":
                return lambda event: left(event) and right(event)
            return lambda event: left(event) or right(event)
        ends = node.kind == "OR"

        def chain(event: E) -> bool:
            for run in runs:
                if run(event) == ends:
                    return ends
            return not ends

        return chain

    def _equality(self, node: Node) -> Run[E]:
        """Compile `=` and its opposite: both operands get the right one's type."""
        right_node, equal = node.children[1], node.kind == "="
        kind, right = self.compile(right_node)
        if kind is not None:
            left = self.cast(node.children[0], kind)
            if right_node.kind == "literal":
                value = right_node.value
                if equal:
                    return lambda event: left(event) == value
                return lambda event: left(event) != value
            return lambda event: (left(event) == right(event)) is equal
        left, at = self.compile(node.children[0]).run, node.at

        def run(event: E) -> bool:
            value, wanted = left(event), right(event)
            same: bool = cast(value, type(wanted), at) == wanted
            return same is equal

        return run

    def _comparison(self, node: Node) -> Run[E]:
        left, right = (self.cast(child, int) for child in node.children)
        compare: Callable[[Any, Any], bool] = ORDER[node.kind]
        return lambda event: compare(left(event), right(event))

    def _arithmetic(self, node: Node) -> Run[E]:
        left, right = (self.cast(child, int) for child in node.children)
        compute, at = ARITHMETIC[node.kind], node.at
        return lambda event: checked(compute(left(event), right(event), at), at)

    def _like(self, node: Node) -> Typed[E]:
        run, match = self.cast(node.children[0], str), like.compile_pattern(str(node.value))
        return Typed(bool, lambda event: match(run(event)))

    def _in(self, node: Node) -> Typed[E]:
        """Compile `IN`: the elements get the left operand's type, one after the other until one is equal."""
        left = self.compile(node.children[0]).run
        elements = node.children[1:]
        if all(element.kind == "literal" for element in elements):
            sets = {kind: _constants(elements, kind) for kind in CASTS}

            def find(event: E) -> bool:
                value = left(event)
                found, error = sets[type(value)]
                if value in found:
                    return True
                if error is not None:
                    raise EvaluationError(error.error, error.at, str(error))
                return False

            return Typed(bool, find)
        runs = [(element.at, self.compile(element).run) for element in elements]

        def search(event: E) -> bool:
            value = left(event)
            kind = type(value)
            return any(cast(run(event), kind, at) == value for at, run in runs)

        return Typed(bool, search)

    def _call(self, node: Node) -> Typed[E]:
        name, at, count = str(node.value), node.at, len(node.children)
        function = functions.find(name, count)
        if function is None:

            def missing(event: E) -> Value:
                raise EvaluationError("missingFunction", at, functions.why_none(name, count))

            return Typed(None, missing)
        takes = [*function.takes, *[function.more] * (count - len(function.takes))]
        arguments = [self.cast(child, kind) for child, kind in zip(node.children, takes, strict=True)]
        body = function.body
        if count == 1:
            argument = arguments[0]
            return Typed(function.gives, lambda event: body(at, argument(event)))
        return Typed(function.gives, lambda event: body(at, *[argument(event) for argument in arguments]))


_OTHERS: Mapping[str, Callable[[_Compiler[Any], Node], Typed[Any]]] = {
    "literal": _Compiler._literal,
    "attribute": _Compiler._get,
    "EXISTS": _Compiler._exists,
    "NOT": _Compiler._not,
    "negate": _Compiler._negate,
    "LIKE": _Compiler._like,
    "IN": _Compiler._in,
    "call": _Compiler._call,
}


def _constants(elements: Sequence[Node], kind: Kind) -> tuple[frozenset[Value], EvaluationError | None]:
    """Return the elements as values of `kind`, up to the first that cannot be one, and what is wrong with that."""
    found: list[Value] = []
    for element in elements:
        assert element.value is not None
        try:
            found.append(cast(element.value, kind, element.at))
        except EvaluationError as error:
            return frozenset(found), error
    return frozenset(found), None


def _missing(node: Node) -> str:
    return f"the event has no attribute {node.value}"
