"""Text from third parties, printed safely in a terminal or a log: control characters are shown, and never acted on."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

# Controls (C0, DEL, C1: cursor, colours, window titles), line and paragraph separators, what turns the direction of
# text around, the byte order mark and its neighbours, halves of characters, and invisible tags.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: str, keep: str = "") -> str:
    """Return `text` with each control character, except those of `keep`, as an escape such as `\x1b`."""
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def document(value: Any, *, indent: int | None = None) -> str:
    """Return JSON of the same value, with every character escaped that could control a terminal."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] == "\n" else _json_escape(found[0]), text)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class OneRecord(logging.Formatter):
    """Begin a line of the log for each record. Further lines of one are indented, so that none looks like a record."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record, a traceback included, as it may be shown."""
        return printable(super().format(record), keep="\n\t").replace("\n", "\n    ")
