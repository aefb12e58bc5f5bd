"""Values of CESQL, casts between their types, and the errors of an evaluation (sections 3.1, 3.3 and 3.7)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Value = str | int | bool
"""A String, an Integer of 32 bits with a sign, or a Boolean."""

Kind = type[str] | type[int] | type[bool]
"""A type of the language, as the Python type of its values. bool is no int here: types are compared with `is`."""

MIN, MAX = -(2**31), 2**31 - 1

_INTEGER = re.compile(r"([+-]?)0*([0-9]{1,10})")
_NAMES: Mapping[Kind, str] = {str: "String", int: "Integer", bool: "Boolean"}


class EvaluationError(Exception):
    """An evaluation that went wrong: (error, at, message[, value]); str() is the message.

    `error` is math, cast, missingAttribute, missingFunction or functionEvaluation; `at` is where in the expression, an
    offset; `value` what the function gives all the same, None if that is just the zero value of its type.
    """

    # Without __init__ it costs a third: an event that lacks an attribute raises one in each Trigger that asks for it.

    @property
    def error(self) -> str:
        return str(self.args[0])

    @property
    def at(self) -> int:
        return int(self.args[1])

    @property
    def value(self) -> Value | None:
        return self.args[3] if len(self.args) > 3 else None

    def __str__(self) -> str:
        return str(self.args[2])


def type_name(kind: Kind) -> str:
    """Return the type's name in the specification."""
    return _NAMES[kind]


def in_range(number: int) -> bool:
    """Return whether an Integer can be that."""
    return MIN <= number <= MAX


def cast(value: Value, kind: Kind, at: int) -> Value:
    """Return `value` as a value of `kind`. Raises EvaluationError for a String that cannot be that."""
    return value if type(value) is kind else CASTS[kind](value, at)


def to_string(value: Value, at: int) -> str:
    """Cast to a String, which is always possible; a Boolean is true or false in lower case."""
    if type(value) is bool:
        return "true" if value else "false"
    return str(value)


def to_integer(value: Value, at: int) -> int:
    """Cast to an Integer: a Boolean is 1 or 0, a String decimal digits, perhaps with a sign. Raises EvaluationError."""
    if type(value) is not str:
        return int(value)
    if len(value) < 10 and value.isascii() and value.isdigit():  # the usual case, at a third of the cost
        return int(value)
    match = _INTEGER.fullmatch(value)
    number = int(match[1] + match[2]) if match else None
    if number is None or not in_range(number):
        raise EvaluationError("cast", at, f"{_shown(value)} is not an Integer")
    return number


def to_boolean(value: Value, at: int) -> bool:
    """Cast to a Boolean: an Integer is true but for 0, a String true or false in any case. Raises EvaluationError."""
    if type(value) is not str:
        return bool(value)
    word = value.lower()
    if word == "true":
        return True
    if word == "false":
        return False
    raise EvaluationError("cast", at, f"{_shown(value)} is not a Boolean")


CASTS: Mapping[Kind, Callable[[Value, int], Value]] = {str: to_string, int: to_integer, bool: to_boolean}


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
