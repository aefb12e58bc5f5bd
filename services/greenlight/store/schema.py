"""Tables and their migrations."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from greenlight.store.errors import Newer


@dataclass(frozen=True)
class Schema:
    """The tables of one user of the file. Each migration is an SQL script; released ones never change."""

    name: str
    migrations: tuple[str, ...]


def migrate(connection: sqlite3.Connection, schemas: Sequence[Schema]) -> None:
    """Run the migrations that the file has not seen, each in one transaction.

    Raises Newer if the file has unknown ones.
    """
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_version (name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID"
    )
    connection.execute("CREATE TABLE IF NOT EXISTS store_probe (id INTEGER PRIMARY KEY, count INTEGER NOT NULL)")
    versions = dict(connection.execute("SELECT name, version FROM schema_version"))
    for schema in schemas:
        version = versions.get(schema.name, 0)
        known = len(schema.migrations)
        if version > known:
            raise Newer(
                f"the {schema.name} tables have version {version}, and this Greenlight knows {known}: "
                "a newer one wrote them; run that version, or restore a backup from before it"
            )
        for number in range(version + 1, known + 1):
            _apply(connection, schema.name, number, schema.migrations[number - 1])


def _apply(connection: sqlite3.Connection, name: str, number: int, script: str) -> None:
    try:
        # executescript commits what is open before it starts, so the transaction begins inside the script.
        connection.executescript("BEGIN IMMEDIATE;\n" + script)
        connection.execute("INSERT OR REPLACE INTO schema_version VALUES (?, ?)", (name, number))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
