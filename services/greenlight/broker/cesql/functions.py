"""The built-in functions (section 3.5), and the casting ones that section 3.7 speaks of, as the SDKs have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from greenlight.broker.cesql.values import MAX, MIN, EvaluationError, Kind, Value, to_boolean, to_integer, to_string

MAX_TEXT = 1 << 20
"""Characters of a text that is put together; more is a functionEvaluation error."""

# White_Space of the Unicode Character Database. str.strip() alone would take control characters, too.
_WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"  # noqa: E501


@dataclass(frozen=True, slots=True)
class Function:
    """One function: what it takes (None: any type), what further arguments are if it takes any number, what it gives.

    `body` is called with the place in the expression and the arguments, which have been cast.
    """

    takes: Sequence[Kind | None]
    gives: Kind
    body: Callable[..., Value]
    more: Kind | None = None


def find(name: str, count: int) -> Function | None:
    """Return the function of that name, in upper case, that takes `count` arguments."""
    for function in FUNCTIONS.get(name, ()):
        fixed = len(function.takes)
        if fixed == count or (function.more is not None and fixed < count):
            return function
    return None


def why_none(name: str, count: int) -> str:
    """Return why `find` finds nothing."""
    if name not in FUNCTIONS:
        return f"there is no function {name}; there are {', '.join(FUNCTIONS)}"
    takes = " or ".join(f"{'at least ' if function.more else ''}{len(function.takes)}" for function in FUNCTIONS[name])
    return f"{name} takes {takes} argument{'' if takes.endswith('1') else 's'}, not {count}"


def _joined(at: int, delimiter: str, texts: Sequence[str]) -> str:
    if sum(map(len, texts)) + len(delimiter) * len(texts) > MAX_TEXT:
        raise EvaluationError("functionEvaluation", at, f"the text would have more than {MAX_TEXT} characters")
    return delimiter.join(texts)


def _left(at: int, text: str, count: int) -> str:
    if count < 0:
        raise EvaluationError("functionEvaluation", at, f"LEFT of {count} characters", text)
    return text[:count]


def _right(at: int, text: str, count: int) -> str:
    if count < 0:
        raise EvaluationError("functionEvaluation", at, f"RIGHT of {count} characters", text)
    return text[max(len(text) - count, 0) :]


def _substring(at: int, text: str, position: int, length: int = MAX) -> str:
    """Return part of a text. Positions count from 1, or from the end if negative; 0 is nowhere."""
    if length < 0:
        raise EvaluationError("functionEvaluation", at, f"SUBSTRING of length {length}")
    if not -len(text) <= position <= len(text):
        raise EvaluationError("functionEvaluation", at, f"SUBSTRING at {position} of {len(text)} characters")
    if position == 0:
        return ""
    start = position - 1 if position > 0 else len(text) + position
    return text[start : start + length]


def _abs(at: int, number: int) -> int:
    if number == MIN:
        raise EvaluationError("math", at, f"ABS of {number} is no Integer of 32 bits", MAX)
    return abs(number)


def _can(convert: Callable[[Value, int], Value], value: Value) -> bool:
    try:
        convert(value, 0)
    except EvaluationError:
        return False
    return True


FUNCTIONS: Mapping[str, Sequence[Function]] = {
    "LENGTH": [Function([str], int, lambda at, text: len(text))],
    "CONCAT": [Function([], str, lambda at, *texts: _joined(at, "", texts), more=str)],
    "CONCAT_WS": [Function([str], str, lambda at, delimiter, *texts: _joined(at, delimiter, texts), more=str)],
    "LOWER": [Function([str], str, lambda at, text: text.lower())],
    "UPPER": [Function([str], str, lambda at, text: text.upper())],
    "TRIM": [Function([str], str, lambda at, text: text.strip(_WHITE_SPACE))],
    "LEFT": [Function([str, int], str, _left)],
    "RIGHT": [Function([str, int], str, _right)],
    "SUBSTRING": [Function([str, int], str, _substring), Function([str, int, int], str, _substring)],
    "ABS": [Function([int], int, _abs)],
    "INT": [Function([None], int, lambda at, value: to_integer(value, at))],
    "BOOL": [Function([None], bool, lambda at, value: to_boolean(value, at))],
    "STRING": [Function([None], str, lambda at, value: to_string(value, at))],
    "IS_INT": [Function([None], bool, lambda at, value: _can(to_integer, value))],
    "IS_BOOL": [Function([None], bool, lambda at, value: _can(to_boolean, value))],
}
