"""One SQLite file, one writer at a time, group commit: what is acknowledged is on the disk.

A thread that finds no other one writing commits its change itself, without waking another. Changes that come meanwhile
queue up for the writer thread, which takes all that wait, at most BATCH, into one transaction with one fsync, then wakes
their callers. No change waits for others to come. One process owns the file (see lock.py).
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from greenlight.lib.errors import Unavailable
from greenlight.lib.files import fsync_directory, make_folder, private
from greenlight.store.changes import Change, Submitted, Tx, acknowledge
from greenlight.store.errors import unavailable
from greenlight.store.lock import own
from greenlight.store.opened import OpenedFiles
from greenlight.store.readers import STATEMENTS, Readers, text_of
from greenlight.store.recovery import copy_again, recover, write_again
from greenlight.store.refusals import Refusals
from greenlight.store.schema import Schema, migrate

T = TypeVar("T")

BATCH = 256
"""Changes in one commit, at most."""


CHECKPOINT_COMMITS = 100
"""Commits after which the writer thread copies the write-ahead log into the file, while others commit."""

CHECKPOINT_PAGES = 16_000
"""Pages (64 MiB) of the log after which a commit does it first, because under constant load the log never starts over."""

BUSY_TIMEOUT = 5000
"""Milliseconds that a change waits for a foreign program to finish its own."""

_PROBE = "INSERT INTO store_probe VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET count = count + 1"

_log = logging.getLogger("greenlight.store")


class Store:
    """Own the file at `path`. Every method may be called from any thread."""

    def __init__(self, path: Path, schemas: Sequence[Schema], *, synchronous: str = "FULL") -> None:
        """Open, lock, recover and migrate.

        Raises Locked (another process has it), Newer (than we know), Damaged (see recovery.py) or Unavailable.

        `synchronous` FULL survives a power cut; NORMAL may lose the last commits in one, and is for tests.
        """
        if synchronous not in ("FULL", "NORMAL"):
            raise ValueError(f"synchronous is FULL or NORMAL, not {synchronous!r}")
        self._path = path.absolute()
        self._synchronous = synchronous
        self._waiting: deque[Change[Any]] = deque()
        self._readers = Readers(self._path)
        self._gate = threading.Condition(threading.Lock())  # guards what follows
        self._busy = False  # a thread commits, or the writer thread has been woken for it
        self._handed = False  # it has been woken
        self._commits = 0  # since the last checkpoint
        self.changes = 0  # commits since the start
        self._closed = False
        self._committing: int | None = None  # the thread that commits
        self._copying = threading.Lock()  # held during a checkpoint
        self._long = False  # the log was, at the last one
        self._refusals = Refusals()
        make_folder(self._path.parent)
        self._lock = own(self._path)
        opened: list[sqlite3.Connection] = []
        try:
            recover(self._path)
            # SQLite gives its log and index the file's mode, and would make the file as the umask says.
            os.close(private(str(self._path), os.O_RDWR | os.O_CREAT))
            for _ in range(2):
                opened.append(self._writer())
            # The file's name, and the end of the journal that it began with, are durable before anything is in it.
            fsync_directory(self._path.parent)
            migrate(opened[0], schemas)
            self._begin_log_anew(opened[0])
            self._files = OpenedFiles(self._path)
        except BaseException as error:
            for connection in opened:
                connection.close()
            os.close(self._lock)
            self._raise(error)
        self._connection: sqlite3.Connection | None
        self._connection, self._checkpointer = opened
        self._thread = threading.Thread(target=self._serve, name=f"store {self._path.name}", daemon=True)
        self._thread.start()

    def write(self, change: Callable[[Tx], T]) -> T:
        """Run `change` and return its result once it is durable. It may be run twice: it has no effects but by its Tx.

        Raises what `change` raised, with its work undone and no other change's; Unavailable if it could not be written.
        """
        if self._committing == threading.get_ident():
            raise RuntimeError("a change cannot wait for another one: use its own Tx, or submit")
        queued = Change(change)
        if self._enqueue(queued):
            self._commit_now()
        return queued.wait()

    def submit(self, change: Callable[[Tx], T]) -> Future[T]:
        """Queue a change as `write` does, without waiting.

        Changes are made in the order in which they were submitted.
        """
        queued = Submitted(change)
        if self._enqueue(queued):
            self._hand_over()
        return queued.future

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Yield a read-only connection.

        Each SELECT sees the newest commit; BEGIN holds one state until the block ends.
        """
        if self._closed:
            raise Unavailable(f"{self._path} is closed")
        try:
            connection = self._readers.take()
        except sqlite3.Error as error:
            self._raise(error)
        try:
            yield connection
        except sqlite3.Error as error:
            self._raise(error)
        finally:
            self._readers.give_back(connection)

    @property
    def closed(self) -> bool:
        """Return whether the store has released the file."""
        return self._closed

    def probe(self) -> None:
        """Make a change of a byte or two, and return when it is durable; raises Unavailable."""
        self.write(lambda tx: tx.execute(_PROBE))

    def close(self) -> None:
        """Finish the queued changes, then release the file. Later changes and reads raise Unavailable."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._gate.notify_all()
        self._thread.join()
        self._readers.close()
        if self._connection is not None:
            self._connection.close()  # the last one to close: it copies the log into the file
        os.close(self._lock)

    # Whose turn it is to commit.

    def _enqueue(self, change: Change[Any]) -> bool:
        """Queue a change; return whether no other thread commits the queue, so that the caller must."""
        with self._gate:
            if self._closed:
                raise Unavailable(f"{self._path} is closed")
            self._waiting.append(change)
            mine, self._busy = not self._busy, True
            return mine

    def _commit_now(self) -> None:
        """Commit one batch in this thread.

        The writer thread commits what came meanwhile, so no caller works for others.
        """
        try:
            self._commit(self._take())
        finally:
            if not self._done():
                self._hand_over()

    def _hand_over(self) -> None:
        with self._gate:
            self._handed = True
            self._gate.notify_all()

    def _done(self) -> bool:
        """Return whether nothing waits; then the next caller commits for itself."""
        with self._gate:
            if self._waiting:
                return False
            self._busy = False
            if self._closed:
                self._gate.notify_all()
            return True

    def _serve(self) -> None:
        while self._wait_for_work():
            if self._commits >= CHECKPOINT_COMMITS:
                self._checkpoint(self._checkpointer)
            if self._take_over():
                more = True
                while more:
                    self._commit(self._take())
                    more = not self._done()
        self._checkpointer.close()

    def _wait_for_work(self) -> bool:
        """Wait, in the writer thread, until there is work; return False when everything is finished and closed."""
        with self._gate:
            self._gate.wait_for(lambda: self._handed or self._commits >= CHECKPOINT_COMMITS or self._finished())
            return self._handed or not self._finished()

    def _finished(self) -> bool:
        return self._closed and not self._busy

    def _take_over(self) -> bool:
        with self._gate:
            handed, self._handed = self._handed, False
            return handed

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        """Copy what is committed into the file, on a connection of its own, so that no commit waits for it."""
        self._commits = 0
        with self._copying:
            try:
                _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                self._long = pages >= CHECKPOINT_PAGES
            except sqlite3.Error as problem:
                copy_again(self._path)
                _log.warning("the write-ahead log of %s cannot be copied into it now: %s", self._path, problem)

    def _take(self) -> list[Change[Any]]:
        """Return the waiting changes, at most BATCH, without those that were cancelled."""
        with self._gate:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH))]
        return [change for change in batch if change.wanted()]

    def _commit(self, batch: Sequence[Change[Any]]) -> None:
        """Commit one transaction with all changes.

        Those that fail alone are left out; if it fails as a whole, all fail.
        """
        self._committing = threading.get_ident()
        try:
            self._write(batch)
        finally:
            self._committing = None
            self.changes += 1
            self._commits += 1
            if self._commits == CHECKPOINT_COMMITS:
                with self._gate:
                    self._gate.notify_all()

    def _write(self, batch: Sequence[Change[Any]]) -> None:
        """Write a batch.

        A commit that fails leaves no trace: the next one overwrites its part of the log, and syncs.
        """
        refused: dict[Change[Any], BaseException] = {}
        try:
            if self._connection is None:
                self._connection = self._writer()
            connection = self._connection
            if self._long:
                self._checkpoint(connection)
            connection.execute("BEGIN IMMEDIATE")
            if not self._all_applied(connection, batch, refused):
                refused.clear()
                connection.execute("BEGIN IMMEDIATE")
                for change in batch:
                    self._apply_alone(connection, change, refused)
            self._files.check()
            connection.execute("COMMIT")
        except BaseException as error:
            self._undo()
            problem = unavailable(self._path, error) or error
            self._refusals.add(problem)
            for change in batch:
                change.fail(refused.get(change, problem))
            return
        self._refusals.written(self._path)
        acknowledge([change for change in batch if change not in refused])
        for change, problem in refused.items():  # now, when what they failed on can be read
            change.fail(problem)

    def _all_applied(
        self, connection: sqlite3.Connection, batch: Sequence[Change[Any]], refused: dict[Change[Any], BaseException]
    ) -> bool:
        """Return whether all were applied together, except those that failed before they wrote: they are in `refused`.

        If one of several failed after that, all are undone, to be tried one by one. Savepoints would cost each event a
        statement, and a statement costs a wait for the interpreter.
        """
        for change in batch:
            before = connection.total_changes
            try:
                change.apply(connection)
            except BaseException as error:
                if not connection.in_transaction:  # SQLite undid everything: the disk is full, or worse
                    raise
                if connection.total_changes == before and not isinstance(error, sqlite3.Error):
                    refused[change] = error
                    continue
                if len(batch) == 1:
                    raise
                connection.execute("ROLLBACK")
                return False
        return True

    def _apply_alone(
        self, connection: sqlite3.Connection, change: Change[Any], refused: dict[Change[Any], BaseException]
    ) -> None:
        """Apply one change, or undo it and nothing else. Raises if the whole batch is lost with it.

        Savepoints are not released one by one: the commit does it, and ROLLBACK TO means the newest.
        """
        try:
            connection.execute("SAVEPOINT change")
            change.apply(connection)
        except BaseException as error:
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO change")
            refused[change] = unavailable(self._path, error) or error

    def _undo(self) -> None:
        """Roll back an open transaction. A connection that cannot is given up, and the next commit opens another."""
        connection = self._connection
        if connection is None or not connection.in_transaction:
            return
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error:
            _log.warning("opening %s again: it would not roll back", self._path, exc_info=True)
            self._connection = None
            connection.close()

    # Connections.

    def _begin_log_anew(self, connection: sqlite3.Connection) -> None:
        """Copy the log into the file, synced, and empty it, before anything is added.

        What was read from it may be only in the system's memory: a sync that failed in an earlier process is forgotten. A
        foreign program that reads an older state, such as a backup, needs the log as it is; then it is written again.
        """
        connection.execute("PRAGMA busy_timeout = 0")
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
        if busy:
            connection.execute("BEGIN IMMEDIATE")  # no other process adds to it meanwhile
            write_again(self._path)
            connection.execute("ROLLBACK")

    def _writer(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=BUSY_TIMEOUT / 1000,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS,
        )
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":  # SQLite does not call that an error
                raise Unavailable(
                    f"{self._path}: no write-ahead log can be kept for it; look at its disk, which must be a local one"
                )
            # Builds of SQLite differ in their default.
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA wal_autocheckpoint = 0")  # it would keep its failures to itself
            connection.execute("PRAGMA journal_size_limit = 67108864")
            connection.execute("PRAGMA cache_size = -32768")
            # Savepoints keep the pages that they may have to restore; on disk, after 64 KiB of them, otherwise.
            connection.execute("PRAGMA temp_store = MEMORY")
        except (sqlite3.Error, Unavailable) as error:
            connection.close()
            self._raise(error)
        connection.text_factory = text_of
        return connection

    def _raise(self, error: BaseException) -> NoReturn:
        """Raise `error` as a problem that the caller understands."""
        problem = unavailable(self._path, error)
        if problem is None:
            raise error
        raise problem from error
