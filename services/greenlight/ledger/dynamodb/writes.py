"""A ledger transaction as one of DynamoDB's: the reads before it, and the writes with their conditions.

A condition that fails is of one of two kinds. A row that the caller read has changed: that is Conflict. Or something has moved
that only we had read, a journal's head, what is due under a key: then all is read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from greenlight.events import Event, rfc3339
from greenlight.ledger import parts
from greenlight.ledger.dynamodb import items as items
from greenlight.ledger.dynamodb.client import MOST_ITEMS, Item, Key
from greenlight.ledger.dynamodb.items import Rows, item, joined, stamp
from greenlight.ledger.dynamodb.records import Records, StoredRecord
from greenlight.ledger.journal import ZEROS, canonical, link, portable_form
from greenlight.ledger.port import Conflict, Transaction
from greenlight.model.keys import commit_stream
from greenlight.model.policy import PoliciesInForce
from greenlight.model.rows import DecisionRow, Deployment, Due, Fact, NewEntry, Push, Record, Target

ABSENT = "attribute_not_exists(pk)"

SUPERSEDED = "superseded"
"""The one state whose decisions version 0.1 named apart from the others."""


@dataclass(frozen=True, slots=True)
class Write:
    """One item of a transaction. `conflict` is the caller's message for a failed condition; None: read again.

    `event` is the event that a hint (outbox, due) is about: hints have no condition of the caller's, so that more of them
    than one transaction holds may be written in several, those of one event together.
    """

    kind: str  # Put, Update, Delete, ConditionCheck
    operation: Mapping[str, Any]
    conflict: str | None = None
    event: str | None = None


def needed(transaction: Transaction, *, markers: bool) -> list[Key]:
    """Return what must be read, consistently, before `writes` can decide what to write.

    `markers` say that an entry or a push is there already. They rarely are, and a condition finds it: then they are read.
    """
    keys = [(items.journal_pk(entry.stream), items.HEAD) for entry in transaction.entries]
    if markers:
        keys += [items.entry_marker(entry.stream, entry.id) for entry in transaction.entries]
        keys += [items.push_marker(push.fact) for push in transaction.pushes]
    keys += [_decision_key(row) for row in transaction.decisions if row.version]
    keys += [items.due_key(key) for key, _ in transaction.done]
    keys += [items.due_key(due.key) for due in transaction.postponed]
    return keys


def writes(
    transaction: Transaction,
    seen: Mapping[Key, Item],
    rows: Rows,
    records: Records,
    now: datetime,
    numbers: Iterator[int],
) -> tuple[list[Write], Sequence[StoredRecord]]:
    """Return everything that `transaction` writes, and its large records, given what `needed` found.

    Raises Conflict at once if it can see one. `now` is when it emits; `numbers` order what one process emits at one moment.
    An event that is also due gets no row in the outbox.
    """
    plan = _Plan(seen, rows, records, now)
    for accepted in transaction.facts:
        plan.fact(accepted)
    for fact in transaction.recorded:
        plan.recorded(fact)
    for record in transaction.records:
        plan.record(record)
    for target in transaction.targets:
        plan.target(target)
    for deployment in transaction.deployments:
        plan.deployment(deployment)
    for decision in transaction.decisions:
        plan.decision(decision)
    for policies in transaction.in_force:
        plan.in_force(policies)
    for row in transaction.unchanged:
        plan.unchanged(row)
    for push in transaction.pushes:
        plan.push(push)
    plan.entries(transaction.entries)
    plan.due(transaction)
    due = {row.event.id for row in transaction.due}
    for event in transaction.emit:
        if event.id not in due:
            plan.emit(event, next(numbers))
    return list(plan.planned.values()), plan.large


def slices(planned: Sequence[Write]) -> Iterator[Sequence[Write]]:
    """Yield the writes in groups that DynamoDB takes at once.

    Only hints are cut into several; what is done comes last. Raises ValueError for a larger transaction with
    conditions, which cannot be cut.
    """
    if len(planned) <= MOST_ITEMS:
        yield planned
        return
    if any(write.event is None for write in planned):
        raise ValueError(
            f"this transaction is {len(planned)} items and DynamoDB takes {MOST_ITEMS} at once: decide fewer targets in one"
        )
    together: dict[tuple[bool, str | None], list[Write]] = {}
    for write in planned:
        together.setdefault((write.kind == "Delete", write.event), []).append(write)
    slice: list[Write] = []
    for _, group in sorted(together.items(), key=lambda pair: pair[0][0]):
        if len(slice) + len(group) > MOST_ITEMS:
            yield slice
            slice = []
        slice += group
    yield slice


def set_due(due: Due, rows: Rows, now: datetime) -> tuple[Key, Write]:
    """Return an event in the outbox. One that waits there already waits on, from now."""
    key = items.due_key(due.key)
    return key, Write("Put", {"Item": _due_item(key, due, rows, now)}, event=due.event.id)


def _due_item(key: Key, due: Due, rows: Rows, now: datetime) -> dict[str, Any]:
    order = joined(stamp(due.at), due.key)
    return item(key, e={"S": due.event.id}, q={"S": items.shard("due", due.key)}, o={"S": order}, **rows.pack(due, now))


def _decision_key(row: DecisionRow) -> Key:
    return items.decision_key(row.application, row.environment, row.repo, row.sha)


class _Plan:
    """The items of one transaction, each key once."""

    def __init__(self, seen: Mapping[Key, Item], rows: Rows, records: Records, now: datetime) -> None:
        self._seen, self._rows, self._records, self._now = seen, rows, records, now
        self.large: list[StoredRecord] = []
        self._versions: dict[Key, int] = {}
        self.planned: dict[Key, Write] = {}

    # Rows that the caller has read.

    def fact(self, row: Fact) -> None:
        key = items.fact_key(row.id)
        stored = item(key, r={"BOOL": row.recorded}, **self._rows.pack(row, self._now))
        what = f"fact {row.id} is there already"
        self.planned[key] = Write("Put", {"Item": stored, "ConditionExpression": ABSENT}, what)

    def recorded(self, fact: str) -> None:
        key = items.fact_key(fact)
        what = f"fact {fact} is in its record already, or is not there"
        if key in self.planned:
            raise Conflict(what)
        self.planned[key] = Write(
            "Update",
            {
                "Key": item(key),
                "UpdateExpression": "SET r = :yes",
                "ConditionExpression": "r = :no",
                "ExpressionAttributeValues": {":yes": {"BOOL": True}, ":no": {"BOOL": False}},
            },
            what,
        )

    def record(self, row: Record) -> None:
        """Plan the record; of a large one what it changes, beside an item without its parts."""
        key = items.record_key(row.repo, row.sha)
        listed = {
            "q": {"S": items.shard("records", row.sha)},
            "g": {"S": joined("records", row.repo)},
            "o": {"S": joined(stamp(row.updated), row.repo, row.sha)},
        }
        if not parts.large(row):
            self._versioned(key, row, **listed)
            return
        stored, beside = self._records.stored_after(row, self._now)
        rest = {"rest": {"M": self._rows.pack_text(parts.rest(row), self._now)}}
        self._put_versioned(key, row.version, rest, **stored.attributes, **listed)
        if beside is not None:
            self.planned[beside["pk"]["S"], beside["sk"]["S"]] = Write("Put", {"Item": beside})
        self.large.append(stored)

    def target(self, row: Target) -> None:
        self._versioned(items.target_key(row.application, row.environment), row)

    def deployment(self, row: Deployment) -> None:
        self._versioned(
            items.deployment_key(row.id),
            row,
            q={"S": joined("deployments", row.application, row.environment)},
            o={"S": joined(stamp(row.started), row.id)},
        )

    def decision(self, row: DecisionRow) -> None:
        """Plan the row, and its place among the target's candidates: superseding it or another push moves it."""
        key = _decision_key(row)
        place = _place(row, items.candidates_pk(row.application, row.environment, row.decision), _order(row))
        old = self._seen.get(key)
        if row.version and (old is None or old["v"]["N"] != str(row.version)):
            raise _conflict(key, row.version)
        self._versioned(key, row, s={"S": row.decision}, t={"S": _order(row)}, c={"S": place[0]})
        was = None if old is None or not row.version else _was(row, old)
        if was == place:
            return
        pointer = item(place, d={"S": key[0]}, k={"S": key[1]})
        self.planned[place] = Write("Put", {"Item": pointer})
        if was is not None:
            self.planned[was] = Write("Delete", {"Key": item(was)})

    def in_force(self, row: PoliciesInForce) -> None:
        self._versioned(items.in_force_key(row.repo), row)

    def unchanged(self, row: Record | Target | Deployment | PoliciesInForce) -> None:
        if isinstance(row, Record):
            key = items.record_key(row.repo, row.sha)
        elif isinstance(row, Target):
            key = items.target_key(row.application, row.environment)
        elif isinstance(row, PoliciesInForce):
            key = items.in_force_key(row.repo)
        else:
            key = items.deployment_key(row.id)
        if key in self._versions:
            if self._versions[key] != row.version:
                raise _conflict(key, row.version)
            return
        self._versions[key] = row.version
        check = {"Key": item(key), **_still(row.version)}
        self.planned[key] = Write("ConditionCheck", check, _conflict_text(key, row.version))

    def _versioned(
        self,
        key: Key,
        row: Record | Target | Deployment | DecisionRow | PoliciesInForce,
        **attributes: Mapping[str, str],
    ) -> None:
        self._put_versioned(key, row.version, self._rows.pack(row, self._now), **attributes)

    def _put_versioned(
        self, key: Key, version: int, packed: Mapping[str, Any], **attributes: Mapping[str, str]
    ) -> None:
        if key in self._versions:
            raise _conflict(key, version)
        self._versions[key] = version
        stored = item(key, v={"N": str(version + 1)}, **attributes, **packed)
        self.planned[key] = Write("Put", {"Item": stored, **_still(version)}, _conflict_text(key, version))

    # What is there once.

    def push(self, row: Push) -> None:
        marker = items.push_marker(row.fact)
        if marker in self._seen or marker in self.planned:
            return
        key = (items.pushes_pk(row.repo), joined(stamp(row.pushed_at), stamp(row.arrived), row.fact))
        self.planned[marker] = Write("Put", {"Item": item(marker), "ConditionExpression": ABSENT})
        self.planned[key] = Write("Put", {"Item": item(key, ref={"S": row.ref}, **self._rows.pack(row, self._now))})

    def entries(self, rows: Sequence[NewEntry]) -> None:
        """Plan the next links of each stream's chain, without ids that it has.

        Each builds on the head that was read.
        """
        heads: dict[Key, tuple[int, str]] = {}
        for row in rows:
            head, marker = (items.journal_pk(row.stream), items.HEAD), items.entry_marker(row.stream, row.id)
            if marker in self._seen or marker in self.planned:
                continue
            seq, prev = heads.get(head) or _head(self._seen.get(head))
            heads[head] = seq + 1, self._entry(row, seq + 1, prev)
            self.planned[marker] = Write("Put", {"Item": item(marker), "ConditionExpression": ABSENT})
        for head, (seq, hash) in heads.items():
            stored = item(head, n={"N": str(seq)}, h={"S": hash})
            before = self._seen.get(head)
            still = (
                {"ConditionExpression": ABSENT}
                if before is None
                else {"ConditionExpression": "n = :n", "ExpressionAttributeValues": {":n": before["n"]}}
            )
            self.planned[head] = Write("Put", {"Item": stored, **still})

    def _entry(self, row: NewEntry, seq: int, prev: str) -> str:
        """Plan an entry, and give its hash."""
        payload, at = portable_form(row.payload), rfc3339(row.at)
        hash = link(seq, row.type, at, row.id, payload, bytes.fromhex(prev)).hex()
        key = items.entry_key(row.stream, seq)
        head = {"type": row.type, "at": at, "id": row.id, "prev": prev, "hash": hash}
        words = canonical(head)[:-1] + b',"payload":' + payload + b"}"
        about = {}
        if row.stream != commit_stream(row.repo, row.sha):  # it is not found by its stream, so by an index
            order = joined(at, row.stream, f"{seq:010d}")
            about = {"g": {"S": joined("commit", row.repo, row.sha)}, "o": {"S": order}}
        attributes = {"stream": {"S": row.stream}, **about, **self._rows.pack_text(words.decode(), self._now)}
        self.planned[key] = Write("Put", {"Item": item(key, **attributes), "ConditionExpression": ABSENT})
        return hash

    # Hints.

    def due(self, transaction: Transaction) -> None:
        """Plan what is due.

        Done keys are deleted, set ones replaced, and postponed ones moved if the event is still there.
        """
        now_due = {due.key: due for due in transaction.due}
        for due in transaction.postponed:
            if due.key in now_due:
                if now_due[due.key].event.id == due.event.id:
                    now_due[due.key] = due
                continue
            key = items.due_key(due.key)
            found = self._seen.get(key)
            if found is None or found["e"]["S"] != due.event.id or (due.key, due.event.id) in transaction.done:
                continue
            still = _same_event(due.event.id)
            stored = _due_item(key, due, self._rows, self._now)
            self.planned[key] = Write("Put", {"Item": stored, **still}, event=due.event.id)
        for name, event in transaction.done:
            key = items.due_key(name)
            found = self._seen.get(key)
            if name not in now_due and found is not None and found["e"]["S"] == event:
                self.planned[key] = Write("Delete", {"Key": item(key), **_same_event(event)}, event=event)
        for due in now_due.values():
            key, write = set_due(due, self._rows, self._now)
            self.planned[key] = write

    def emit(self, event: Event, number: int) -> None:
        """Put the event into the outbox. One that waits there already waits on, from now."""
        key, order = items.outbox_key(event.id), joined(stamp(self._now), f"{number:012d}", event.id)
        listed = {"q": {"S": items.shard("outbox", event.id)}, "o": {"S": order}}
        stored = item(key, **listed, **self._rows.pack(event, self._now))
        self.planned[key] = Write("Put", {"Item": stored}, event=event.id)


