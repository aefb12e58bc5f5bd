"""Strict JSON: the quick way and the standard parser are of one mind, and a refusal says why."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from greenlight.lib import strictjson
from greenlight.lib.strictjson import BadJson, loads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


def verdict(read: Any, raw: bytes) -> tuple[str, str]:
    try:
        return "read", repr(read(raw))
    except BadJson as problem:
        return "refused", str(problem)


def standard(raw: bytes) -> Any:
    return strictjson._parsed(raw, strictjson.MAX_DEPTH)


@given(VALUES, st.sampled_from([None, 1]), st.booleans(), st.data())
def test_the_quick_way_says_what_the_standard_parser_says(
    value: Any, indent: int | None, plain: bool, data: Any
) -> None:
    """Of JSON in any spelling, and of JSON that was damaged anywhere."""
    text = json.dumps(value, indent=indent, ensure_ascii=plain, separators=(",", ":") if indent is None else None)
    raw = bytearray(text.encode("utf-8", "surrogatepass"))
    assert verdict(loads, bytes(raw)) == verdict(standard, bytes(raw))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    assert verdict(loads, bytes(raw)) == verdict(standard, bytes(raw))


@given(st.lists(st.sampled_from([*'{}[]":,\\ 10-.eE', '"a"', '"\\u0061"', "null", "1e999", "NaN", "\\ud800", "\xff"])))
@example(['{"a":1,"a" :2}'])
@example(["123456789012345678901234567890"])
@example(["-0"])
@example(["-0.0"])
@example(["1E5"])
@example(["[" * 65 + "]" * 65])
@example(["[" * 300 + "]" * 300])
@example(["[" * 100_000])
def test_the_quick_way_accepts_nothing_that_the_standard_parser_refuses(parts: list[str]) -> None:
    """Duplicates however spelt, numbers that would be rounded, depth, halves of surrogates."""
    raw = "".join(parts).encode()
    assert verdict(loads, raw) == verdict(standard, raw)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"a":1,"a":2}', "twice"),
        (b'{"a":1,"\\u0061":2}', "twice"),
        (b'{"a":[{"b":1,"b":1}]}', "twice"),
        (b"[NaN]", "NaN"),
        (b"[1e999]", "out of range"),
        (b"[" * 65 + b"]" * 65, "nested deeper than 64"),
        (b'["\\ud800"]', "surrogate"),
        (b'["\xff"]', "not UTF-8, at byte 2"),
        (b"[1;]", "at character 2"),
        (b"1" * 4001, "too many digits"),
    ],
)
def test_a_refusal_says_why(raw: bytes, said: str) -> None:
    """And shows nothing of the content."""
    with pytest.raises(BadJson, match=said):
        loads(raw)


def test_members_are_counted_before_anything_is_parsed() -> None:
    """A colon in a text is no member."""
    assert len(loads(b'{"a":"' + b":" * 300_000 + b'"}')["a"]) == 300_000
    with pytest.raises(BadJson, match="more than 200000 members"):
        loads(b"{" + b'"a":1,' * 200_001 + b"}")
