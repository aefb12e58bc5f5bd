"""Facts about an expression that hold for every event."""

from __future__ import annotations

from collections.abc import Sequence

from greenlight.broker.cesql import functions
from greenlight.broker.cesql.syntax import Node


def unknown_functions(tree: Node) -> list[tuple[int, str]]:
    """Return the calls that can only be errors, as (offset, why): no such function, or not with so many arguments."""
    name, count = str(tree.value), len(tree.children)
    own = tree.kind == "call" and functions.find(name, count) is None
    found = [(tree.at, functions.why_none(name, count))] if own else []
    return found + [each for child in tree.children for each in unknown_functions(child)]


def only_values(tree: Node, name: str) -> frozenset[str] | None:
    """Return the only values of an attribute with which the expression can be true; None if it is not limited to some."""
    if tree.kind == "=" and _texts([tree.children[1]]) is not None and _is(tree.children[0], name):
        return _texts([tree.children[1]])
    if tree.kind == "=" and _is(tree.children[1], name):
        return _texts([tree.children[0]])
    if tree.kind == "IN" and _is(tree.children[0], name):
        return _texts(tree.children[1:])
    if tree.kind not in ("AND", "OR"):
        return None
    limits = [only_values(child, name) for child in tree.children]
    known = [limit for limit in limits if limit is not None]
    if tree.kind == "AND":
        return frozenset.intersection(*known) if known else None
    return frozenset.union(*known) if len(known) == len(limits) else None


def _is(node: Node, name: str) -> bool:
    return node.kind == "attribute" and node.value == name


def _texts(nodes: Sequence[Node]) -> frozenset[str] | None:
    found = frozenset(node.value for node in nodes if node.kind == "literal" and isinstance(node.value, str))
    return found if all(node.kind == "literal" and isinstance(node.value, str) for node in nodes) else None
