"""Every adapter of the ledger's port, as the fixture `ledger`; the tests beside this file hold for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from greenlight.ledger.port import Ledger
from greenlight.ledger.sqlite import SCHEMA, SqliteLedger
from greenlight.store import Store
from support_dynamodb import MISSING, Table
from support_ledger import HandClock


class Adapter(Protocol):
    """Opens the same ledger, empty at first, as often as it is asked to."""

    def open(self) -> Ledger:
        """The ledger, after letting go of what was open: as a process that starts again finds it."""
        ...

    def close(self) -> None:
        """Let go of everything."""
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
        return SqliteLedger(self._store, self._folder / "bodies", clock=self._clock.now)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()


class DynamoDB:
    """The DynamoDB adapter, in a table of its own, which also has the bodies."""

    def __init__(self, folder: Path, clock: HandClock) -> None:
        self._clock = clock
        self._table = Table()

    def open(self) -> Ledger:
        return self._table.ledger(clock=self._clock.now)

    def close(self) -> None:
        self._table.delete()


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
