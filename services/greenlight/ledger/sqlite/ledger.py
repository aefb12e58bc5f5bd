"""The ledger in one SQLite file: what one machine runs on. The port says what each method promises."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from greenlight.events import Event
from greenlight.ledger.bounded_cache import BoundedCache
from greenlight.ledger.changes import Key, Row
from greenlight.ledger.overlay import Overlay
from greenlight.ledger.parts import whole
from greenlight.ledger.port import Conflict, Page, Reading, SetAside, Transaction, Unreadable
from greenlight.ledger.rows_json import loads
from greenlight.ledger.sqlite import pushes as sqlite_pushes
from greenlight.ledger.sqlite.arrivals import SqliteArrivals
from greenlight.ledger.sqlite.cache import Cache
from greenlight.ledger.sqlite.listing import from_cursor, query, to_cursor
from greenlight.ledger.sqlite.provider_bodies import ProviderBodies
from greenlight.ledger.sqlite.pushes import Pushes, after
from greenlight.ledger.sqlite.rows import Rows
from greenlight.ledger.sqlite.schema import SCHEMA, from_micros, micros
from greenlight.ledger.sqlite.spans import SqliteSpans
from greenlight.ledger.sqlite.web_sessions import WebSessions
from greenlight.ledger.sqlite.writes import Emit, Heads, steps
from greenlight.ledger.unreadable import LATER, NAMES, UnreadableRows, policy_of
from greenlight.model.policy import PoliciesInForce
from greenlight.model.rows import DecisionRow, Deployment, Due, Entry, Fact, Push, Record, Target, Title
from greenlight.model.web_sessions import WebSession
from greenlight.store import Store, Tx

__all__ = ["SCHEMA", "SqliteLedger"]

T = TypeVar("T")

HEADS = 5000
"""Streams whose newest entry is kept: each entry that is appended to one of them costs one statement less."""

RECORD = (
    "SELECT json, version, iif(in_parts,"
    " (SELECT '[' || group_concat(json) || ']' FROM record_parts p WHERE p.repo = r.repo AND p.sha = r.sha), NULL)"
    " FROM records r WHERE repo = ? AND sha = ?"
)
"""A record with its parts, as one commit left them."""


class SqliteLedger:
    """A Ledger in `store`, with large bodies in the folder `bodies`.

    With `emit`, every event goes through it inside the transaction that emits it (into the embedded broker's log), and
    nothing is added to the outbox.
    """

    def __init__(self, store: Store, bodies: Path, *, emit: Emit | None = None, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._emit = emit
        self._clock = clock
        self._cache = Cache()
        self._pushes = Pushes()
        self._heads: Heads = BoundedCache(HEADS)
        self._aside = UnreadableRows(clock, NAMES)
        self._rows = Rows(store, self._cache, self._aside)
        self._bodies = ProviderBodies(store, self._rows, self._aside, bodies)
        self._web_sessions = WebSessions(store, self._rows, self._aside)
        self.spans = SqliteSpans(store, clock)
        self.arrivals = SqliteArrivals(store, self._rows, clock)

    def session(self, reading: Reading) -> AbstractContextManager[None]:
        return nullcontext()  # the cache has what was read, and hears of every write

    # Facts.

    def accept(self, fact: Fact, body: bytes | None, due: Due) -> bool:
        with self.keeping(body) as kept:
            changes = self.overlay()
            if not changes.accept(fact, kept, due):
                return False
            try:
                self.store(changes)
            except Conflict:
                return False
            return True

    def keeping(self, body: bytes | None) -> AbstractContextManager[tuple[str, bytes | None] | None]:
        """Return a context in which a provider's body is kept, as `Overlay.accept` takes it, until its fact is stored."""
        return self._bodies.keeping(body, self._clock())

    def fact(self, id: str) -> Fact | None:
        return self._rows.row(Fact, "SELECT json, recorded FROM facts WHERE id = ?", (id,), "recorded")

    def titles(self, repo: str, shas: Collection[str]) -> Mapping[str, Title]:
        sql = "SELECT repo, sha, json FROM titles WHERE repo = ? AND sha IN (SELECT value FROM json_each(?))"
        return {
            title.sha: title for title in self._rows.those(Title, self._rows.all(sql, repo, json.dumps(list(shas))))
        }

    def changes(self) -> int | None:
        return self._store.changes

    def erase_titles(self, identities: Collection[str]) -> int:
        sql = "DELETE FROM titles WHERE ? IN (login, email)"
        return self._store.write(lambda tx: sum(tx.execute(sql, (who,)).rowcount for who in identities))

    def claim(self, sender: str, message: str, digest: str) -> str:
        def change(tx: Tx) -> str:
            tx.execute("INSERT INTO claims VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (sender, message, digest))
            found = tx.execute("SELECT digest FROM claims WHERE sender = ? AND message = ?", (sender, message))
            first: str = found.fetchone()[0]
            return first

        return self._store.write(change)

    # Records and pushes.

    def record(self, repo: str, sha: str) -> Record | None:
        found: Record | None = self._rows.at_hand((Record, repo, sha))
        if found is not None:
            return found
        moment = self._cache.moment()
        row = self._rows.one(RECORD, repo, sha)
        if row is None:
            return None
        text, version, pieces = row
        found = self._aside.read(
            "records",
            (repo, sha),
            lambda: loads(Record, text, version=version) if pieces is None else whole(text, pieces, version=version),
        )
        self._cache.keep((Record, repo, sha), found, moment)
        return found

    def find(self, repo: str, prefix: str) -> Sequence[str]:
        rows = self._rows.all(
            "SELECT sha FROM records WHERE repo = ? AND sha >= ? AND sha < ? ORDER BY sha LIMIT 2",
            *(repo, prefix, prefix + "\U0010ffff"),
        )
        return [sha for (sha,) in rows]

    def records(
        self,
        *,
        repo: str | None = None,
        ref: str | None = None,
        application: str | None = None,
        environment: str | None = None,
        decision: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        decided = {"application": application, "environment": environment, "decision": decision}
        after = None if cursor is None else from_cursor(cursor)
        sql, parameters = query(repo, ref, decided, after, limit + 1)
        rows = self._rows.all(sql, *parameters)
        more = len(rows) > limit
        del rows[limit:]
        return Page(
            records=[record for _, repo, sha in rows if (record := self._record_or_none(repo, sha)) is not None],
            next=to_cursor(rows[-1]) if more and rows else None,
        )

    def _record_or_none(self, repo: str, sha: str) -> Record | None:
        """Return the record; None also if it cannot be read."""
        try:
            return self.record(repo, sha)
        except Unreadable:
            return None

    def pushes(
        self,
        repo: str,
        *,
        since: datetime | None = None,
        of: Callable[[str], bool] | None = None,
        limit: int | None = 1000,
    ) -> Sequence[Push]:
        known = None if self._store.closed else self._pushes.newest(repo, since, of, limit)
        if known is not None:
            return known
        moment = self._pushes.moment(repo)
        sql = (
            "SELECT fact, ref, json FROM pushes WHERE repo = ? AND pushed_at >= ?"
            " ORDER BY pushed_at DESC, arrived DESC, fact DESC"
        )
        with self._store.read() as connection:
            rows = connection.execute(sql, (repo, -(2**63) if since is None else micros(since)))
            first = [self._push(fact, text) for fact, _, text in rows.fetchmany(sqlite_pushes.MOST + 1)]
            found = list(islice((push for push in first if of is None or of(push.ref)), limit))
            more = None if limit is None else limit - len(found)
            found += islice((self._push(fact, text) for fact, ref, text in rows if of is None or of(ref)), more)
            rows.close()
        complete = len(first) <= sqlite_pushes.MOST
        self._pushes.keep(repo, since if complete else after(first[-1]), first, moment)
        found.reverse()
        return found

    def _push(self, fact: str, text: str) -> Push:
        return self._aside.read("pushes", (fact,), lambda: loads(Push, text))

    # Targets, decisions, deployments.

    def target(self, application: str, environment: str) -> Target | None:
        sql = "SELECT json, version FROM targets WHERE application = ? AND environment = ?"
        return self._rows.row(Target, sql, (application, environment))

    def targets(self) -> Sequence[Target]:
        rows = self._rows.all(
            "SELECT application, environment, json, version FROM targets ORDER BY application, environment"
        )
        return self._rows.those(Target, rows)

    def decision(self, application: str, environment: str, repo: str, sha: str) -> DecisionRow | None:
        sql = "SELECT json, version FROM decisions WHERE application = ? AND environment = ? AND repo = ? AND sha = ?"
        return self._rows.row(DecisionRow, sql, (application, environment, repo, sha))

    def decisions(
        self,
        application: str,
        environment: str,
        states: Sequence[str],
        *,
        since: tuple[datetime, datetime] | None = None,
        limit: int = 200,
    ) -> Sequence[DecisionRow]:
        states = list(dict.fromkeys(states))
        if not states:
            return []
        later, then = ("", ()) if since is None else (" AND (pushed_at, arrived) >= (?, ?)", tuple(map(micros, since)))
        # Each state's newest are the first of the index; what is read does not grow with how many there are.
        newest = (
            "SELECT * FROM (SELECT pushed_at, arrived, repo, sha, rowid AS row FROM decisions"  # noqa: S608
            f" WHERE application = ? AND environment = ? AND decision = ?{later}"
            " ORDER BY pushed_at DESC, arrived DESC, repo DESC, sha DESC LIMIT ?)"
        )
        order = "pushed_at DESC, arrived DESC, repo DESC, sha DESC"
        rows = self._rows.all(
            "SELECT application, environment, decisions.repo, decisions.sha, json, version"  # noqa: S608
            f" FROM (SELECT row FROM ({' UNION ALL '.join([newest] * len(states))}) ORDER BY {order} LIMIT ?)"
            " JOIN decisions ON decisions.rowid = row"
            " ORDER BY decisions.pushed_at DESC, decisions.arrived DESC, decisions.repo DESC, decisions.sha DESC",
            *(value for state in states for value in (application, environment, state, *then, limit)),
            limit,
        )
        return self._rows.those(DecisionRow, rows)

    def deployment(self, id: str) -> Deployment | None:
        return self._rows.row(Deployment, "SELECT json, version FROM deployments WHERE id = ?", (id,))

    def deployments(
        self, application: str, environment: str, *, limit: int = 20, before: Deployment | None = None
    ) -> Sequence[Deployment]:
        earlier = () if before is None else (micros(before.started), before.id)
        rows = self._rows.all(
            "SELECT id, json, version FROM deployments WHERE application = ? AND environment = ?"  # noqa: S608
            f"{' AND (started, id) < (?, ?)' if earlier else ''} ORDER BY started DESC, id DESC LIMIT ?",
            *(application, environment, *earlier, limit),
        )
        return self._rows.those(Deployment, rows)

    # Writing.

    def transact(self, transaction: Transaction) -> None:
        changes = self.overlay()
        changes.transact(transaction)
        self.store(changes)

    def overlay(self) -> Overlay:
        """Begin changes that are stored together, or not at all."""
        return Overlay(self)

    def at_hand(self, key: Key) -> Row | None:
        """Return a row from the cache, None if it is not there."""
        row: Row | None = self._rows.at_hand(key)
        return row

    def store(self, overlay: Overlay) -> None:
        """Write an overlay's changes, or raise Conflict and write nothing. Durable when it returns."""
        changes = overlay.changes
        parts = steps(changes, self._emit, self._clock(), self._cache.get, self._heads)
        stored: dict[Key, Any] = dict(changes.rows)
        for fact, _ in changes.facts.values():
            stored[Fact, fact.id] = replace(fact, titles=())
        for id in changes.recorded:
            known = self._cache.get((Fact, id))
            stored[Fact, id] = None if known is None else replace(known, recorded=True)

        def change(tx: Tx) -> None:
            tx.on_commit(lambda: self._committed(stored, changes.pushes))
            for step in parts:
                step(tx)

        self._store.write(change)

    def _committed(self, rows: Mapping[Key, Any], pushes: Sequence[Push]) -> None:
        self._cache.committed(rows)
        self._pushes.committed(pushes)

    # The journal.

    def journal(self, stream: str, *, after: int = 0, limit: int = 1000) -> Sequence[Entry]:
        return self._entries("WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?", stream, after, limit)

    def newest_entries(self, stream: str, *, limit: int) -> Sequence[Entry]:
        return self._entries("WHERE stream = ? ORDER BY seq DESC LIMIT ?", stream, limit)[::-1]

    def entries(self, repo: str, sha: str, *, limit: int | None = None) -> Sequence[Entry]:
        newest = "WHERE repo = ? AND sha = ? ORDER BY at DESC, stream DESC, seq DESC LIMIT ?"
        return self._entries(newest, repo, sha, -1 if limit is None else limit)[::-1]

    def _entries(self, which: str, *parameters: object) -> Sequence[Entry]:
        sql = f"SELECT stream, seq, type, at, id, payload, prev, hash FROM entries {which}"  # noqa: S608 - our own
        rows = self._rows.all(sql, *parameters)
        return [self._rows.entry(row) for row in rows]

    # The outbox, and what is due.

    def outbox(self, *, older_than: datetime, limit: int = 100) -> Sequence[Event]:
        rows = self._rows.all(
            "SELECT id, json FROM outbox WHERE at < ? ORDER BY at, rowid LIMIT ?", micros(older_than), limit
        )
        found = self._rows.those(Event, rows)
        self._look_later(
            "UPDATE outbox SET at = ? WHERE id = ?", {id for id, _ in rows} - {event.id for event in found}, older_than
        )
        return found

    def published(self, ids: Sequence[str]) -> None:
        if ids:
            self._store.write(lambda tx: tx.executemany("DELETE FROM outbox WHERE id = ?", [(id,) for id in ids]))

    def due(self, before: datetime, *, limit: int = 100) -> Sequence[Due]:
        rows = self._rows.all("SELECT key, json FROM due WHERE at <= ? ORDER BY at, key LIMIT ?", micros(before), limit)
        found = self._rows.those(Due, rows)
        self._look_later(
            "UPDATE due SET at = ? WHERE key = ?", {key for key, _ in rows} - {due.key for due in found}, before
        )
        return found

    def _look_later(self, sql: str, keys: set[str], now: datetime) -> None:
        """Postpone rows that cannot be read by LATER, so that they do not block others that are due."""
        if keys:
            at = micros(now + LATER)
            self._store.write(lambda tx: tx.executemany(sql, [(at, key) for key in sorted(keys)]))

    def next_due(self) -> datetime | None:
        row = self._rows.one("SELECT min(at) FROM due")
        return None if row is None or row[0] is None else from_micros(row[0])

    # Policies and bodies.

    def policies_in_force(self, repo: str) -> PoliciesInForce | None:
        return self._rows.row(PoliciesInForce, "SELECT json, version FROM policies_in_force WHERE repo = ?", (repo,))

    def all_policies_in_force(self) -> Sequence[PoliciesInForce]:
        rows = self._rows.all("SELECT repo, json, version FROM policies_in_force ORDER BY repo")
        return self._rows.those(PoliciesInForce, rows)

    def keep_policy(self, digest: str, text: str) -> None:
        if self.policy(digest) is None:
            sql = "INSERT INTO policies VALUES (?, ?) ON CONFLICT DO UPDATE SET text = excluded.text"
            self._store.write(lambda tx: tx.execute(sql, (digest, text)))

    def policy(self, digest: str) -> str | None:
        row = self._rows.one("SELECT text FROM policies WHERE digest = ?", digest)
        try:
            return None if row is None else self._aside.read("policies", (digest,), lambda: policy_of(digest, row[0]))
        except Unreadable:
            return None

    def body(self, digest: str) -> bytes | None:
        return self._bodies.read(digest)

    def forget_bodies(self, before: datetime) -> int:
        return self._bodies.forget(before)

    # Logins in browsers.

    def begin_web_session(self, session: WebSession, now: datetime) -> None:
        self._web_sessions.begin(session, now)

    def web_session(self, digest: str) -> WebSession | None:
        return self._web_sessions.get(digest)

    def see_web_session(self, digest: str, seen: datetime, until: datetime) -> None:
        self._web_sessions.see(digest, seen, until)

    def end_web_session(self, digest: str) -> None:
        self._web_sessions.end(digest)

    def unreadable(self) -> Sequence[SetAside]:
        return self._aside.listed()

    def ready(self) -> None:
        self._store.probe()
