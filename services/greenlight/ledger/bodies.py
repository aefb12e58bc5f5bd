"""Providers' bodies that are too large for a table: a folder, or a bucket of S3 (dynamodb/bodies_s3.py)."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from greenlight.lib.errors import Unavailable
from greenlight.lib.files import fsync_directory, make_folder

_NAMED = re.compile(r"sha256:([0-9a-f]{64})")


def named(body: bytes) -> str:
    """Return the name of a body in facts and ledgers: `sha256:` and 64 hex digits."""
    return f"sha256:{sha256(body).hexdigest()}"


def digits_of(name: str) -> str | None:
    """Return the hex digits of what `named` returned; None for any other text."""
    found = _NAMED.fullmatch(name)
    return found and found[1]


class Bodies(Protocol):
    """Keep files by name, each written once or with the same bytes again. A file is durable once `put` returns."""

    def put(self, name: str, body: bytes, at: int) -> None:
        """Keep a file; `at` is now, in microseconds since 1970. Raises Unavailable."""
        ...

    def get(self, name: str) -> bytes | None:
        """Return the file's content, or None. Raises Unavailable."""
        ...

    def sweep(self, wanted: Callable[[str], bool], before: int) -> None:
        """Drop files put before `before` that are not wanted, unless something else does that. Raises Unavailable."""
        ...


class Folder:
    """Files named after the SHA-256 (64 hex digits) of their content. A file survives a power cut once `put` returns.

    A file's time is when it was put there, in microseconds since 1970.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        make_folder(path)

    def put(self, name: str, body: bytes, at: int) -> None:
        """Write the file as a whole or not at all. Raises Unavailable."""
        with _available(f"a body of {len(body)} bytes cannot be kept"):
            self._write(name, body, at)

    def _write(self, name: str, body: bytes, at: int) -> None:
        descriptor, partial = tempfile.mkstemp(dir=self._path, prefix=".partial-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(body)
                file.flush()
                os.utime(file.fileno(), ns=(at * 1000, at * 1000))
                os.fsync(file.fileno())
            os.replace(partial, self._path / name)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(partial)
            raise
        fsync_directory(self._path)

    def get(self, name: str) -> bytes | None:
        """Return the file's content, or None. Raises Unavailable."""
        with _available(f"the body {name} cannot be read"), suppress(FileNotFoundError):
            return (self._path / name).read_bytes()
        return None

    def sweep(self, wanted: Callable[[str], bool], before: int) -> None:
        """Drop the files put there before `before` that are not `wanted`; what a crash left behind is one of them."""
        with _available("the folder of bodies cannot be swept"):
            for entry in os.scandir(self._path):
                with suppress(FileNotFoundError):
                    if entry.stat().st_mtime_ns < before * 1000 and not wanted(entry.name):
                        os.unlink(entry)


@contextmanager
def _available(what: str) -> Iterator[None]:
    """Raise Unavailable, with what could not be done, where the file system fails."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{what}: {error}") from error
