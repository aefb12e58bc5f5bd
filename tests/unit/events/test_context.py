"""W3C Trace Context: which texts name a place in a trace."""

from __future__ import annotations

import pytest

from greenlight.events.context import Context, parse

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-says", True),
    ],
)
def test_a_traceparent_names_a_place(text: str, sampled: bool) -> None:
    """Of later versions what version 00 has is read; the flag alone says whether it was sampled."""
    assert parse(text) == Context(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "text",
    [
        None,
        1,
        "",
        "00-1-2-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01what",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
    ],
)
def test_anything_else_names_none(text: object) -> None:
    """It is dropped, not mended (Trace Context, 3.2.2 and 4.3)."""
    assert parse(text) is None


def test_a_place_is_written_as_it_is_read() -> None:
    """Version 00, both ways."""
    for sampled in (True, False):
        assert parse(Context(TRACE, SPAN, sampled).traceparent) == Context(TRACE, SPAN, sampled)
