"""The pages of a list in an HTTP API: `limit` says how many, `cursor` where a page begins, `next` where the next one does."""

from __future__ import annotations

from collections.abc import Mapping

from greenlight.lib.errors import Rejected

BAD_CURSOR = "the cursor is not one that this API gave: take the `next` of the page before, or leave it out"


def limit_of(arguments: Mapping[str, str], default: int, most: int) -> int:
    """Return how many rows a request wants. Raises Rejected for anything but 1 to `most`."""
    text = arguments.get("limit")
    if text is None:
        return default
    limit = int(text) if _is_number(text) else 0
    if not 1 <= limit <= most:
        raise Rejected(f"limit must be a number from 1 to {most}")
    return limit


def number_of(arguments: Mapping[str, str]) -> int:
    """Return the number after which a page begins, where cursors are numbers; 0 for the first page. Raises Rejected."""
    text = arguments.get("cursor") or "0"
    if not _is_number(text):
        raise Rejected(BAD_CURSOR)
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 16