def _place(row: DecisionRow, partition: str, order: str) -> Key:
    """Return where a decision is named among those of its target."""
    return partition, f"{order}#{joined(row.repo, row.sha)}"


def _was(row: DecisionRow, old: Item) -> Key:
    """Return where the stored one is named."""
    if "c" in old:
        return _place(row, old["c"]["S"], old["t"]["S"])
    partition = items.old_candidates_pk(row.application, row.environment, open=old["s"]["S"] != SUPERSEDED)
    return _place(row, partition, old["t"]["S"])


def _order(row: DecisionRow) -> str:
    """Return its place among the candidates: by push; what was never pushed comes before all."""
    push = row.push
    return joined(*map(stamp, push.placed)) if push else joined(stamp(None), stamp(None))


def _head(found: Item | None) -> tuple[int, str]:
    return (0, ZEROS) if found is None else (int(found["n"]["N"]), found["h"]["S"])


def _still(version: int) -> dict[str, Any]:
    """Return the condition that a row has the version that was read, 0 meaning that there is none."""
    if version == 0:
        return {"ConditionExpression": ABSENT}
    return {"ConditionExpression": "v = :v", "ExpressionAttributeValues": {":v": {"N": str(version)}}}


def _same_event(id: str) -> dict[str, Any]:
    return {"ConditionExpression": "e = :e", "ExpressionAttributeValues": {":e": {"S": id}}}


def _conflict_text(key: Key, version: int) -> str:
    return f"{key[0]} {key[1]} is no longer at version {version}: read it again"


def _conflict(key: Key, version: int) -> Conflict:
    return Conflict(_conflict_text(key, version))
