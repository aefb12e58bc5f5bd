"""The operators on Integers, of 32 bits (sections 3.4.1 and 3.4.2); `at` is the place of an error."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from greenlight.broker.cesql.values import EvaluationError, in_range


def checked(number: int, at: int) -> int:
    """Return `number` if it fits into an Integer. Raises EvaluationError."""
    if in_range(number):
        return number
    raise EvaluationError("math", at, f"{number} does not fit into an Integer, which has 32 bits")


def _divide(left: int, right: int, at: int) -> int:
    """Divide, rounded towards 0."""
    if right == 0:
        raise EvaluationError("math", at, "division by 0")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _remainder(left: int, right: int, at: int) -> int:
    """Return the remainder, with the sign of the left operand."""
    return left - right * _divide(left, right, at)


ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip

ARITHMETIC: Mapping[str, Callable[[int, int, int], int]] = {
    "+": lambda left, right, at: left + right,
    "-": lambda left, right, at: left - right,
    "*": lambda left, right, at: left * right,
    "/": _divide,
    "%": _remainder,
}
