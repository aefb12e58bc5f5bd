"""A ledger transaction as SQL.

Rows are turned into text in the caller's thread; what is left for the one writer thread is a list of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from greenlight.events import Event, rfc3339
from greenlight.ledger import parts
from greenlight.ledger.journal import ZEROS, link, portable_form
from greenlight.ledger.port import Conflict, Transaction, Unreadable
from greenlight.ledger.rows_json import dumps
from greenlight.ledger.sqlite.schema import micros
from greenlight.model.policy import PoliciesInForce
from greenlight.model.rows import DecisionRow, Deployment, Due, Fact, NewEntry, Push, Record, Target
from greenlight.store import Tx

Step = Callable[[Tx], object]
"""A part of a change. Raises Conflict if what it builds on has changed."""

Emit = Callable[[Event], Step]
"""Where an emitted event goes: the step that puts it there, inside the transaction that emits it."""


class Table:
    """A table of versioned rows: a stored row must have the version that was read, 0 meaning none."""

    def __init__(self, name: str, key: Sequence[str], columns: Sequence[str]) -> None:
        self._name = name
        where = " AND ".join(f"{column} = ?" for column in key)
        names = ", ".join((*columns, *key))
        marks = ", ".join("?" * (len(columns) + len(key)))
        sets = ", ".join(f"{column} = ?" for column in columns)
        # Names come from the constants below, never from a request.
        self._insert = f"INSERT INTO {name} ({names}, version) VALUES ({marks}, 1) ON CONFLICT DO NOTHING"  # noqa: S608
        self._update = f"UPDATE {name} SET {sets}, version = version + 1 WHERE {where} AND version = ?"  # noqa: S608
        self._select = f"SELECT version FROM {name} WHERE {where}"  # noqa: S608

    def put(self, key: Sequence[object], values: Sequence[object], version: int) -> Step:
        """Return a step that stores the row if it still has `version`."""

        def step(tx: Tx) -> None:
            if version == 0:
                stored = tx.execute(self._insert, (*values, *key))
            else:
                stored = tx.execute(self._update, (*values, *key, version))
            if stored.rowcount != 1:
                raise self._conflict(key, version)

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


def steps(
    transaction: Transaction, emit: Emit | None, now: datetime, known: Callable[[str, str], Record | None]
) -> list[Step]:
    """Return all writes of `transaction`, in order.

    `now` is when it emits, `known` a record as it is if that is at hand.
    """
    made = [_check(row) for row in transaction.unchanged]
    made += [_put_fact(fact) for fact in transaction.facts]
    made += [_recorded(fact) for fact in transaction.recorded]
    for record in transaction.records:
        made += _put_record(record, known(record.repo, record.sha))
    made += [_put_target(row) for row in transaction.targets]
    made += [_put_deployment(row) for row in transaction.deployments]
    made += [IN_FORCE.put((row.repo,), (dumps(row),), row.version) for row in transaction.in_force]
    made += [_put_decision(row) for row in transaction.decisions]
    made += [_put_push(row) for row in transaction.pushes]
    made += [append(entry) for entry in transaction.entries]
    made += [_not_due(key, event) for key, event in transaction.done]
    made += [set_due(due) for due in transaction.due]
    made += [_postpone(due) for due in transaction.postponed]
    due = {it.event.id for it in transaction.due}
    if emit is not None:
        made += [emit(event) for event in transaction.emit]
    else:
        made += [_into_outbox(event, now) for event in transaction.emit if event.id not in due]
    return made


def _check(row: Record | Target | Deployment | PoliciesInForce) -> Step:
    if isinstance(row, Record):
        return RECORDS.check((row.repo, row.sha), row.version)
    if isinstance(row, Target):
        return TARGETS.check((row.application, row.environment), row.version)
    if isinstance(row, PoliciesInForce):
        return IN_FORCE.check((row.repo,), row.version)
    return DEPLOYMENTS.check((row.id,), row.version)


def _put_fact(row: Fact) -> Step:
    text = dumps(row)

    def step(tx: Tx) -> None:
        sql = "INSERT INTO facts (id, recorded, json) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        if tx.execute(sql, (row.id, row.recorded, text)).rowcount != 1:
            raise Conflict(f"fact {row.id} is there already")

    return step


def _recorded(fact: str) -> Step:
    def step(tx: Tx) -> None:
        if tx.execute("UPDATE facts SET recorded = 1 WHERE id = ? AND recorded = 0", (fact,)).rowcount != 1:
            raise Conflict(f"fact {fact} is in its record already, or is not there")

    return step


def _put_record(row: Record, known: Record | None) -> Iterator[Step]:
    """Store the row; if the row before is `known`, what the two share is not written again."""
    before = known if known is not None and known.version == row.version else None
    if parts.large(row):
        yield _put_in_parts(row, before)
    else:
        key = (row.repo, row.sha)
        yield RECORDS.put(key, (_updated(row), False, dumps(row)), row.version)
        if row.version and (before is None or parts.large(before)):
            yield lambda tx: tx.execute(_NO_PARTS, key)
    yield from _put_refs(row, before)


_NO_PARTS = "DELETE FROM record_parts WHERE repo = ? AND sha = ?"
_PUT_PART = "INSERT OR REPLACE INTO record_parts (repo, sha, path, json) VALUES (?, ?, ?, ?)"


def _put_in_parts(row: Record, before: Record | None) -> Step:
    """Store a large record: what has changed since `before`, or all of it where `before` is not stored in parts."""
    key, rest, updated = (row.repo, row.sha), parts.rest(row), _updated(row)
    new, gone = parts.changed(before, row) if before is not None else ({}, frozenset())
    written, removed = _part_rows(row, new), [(*key, parts.path_text(path)) for path in gone]

    def step(tx: Tx) -> None:
        still = (
            "UPDATE records SET updated = ?, json = ?, version = version + 1"
            " WHERE repo = ? AND sha = ? AND version = ? AND in_parts"
        )
        if before is not None and tx.execute(still, (updated, rest, *key, row.version)).rowcount == 1:
            tx.executemany("DELETE FROM record_parts WHERE repo = ? AND sha = ? AND path = ?", removed)
            tx.executemany(_PUT_PART, written)
            return
        RECORDS.put(key, (updated, True, rest), row.version)(tx)
        tx.execute(_NO_PARTS, key)
        tx.executemany(_PUT_PART, _part_rows(row, parts.parts(row)))

    return step


def _part_rows(row: Record, some: parts.Parts) -> list[tuple[str, str, str, str]]:
    return [(row.repo, row.sha, parts.path_text(path), parts.piece({path: value})) for path, value in some.items()]


def _put_refs(row: Record, before: Record | None) -> Iterator[Step]:
    """Yield the change of the refs by which the record is listed."""
    key, refs = (row.repo, row.sha), row.pushes.keys()
    had = before.pushes.keys() if before is not None else None
    if had == refs or (not refs and not row.version):
        return
    new, gone = [(*key, ref) for ref in refs - (had or set())], [(*key, ref) for ref in (had or set()) - refs]

    def step(tx: Tx) -> None:
        if had is None and row.version:
            tx.execute("DELETE FROM record_refs WHERE repo = ? AND sha = ?", key)
        tx.executemany("DELETE FROM record_refs WHERE repo = ? AND sha = ? AND ref = ?", gone)
        tx.executemany("INSERT INTO record_refs (repo, sha, ref) VALUES (?, ?, ?)", new)

    yield step


def _updated(row: Record) -> int:
    """Return the record's place in the listing; one without facts comes last."""
    return -(2**63) if row.updated is None else micros(row.updated)


