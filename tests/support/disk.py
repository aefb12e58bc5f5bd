"""A disk that can be watched, can fail, and can lose its power, under the very SQLite that the store uses.

`watched()` puts a shim over SQLite's own files by its VFS interface (sqlite.org, `c3ref/vfs.html`, `c3ref/io_methods.html`),
so no compiler and no other build of SQLite is needed. Every write, truncation, sync and deletion passes it. From what it
recorded, `power_cut` makes a state that the disk may be in afterwards: what was synced is there; of what was not, any
subset of sectors is, in any order; what a sync that failed should have saved stays in doubt for ever, because the
operating system tells everybody who has the file open once, and forgets that it was not written.
"""

from __future__ import annotations

import _sqlite3
import contextlib
import ctypes
import functools
import os
import random
import stat
from collections.abc import Callable, Iterator, Sequence
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_int64, c_void_p, cast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SECTOR = 512
"""Bytes that a disk writes as a whole."""

OK, IOERR_WRITE, FULL, IOERR_FSYNC = 0, 778, 13, 1034
"""Answers of a disk (sqlite.org, `rescode.html`)."""

_JOURNALS = 0x00000800 | 0x00080000
"""SQLITE_OPEN_MAIN_JOURNAL | _WAL: the first sync of one that is new also makes the names in its folder durable."""


@dataclass(frozen=True, slots=True)
class Step:
    """A request to the disk.

    It is open (a new file), write, truncate (to `offset`), sync, delete, names (to sync those of the folder); or a mark of a
    test.
    """

    what: str
    name: str = ""
    offset: int = 0
    data: bytes = b""
    done: bool = True


