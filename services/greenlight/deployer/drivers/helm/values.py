"""Helm values that mean something else than they seem to. Pure.

They are words and numbers of other YAML readers, and numbers that templates print in another form. A pipeline file is
read as JSON reads (documents.py), and its values reach Helm as JSON. Charts and their own values.yaml are read by Helm
as YAML 1.1, so that people write `no`, `0755` or `1_000` and mean what Helm would take them for. Helm reads every
number of a values file as a float (pkg/cli/values/options.go), and Go's templates print a float by its shortest digits,
with an exponent from 1e+06 up and below 1e-04 (strconv.FormatFloat, 'g').
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from greenlight.policy.driver import Steps
from greenlight.policy.shape import Fault

_WORDS = {"yes": True, "no": False, "on": True, "off": False, "y": True, "n": False, "true": True, "false": False}

_RADIX = {"0x": 16, "0o": 8, "0b": 2}
_INTEGER = re.compile(r"[-+]?[0-9][0-9_]*")
_PREFIXED = re.compile(r"([-+]?)(0x[0-9a-f_]+|0o[0-7_]+|0b[01_]+)", re.IGNORECASE)
_FRACTION = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.inf|\.nan", re.IGNORECASE)


def warnings(values: Any, path: Steps, plain: Mapping[Steps, str]) -> Iterator[Fault]:
    """Yield warnings for Helm values at `path` that probably mean something else.

    `plain` has the texts without quotes.
    """
    for at, value in _scalars(values, path):
        written = plain.get(at)
        if written is not None:
            message = _text(written) if isinstance(value, str) else _number(value, written)
            if message:
                yield Fault(at, message)


def _scalars(value: Any, path: Steps) -> Iterator[tuple[Steps, Any]]:
    """Yield every text and number of a value, with its path."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _scalars(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _scalars(item, (*path, index))
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield path, value


def _text(text: str) -> str | None:
    """Return what is wrong with a text that stands without quotes; None: nothing."""
    word = text.lower()
    if word in _WORDS:
        boolean = "true" if _WORDS[word] else "false"
        truth = "" if _WORDS[word] else ", and a chart takes any text for true"
        return f'is the text "{text}", not {boolean}{truth}; write {boolean}, or "{text}" in quotes if it is text'
    if word == "null":
        return f'is the text "{text}", not null; write null, or "{text}" in quotes if it is text'
    if _NOT_FINITE.fullmatch(text):
        return f'is the text "{text}": JSON has no such number; write "{text}" in quotes if it is text'
    number = _number_read(text)
    if number is None:
        return None
    return f'is the text "{text}", not a number; write {number}, or "{text}" in quotes if it is text'


def _number_read(text: str) -> str | None:
    """Return the number that another reader takes a text for; None: it takes it for none."""
    bare = text.replace("_", "")
    prefixed = _PREFIXED.fullmatch(text)
    if prefixed is not None:
        digits = prefixed[2].replace("_", "").lower()
        return f"{prefixed[1].replace('+', '')}{int(digits[2:] or '0', _RADIX[digits[:2]])}"
    if _INTEGER.fullmatch(text):
        octal = re.fullmatch(r"([-+]?)0[0-7]+", bare)
        plain = str(int(bare))
        if octal is None or str(int(bare, 8)) == plain:
            return plain
        return f"{int(bare, 8)}, which is octal {text}, or {plain}"
    if _FRACTION.fullmatch(text):
        return str(float(bare)).removesuffix(".0")
    return None


def _number(value: float, written: str) -> str | None:
    """Return what is wrong with a number; None: a template prints it as it is written."""
    printed = _printed(float(value))
    if printed == written:
        return None
    also = ", or have the template say {{ … | int64 }}" if "e+" in printed and float(value).is_integer() else ""
    text = f'write "{written}" in quotes where the chart wants text'
    return f"is a number, which a template prints as {printed} where it says {{{{ … }}}}; {text}{also}"


def _printed(value: float) -> str:
    """Return a number as Go prints a float."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    power = int(exponent) + len(digits) - 1
    if value == 0 or -4 <= power < 6:
        return repr(value).removesuffix(".0")
    first, rest = str(digits[0]), "".join(map(str, digits[1:]))
    return f"{'-' if sign else ''}{first}{'.' + rest if rest else ''}e{'+' if power >= 0 else '-'}{abs(power):02d}"
