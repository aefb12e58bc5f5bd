"""The end of a target's last command, as its parent wrote it to the disk, for a Greenlight that was down meanwhile."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from greenlight.lib.files import fsync_directory, private


@dataclass(frozen=True, slots=True)
class End:
    """The end of a deployment's command. Another version of Greenlight may read it: fields are only ever added."""

    deployment: str
    fence: int  # of the try that started it
    exit: int  # its exit status; negative: the signal that ended it
    timeout: float  # seconds that it was given
    ended_by: str | None  # what ended it on Greenlight's side: "timeout", "cancel", or nothing
    output: str  # the end of what it printed, without the secrets of its environment
    began: float | None = None  # seconds since 1970; None: a version wrote it that did not know
    ended: float | None = None


_LATER = ("began", "ended")
"""Fields that ends of earlier versions lack."""


def write_end(path: Path, end: End) -> None:
    """Replace the target's end on the disk; it is durable on return. Raises OSError."""
    fresh = path.with_suffix(".new")
    with open(fresh, "wb", opener=private) as file:
        file.write(json.dumps(asdict(end)).encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
    fsync_directory(path.parent)


def read_end(path: Path) -> End | None:
    """Return the last end in this target; None if no command has ended there yet.

    Raises OSError, and ValueError for another form.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        found = json.loads(text)
        return End(**{name: found[name] for name in End.__slots__ if name in found or name not in _LATER})
    except (KeyError, TypeError) as problem:
        raise ValueError(f"{path} is not the end of a command") from problem
