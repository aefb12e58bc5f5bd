"""Recovery of the file at a start after a crash or a power cut, before anything is written.

SQLite takes its write-ahead log up to the last commit whose checksums hold and drops the rest without a word. Usually that
is a change that was under way and that was not acknowledged; then it is reported. But if the rest shows that commits went on
behind the place where the checksums break, the disk lost what it had confirmed; then nothing is touched and the start is
refused. Damage in the last two changes alone cannot be distinguished from a change that was under way.

Formats: sqlite.org, `fileformat2.html` section 4 (the log, its checksums) and `walformat.html` section 2.1 (its index).
"""

from __future__ import annotations

import itertools
import logging
import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from greenlight.store.errors import Damaged, damaged

CHECKED = 32 << 20
"""Bytes of file and log that are checked as a whole after a crash (0.7 s for 100 MiB); what is larger, as it is read."""

_HEADER = struct.Struct(">8I")  # magic, format, page size, checkpoint, two salts, two checksums
_FRAME = struct.Struct(">6I")  # page, pages after a commit or 0, two salts, two checksums
_MAGIC = 0x377F0682  # its lowest bit: words of checksums are big-endian
_VALID_FRAMES = 16  # where the index says how many frames SQLite took, in the machine's byte order
_COPIED_FRAMES = 96  # and how many of them are in the file

_PIECE = 1 << 20  # bytes that are read and written at once

_log = logging.getLogger("greenlight.store")


@dataclass(frozen=True, slots=True)
class _Frame:
    """One page in the log. `checksums`: the checksums over everything up to its end."""

    start: int
    commit: bool
    salts: tuple[int, int]
    checksums: tuple[int, int]


def recover(path: Path) -> None:
    """Let SQLite take what the log beside `path` holds, and log what was dropped. Raises Damaged; sqlite3.Error.

    Nothing is done if the last process ended in order, or never came so far that a change could be acknowledged.
    """
    log = _beside(path, "-wal")
    if not log.exists() or log.stat().st_size <= _HEADER.size or _beside(path, "-journal").exists():
        return
    if not path.exists() or path.stat().st_size == 0:
        raise Damaged(
            f"{path} is missing or empty, but its log {log.name} holds changes: put the file back, or restore the last "
            "backup; to start with nothing, move the log away"
        )
    _mend(log)
    # A reader has SQLite recover the log's index, and neither copies nor removes the log when it closes.
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        with _beside(path, "-shm").open("rb") as index:
            (valid,) = struct.unpack_from("=I", index.read(_VALID_FRAMES + 4), _VALID_FRAMES)
        with log.open("rb") as file:
            _check_rest(log, file.fileno(), valid)
        if path.stat().st_size + log.stat().st_size <= CHECKED:
            _check(path, connection)


def copy_again(path: Path) -> None:
    """Have the next checkpoint copy the whole log into the file, after one that failed.

    A sync that failed may concern pages of an earlier, partial checkpoint too. The operating system counts them as written
    from then on, and SQLite as copied; then the log, the only place where they are for sure, would be begun anew.
    """
    try:
        with _beside(path, "-shm").open("r+b") as index:
            os.pwrite(index.fileno(), bytes(4), _COPIED_FRAMES)
    except OSError:
        _log.critical("%s may lack what its log has; stop the process at once with SIGKILL, and start it again", path)


def write_again(path: Path) -> None:
    """Write every byte of the log beside `path` once more, and sync it; have the next checkpoint copy all of it.

    For a log that cannot be emptied, because a foreign program reads what it has. The caller holds the lock of writers.
    """
    at = 0
    with _beside(path, "-wal").open("r+b") as log:
        while piece := os.pread(log.fileno(), _PIECE, at):
            at += os.pwrite(log.fileno(), piece, at)
        os.fsync(log.fileno())
    copy_again(path)
    _log.warning("a foreign program reads %s, such as a backup: its log of %d bytes grows until that is done", path, at)


