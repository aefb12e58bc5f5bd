"""The ledger in one DynamoDB table: what a cluster runs on. The port says what each method promises.

Whatever a handler acts on is read from the table, strongly consistent. Indexes are eventually consistent: they only say where
to look, for listings that people read and for hints that come again (docs/ledger-dynamodb.md, "Consistency").
"""

from __future__ import annotations

import heapq
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from itertools import count, islice
from typing import Any, TypeVar

from greenlight.events import Event
from greenlight.events.ids import derive
from greenlight.ledger.bodies import Bodies
from greenlight.ledger.dynamodb import items as items
from greenlight.ledger.dynamodb.client import MOST_ITEMS, Cancelled, Dynamo, Item, Key
from greenlight.ledger.dynamodb.items import GROUPED, ORDERED, Rows, item, joined, stamp
from greenlight.ledger.dynamodb.listing import Decided, listing
from greenlight.ledger.dynamodb.records import Records
from greenlight.ledger.dynamodb.session import Session
from greenlight.ledger.dynamodb.writes import ABSENT, SUPERSEDED, Write, emitted, needed, set_due, slices, writes
from greenlight.ledger.kept import Kept
from greenlight.ledger.port import Conflict, Page, Reading, SetAside, Transaction, Unreadable
from greenlight.ledger.unreadable import LATER, NO_TIME, Aside, Keys, payload_of, policy_of, whole_entry
from greenlight.lib.errors import Unavailable
from greenlight.lib.jitter import full_jitter
from greenlight.model.keys import commit_stream
from greenlight.model.rows import DecisionRow, Deployment, Due, Entry, Fact, Push, Record, Target, Title

__all__ = ["DynamoLedger"]

BODY_IN_ITEM = 4 * 1024
"""Bytes of a deflated body that is kept in the table, in the same transaction as its fact: up to there that costs no more
than a PUT to S3 does, and it is one thing less to wait for. A larger one goes to the bodies."""

MOVED = 10
"""How often a transaction is planned anew because what only we had read has moved."""

CLAIMED = timedelta(days=30)
"""How long a message id is remembered: its signature is not accepted for longer than minutes."""

OLD_AGAIN = timedelta(minutes=1)
"""How long it is taken for sure that nothing is named where version 0.1 named decisions."""

PUSHES = 5000
"""Pushes that a process keeps."""

E = TypeVar("E")

TABLES: Mapping[type, str] = {
    Target: "targets", DecisionRow: "decisions", Deployment: "deployments", Due: "due", Event: "outbox", Title: "titles",
}  # fmt: skip
"""What rows are called where one cannot be read."""

