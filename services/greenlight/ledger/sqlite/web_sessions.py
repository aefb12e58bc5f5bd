"""Logins in browsers, in the ledger's file. `seen` and `until` change without the rest of the row."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from greenlight.ledger.rows_json import dumps, loads
from greenlight.ledger.sqlite.rows import Rows
from greenlight.ledger.sqlite.schema import from_micros, micros
from greenlight.ledger.unreadable import UnreadableRows
from greenlight.model.web_sessions import WebSession
from greenlight.store import Store, Tx


class WebSessions:
    """Sessions of one ledger. Safe for threads."""

    def __init__(self, store: Store, rows: Rows, aside: UnreadableRows) -> None:
        self._store, self._rows, self._aside = store, rows, aside

    def begin(self, session: WebSession, now: datetime) -> None:
        """Store a new session, and remove those that have ended."""
        row = (session.digest, micros(session.seen), micros(session.until), dumps(session))

        def change(tx: Tx) -> None:
            tx.execute("DELETE FROM web_sessions WHERE until < ?", (micros(now),))
            tx.execute("INSERT OR REPLACE INTO web_sessions (digest, seen, until, json) VALUES (?, ?, ?, ?)", row)

        self._store.write(change)

    def get(self, digest: str) -> WebSession | None:
        """Return the session, or None."""
        row = self._rows.one("SELECT json, seen, until FROM web_sessions WHERE digest = ?", digest)
        if row is None:
            return None
        text, seen, until = row
        return self._aside.read(
            "web_sessions",
            (digest,),
            lambda: replace(loads(WebSession, text), seen=from_micros(seen), until=from_micros(until)),
        )

    def see(self, digest: str, seen: datetime, until: datetime) -> None:
        """Write down its last use and its new end, if it is still there."""
        row = (micros(seen), micros(until), digest)
        self._store.write(lambda tx: tx.execute("UPDATE web_sessions SET seen = ?, until = ? WHERE digest = ?", row))

    def end(self, digest: str) -> None:
        """Remove the session."""
        self._store.write(lambda tx: tx.execute("DELETE FROM web_sessions WHERE digest = ?", (digest,)))