def _mend(log: Path) -> None:
    """Set the count of checkpoints in the head of `log` right, if nothing else is wrong there.

    When a disk fails at half of the head of a new round, what is left is that of the last round with a wrong count. What
    such a log holds is in the file already; if something else spoiled the count, it may not be. Read again, it harms neither.
    """
    with log.open("r+b") as file:
        header = file.read(_HEADER.size)
        if _sound(header) or not _sound(mended := _recounted(header)):
            return
        os.pwrite(file.fileno(), mended, 0)
        os.fsync(file.fileno())
    _log.warning("the count of checkpoints in the log %s was damaged, and was set right: nothing is lost", log)


def _recounted(header: bytes) -> bytes:
    """Return the head of a log with the one count of checkpoints that its checksums leave."""
    words = _words(header)
    expected = int.from_bytes(header[24:28])
    (salt,) = struct.unpack_from(f"{words}I", header, 16)
    one, two = _checksums(words, header[:12] + bytes(4), (0, 0))
    count = (expected - one - two - salt) & 0xFFFFFFFF
    return header[:12] + struct.pack(f"{words}I", count) + header[16:]


def _sound(header: bytes) -> bool:
    """Return whether the head of a log is valid, by its checksum."""
    magic, *_, one, two = _HEADER.unpack(header)
    return magic & ~1 == _MAGIC and _checksums(_words(header), header[:24], (0, 0)) == (one, two)


def _words(header: bytes) -> str:
    """Return the byte order of the words that a log's checksums add up, for struct."""
    return ">" if header[3] & 1 else "<"


def _check_rest(log: Path, file: int, valid: int) -> None:
    """Report what lies behind the valid frames of the log. Raises Damaged if something acknowledged does."""
    header = os.pread(file, _HEADER.size, 0)
    _, _, page, _, *salts, _, _ = _HEADER.unpack(header)
    if not _sound(header):
        # The header is synced before the first frame is written, so a power cut does not do this.
        raise Damaged(
            f"{log} is damaged at its beginning, and what it holds cannot be read: restore the last backup; to go on "
            "without the last changes, keep a copy of the folder and move this file away"
        )
    end = _HEADER.size + valid * (_FRAME.size + page)
    rest = [frame for frame in _frames(file, page, end) if frame.salts == tuple(salts)]
    if not rest:  # what is left of an earlier round, if anything
        return
    if _has_commit_behind(_words(header), file, page, rest):
        raise Damaged(
            f"{log} is damaged at byte {end}, and changes behind it had been acknowledged: the disk lost what it had "
            "confirmed. Nothing was touched. Restore the last backup; to go on without these changes, keep a copy of the "
            f"folder and run: truncate -s {end} {log}"
        )
    size = min(os.fstat(file).st_size, rest[-1].start + _FRAME.size + page) - end
    _log.warning(
        "the last %d bytes of the log %s were not complete and were dropped: a change that was under way when the process "
        "or the machine stopped; nothing in it had been acknowledged",
        size, log,
    )  # fmt: skip


def _frames(file: int, page: int, start: int) -> Iterator[_Frame]:
    """Yield the frames from `start` on, as their headers say; the last one may be cut off."""
    while len(header := os.pread(file, _FRAME.size, start)) == _FRAME.size:
        _, pages, salt, pepper, one, two = _FRAME.unpack(header)
        yield _Frame(start, pages != 0, (salt, pepper), (one, two))
        start += _FRAME.size + page


def _has_commit_behind(words: str, file: int, page: int, frames: list[_Frame]) -> bool:
    """Return whether a whole commit is followed by a frame written on top of it, which happens only after its sync.

    Checksums run on from frame to frame, so what changes that failed have left, one over the other, never looks like that.
    """
    committed = False
    for before, after in itertools.pairwise(frames):
        content = os.pread(file, _FRAME.size + page, after.start)
        whole = len(content) == after.start - before.start
        fits = whole and _checksums(words, content[:8] + content[_FRAME.size :], before.checksums) == after.checksums
        if fits and committed:
            return True
        committed = fits and after.commit
    return False


def _checksums(words: str, content: bytes, checksums: tuple[int, int]) -> tuple[int, int]:
    """Return the checksums of the log over `content`, going on from `checksums`."""
    one, two = checksums
    for first, second in struct.iter_unpack(f"{words}2I", content):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


def _check(path: Path, connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise Damaged(
            f"{damaged(path, found)}. If a backup was restored just now, its log belongs to the file before it: restore "
            f"again, and remove {path.name}-wal and {path.name}-shm with that file"
        )


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
