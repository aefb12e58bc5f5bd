"""Errors that the store may raise besides a change's own exception."""

from __future__ import annotations

import sqlite3

from greenlight.lib.errors import Unavailable


class Damaged(Unavailable):
    """The file or its log is not what was written to it. The message says what was found, and what to do."""


class Locked(Exception):
    """Another process owns this file. The message says which, and what to do."""


class Newer(Exception):
    """The file was written by a newer version, whose tables this one does not know. The message says what to do."""


_OF_THE_WORLD = {
    sqlite3.SQLITE_FULL: "no space is left for it; free some on its disk and it goes on by itself",
    # The index of the log cannot grow. What SQLite writes itself is SQLITE_FULL then.
    sqlite3.SQLITE_IOERR_SHMSIZE: "no space is left for it, or its disk gives errors; free some, or look at the system's log",
    sqlite3.SQLITE_IOERR: "its disk gives errors; look at the system's log",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check the folder, its permissions and the limit of open files",
    sqlite3.SQLITE_READONLY: "it is read-only; check the folder's permissions and how its disk is mounted",
    sqlite3.SQLITE_BUSY: "a foreign program holds it; close that program",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
    sqlite3.SQLITE_NOTADB: "it is not a database of Greenlight; choose another data folder, or restore the last backup",
}


def unavailable(path: object, error: BaseException) -> Unavailable | None:
    """Return the Unavailable that SQLite's `error` means; None if the change is at fault (a constraint, wrong SQL)."""
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(error, sqlite3.Error) or code is None:
        return None
    if code & 0xFF == sqlite3.SQLITE_CORRUPT:
        return damaged(path, error)
    advice = _OF_THE_WORLD.get(code) or _OF_THE_WORLD.get(code & 0xFF)
    return None if advice is None else Unavailable(f"{path}: {error}: {advice}")


def damaged(path: object, found: object) -> Damaged:
    """Return a Damaged file, with what SQLite found in it."""
    return Damaged(f"{path}: {found}: it is damaged; stop, keep a copy of the folder, and restore the last backup")
