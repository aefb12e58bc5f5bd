"""The program of a deploy command and the folder that it runs in, as the pipeline file names them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def working_folder(config: Mapping[str, Any], directory: Path) -> Path:
    """Return the folder that `cwd` names, links resolved; `directory` is the pipeline file's.

    Raises NotADirectoryError.
    """
    root = directory.resolve()
    cwd: str = config.get("cwd", ".")
    folder = (root / cwd).resolve()
    if not folder.is_relative_to(root):
        raise NotADirectoryError(f"cwd {cwd!r} leads out of the pipeline file's folder")
    if not folder.is_dir():
        raise NotADirectoryError(f"cwd {cwd!r} is not a folder beside the pipeline file")
    return folder


def program(config: Mapping[str, Any], folder: Path, path: str | None) -> str:
    """Return the program that `run` names: by a path from `folder`, or looked up on `path`.

    Raises OSError with the reason.
    """
    name: str = config["run"][0]
    if os.sep not in name:
        found = shutil.which(name, path=path)
        if found is None:
            raise FileNotFoundError(f"{name!r} is not on the PATH of this Greenlight")
        return found
    file = _file(name, folder)
    interpreter = os.fsdecode((_first_line(file)[2:].split() or [b""])[0])
    if not (folder / interpreter).exists():  # the system would say that the script is not there
        raise FileNotFoundError(f"{name!r} is run by {interpreter}, by its first line, and that is not there")
    return str(file)


def _file(name: str, folder: Path) -> Path:
    """Return the file that can be run. Raises OSError with the reason."""
    file = folder / name
    if not file.is_file():
        raise FileNotFoundError(f"{name!r} is not there: {file} is no file")
    if not os.access(file, os.X_OK):
        raise PermissionError(f"{name!r} is not executable: chmod +x {file}")
    if _first_line(file).endswith(b"\r\n"):
        raise OSError(f"{name!r} cannot be run with the line ends of Windows (CR LF): save it with those of Unix (LF)")
    return file


def _first_line(file: Path) -> bytes:
    """Return the line of a script that names its interpreter; nothing if there is none, or if it cannot be read."""
    try:
        with file.open("rb") as opened:
            line = opened.readline(256)
    except OSError:
        return b""  # what can be run need not be readable
    return line if line.startswith(b"#!") else b""


def missing(config: Mapping[str, Any], directory: Path) -> Iterator[str]:
    """Yield a sentence if a command's program or folder below the pipeline file is missing or not executable."""
    try:
        folder = working_folder(config, directory)
        if _is_below(config["run"][0]):
            _file(config["run"][0], folder)
    except OSError as problem:
        yield str(problem)


def not_installed(config: Mapping[str, Any], path: str | None) -> Iterator[str]:
    """Yield a sentence if a command's program is not below the pipeline file and this machine lacks it."""
    if not _is_below(config["run"][0]):
        try:
            program(config, Path(os.sep), path)
        except OSError as problem:
            yield str(problem)


def _is_below(name: str) -> bool:
    return os.sep in name and not os.path.isabs(name)