KEYS: Keys = {
    Fact: lambda row: items.fact_key(row.id),
    Record: lambda row: items.record_key(row.repo, row.sha),
    Target: lambda row: items.target_key(row.application, row.environment),
    DecisionRow: lambda row: items.decision_key(row.application, row.environment, row.repo, row.sha),
    Deployment: lambda row: items.deployment_key(row.id),
    Due: lambda row: items.due_key(row.key),
    Event: lambda row: items.outbox_key(row.id),
}

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class DynamoLedger:
    """A Ledger in a table of DynamoDB, with what is large in `bodies`."""

    def __init__(
        self,
        dynamo: Dynamo,
        bodies: Bodies,
        *,
        clock: Callable[[], datetime],
        pause: Callable[[int], None] = full_jitter,
    ) -> None:
        self._dynamo = dynamo
        self._bodies = bodies
        self._rows = Rows(bodies)
        self._records = Records(dynamo, self._rows)
        self._aside = Aside(clock, KEYS)
        self._pushes: Kept[Key, Push] = Kept(PUSHES)
        self._empty: Kept[str, datetime] = Kept(PUSHES)
        self._clock = clock
        self._pause = pause
        self._emitted = count()
        self._session: ContextVar[Session | None] = ContextVar("session", default=None)

    @contextmanager
    def session(self, reading: Reading) -> Iterator[None]:
        token = self._session.set(Session(self._dynamo, reading))
        try:
            yield
        finally:
            self._session.reset(token)

    # Facts.

    def accept(self, fact: Fact, body: bytes | None, due: Due) -> bool:
        now, key = self._clock(), items.fact_key(fact.id)
        stored = item(key, r={"BOOL": fact.recorded}, **self._rows.pack(fact, now))
        planned = [Write("Put", {"Item": stored, "ConditionExpression": ABSENT})]
        if body is not None:
            planned.append(Write("Put", {"Item": self._kept(body, now)}))
        planned += [set_due(due, self._rows, now)[1], emitted(fact.event, self._rows, now, next(self._emitted))[1]]
        titles = [items.title(fact.repo, it, self._rows, now) for it in {it.sha: it for it in fact.titles}.values()]
        room = MOST_ITEMS - len(planned)
        planned += [Write("Put", {"Item": title}) for title in titles[:room]]
        operations = [(write.kind, write.operation) for write in planned]
        try:
            self._dynamo.transact(operations)
        except Cancelled:
            self._forget()
            return False
        self._written(operations)
        for title in titles[room:]:  # of a push of so many commits
            self._dynamo.put(title)
        return True

    def title(self, repo: str, sha: str) -> Title | None:
        return self._row(Title, items.title_key(repo, sha))

    def erase_titles(self, identities: Collection[str]) -> int:
        keys: set[Key] = set()
        for author in (joined("author", identity) for identity in identities):
            by_login = self._dynamo.query("q = :q", {"q": author}, index=ORDERED)
            by_address = self._dynamo.query("g = :g", {"g": author}, index=GROUPED)
            keys |= {(one["pk"]["S"], one["sk"]["S"]) for one in (*by_login, *by_address)}
        if keys:
            self._dynamo.delete(sorted(keys))
        return len(keys)

    def _kept(self, body: bytes, now: datetime) -> Item:
        """The item that says that a body is there, and holds it if it is small. A large one is a file when this returns."""
        digest, deflated = sha256(body).hexdigest(), zlib.compress(body, 1)
        attributes: dict[str, Any] = {"q": {"S": items.shard("bodies", digest)}, "o": {"S": joined(stamp(now), digest)}}
        if len(deflated) <= BODY_IN_ITEM:
            attributes["b"] = {"B": deflated}
        else:
            try:
                self._bodies.put(_body_name(digest), body, int(now.timestamp() * 1_000_000))
            except OSError as error:
                raise Unavailable(f"a body of {len(body)} bytes cannot be kept: {error}") from error
        return item(items.body_key(f"sha256:{digest}"), **attributes)

    def fact(self, id: str) -> Fact | None:
        found = self._get(items.fact_key(id))
        if found is None:
            return None
        return self._read("facts", found, lambda: self._rows.unpack(Fact, found, recorded=found["r"]["BOOL"]))

    def claim(self, sender: str, message: str, digest: str) -> str:
        # Hashed, because a message id may be longer than a key, and is its sender's to choose.
        key: Key = joined("claim", derive("claim", sender, message)), items.ALONE
        expires = str(int((self._clock() + CLAIMED).timestamp()))
        there = self._dynamo.put_first(item(key, digest={"S": digest}, expires={"N": expires}))
        return digest if there is None else str(there["digest"]["S"])

    # Records and pushes.

    def record(self, repo: str, sha: str) -> Record | None:
        found = self._get(items.record_key(repo, sha))
        return None if found is None else self._read("records", found, lambda: self._records.read(found))

    def find(self, repo: str, prefix: str) -> Sequence[str]:
        partition, start = items.record_key(repo, prefix)
        if prefix:
            found = self._dynamo.query("pk = :p AND begins_with(sk, :s)", {"p": partition, "s": start}, page=2)
        else:
            found = self._dynamo.query("pk = :p", {"p": partition}, page=2)
        return [one["sk"]["S"] for one in islice(found, 2)]

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
        decided = Decided(application, environment, decision)
        return listing(self._dynamo, self._record_of, self._decisions_of, repo, ref, decided, cursor, limit)

    def _record_of(self, found: Item) -> Record | None:
        """Return the record of an item; None if it cannot be read."""
        try:
            return self._read("records", found, lambda: self._records.read(found))
        except Unreadable:
            return None

    def _decisions_of(self, there: Iterable[Item]) -> list[DecisionRow]:
        return self._those(DecisionRow, there)

    def pushes(
        self,
        repo: str,
        *,
        since: datetime | None = None,
        of: Callable[[str], bool] | None = None,
        limit: int | None = 1000,
    ) -> Sequence[Push]:
        session = self._session.get()
        if session is None or of is not None or limit is not None:
            return self._pushes_of(repo, since, of, limit)
        found = session.pushes(repo, since)
        if found is None:
            found = self._pushes_of(repo, since, of, limit)
            session.keep_pushes(repo, since, found)
        return found

    def _pushes_of(
        self, repo: str, since: datetime | None, of: Callable[[str], bool] | None, limit: int | None
    ) -> Sequence[Push]:
        partition, wanted = items.pushes_pk(repo), None if of is None else cache(of)
        if since is None:
            found = self._dynamo.query("pk = :p", {"p": partition}, newest=True)
        else:
            since_then = {"p": partition, "s": stamp(since)}
            found = self._dynamo.query("pk = :p AND sk >= :s", since_then, newest=True)
        newest = list(islice((one for one in found if wanted is None or wanted(one["ref"]["S"])), limit))
        return [self._push(one) for one in reversed(newest)]

    def _push(self, found: Item) -> Push:
        """Return a push never changes, so each is read from its item once."""
        key = found["pk"]["S"], found["sk"]["S"]
        push = self._pushes.get(key)
        if push is None:
            push = self._read("pushes", found, lambda: self._rows.unpack(Push, found))
            self._pushes.put(key, push)
        return push

    # Targets, decisions, deployments.

    def target(self, application: str, environment: str) -> Target | None:
        return self._row(Target, items.target_key(application, environment))

    def targets(self) -> Sequence[Target]:
        return self._those(Target, self._dynamo.query("pk = :p", {"p": items.target_key("", "")[0]}))

    def decision(self, application: str, environment: str, repo: str, sha: str) -> DecisionRow | None:
        return self._row(DecisionRow, items.decision_key(application, environment, repo, sha))

    def decisions(
        self,
        application: str,
        environment: str,
        states: Sequence[str],
        *,
        since: tuple[datetime, datetime] | None = None,
        limit: int = 200,
    ) -> Sequence[DecisionRow]:
        wanted, page = set(states), min(limit, 100)
        places = [items.candidates_pk(application, environment, state) for state in wanted]
        places += [place for place in _old_places(application, environment, wanted) if not self._is_empty(place)]
        later, then = ("", {}) if since is None else (" AND sk >= :s", {"s": joined(*map(stamp, since))})
        named = [
            self._dynamo.query(f"pk = :p{later}", {"p": place, **then}, newest=True, page=page) for place in places
        ]
        pointers = heapq.merge(*named, key=lambda pointer: pointer["sk"]["S"], reverse=True)
        found: dict[tuple[str, str], DecisionRow] = {}
        while len(found) < limit:
            keys = [(pointer["d"]["S"], pointer["k"]["S"]) for pointer in islice(pointers, page)]
            if not keys:
                break
            there = self._get_all(keys)
            rows = {key: there[key] for key in keys if key in there and there[key]["s"]["S"] in wanted}
            found |= {(row.repo, row.sha): row for row in self._those(DecisionRow, rows.values())}
        return list(found.values())[:limit]

    def _is_empty(self, place: str) -> bool:
        """Whether nothing is named there any more, as version 0.1 did: looked at again from time to time, while it may run."""
        last, now = self._empty.get(place), self._clock()
        if last is not None and now - last < OLD_AGAIN:
            return True
        if next(self._dynamo.query("pk = :p", {"p": place}, page=1), None) is not None:
            return False
        self._empty.put(place, now)
        return True

    def deployment(self, id: str) -> Deployment | None:
        return self._row(Deployment, items.deployment_key(id))

    def deployments(self, application: str, environment: str, *, limit: int = 20) -> Sequence[Deployment]:
        partition = joined("deployments", application, environment)
        found = self._dynamo.query("q = :q", {"q": partition}, index=ORDERED, newest=True, page=limit)
        return self._those(Deployment, self._behind(islice(found, limit)))

    # Writing.

    def transact(self, transaction: Transaction) -> None:
        try:
            self._transact(transaction)
        except BaseException:
            self._forget()
            raise

    def _transact(self, transaction: Transaction) -> None:
        session = self._session.get()
        answers = {due.event.id for due in transaction.due} if session is not None else set()
        answers &= {event.id for event in transaction.emit}
        for attempt in range(MOVED):
            wanted = needed(transaction, markers=attempt > 0)
            seen = self._get_all(wanted) if wanted else {}
            planned, large = writes(transaction, seen, self._rows, self._records, self._clock(), self._emitted, answers)
            try:
                for together in slices(planned):
                    self._commit(together)
            except _Moved:
                self._forget()
                self._pause(attempt)
            else:
                for record in large:
                    self._records.keep(record)
                if session is not None:
                    session.forget(pushes_of=[push.repo for push in transaction.pushes])
                    session.answers |= answers
                return
        raise Conflict(f"others wrote to the same journals or due keys {MOVED} times in between: read again")

    def _commit(self, planned: Sequence[Write]) -> None:
        """Write it. Raises Conflict where a row of the caller's has changed, _Moved where only ours have."""
        if not planned:
            return
        operations = [(write.kind, write.operation) for write in planned]
        try:
            self._dynamo.transact(operations)
        except Cancelled as cancelled:
            conflicts = [text for place in cancelled.failed if (text := planned[place].conflict) is not None]
            if conflicts:
                raise Conflict("; ".join(conflicts)) from None
            raise _Moved from None
        self._written(operations)

    # The journal.

    def journal(self, stream: str, *, after: int = 0, limit: int = 1000) -> Sequence[Entry]:
        partition, first = items.entry_key(stream, after + 1)
        values = {"p": partition, "a": first, "z": items.entry_key(stream, 10**10 - 1)[1]}
        found = self._dynamo.query("pk = :p AND sk BETWEEN :a AND :z", values, page=min(limit, 1000))
        return [self._entry(one) for one in islice(found, limit)]

    def entries(self, repo: str, sha: str, *, limit: int | None = None) -> Sequence[Entry]:
        own, last = items.entry_key(commit_stream(repo, sha), 1), items.entry_key("", 10**10 - 1)[1]
        between, about = {"p": own[0], "a": own[1], "z": last}, {"g": joined("commit", repo, sha)}
        page = 0 if limit is None else min(limit, 1000)
        mine = self._dynamo.query("pk = :p AND sk BETWEEN :a AND :z", between, newest=True, page=page)
        others = self._dynamo.query("g = :g", about, index=GROUPED, newest=True, page=page)
        own_newest = islice((one for one in mine if "g" not in one), limit)
        found = [self._entry(one) for one in (*own_newest, *self._behind(islice(others, limit)))]
        found.sort(key=lambda entry: (entry.at, entry.stream, entry.seq))
        return found if limit is None else found[max(0, len(found) - limit) :]

    def _entry(self, found: Item) -> Entry:
        stream, seq = found["stream"]["S"], int(found["sk"]["S"][1:])

        def decode() -> Entry:
            return whole_entry(Entry(stream=stream, seq=seq, **payload_of(self._rows.unpack_text(found))))

        try:
            return self._read("entries", found, decode)
        except Unreadable as problem:  # the chain, which is of what was written, breaks there
            return Entry(stream, seq, "unreadable", NO_TIME, "", {"unreadable": str(problem)}, "", "")

    # The outbox, and what is due.

    def outbox(self, *, older_than: datetime, limit: int = 100) -> Sequence[Event]:
        return self._due_of(Event, self._before("outbox", stamp(older_than), limit), older_than)

    def published(self, ids: Sequence[str]) -> None:
        session = self._session.get()
        there = [id for id in ids if session is None or id not in session.answers]
        if there:
            self._dynamo.delete([items.outbox_key(id) for id in there])

    def due(self, before: datetime, *, limit: int = 100) -> Sequence[Due]:
        until = stamp(before + timedelta(microseconds=1))
        return self._due_of(Due, self._before("due", until, limit), before)

    def _due_of(self, kind: type[E], there: Sequence[Item], now: datetime) -> list[E]:
        """Return those that can be read; the others are looked at again LATER, so that they are in the way of none."""
        found = []
        for one in there:
            readable = self._those(kind, [one])
            found += readable
            if not readable:
                self._look_later(one, now)
        return found

    def _look_later(self, one: Item, now: datetime) -> None:
        """Move the item within its index, unless it has moved since it was read."""
        old = one["o"]["S"]
        update = {
            "Key": {"pk": one["pk"], "sk": one["sk"]},
            "UpdateExpression": "SET o = :new",
            "ConditionExpression": "o = :old",
            "ExpressionAttributeValues": {":new": {"S": stamp(now + LATER) + old[26:]}, ":old": {"S": old}},
        }
        with suppress(Cancelled):
            self._dynamo.transact([("Update", update)])

    def next_due(self) -> datetime | None:
        first = [next(self._index(shard, page=1), None) for shard in items.shards("due")]
        return min((items.from_stamp(one["o"]["S"]) for one in first if one is not None), default=None)

    def _before(self, kind: str, until: str, limit: int) -> list[Item]:
        """Return the earliest of what an index says of a kind before `until`, as the table has it now."""
        found = [self._index(shard, until, page=limit) for shard in items.shards(kind)]
        earliest = islice(heapq.merge(*found, key=lambda one: one["o"]["S"]), limit)
        there = [one for one in self._behind(earliest) if one["o"]["S"] < until]
        return sorted(there, key=lambda one: one["o"]["S"])

    def _index(self, partition: str, until: str | None = None, *, page: int) -> Iterator[Item]:
        if until is None:
            return self._dynamo.query("q = :q", {"q": partition}, index=ORDERED, page=page)
        return self._dynamo.query("q = :q AND o < :o", {"q": partition, "o": until}, index=ORDERED, page=page)

    # Policies and bodies.

    def keep_policy(self, digest: str, text: str) -> None:
        key = items.policy_key(digest)
        if self.policy(digest) is None:
            self._dynamo.put(item(key, **self._rows.pack_text(text, self._clock())))

    def policy(self, digest: str) -> str | None:
        found = self._dynamo.get(items.policy_key(digest))
        if found is None:
            return None
        try:
            return self._read("policies", found, lambda: policy_of(digest, self._rows.unpack_text(found)))
        except Unreadable:
            return None

    def body(self, digest: str) -> bytes | None:
        name = _DIGEST.fullmatch(digest)
        found = None if name is None else self._dynamo.get(items.body_key(digest))
        if name is None or found is None:
            return None
        if "b" in found:
            return self._read("bodies", found, lambda: zlib.decompress(found["b"]["B"]))
        try:
            return self._bodies.get(_body_name(name[1]))
        except OSError as error:
            raise Unavailable(f"the body {digest} cannot be read: {error}") from error

    def forget_bodies(self, before: datetime) -> int:
        until, forgotten = stamp(before), 0
        for shard in items.shards("bodies"):
            for one in self._index(shard, until, page=100):
                key = one["pk"]["S"], one["sk"]["S"]
                forgotten += self._dynamo.delete_if(key, "o < :o", {"o": until})  # one that was stored again stays
        try:
            self._bodies.sweep(self._wanted, int(before.timestamp() * 1_000_000))
        except OSError as error:
            raise Unavailable(f"the folder of bodies cannot be swept: {error}") from error
        return forgotten

    def _wanted(self, name: str) -> bool:
        """Tell whether a file of the bodies is still needed: rows for ever, bodies while the table names them."""
        kind, _, digest = name.partition("-")
        return kind == "row" or (kind == "body" and self._dynamo.get(items.body_key(f"sha256:{digest}")) is not None)

    def unreadable(self) -> Sequence[SetAside]:
        return self._aside.listed()

    def ready(self) -> None:
        self._dynamo.put(item(("ready", items.ALONE), o={"S": stamp(self._clock())}))

    # Reading.

    def _get(self, key: Key) -> Item | None:
        session = self._session.get()
        return self._dynamo.get(key) if session is None else session.get_all([key]).get(key)

    def _get_all(self, keys: Sequence[Key]) -> dict[Key, Item]:
        session = self._session.get()
        return self._dynamo.get_all(keys) if session is None else session.get_all(keys)

    def _written(self, operations: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        session = self._session.get()
        if session is not None:
            session.written(operations)

    def _forget(self) -> None:
        session = self._session.get()
        if session is not None:
            session.forget()

    def _row(self, kind: type[E], key: Key) -> E | None:
        found = self._get(key)
        return None if found is None else self._read(TABLES[kind], found, lambda: self._rows.unpack(kind, found))

    def _read(self, table: str, found: Item, decode: Callable[[], E]) -> E:
        """Return what `decode` makes of an item. Raises Unreadable."""
        return self._aside.read(table, (found["pk"]["S"], found["sk"]["S"]), decode)

    def _those(self, kind: type[E], there: Iterable[Item]) -> list[E]:
        """Return those of the items that hold a row of `kind`."""

        def decoding(one: Item) -> Callable[[], E]:
            return lambda: self._rows.unpack(kind, one)

        keys = [((one["pk"]["S"], one["sk"]["S"]), decoding(one)) for one in there]
        return self._aside.those(TABLES[kind], keys)

    def _behind(self, found: Iterator[Item]) -> list[Item]:
        """What an index names, as the table has it now, in the index's order; what is gone meanwhile is left out."""
        keys = [(one["pk"]["S"], one["sk"]["S"]) for one in found]
        there = self._dynamo.get_all(keys)
        return [there[key] for key in keys if key in there]


class _Moved(Exception):
    """What only the ledger had read is not as it was."""


def _old_places(application: str, environment: str, states: Collection[str]) -> set[str]:
    """Return where version 0.1 named decisions of these states."""
    return {items.old_candidates_pk(application, environment, open=state != SUPERSEDED) for state in states}


def _body_name(digest: str) -> str:
    return f"body-{digest}"
