"""A change of the store: a function of a transaction, with the thread that waits for its result."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")

Parameters = Sequence[Any] | Mapping[str, Any]

_log = logging.getLogger("greenlight.store")


class Tx:
    """The transaction of one change; it and its cursors are valid only while the change runs."""

    __slots__ = ("_connection", "_cursors", "calls")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection: sqlite3.Connection | None = connection
        self._cursors: list[sqlite3.Cursor] = []
        self.calls: list[Callable[[], None]] = []

    def execute(self, sql: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        """Run one statement."""
        cursor = self._open().execute(sql, parameters)
        self._cursors.append(cursor)
        return cursor

    def executemany(self, sql: str, parameters: Iterable[Parameters]) -> sqlite3.Cursor:
        """Run one statement for each of the parameters."""
        return self._open().executemany(sql, parameters)

    def on_commit(self, call: Callable[[], None]) -> None:
        """Have `call` called once the change is durable, before its caller is woken; never if the change fails.

        It runs in the writer thread, so it must be quick. What it raises is logged.
        """
        self._open()
        self.calls.append(call)

    def end(self) -> None:
        """Refuse further statements, and close the cursors: an unfinished one blocks the commit."""
        for cursor in self._cursors:
            cursor.close()
        self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("a Tx is valid only inside its change")
        return self._connection


class Change(Generic[T]):
    """A change in the queue, and later its result. Its caller waits at a lock, which costs a tenth of a future."""

    __slots__ = ("_over", "calls", "error", "result", "run")

    def __init__(self, run: Callable[[Tx], T]) -> None:
        self.run = run
        self.result: T
        self.error: BaseException | None = None
        self.calls: list[Callable[[], None]] = []
        self._over = threading.Lock()
        self._over.acquire()

    def wait(self) -> T:
        """Return the result once the change is durable. Raises the change's error."""
        self._over.acquire()
        if self.error is not None:
            raise self.error
        return self.result

    def wanted(self) -> bool:
        """Return whether the change is still to be made."""
        return True

    def end(self) -> None:
        """Wake the caller: the change is durable, or has an `error`."""
        self._over.release()

    def fail(self, error: BaseException) -> None:
        """End the change with an error: it was not made."""
        self.error = error
        self.end()

    def apply(self, connection: sqlite3.Connection) -> None:
        """Run the change. Raises what it raises."""
        tx = Tx(connection)
        try:
            self.result = self.run(tx)
        finally:
            tx.end()
        self.calls = tx.calls


class Submitted(Change[T]):
    """A change for which no thread waits."""

    __slots__ = ("future",)

    def __init__(self, run: Callable[[Tx], T]) -> None:
        super().__init__(run)
        self.future: Future[T] = Future()

    def wanted(self) -> bool:
        return self.future.set_running_or_notify_cancel()

    def end(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def acknowledge(batch: Sequence[Change[Any]]) -> None:
    for change in batch:
        for call in change.calls:
            try:
                call()
            except Exception:
                _log.exception("a call after a commit failed")
    for change in batch:
        change.end()
