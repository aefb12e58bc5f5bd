"""The files that a process has open, as they stand at their paths: what a hand moved away is written to no more."""

from __future__ import annotations

import os
from pathlib import Path

from greenlight.lib.errors import Unavailable


class OpenedFiles:
    """A database and its log. SQLite goes on writing to what was removed or replaced, and all of it would be lost."""

    def __init__(self, path: Path) -> None:
        """Remember which files are there now."""
        self._known: dict[str, tuple[int, int] | None] = {str(path): None, f"{path}-wal": None}
        self.check()

    def check(self) -> None:
        """Raise Unavailable if another file, or none, is at one of the paths. A file that was put back is taken again."""
        for path, known in self._known.items():
            found = _at(path, known)
            if known is None:
                self._known[path] = found
            elif found != known:
                raise Unavailable(
                    f"{path}: was removed, moved or replaced while it was in use, and what is written now would be lost: "
                    "put it back, or stop Greenlight, restore the last backup and start it again"
                )


def _at(path: str, known: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return which file is at the path, None: none; `known` where that cannot be seen now."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return known
    return found.st_dev, found.st_ino
