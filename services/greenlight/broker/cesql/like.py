"""Patterns of LIKE (section 3.4.3), matched in linear time whatever the pattern.

No regular expression that could backtrack ever sees an event's text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

Matcher = Callable[[str], bool]

_Piece = Sequence[str | None]
"""What stands between two `%`: characters, None for one that may be any."""

_Find = Callable[[str, int, int], int]
"""(text, start, end) -> where the leftmost match in text[start:end] ends; -1 if there is none."""

_TOKEN = re.compile(r"\\([%_])|(.)", re.DOTALL)


def compile_pattern(pattern: str) -> Matcher:
    """Return a test of a whole text: `%` is any number of characters, `_` is one; a backslash makes them ordinary."""
    pieces: list[list[str | None]] = [[]]
    for escaped, character in _TOKEN.findall(pattern):
        if character == "%":
            pieces.append([])
        else:
            pieces[-1].append(None if character == "_" else escaped or character)
    if len(pieces) == 1:
        return _whole(pieces[0])
    first, *between, last = pieces
    return _with_gaps(first, [piece for piece in between if piece], last)


def _whole(piece: _Piece) -> Matcher:
    literal = _literal(piece)
    if literal is not None:
        return lambda text: text == literal
    length, here = len(piece), _here(piece)
    return lambda text: len(text) == length and here(text, 0)


def _with_gaps(first: _Piece, between: Sequence[_Piece], last: _Piece) -> Matcher:
    begin, end = _literal(first), _literal(last)
    if not between and begin is not None and end is not None and not (begin and end):
        return lambda text: text.startswith(begin) and text.endswith(end)
    at_start, at_end = _here(first), _here(last)
    finds = [_find(piece) for piece in between]

    def match(text: str) -> bool:
        start, stop = len(first), len(text) - len(last)
        if stop < start or not at_start(text, 0) or not at_end(text, stop):
            return False
        for find in finds:  # the leftmost match is always the right one: it leaves most to the others
            start = find(text, start, stop)
            if start < 0:
                return False
        return True

    return match


def _literal(piece: _Piece) -> str | None:
    characters = [character for character in piece if character is not None]
    return "".join(characters) if len(characters) == len(piece) else None


def _here(piece: _Piece) -> Callable[[str, int], bool]:
    """Return a test whether the piece matches at a place."""
    literal = _literal(piece)
    if literal is not None:
        return lambda text, at: text.startswith(literal, at)
    fixed = re.compile("".join("." if c is None else re.escape(c) for c in piece), re.DOTALL)  # has nothing to repeat
    return lambda text, at: fixed.match(text, at) is not None


def _find(piece: _Piece) -> _Find:
    literal = _literal(piece)
    if literal is None:
        return _shift_and(piece)
    length = len(literal)

    def find(text: str, start: int, end: int) -> int:
        at = text.find(literal, start, end)
        return -1 if at < 0 else at + length

    return find


def _shift_and(piece: _Piece) -> _Find:
    """Build the search of Baeza-Yates and Gonnet, Shift-And.

    Bit n of the state: the piece's first n + 1 characters end here.
    """
    anything = sum(1 << n for n, character in enumerate(piece) if character is None)
    masks: dict[str, int] = {}
    for n, character in enumerate(piece):
        if character is not None:
            masks[character] = masks.get(character, anything) | 1 << n
    complete = 1 << len(piece) - 1

    def find(text: str, start: int, end: int) -> int:
        state = 0
        for at in range(start, end):
            state = (state << 1 | 1) & masks.get(text[at], anything)
            if state & complete:
                return at + 1
        return -1

    return find
