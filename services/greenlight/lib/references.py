"""Secrets that a pipeline file names and does not hold: in a file, or in a variable of Greenlight's own environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LONGEST = 64 << 10
"""Bytes of a value: Linux takes at most twice that for one variable."""


def is_reference(value: object) -> bool:
    """Return whether a value of `env` is a reference, `{file: PATH}` or `{from: VARIABLE}`."""
    return isinstance(value, Mapping)


def resolve(reference: Mapping[str, str], directory: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Return the value, read now; a file's without its last line end. Raises OSError, with what is missing and where.

    A path that is not absolute is below `directory`, the folder of the pipeline file.
    """
    if "from" in reference:
        name = reference["from"]
        if not environment.get(name):
            raise FileNotFoundError(
                f"the variable {name} is not set, or is empty, in the environment of this Greenlight"
            )
        return environment[name]
    path = directory / reference["file"]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there, or is not a file that this Greenlight can see")
    with path.open("rb") as file:
        content = file.read(LONGEST + 1)
    return _value(path, content)


def unresolved(config: Mapping[str, Any], directory: Path) -> Iterator[str]:
    """Yield a sentence for each secret that a command's `env` names and that cannot be read now."""
    for name, value in config.get("env", {}).items():
        if is_reference(value):
            try:
                resolve(value, directory)
            except OSError as problem:
                yield f"env.{name}: {problem}"


def _value(path: Path, content: bytes) -> str:
    if len(content) > LONGEST:
        raise OSError(f"{path} has more than {LONGEST >> 10} KiB, and a variable cannot hold that")
    try:
        value = content.decode("utf-8")
    except UnicodeDecodeError:
        raise OSError(f"{path} is not UTF-8 text; a variable holds text") from None
    value = value.removesuffix("\n").removesuffix("\r")
    if not value or "\0" in value:
        raise OSError(f"{path} {'has a zero byte in it' if value else 'is empty'}; a variable cannot hold that")
    return value
