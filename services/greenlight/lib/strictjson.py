"""JSON as any sender may send it: bounded, and read in one way only.

Two cheap scans bound what a parser can be made to do: colons bound the members, and nesting is bounded by what the parser's
own recursion takes before it is counted. Then orjson reads, and writes what it read: if those are the very same bytes, no
name occurred twice, no number was rounded, and nothing was read in another way than it was meant. Anything else, such as
white space or another way to escape, is for the standard parser to judge.
"""

from __future__ import annotations

import codecs
import json
import re
from itertools import islice
from typing import Any

import orjson

MAX_DEPTH = 64
MAX_MEMBERS = 200_000
MAX_ELEMENTS = 2_000_000
_QUICK = 1 << 20  # bytes; what is larger is not worth reading twice if it comes to that
_MEMBER = re.compile(rb'"[ \t\r\n]*:')
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_BYTE_ORDER_MARKS = (
    codecs.BOM_UTF8,
    codecs.BOM_UTF16_LE,
    codecs.BOM_UTF16_BE,
)  # UTF-32's little one begins as UTF-16's
_LONGEST_INT = 4000  # digits; the interpreter itself refuses more than 4300


class BadJson(ValueError):
    """The bytes are not JSON that Greenlight accepts; the message says why, and shows nothing of the content."""


def loads(raw: bytes, *, max_depth: int = MAX_DEPTH, max_members: int = MAX_MEMBERS) -> Any:
    """Return the value that `raw` (UTF-8, no BOM) contains.

    Refused with BadJson: duplicate member names, NaN and infinities, nesting deeper than `max_depth`, more than `max_members`
    members, numbers that are absurdly long, lone surrogates, a byte order mark.
    """
    if (
        len(raw) > max_members
        and raw.count(b":") > max_members
        and next(islice(_MEMBER.finditer(raw), max_members, None), None)
    ):
        raise BadJson(f"more than {max_members} members")
    if len(raw) > MAX_ELEMENTS and raw.count(b",") > MAX_ELEMENTS:
        raise BadJson(f"more than {MAX_ELEMENTS} elements")
    if len(raw) > _QUICK:
        return _parsed(raw, max_depth)
    try:
        value = orjson.loads(raw)
        same = orjson.dumps(value) == raw
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        same = False
    if not same:
        return _parsed(raw, max_depth)
    _check_depth(value, max_depth)
    return value


def _parsed(raw: bytes, max_depth: int) -> Any:
    """Return the value as the standard parser reads it."""
    if raw.startswith(_BYTE_ORDER_MARKS):
        raise BadJson("it begins with a byte order mark: send UTF-8 without one")
    try:
        text = raw.decode("utf-8")
        value = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise BadJson(f"not UTF-8, at byte {error.start}") from None
    except RecursionError:
        raise BadJson(f"nested deeper than {max_depth}") from None
    except json.JSONDecodeError as error:
        raise BadJson(f"not JSON: {error.msg} at character {error.pos}") from None
    _check_depth(value, max_depth)
    if _ESCAPED_SURROGATE.search(raw):
        _check_text(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise BadJson("a member name occurs twice in one object")
    return value


def _constant(name: str) -> Any:
    raise BadJson(f"{name} is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_INT:
        raise BadJson("a number has too many digits")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise BadJson("a number is out of range")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float)


def _check_depth(value: Any, max_depth: int) -> None:
    """Check the depth of the containers, level by level."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(max_depth):
        level = [
            child
            for item in level
            for child in (item.values() if type(item) is dict else item)
            if (kind := type(child)) is dict or kind is list
        ]
        if not level:
            return
    raise BadJson(f"nested deeper than {max_depth}")


def _check_text(value: Any) -> None:
    """Check every string for half of a surrogate pair, which only an escape can bring."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadJson("a string holds half of a surrogate pair") from None
