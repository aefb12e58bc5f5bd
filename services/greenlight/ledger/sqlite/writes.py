"""Changes of the ledger as SQL.

Rows are turned into text in the caller's thread; what is left for the one writer thread is a list of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from greenlight.events import Event, rfc3339
from greenlight.ledger import parts
from greenlight.ledger.bounded_cache import BoundedCache
from greenlight.ledger.changes import AcceptedFact, Changes, Emitted, Key, Row
from greenlight.ledger.journal import ZEROS, link, portable_form
from greenlight.ledger.port import Conflict, Unreadable
from greenlight.ledger.rows_json import dumps
from greenlight.ledger.sqlite.schema import micros
from greenlight.model.policy import PoliciesInForce
from greenlight.model.rows import DecisionRow, Deployment, NewEntry, Push, Record, Target
from greenlight.store import Tx

Step = Callable[[Tx], object]
"""A part of a change. Raises Conflict if what it builds on has changed."""

Emit = Callable[[Emitted], Step]
"""Where an emitted event goes: the step that puts it there, inside the transaction that emits it."""

Heads = BoundedCache[str, tuple[int, bytes]]
"""The newest entries of streams, by stream: number and hash. What is stored may be newer."""


class Table:
    """A table of versioned rows: a stored row must have the version that was read, 0 meaning none."""

    def __init__(self, name: str, key: Sequence[str], columns: Sequence[str]) -> None:
        self._name = name
        where = " AND ".join(f"{column} = ?" for column in key)
        names = ", ".join((*columns, *key))
        marks = ", ".join("?" * (len(columns) + len(key)))
        sets = ", ".join(f"{column} = ?" for column in columns)
        # Names come from the constants below, never from a request.
        self._insert = f"INSERT INTO {name} ({names}, version) VALUES ({marks}, ?) ON CONFLICT DO NOTHING"  # noqa: S608
        self._update = f"UPDATE {name} SET {sets}, version = ? WHERE {where} AND version = ?"  # noqa: S608
        self._select = f"SELECT version FROM {name} WHERE {where}"  # noqa: S608

    def put(self, key: Sequence[object], values: Sequence[object], was: int, version: int) -> Step:
        """Return a step that stores the row as `version`, if it still is version `was`."""

        def step(tx: Tx) -> None:
            if was == 0:
                stored = tx.execute(self._insert, (*values, *key, version))
            else:
                stored = tx.execute(self._update, (*values, version, *key, was))
            if stored.rowcount != 1:
                raise self._conflict(key, was)

        return step

    def check(self, key: Sequence[object], version: int) -> Step:
        """Return a step that changes nothing, and raises Conflict unless the row still has `version`."""

        def step(tx: Tx) -> None:
            row = tx.execute(self._select, key).fetchone()
            if (0 if row is None else row[0]) != version:
                raise self._conflict(key, version)

        return step

    def _conflict(self, key: Sequence[object], version: int) -> Conflict:
        name = "/".join(str(part) for part in key)
        return Conflict(f"{self._name} {name} is no longer at version {version}: read it again")


RECORDS = Table("records", ("repo", "sha"), ("updated", "in_parts", "json"))
TARGETS = Table("targets", ("application", "environment"), ("json",))
DECISIONS = Table(
    "decisions", ("repo", "sha", "application", "environment"), ("decision", "pushed_at", "arrived", "json")
)
IN_FORCE = Table("policies_in_force", ("repo",), ("json",))
DEPLOYMENTS = Table("deployments", ("id",), ("application", "environment", "started", "json"))


TABLES: Mapping[type[Row], Table] = {
    Record: RECORDS, Target: TARGETS, DecisionRow: DECISIONS, Deployment: DEPLOYMENTS, PoliciesInForce: IN_FORCE,
}  # fmt: skip


def steps(
    changes: Changes, emit: Emit | None, now: datetime, known: Callable[[Key], Row | None], heads: Heads
) -> list[Step]:
    """Return all writes of `changes`, in order.

    `now` is when they emit, `known` a row as it is if that is at hand.
    """
    made = [_check(key, version) for key, version in changes.unchanged.items()]
    for fact in changes.facts.values():
        made += _put_fact(fact, now)
    made += [_recorded(fact) for fact in changes.recorded]
    for key, row in changes.rows.items():
        made += _put(key, row, changes.was[key], known(key))
    made += [_put_push(row) for row in changes.pushes]
    made += [append(entry, heads) for entry in changes.entries]
    made += _write_due(changes)
    if emit is not None:
        made += [emit(emitted) for emitted in changes.emitted]
    else:
        due = {row.event.id for row in changes.due.values() if row is not None}
        due |= {fact.event.id for fact, _ in changes.facts.values()}  # due until they are recorded
        made += [_into_outbox(event, now) for event, _ in changes.emitted if event.id not in due]
    return made


def _check(key: Key, version: int) -> Step:
    kind, *values = key
    return TABLES[kind].check(_columns(kind, values), version)


def _columns(kind: type[Row], key: Sequence[str]) -> Sequence[str]:
    """Return a key in the order of its table's columns."""
    return (*key[2:], *key[:2]) if kind is DecisionRow else key


