"""Folders whose names survive a power cut, and files that only their owner reads."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def files_of(folder: Path) -> list[Path]:
    """List what is directly in `folder`, in the order of the names; a folder that is not there has nothing in it.

    Raises OSError if the folder cannot be read. `Path.glob` and `Path.is_dir` would call it empty (from Python 3.12 on).
    """
    try:
        return sorted(folder / name for name in os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def is_yaml(file: Path) -> bool:
    """Return whether a file is YAML by its name. Hidden ones are what editors, copying programs and systems put beside it."""
    return file.suffix in (".yaml", ".yml") and not file.name.startswith(".")


def files_below(folder: Path) -> list[Path]:
    """List the files below `folder`, in the order of their paths; links to folders are not followed.

    Raises OSError if a folder cannot be read.
    """

    def refuse(problem: OSError) -> None:
        if not isinstance(problem, (FileNotFoundError, NotADirectoryError)):
            raise problem

    return sorted(Path(parent, name) for parent, _, names in os.walk(folder, onerror=refuse) for name in names)


def fsync_directory(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create `folder`, for its owner alone, with its parents, durably. Nothing happens if it is there."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    fsync_directory(folder.parent)


def private(path: str, flags: int) -> int:
    """Open a file that only its owner reads, whatever the umask; `open` takes this as its `opener`."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    if os.fstat(descriptor).st_mode & _OTHERS:
        os.fchmod(descriptor, 0o600)
    return descriptor


def keep_private(folder: Path) -> list[Path]:
    """Take all rights to `folder` and its content from everybody but the owner.

    Returns the paths that could not be changed. An older version, or the restoring of a backup, may have left files
    that others can read. Links are left alone.
    """
    return [path for path, mode in _below(folder) if mode & _OTHERS and not _closed(path, mode)]


def _below(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield the folder and everything in it, links aside, each with its mode."""
    yield folder, folder.stat().st_mode
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:  # a command of an earlier life still works there
                continue
            if not stat.S_ISLNK(mode):
                yield path, mode


def _closed(path: Path, mode: int) -> bool:
    """Close the path to others; return whether that was possible."""
    try:
        path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
