"""Every adapter of the ledger's port, as the fixture `ledger`; the tests beside this file hold for all of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

import pytest

from greenlight.ledger.dynamodb.bodies import InTable
from greenlight.ledger.dynamodb.items import Rows
from greenlight.ledger.port import Ledger
from greenlight.ledger.sqlite.ledger import SCHEMA, SqliteLedger
from greenlight.store import Store
from support.dynamodb import MISSING, Table
from support.ledger import HandClock


class Adapter(Protocol):
    """Opens the same ledger, empty at first, as often as it is asked to."""

    def open(self) -> Ledger:
        """The ledger, after letting go of what was open: as a process that starts again finds it."""
        ...

    def another(self) -> Ledger:
        """The same ledger as others have it at the same time: another process, if this adapter serves several."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...

    def spoil(self, table: str, name: str, text: str) -> str:
        """Put `text` where that table has the one row in whose key `name` is, as a bad disk does; what was there."""
        ...


class Sqlite:
    """The SQLite adapter, in a folder."""

    def __init__(self, folder: Path, clock: HandClock) -> None:
        self._folder = folder
        self._clock = clock
        self._store: Store | None = None

    def open(self) -> Ledger:
        self.close()
        self._store = Store(self._folder / "ledger.db", [SCHEMA])
        self._ledger = SqliteLedger(self._store, self._folder / "bodies", clock=self._clock.now)
        return self._ledger

    def another(self) -> Ledger:
        return self._ledger

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    def spoil(self, table: str, name: str, text: str) -> str:
        column = {"entries": "payload", "policies": "text"}.get(table, "json")
        with closing(sqlite3.connect(self._folder / "ledger.db")) as connection, connection:
            keys = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[5]]
            where = " || '/' || ".join(f"CAST({key} AS TEXT)" for key in keys)
            ((old,),) = connection.execute(f"SELECT {column} FROM {table} WHERE instr({where}, ?)", (name,)).fetchall()
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE instr({where}, ?)", (text, name))
        return str(old)


class DynamoDB:
    """The DynamoDB adapter, in a table of its own, which also has the bodies."""

    def __init__(self, folder: Path, clock: HandClock) -> None:
        self._clock = clock
        self._table = Table()

    def open(self) -> Ledger:
        return self._table.ledger(clock=self._clock.now)

    another = open

    def close(self) -> None:
        self._table.delete()

    def spoil(self, table: str, name: str, text: str) -> str:
        rows = Rows(InTable(self._table.dynamo))
        found = self._table.dynamo.call("Scan", {"ConsistentRead": True})["Items"]
        (one,) = [
            it for it in found
            if it["pk"]["S"].startswith(PREFIXES[table])
            and name in f"{it['pk']['S']}/{it['sk']['S']}"
            and {"j", "z", "f"} & it.keys()
        ]  # fmt: skip
        old = rows.unpack_text(one)
        self._table.dynamo.put({**{key: it for key, it in one.items() if key not in ("j", "z", "f")}, "j": {"S": text}})
        return old


PREFIXES = {
    "facts": "fact#", "records": "records#", "pushes": "pushes#", "targets": "targets", "decisions": "decisions#",
    "deployments": "deployment#", "entries": "journal#", "outbox": "outbox#", "due": "due#", "policies": "policy#",
    "policies_in_force": "policies-in-force", "web_sessions": "web-session#",
    "arrivals": "arrivals#",
}  # fmt: skip


@pytest.fixture
def clock() -> HandClock:
    """What the ledger takes for the time."""
    return HandClock()


@pytest.fixture(
    params=[
        Sqlite,
        pytest.param(DynamoDB, marks=pytest.mark.skipif(bool(MISSING), reason=MISSING or "")),
    ],
    ids=["sqlite", "dynamodb"],
)
def adapter(request: pytest.FixtureRequest, tmp_path: Path, clock: HandClock) -> Iterator[Adapter]:
    """Each adapter in turn."""
    made: Adapter = request.param(tmp_path, clock)
    yield made
    made.close()


@pytest.fixture
def ledger(adapter: Adapter) -> Ledger:
    """An empty ledger."""
    return adapter.open()


@pytest.fixture
def reopen(adapter: Adapter, ledger: Ledger) -> Callable[[], Ledger]:
    """Gives the ledger as the next process finds it."""
    return adapter.open
