"""Parser from the text of an expression to its tree (section 2), or to an error with its place and what was expected.

Precedence and associativity are those of the grammar published with the specification: unary operators, then LIKE and IN,
then `* / %`, `+ -`, comparisons, and AND, OR and XOR alike, these from right to left: `a AND b OR c` is `a AND (b OR c)`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from greenlight.broker.cesql.tokens import LOGIC, MAX_LENGTH, ParseError, Token, content, tokens
from greenlight.broker.cesql.values import Value, in_range

MAX_DEPTH = 64
"""Levels of the tree, and of brackets."""

COMPARISONS = ("=", "!=", "<>", ">=", "<=", "<", ">")
_LEVELS = (COMPARISONS, ("+", "-"), ("*", "/", "%"))
_VALUE = "a value (an attribute, a text in quotes, a number, TRUE, FALSE, a function, a bracket)"
_MORE = "an operator or the end"

_ATTRIBUTE = re.compile(r"[A-Za-z0-9]+")
_FUNCTION = re.compile(r"[A-Za-z][A-Za-z_]*")


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a tree, by `kind`.

    literal (`value`) · attribute, EXISTS (`value`: the name in lower case) · NOT, negate (one child) · LIKE (one child;
    `value`: the pattern) · IN (the operand, then the set's elements) · the symbols of arithmetic and comparison (two) ·
    AND, OR, XOR (two or more, from left to right) · call (the arguments; `value`: the name in upper case).
    """

    kind: str
    at: int = field(compare=False)  # where it stands, an offset from 0
    children: tuple[Node, ...] = ()
    value: Value | None = None
    depth: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", 1 + max((child.depth for child in self.children), default=0))
        if self.depth > MAX_DEPTH:
            raise _too_deep(self.at)


class Parsed(NamedTuple):
    """A tree, and what its author had better know: (offset, advice)."""

    tree: Node
    advice: Sequence[tuple[int, str]]