def _put_fact(accepted: AcceptedFact, now: datetime) -> Iterator[Step]:
    row, body = accepted
    text, titles = dumps(row), [(row.repo, title.sha, title.login, title.email, dumps(title)) for title in row.titles]

    def step(tx: Tx) -> None:
        sql = "INSERT INTO facts (id, recorded, json) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        if tx.execute(sql, (row.id, row.recorded, text)).rowcount != 1:
            raise Conflict(f"fact {row.id} is there already")

    yield step
    if body is not None:
        sql = "INSERT OR REPLACE INTO bodies (digest, deflated, stored) VALUES (?, ?, ?)"
        yield _execute(sql, *body, micros(now))
    if titles:
        yield lambda tx: tx.executemany(_PUT_TITLE, titles)


_PUT_TITLE = "INSERT OR REPLACE INTO titles (repo, sha, login, email, json) VALUES (?, ?, ?, ?, ?)"


def _recorded(fact: str) -> Step:
    def step(tx: Tx) -> None:
        if tx.execute("UPDATE facts SET recorded = 1 WHERE id = ? AND recorded = 0", (fact,)).rowcount != 1:
            raise Conflict(f"fact {fact} is in its record already, or is not there")

    return step


def _put(key: Key, row: Row, was: int, known: Row | None) -> Iterator[Step]:
    """Store the row, which was version `was`; `known` is that version, if it is at hand."""
    if isinstance(row, Record):
        yield from _put_record(row, was, known if isinstance(known, Record) and known.version == was else None)
        return
    values: tuple[object, ...] = (dumps(row),)
    if isinstance(row, Deployment):
        values = (row.application, row.environment, micros(row.started), *values)
    elif isinstance(row, DecisionRow):
        placed = (None, None) if row.push is None else tuple(micros(each) for each in row.push.placed)
        values = (row.decision, *placed, *values)
    kind, *names = key
    yield TABLES[kind].put(_columns(kind, names), values, was, row.version)


def _put_record(row: Record, was: int, before: Record | None) -> Iterator[Step]:
    """Store the record; what it shares with the version `before` is not written again."""
    if parts.large(row):
        yield _put_in_parts(row, was, before)
    else:
        key = (row.repo, row.sha)
        yield RECORDS.put(key, (_updated(row), False, dumps(row)), was, row.version)
        if was and (before is None or parts.large(before)):
            yield lambda tx: tx.execute(_NO_PARTS, key)
    yield from _put_refs(row, was, before)


_NO_PARTS = "DELETE FROM record_parts WHERE repo = ? AND sha = ?"
_PUT_PART = "INSERT OR REPLACE INTO record_parts (repo, sha, path, json) VALUES (?, ?, ?, ?)"


def _put_in_parts(row: Record, was: int, before: Record | None) -> Step:
    """Store a large record: what has changed since `before`, or all of it where `before` is not stored in parts."""
    key, rest, updated = (row.repo, row.sha), parts.rest(row), _updated(row)
    new, gone = parts.changed(before, row) if before is not None else ({}, frozenset())
    written, removed = _part_rows(row, new), [(*key, parts.path_text(path)) for path in gone]

    def step(tx: Tx) -> None:
        still = "UPDATE records SET updated = ?, json = ?, version = ? WHERE repo = ? AND sha = ? AND version = ? AND in_parts"
        if before is not None and tx.execute(still, (updated, rest, row.version, *key, was)).rowcount == 1:
            tx.executemany("DELETE FROM record_parts WHERE repo = ? AND sha = ? AND path = ?", removed)
            tx.executemany(_PUT_PART, written)
            return
        RECORDS.put(key, (updated, True, rest), was, row.version)(tx)
        tx.execute(_NO_PARTS, key)
        tx.executemany(_PUT_PART, _part_rows(row, parts.parts(row)))

    return step