def _put_target(row: Target) -> Step:
    return TARGETS.put((row.application, row.environment), (dumps(row),), row.version)


def _put_deployment(row: Deployment) -> Step:
    values = (row.application, row.environment, micros(row.started), dumps(row))
    return DEPLOYMENTS.put((row.id,), values, row.version)


def _put_decision(row: DecisionRow) -> Step:
    key = (row.repo, row.sha, row.application, row.environment)
    order = (None, None) if row.push is None else tuple(micros(each) for each in row.push.placed)
    return DECISIONS.put(key, (row.decision, *order, dumps(row)), row.version)


def _put_push(row: Push) -> Step:
    return _execute(
        "INSERT INTO pushes (fact, repo, pushed_at, arrived, ref, json) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        *(row.fact, row.repo, micros(row.pushed_at), micros(row.arrived), row.ref, dumps(row)),
    )


def append(entry: NewEntry) -> Step:
    """Return a step that appends the next link of a stream's chain, unless the stream has that id."""
    payload, at = portable_form(entry.payload), rfc3339(entry.at)

    def step(tx: Tx) -> None:
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
        seq = before + 1
        tx.execute(
            "INSERT INTO entries (stream, seq, id, type, at, payload, prev, hash, repo, sha)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(entry.stream, seq, entry.id, entry.type, at, payload.decode(), prev),
                *(link(seq, entry.type, at, entry.id, payload, prev), entry.repo, entry.sha),
            ),
        )

    return step


def set_due(due: Due) -> Step:
    """Return a step that replaces what is due under the key."""
    sql = "INSERT OR REPLACE INTO due (key, at, event, json) VALUES (?, ?, ?, ?)"
    return _execute(sql, due.key, micros(due.at), due.event.id, dumps(due))


def _postpone(due: Due) -> Step:
    """Return a step that changes when the event is due, unless it was done or replaced since it was read."""
    sql = "UPDATE due SET at = ?, json = ? WHERE key = ? AND event = ?"
    return _execute(sql, micros(due.at), dumps(due), due.key, due.event.id)


def _not_due(key: str, event: str) -> Step:
    return _execute("DELETE FROM due WHERE key = ? AND event = ?", key, event)


def _into_outbox(event: Event, now: datetime) -> Step:
    """Return a step that keeps an event until it is known to be published."""
    sql = "INSERT INTO outbox (id, at, json) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
    return _execute(sql, event.id, micros(now), dumps(event))


def _execute(sql: str, *values: object) -> Step:
    return lambda tx: tx.execute(sql, values)
