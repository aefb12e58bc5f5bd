"""Tokenizer for the text of an expression (section 2). An error has its place, and what was expected."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_LENGTH = 16_384
"""Characters of an expression."""

LOGIC = ("AND", "OR", "XOR")
KEYWORDS = (*LOGIC, "NOT", "LIKE", "IN", "EXISTS", "TRUE", "FALSE")

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<text>'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*")
      | (?P<number>[+-][0-9]+|[0-9]+(?![A-Za-z0-9_]))
      | (?P<word>[A-Za-z0-9_]+)
      | (?P<symbol>!=|<>|>=|<=|[=<>()+,*/%-])""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


class ParseError(Exception):
    """A text that is no expression; `at` is the offset, from 0, of what should not be there."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at


class Token(NamedTuple):
    """A token; `at` is its offset, from 0."""

    kind: str  # text, number, word, symbol, keyword; end
    text: str
    at: int


def place(text: str, at: int) -> str:
    """Return where an offset is, for people: the column, from 1, and the line if there are several."""
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return f"line {line}, column {column}" if "\n" in text.strip() else f"column {column}"


def tokens(text: str) -> list[Token]:
    """Return the tokens of a text, with one of kind `end` at the end. Raises ParseError."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ParseError(at, _stray(text[at]))
        kind = str(match.lastgroup)
        token = Token(kind, match[0], at)
        if kind == "word" and match[0].upper() in KEYWORDS:
            token = Token("keyword", match[0].upper(), at)
        if kind == "text" and text[match.end() : match.end() + 1] == match[0][0]:
            raise ParseError(match.end(), rf"a quote inside a text is written \{match[0][0]}, not twice")
        if kind != "space":
            found.append(token)
        at = match.end()
    return [*found, Token("end", "", len(text))]


def _stray(character: str) -> str:
    if character in "'\"":
        return "the text that begins here has no closing quote"
    return f"{character!r} means nothing here; a text stands in quotes"


def content(text: str) -> str:
    """Return the content of a text in quotes: only its own quote is escaped, other backslashes stand for themselves."""
    quote = text[0]
    return _ESCAPE.sub(lambda match: match[1] if match[1] == quote else match[0], text[1:-1])