def _part_rows(row: Record, some: parts.Parts) -> list[tuple[str, str, str, str]]:
    return [(row.repo, row.sha, parts.path_text(path), parts.piece({path: value})) for path, value in some.items()]


def _put_refs(row: Record, was: int, before: Record | None) -> Iterator[Step]:
    """Yield the change of the refs by which the record is listed."""
    key, refs = (row.repo, row.sha), row.pushes.keys()
    had = before.pushes.keys() if before is not None else None
    if had == refs or (not refs and not was):
        return
    new, gone = [(*key, ref) for ref in refs - (had or set())], [(*key, ref) for ref in (had or set()) - refs]

    def step(tx: Tx) -> None:
        if had is None and was:
            tx.execute("DELETE FROM record_refs WHERE repo = ? AND sha = ?", key)
        tx.executemany("DELETE FROM record_refs WHERE repo = ? AND sha = ? AND ref = ?", gone)
        tx.executemany("INSERT INTO record_refs (repo, sha, ref) VALUES (?, ?, ?)", new)

    yield step


def _updated(row: Record) -> int:
    """Return the record's place in the listing; one without facts comes last."""
    return -(2**63) if row.updated is None else micros(row.updated)


def _put_push(row: Push) -> Step:
    return _execute(
        "INSERT INTO pushes (fact, repo, pushed_at, arrived, ref, json) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        *(row.fact, row.repo, micros(row.pushed_at), micros(row.arrived), row.ref, dumps(row)),
    )


def append(entry: NewEntry, heads: Heads) -> Step:
    """Return a step that appends the next link of a stream's chain, unless the stream has that id.

    Where the stream's newest entry is in `heads`, that is one statement. If others were added since, it changes nothing,
    because the number is taken, and the newest entry is read.
    """
    payload, at = portable_form(entry.payload), rfc3339(entry.at)

    def insert(tx: Tx, before: int, prev: bytes) -> bool:
        seq, hash = before + 1, link(before + 1, entry.type, at, entry.id, payload, prev)
        about = (entry.repo, entry.sha)
        values = (entry.stream, seq, entry.id, entry.type, at, payload.decode(), prev, hash, *about)
        appended = tx.execute(_APPEND, values).rowcount == 1
        if appended:
            tx.on_commit(lambda: heads.put(entry.stream, (seq, hash)))
        return appended

    def step(tx: Tx) -> None:
        known = heads.get(entry.stream)
        if known is not None and insert(tx, *known):
            return
        last = tx.execute(
            "SELECT EXISTS (SELECT 1 FROM entries WHERE stream = ? AND id = ?), seq, hash FROM entries"
            " WHERE stream = ? ORDER BY seq DESC LIMIT 1",
            (entry.stream, entry.id, entry.stream),
        ).fetchone()
        there, before, prev = last or (False, 0, bytes.fromhex(ZEROS))
        if there:
            return
        if not isinstance(prev, bytes):
            raise Unreadable(
                f"entry {before} of {entry.stream} in the ledger has no hash that the next one could follow"
            )
        insert(tx, before, prev)

    return step


_APPEND = (
    "INSERT INTO entries (stream, seq, id, type, at, payload, prev, hash, repo, sha)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)


def _write_due(changes: Changes) -> Iterator[Step]:
    """Write what is due after the changes, and remove what no longer is."""
    if changes.done:
        yield lambda tx: tx.executemany("DELETE FROM due WHERE key = ? AND event = ?", changes.done)
    postponed = [(micros(due.at), dumps(due), due.key, due.event.id) for due in changes.postponed]
    if postponed:
        yield lambda tx: tx.executemany("UPDATE due SET at = ?, json = ? WHERE key = ? AND event = ?", postponed)
    gone = [(key,) for key, due in changes.due.items() if due is None]
    if gone:
        yield lambda tx: tx.executemany("DELETE FROM due WHERE key = ?", gone)
    due = [(due.key, micros(due.at), due.event.id, dumps(due)) for due in changes.due.values() if due is not None]
    if due:
        yield lambda tx: tx.executemany("INSERT OR REPLACE INTO due (key, at, event, json) VALUES (?, ?, ?, ?)", due)


def _into_outbox(event: Event, now: datetime) -> Step:
    """Return a step that keeps an event until it is known to be published."""
    sql = "INSERT INTO outbox (id, at, json) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
    return _execute(sql, event.id, micros(now), dumps(event))


def _execute(sql: str, *values: object) -> Step:
    return lambda tx: tx.execute(sql, values)
