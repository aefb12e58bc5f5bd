"""YAML that people write, read strictly: JSON's types only, bounded, and every value knows its line.

Plain scalars are read as JSON reads them: `true` and `false` are the only booleans, so `on`, `yes` and `no` are text,
as are dates, octal and sexagesimal numbers. Aliases and anchors are refused (a few hundred bytes of them become
megabytes), and so are duplicate keys and foreign tags.
"""

from __future__ import annotations

import errno
import math
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 256 * 1024
MAX_DEPTH = 64

Step = str | int
"""A key of a mapping, or an index into a list."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_MAX_INTEGER = 2**53 - 1  # RFC 8785: beyond it readers disagree about the value
_TYPES = {"str": str, "bool": bool, "int": int, "float": float, "null": type(None)}


class DocumentError(Exception):
    """A file that cannot be read; str() is FILE:LINE: what is wrong."""

    def __init__(self, name: str, line: int, problem: str) -> None:
        super().__init__(f"{name}:{line}: {problem}")
        self.name = name
        self.line = line
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: a JSON-like value, and where its parts stand."""

    value: Any
    name: str
    lines: dict[tuple[Step, ...], int] = field(repr=False, compare=False)
    plain: dict[tuple[Step, ...], str] = field(default_factory=dict, repr=False, compare=False)
    """What stands without quotes, as it is written: another reader may take it for something else."""

    def line(self, path: Sequence[Step]) -> int:
        """Return the line, from 1, of the value at `path`, or of its key in a mapping.

        A missing value has its parent's line.
        """
        steps = tuple(path)
        while steps not in self.lines and steps:
            steps = steps[:-1]
        return self.lines.get(steps, 1)


def text_of(file: Path) -> str:
    """Return the text of a file that people write.

    Raises OSError if it cannot be read, also for a pipe or a device, which may never end; DocumentError if it is no text.
    """
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
        mode = os.fstat(opened.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "is a folder, a pipe or a device, not a file", str(file))
        raw = opened.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise _too_large(str(file))
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DocumentError(str(file), line, f"is not UTF-8 ({error.reason}): save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def load(text: str, name: str) -> list[Document]:
    """Return the documents of a YAML text, empty ones left out. DocumentError if it is not what this module reads."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise _too_large(name)
    try:
        return list(_Reader(text, name).documents())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        line = (
            min(mark.line, text.count("\n")) + 1 if mark else 1
        )  # an early end is reported of the line after the last
        raise DocumentError(name, line, f"is not YAML: {problem}") from None


def _too_large(name: str) -> DocumentError:
    return DocumentError(name, 1, f"is larger than {MAX_BYTES // 1024} KiB")


class _Reader:
    """Build values from the parser's events, so that nothing grows beyond the size of the text."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=_LOADER))
        self.lines: dict[tuple[Step, ...], int] = {}
        self.plain: dict[tuple[Step, ...], str] = {}

    def documents(self) -> Iterator[Document]:
        for event in self.events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            self.lines, self.plain = {}, {}
            value = self._value(next(self.events), ())
            if value is not None:
                yield Document(value, self.name, self.lines, self.plain)

    def _value(self, event: yaml.Event, path: tuple[Step, ...]) -> Any:
        self.lines.setdefault(path, _line(event))
        self._refuse_references(event)
        if isinstance(event, yaml.CollectionStartEvent) and len(path) >= MAX_DEPTH:
            raise self._error(event, f"is nested deeper than {MAX_DEPTH}")
        if isinstance(event, yaml.MappingStartEvent):
            self._check_tag(event, "map")
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            self._check_tag(event, "seq")
            return self._sequence(path)
        assert isinstance(event, yaml.ScalarEvent)
        if not event.style and event.tag is None:
            self.plain[path] = event.value
        return self._scalar(event)

    def _mapping(self, path: tuple[Step, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._key(event)
            if key in found:
                raise self._error(event, f"{key!r} is there twice; first on line {self.lines[(*path, key)]}")
            self.lines[(*path, key)] = _line(event)
            found[key] = self._value(next(self.events), (*path, key))
        return found

    def _sequence(self, path: tuple[Step, ...]) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            found.append(self._value(event, (*path, len(found))))
        return found

    def _key(self, event: yaml.Event) -> str:
        self._refuse_references(event)
        key = self._scalar(event) if isinstance(event, yaml.ScalarEvent) else None
        if not isinstance(key, str):
            raise self._error(event, "a key must be text; put it in quotes")
        return key

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        value = event.value if event.style or event.tag in ("!", _TAG + "str") else self._plain(event)
        if event.tag and event.tag != "!":
            wanted = _TYPES.get(event.tag.removeprefix(_TAG)) if event.tag.startswith(_TAG) else None
            if wanted is None or type(value) is not wanted:
                raise self._error(event, f"the tag {event.tag} is not for this value; leave it out")
        return value

    def _plain(self, event: yaml.ScalarEvent) -> Any:
        text = event.value
        if text in _WORDS:
            return _WORDS[text]
        if not _NUMBER.fullmatch(text):
            return text
        number = int(text) if len(text) < 18 and _INTEGER.fullmatch(text) else float(text)
        if not math.isfinite(number) or abs(number) > _MAX_INTEGER:
            raise self._error(event, f"the number {text[:20]} is too large to be exact; put it in quotes if it is text")
        return number

    def _check_tag(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent, kind: str) -> None:
        if event.tag not in (None, "!", _TAG + kind):
            raise self._error(event, f"the tag {event.tag} is not for this value; leave it out")

    def _refuse_references(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise self._error(event, "anchors and aliases (& and *) are not read; write the value out")

    def _error(self, event: yaml.Event, problem: str) -> DocumentError:
        return DocumentError(self.name, _line(event), problem)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