@dataclass
class Disk:
    """The steps so far. `answer` is asked before each and returns OK or an error; it may also kill the process."""

    answer: Callable[[Step], int] = lambda step: OK
    steps: list[Step] = field(default_factory=list)

    def mark(self, name: str) -> None:
        """Note that something happened in the world: an acknowledgement."""
        self.steps.append(Step("mark", name))

    def ask(self, step: Step) -> int:
        """Return the disk's answer to `step`, which is noted. A write that fails has half written."""
        code = self.answer(step)
        if code == OK:
            self.steps.append(step)
        elif step.what == "write":
            self.steps.append(Step("write", step.name, step.offset, step.data[: len(step.data) // 2]))
        else:
            self.steps.append(Step(step.what, step.name, step.offset, done=False))
        return code


# What a power cut leaves.


@dataclass
class _File:
    """`base` is certain, then come changes in their order: certain only if a sync that went well followed."""

    base: bytearray = field(default_factory=bytearray)
    changes: list[list[Any]] = field(default_factory=list)  # [step, certain, in doubt for ever]
    named: bool = False
    deleted: bool = False

    def sync(self, done: bool) -> None:
        for change in self.changes:
            change[1] = change[1] or (done and not change[2])
            change[2] = change[2] or not (done or change[1])
        while self.changes and self.changes[0][1]:
            _apply(self.base, self.changes.pop(0)[0])


def power_cut(steps: Sequence[Step], folder: Path, chance: random.Random) -> str:
    """Write to `folder` a state that a power cut after `steps` may leave. Returns how it was chosen."""
    how = chance.choice(
        ["nothing unsynced", "all", "a torn end", "some sectors", "some sectors", "some sectors and junk"]
    )
    files: dict[str, _File] = {}
    for step in steps:
        _follow(files, step)
    folder.mkdir()
    for name, file in files.items():
        if (not file.named or file.deleted) and chance.random() < 0.5:
            continue  # its name, or its deletion, was not durable
        (folder / name).write_bytes(_content(file, how, chance))
    return how


def _follow(files: dict[str, _File], step: Step) -> None:
    if step.what == "names" and step.done:
        _names(files)
    if step.what in ("mark", "names"):
        return
    if step.what == "open" and (step.name not in files or files[step.name].deleted):
        files[step.name] = _File()
    file = files.setdefault(step.name, _File())  # one that was made without SQLite is found empty
    if step.what == "sync":
        file.sync(step.done)
        if step.done and step.offset & _JOURNALS:
            _names(files)
    elif step.what == "delete" and step.done:
        file.deleted = True
        if step.offset:
            _names(files)
    elif step.what in ("write", "truncate") and step.done:
        file.changes.append([step, False, False])


def _names(files: dict[str, _File]) -> None:
    for name, file in list(files.items()):
        file.named = True
        if file.deleted:
            del files[name]


def _content(file: _File, how: str, chance: random.Random) -> bytes:
    content = bytearray(file.base)
    synced = len(content)
    pieces = [(piece, certain) for step, certain, _ in file.changes for piece in _pieces(step)]
    uncertain = [index for index, (_, certain) in enumerate(pieces) if not certain]
    if how == "nothing unsynced":
        kept: set[int] = set()
    elif how == "all":
        kept = set(uncertain)
    elif how == "a torn end":
        kept = set(uncertain[: chance.randint(0, len(uncertain))])
    else:
        share = chance.random()
        kept = {index for index in uncertain if chance.random() < share}
    for index, (piece, certain) in enumerate(pieces):
        if certain or index in kept:
            _apply(content, piece)
        elif how.endswith("junk") and piece.what == "write" and piece.offset >= synced and chance.random() < 0.5:
            _apply(content, Step("write", piece.name, piece.offset, chance.randbytes(len(piece.data))))
    return bytes(content)


def _pieces(step: Step) -> Iterator[Step]:
    """Yield a write in the pieces that a disk writes as a whole."""
    if step.what != "write":
        yield step
        return
    start = 0
    while start < len(step.data):
        end = min(len(step.data), start + SECTOR - (step.offset + start) % SECTOR)
        yield Step("write", step.name, step.offset + start, step.data[start:end])
        start = end


def _apply(content: bytearray, step: Step) -> None:
    if step.what == "truncate":
        del content[step.offset :]
        return
    if len(content) < step.offset:
        content.extend(bytes(step.offset - len(content)))
    content[step.offset : step.offset + len(step.data)] = step.data


# The shim.

_Close = CFUNCTYPE(c_int, c_void_p)
_Write = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
_Sync = CFUNCTYPE(c_int, c_void_p, c_int)
_Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_Delete = CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)


class _Methods(Structure):
    """sqlite3_io_methods, version 3."""

    _fields_ = [
        ("version", c_int),
        ("close", c_void_p), ("read", c_void_p), ("write", c_void_p), ("truncate", c_void_p), ("sync", c_void_p),
        ("others", c_void_p * 13),
    ]  # fmt: skip


class _Vfs(Structure):
    """sqlite3_vfs, version 3."""

    _fields_ = [
        ("version", c_int), ("file_size", c_int), ("longest_path", c_int), ("next", c_void_p), ("name", c_char_p),
        ("data", c_void_p), ("open", c_void_p), ("delete", c_void_p), ("others", c_void_p * 14),
    ]  # fmt: skip


class _Shim:
    """The one shim of the process.

    It does nothing while `disk` is None, and stays for good: files hold pointers to it.
    """

    def __init__(self) -> None:
        self.disk: Disk | None = None
        self._sqlite = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
        find, self._register = self._sqlite.sqlite3_vfs_find, self._sqlite.sqlite3_vfs_register
        find.restype = POINTER(_Vfs)
        self._plain = find(None)
        self._files: dict[int, tuple[str, int]] = {}
        self._owed: set[int] = (
            set()
        )  # open files that another one's failed sync is still to be reported to, as Linux does
        self._methods: dict[int, _Methods] = {}
        vfs = self._plain.contents
        self._plain_open, self._plain_delete = _Open(vfs.open), _Delete(vfs.delete)
        self._ours = _Vfs.from_buffer_copy(vfs)
        self._ours.name = b"greenlight-test-disk"
        self._kept: list[Any] = [_Open(self._open), _Delete(self._delete)]
        self._ours.open, self._ours.delete = (cast(call, c_void_p) for call in self._kept)

    def install(self, disk: Disk) -> None:
        """Let files that are opened from now on pass by `disk`."""
        self.disk = disk
        assert self._register(byref(self._ours), 1) == OK

    def remove(self) -> None:
        """Let files that are opened from now on be plain ones."""
        self.disk = None
        assert self._register(self._plain, 1) == OK

    def _open(self, vfs: int, text: int | None, file: int, flags: int, out: int) -> int:
        path = (
            Path(ctypes.string_at(text).decode()) if text else None
        )  # SQLite's own text goes on: it is kept by pointer
        # The store makes its own file empty before SQLite opens it: to the disk, it begins here.
        new = path is not None and not (path.exists() and path.stat().st_size)
        code = self._plain_open(vfs, text, file, flags, out)
        pointer = cast(file, POINTER(c_void_p))
        if code == OK and path is not None and pointer[0]:
            if new and self.disk is not None:
                self.disk.ask(Step("open", path.name))
            self._files[file] = (path.name, flags if new else 0)
            pointer[0] = ctypes.addressof(self._wrapped(pointer[0]))
        return code

    def _delete(self, vfs: int, path: bytes, durably: int) -> int:
        code = OK if self.disk is None else self.disk.ask(Step("delete", path.rsplit(b"/", 1)[-1].decode(), durably))
        return code or self._plain_delete(vfs, path, durably)

    def _wrapped(self, address: int) -> _Methods:
        """Return methods of a file that call the disk first."""
        if address in self._methods:
            return self._methods[address]
        plain = _Methods.from_address(address)
        wrapped = _Methods.from_buffer_copy(plain)
        plain_close, plain_write = _Close(plain.close), _Write(plain.write)
        plain_truncate, plain_sync = _Truncate(plain.truncate), _Sync(plain.sync)

        def ask(file: int, what: str, offset: int = 0, data: bytes = b"") -> int:
            return OK if self.disk is None else self.disk.ask(Step(what, self._files[file][0], offset, data))

        def close(file: int) -> int:
            code = plain_close(file)
            self._files.pop(file, None)
            self._owed.discard(file)
            return code

        def write(file: int, data: int, size: int, offset: int) -> int:
            code = ask(file, "write", offset, ctypes.string_at(data, size))
            if code:
                plain_write(file, data, size // 2, offset)
            return code or plain_write(file, data, size, offset)

        def truncate(file: int, size: int) -> int:
            return ask(file, "truncate", size) or plain_truncate(file, size)

        def sync(file: int, flags: int) -> int:
            if self.disk is None:
                return plain_sync(file, flags)
            name, new = self._files[file]
            code = self.disk.ask(Step("sync", name, new))
            if code:
                self._owed |= {other for other, (its, _) in self._files.items() if its == name and other != file}
            elif file in self._owed:
                code = IOERR_FSYNC
            self._owed.discard(file)
            return code or plain_sync(file, flags)

        calls = [_Close(close), _Write(write), _Truncate(truncate), _Sync(sync)]
        self._kept += calls
        wrapped.close, wrapped.write, wrapped.truncate, wrapped.sync = (cast(call, c_void_p) for call in calls)
        self._methods[address] = wrapped
        return wrapped


@functools.cache
def _the_shim() -> _Shim | None:
    """Return the process's one shim, as SQLite has one list of file systems.

    None: ctypes does not reach this Python's SQLite.
    """
    try:
        return _Shim()
    except (OSError, AttributeError, ValueError):
        return None


def available() -> bool:
    """Return whether SQLite's files can be watched here."""
    return _the_shim() is not None


@contextlib.contextmanager
def watched(disk: Disk) -> Iterator[Disk]:
    """Let the files that SQLite opens in the block pass by `disk`; close them before it ends."""
    shim = _the_shim()
    if shim is None:
        pytest.skip("this Python's SQLite cannot be reached by ctypes, so there is nothing to put the disk under")
    plain = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) and disk.ask(Step("names")):
            raise OSError(5, "the disk gives errors")
        plain(descriptor)

    shim.install(disk)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            yield disk
    finally:
        shim.remove()