def parse(text: str) -> Parsed:
    """Return the tree of an expression. Raises ParseError."""
    if len(text) > MAX_LENGTH:
        raise ParseError(MAX_LENGTH, f"the expression is longer than {MAX_LENGTH} characters")
    return _Parser(tokens(text)).all()


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._level = 0
        self._advice: list[tuple[int, str]] = []

    def all(self) -> Parsed:
        tree = self._expression()
        if self._peek.kind != "end":
            raise self._unexpected(_MORE)
        return Parsed(tree, tuple(self._advice))

    # Tokens.

    @property
    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._peek
        self._next += 1
        return token

    def _at(self, *texts: str, ahead: int = 0) -> bool:
        token = self._tokens[min(self._next + ahead, len(self._tokens) - 1)]
        return token.kind in ("symbol", "keyword") and token.text in texts

    def _expect(self, text: str, instead: str) -> None:
        if not self._at(text):
            raise self._unexpected(instead)
        self._take()

    def _unexpected(self, expected: str) -> ParseError:
        token = self._peek
        shown = token.text if len(token.text) <= 20 else token.text[:20] + "…"
        message = f"expected {expected}, found {shown or 'the end'}"
        if token.kind == "number" and token.text[0] in "+-":
            message += f"; a sign that touches a number belongs to it, so write {token.text[0]} {token.text[1:]}"
        if token.text == "=" and self._next and self._tokens[self._next - 1].text == "=":
            message += "; equality is one ="
        return ParseError(token.at, message)

    def _enter(self) -> None:
        """Go one level deeper; bounded, so that no text exhausts the interpreter's stack."""
        self._level += 1
        if self._level > MAX_DEPTH:
            raise _too_deep(self._peek.at)

    # Expressions, the loosest operators first.

    def _expression(self) -> Node:
        self._enter()
        operands, operators = [self._binary(0)], []
        while self._at(*LOGIC):
            operators.append(self._take())
            operands.append(self._binary(0))
        self._level -= 1
        different = [operator for operator in operators if operator.text != operators[0].text]
        if different:
            self._advice.append(
                (
                    different[0].at,
                    f"{operators[0].text} and {different[0].text} are mixed without brackets, which is read from right "
                    f"to left: `a AND b OR c` as `a AND (b OR c)`; write the brackets that you mean",
                )
            )
        return _logic(operands, operators)

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._postfix()
        start = self._peek
        left = self._binary(level + 1)
        while self._at(*_LEVELS[level]):
            self._advise_not(start, left, self._peek)
            operator = self._take()
            left = Node(operator.text, operator.at, (left, self._binary(level + 1)))
        return left

    def _postfix(self) -> Node:
        start = self._peek
        node = self._unary()
        while True:
            negated = self._at("NOT")
            if not self._at("LIKE", "IN", ahead=int(negated)):
                return node
            self._advise_not(start, node, self._tokens[self._next + int(negated)])
            first = self._take()
            operator = self._take() if negated else first
            node = self._like(first.at, node) if operator.text == "LIKE" else self._in(first.at, node)
            if negated:
                node = Node("NOT", first.at, (node,))

    def _like(self, at: int, node: Node) -> Node:
        if self._peek.kind != "text":
            raise self._unexpected("a pattern in quotes after LIKE")
        return Node("LIKE", at, (node,), content(self._take().text))

    def _in(self, at: int, node: Node) -> Node:
        self._expect("(", "an opening bracket after IN")
        return Node("IN", at, (node, *self._list("the set")))

    def _list(self, of: str) -> list[Node]:
        """Parse expressions up to the closing bracket."""
        found = [self._expression()]
        while self._at(","):
            self._take()
            found.append(self._expression())
        self._expect(")", f"a comma or a closing bracket in {of}")
        return found

    def _unary(self) -> Node:
        if not self._at("NOT", "-"):
            return self._primary()
        self._enter()
        operator = self._take()
        child = self._unary()
        self._level -= 1
        return Node("NOT" if operator.text == "NOT" else "negate", operator.at, (child,))

    def _primary(self) -> Node:
        if self._at("("):
            self._take()
            node = self._expression()
            self._expect(")", f"a closing bracket, or {_MORE.removesuffix(' or the end')}")
            return node
        if self._at("TRUE", "FALSE"):
            token = self._take()
            return Node("literal", token.at, value=token.text == "TRUE")
        if self._at("EXISTS"):
            at = self._take().at
            return Node("EXISTS", at, value=self._name("an attribute's name after EXISTS"))
        token = self._peek
        if token.kind == "text":
            return Node("literal", self._take().at, value=content(token.text))
        if token.kind == "number":
            return Node("literal", self._take().at, value=_number(token))
        if token.kind == "word" and self._at("(", ahead=1):
            return self._call()
        return Node("attribute", token.at, value=self._name(_VALUE))

    def _name(self, expected: str) -> str:
        token = self._peek
        if token.kind != "word":
            raise self._unexpected(expected)
        if not _ATTRIBUTE.fullmatch(token.text):
            raise ParseError(token.at, f"{token.text} is no attribute, whose names have letters and digits only")
        return self._take().text.lower()

    def _call(self) -> Node:
        token = self._take()
        if not _FUNCTION.fullmatch(token.text):
            raise ParseError(token.at, f"{token.text} is no function, whose names have letters and _ only")
        self._take()
        if self._at(")"):
            self._take()
            arguments: list[Node] = []
        else:
            arguments = self._list(f"the arguments of {token.text}")
        return Node("call", token.at, tuple(arguments), token.text.upper())

    def _advise_not(self, start: Token, left: Node, operator: Token) -> None:
        if start.text == "NOT" and start.kind == "keyword" and left.kind == "NOT" and left.at == start.at:
            self._advice.append(
                (start.at, f"NOT binds tighter than {operator.text}; write NOT (…) around what is to be negated")
            )


def _logic(operands: list[Node], operators: list[Token]) -> Node:
    """Put together from right to left, what is joined by the same operator in one node."""
    children: tuple[Node, ...] = (operands[-1],)
    last: Token | None = None
    for operand, operator in zip(reversed(operands[:-1]), reversed(operators), strict=True):
        if last is not None and last.text != operator.text:
            children = (Node(last.text, last.at, children),)
        children, last = (operand, *children), operator
    return children[0] if last is None else Node(last.text, last.at, children)


def _too_deep(at: int) -> ParseError:
    return ParseError(at, f"the expression is nested deeper than {MAX_DEPTH} levels")


def _number(token: Token) -> int:
    digits = token.text.lstrip("+-").lstrip("0") or "0"
    number = int(digits) if len(digits) <= 10 else 1 << 40
    number = -number if token.text[0] == "-" else number
    if not in_range(number):
        raise ParseError(token.at, f"{token.text[:20]} is out of the range of an Integer, which has 32 bits")
    return number
