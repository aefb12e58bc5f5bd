"""One SQLite file with one writer and group commit, on which ledger and broker stand."""

from greenlight.store.changes import Tx
from greenlight.store.errors import Damaged, Locked, Newer
from greenlight.store.schema import Schema
from greenlight.store.store import Store

__all__ = ["Damaged", "Locked", "Newer", "Schema", "Store", "Tx"]
