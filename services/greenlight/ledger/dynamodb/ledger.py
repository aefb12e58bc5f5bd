"""The ledger in one DynamoDB table: what a cluster runs on. The port says what each method promises.

Whatever a handler acts on is read from the table, strongly consistent. Indexes are eventually consistent: they only say where
to look, for listings that people read and for hints that come again (docs/ledger-dynamodb.md, "Consistency").
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from itertools import count, islice

from greenlight.events import Event
from greenlight.ledger.bodies import Bodies
from greenlight.ledger.dynamodb import items as items
from greenlight.ledger.dynamodb.arrivals import DynamoArrivals
from greenlight.ledger.dynamodb.client import Cancelled, Dynamo, Item
from greenlight.ledger.dynamodb.decisions import Decisions
from greenlight.ledger.dynamodb.facts import Facts
from greenlight.ledger.dynamodb.items import ORDERED, item, joined, stamp
from greenlight.ledger.dynamodb.journals import Journals
from greenlight.ledger.dynamodb.listing import Decided, listing
from greenlight.ledger.dynamodb.outbox_and_due import OutboxAndDue
from greenlight.ledger.dynamodb.provider_bodies import ProviderBodies
from greenlight.ledger.dynamodb.pushes import Pushes
from greenlight.ledger.dynamodb.reader import Reader
from greenlight.ledger.dynamodb.records import Records
from greenlight.ledger.dynamodb.spans import DynamoSpans
from greenlight.ledger.dynamodb.web_sessions import WebSessions
from greenlight.ledger.dynamodb.writes import Write, needed, slices, writes
from greenlight.ledger.port import Conflict, Page, Reading, SetAside, Transaction, Unreadable
from greenlight.ledger.unreadable import policy_of
from greenlight.lib.jitter import full_jitter
from greenlight.model.policy import PoliciesInForce
from greenlight.model.rows import DecisionRow, Deployment, Due, Entry, Fact, Push, Record, Target, Title
from greenlight.model.web_sessions import WebSession

__all__ = ["DynamoLedger"]

MOVED = 10
"""How often a transaction is planned anew because what only we had read has moved."""


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
        self._reader = Reader(dynamo, bodies, clock)
        self._dynamo, self._rows = dynamo, self._reader.rows
        self._clock, self._pause = clock, pause
        self._emitted = count()
        self._bodies = ProviderBodies(self._reader, bodies)
        self._hints = OutboxAndDue(self._reader)
        self._facts = Facts(self._reader, self._bodies, self._hints, clock)
        self._records = Records(dynamo, self._rows)
        self._pushes = Pushes(self._reader)
        self._decisions = Decisions(self._reader, clock)
        self._journals = Journals(self._reader)
        self._web_sessions = WebSessions(self._reader, clock)
        self.spans = DynamoSpans(dynamo, clock)
        self.arrivals = DynamoArrivals(self._reader, clock)

    def session(self, reading: Reading) -> AbstractContextManager[None]:
        return self._reader.begin(reading)

    # Facts.

    def accept(self, fact: Fact, body: bytes | None, due: Due) -> bool:
        return self._facts.accept(fact, body, due)

    def fact(self, id: str) -> Fact | None:
        return self._facts.fact(id)

    def titles(self, repo: str, shas: Collection[str]) -> Mapping[str, Title]:
        return self._facts.titles(repo, shas)

    def changes(self) -> int | None:
        return None

    def erase_titles(self, identities: Collection[str]) -> int:
        return self._facts.erase_titles(identities)

    def claim(self, sender: str, message: str, digest: str) -> str:
        return self._facts.claim(sender, message, digest)

    # Records and pushes.

    def record(self, repo: str, sha: str) -> Record | None:
        found = self._reader.get(items.record_key(repo, sha))
        return None if found is None else self._read_record(found)

    def _read_record(self, found: Item) -> Record:
        return self._reader.read("records", found, lambda: self._records.read(found))

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
        return listing(self._dynamo, self._readable_record, self._decisions_of, repo, ref, decided, cursor, limit)

    def _readable_record(self, found: Item) -> Record | None:
        """Return the record of an item; None if it cannot be read."""
        try:
            return self._read_record(found)
        except Unreadable:
            return None

    def _decisions_of(self, there: Iterable[Item]) -> list[DecisionRow]:
        return self._reader.those(DecisionRow, there)

    def pushes(
        self,
        repo: str,
        *,
        since: datetime | None = None,
        of: Callable[[str], bool] | None = None,
        limit: int | None = 1000,
    ) -> Sequence[Push]:
        return self._pushes.newest(repo, since, of, limit)

    # Targets, decisions, deployments.

    def target(self, application: str, environment: str) -> Target | None:
        return self._reader.row(Target, items.target_key(application, environment))

    def targets(self) -> Sequence[Target]:
        return self._reader.those(Target, self._dynamo.query("pk = :p", {"p": items.target_key("", "")[0]}))

    def decision(self, application: str, environment: str, repo: str, sha: str) -> DecisionRow | None:
        return self._reader.row(DecisionRow, items.decision_key(application, environment, repo, sha))

    def decisions(
        self,
        application: str,
        environment: str,
        states: Sequence[str],
        *,
        since: tuple[datetime, datetime] | None = None,
        limit: int = 200,
    ) -> Sequence[DecisionRow]:
        return self._decisions.newest(application, environment, states, since, limit)

    def deployment(self, id: str) -> Deployment | None:
        return self._reader.row(Deployment, items.deployment_key(id))

    def deployments(
        self, application: str, environment: str, *, limit: int = 20, before: Deployment | None = None
    ) -> Sequence[Deployment]:
        place = {"q": joined("deployments", application, environment)}
        earlier = {} if before is None else {"o": joined(stamp(before.started), before.id)}
        condition = "q = :q AND o < :o" if earlier else "q = :q"
        found = self._dynamo.query(condition, place | earlier, index=ORDERED, newest=True, page=limit)
        return self._reader.those(Deployment, self._reader.behind(islice(found, limit)))

    # Writing.

    def transact(self, transaction: Transaction) -> None:
        try:
            self._transact(transaction)
        except BaseException:
            self._reader.forget()
            raise

    def _transact(self, transaction: Transaction) -> None:
        for attempt in range(MOVED):
            wanted = needed(transaction, markers=attempt > 0)
            seen = self._reader.get_all(wanted) if wanted else {}
            planned, large = writes(transaction, seen, self._rows, self._records, self._clock(), self._emitted)
            try:
                for together in slices(planned):
                    self._commit(together)
            except _RowChanged:
                self._reader.forget()
                self._pause(attempt)
            else:
                for record in large:
                    self._records.keep(record)
                if self._reader.session is not None:
                    self._reader.session.forget(pushes_of=[push.repo for push in transaction.pushes])
                self._hints.emitted(transaction.emit, transaction.due)
                return
        raise Conflict(f"others wrote to the same journals or due keys {MOVED} times in between: read again")

    def _commit(self, planned: Sequence[Write]) -> None:
        """Write items. Raises Conflict where a row of the caller's has changed, _RowChanged where only other rows have."""
        if not planned:
            return
        operations = [(write.kind, write.operation) for write in planned]
        try:
            self._dynamo.transact(operations)
        except Cancelled as cancelled:
            conflicts = [text for place in cancelled.failed if (text := planned[place].conflict) is not None]
            if conflicts:
                raise Conflict("; ".join(conflicts)) from None
            raise _RowChanged from None
        self._reader.written(operations)

    # The journal.

    def journal(self, stream: str, *, after: int = 0, limit: int = 1000) -> Sequence[Entry]:
        return self._journals.journal(stream, after, limit)

    def newest_entries(self, stream: str, *, limit: int) -> Sequence[Entry]:
        return self._journals.newest_entries(stream, limit)

    def entries(self, repo: str, sha: str, *, limit: int | None = None) -> Sequence[Entry]:
        return self._journals.entries(repo, sha, limit)

    # The outbox, and what is due.

    def outbox(self, *, older_than: datetime, limit: int = 100) -> Sequence[Event]:
        return self._hints.outbox(older_than, limit)

    def published(self, ids: Sequence[str]) -> None:
        self._hints.published(ids)

    def due(self, before: datetime, *, limit: int = 100) -> Sequence[Due]:
        return self._hints.due(before, limit)

    def next_due(self) -> datetime | None:
        return self._hints.next_due()

    # Policies and bodies.

    def policies_in_force(self, repo: str) -> PoliciesInForce | None:
        return self._reader.row(PoliciesInForce, items.in_force_key(repo))

    def all_policies_in_force(self) -> Sequence[PoliciesInForce]:
        return self._reader.those(PoliciesInForce, self._dynamo.query("pk = :p", {"p": items.IN_FORCE}))

    def keep_policy(self, digest: str, text: str) -> None:
        if self.policy(digest) is None:
            self._dynamo.put(item(items.policy_key(digest), **self._rows.pack_text(text, self._clock())))

    def policy(self, digest: str) -> str | None:
        found = self._dynamo.get(items.policy_key(digest))
        if found is None:
            return None
        try:
            return self._reader.read("policies", found, lambda: policy_of(digest, self._rows.unpack_text(found)))
        except Unreadable:
            return None

    def body(self, digest: str) -> bytes | None:
        return self._bodies.body(digest)

    def forget_bodies(self, before: datetime) -> int:
        return self._bodies.forget(before)

    # Logins in browsers.

    def begin_web_session(self, session: WebSession, now: datetime) -> None:
        self._web_sessions.begin(session)

    def web_session(self, digest: str) -> WebSession | None:
        return self._web_sessions.get(digest)

    def see_web_session(self, digest: str, seen: datetime, until: datetime) -> None:
        self._web_sessions.see(digest, seen, until)

    def end_web_session(self, digest: str) -> None:
        self._web_sessions.end(digest)

    def unreadable(self) -> Sequence[SetAside]:
        return self._reader.aside.listed()

    def ready(self) -> None:
        self._dynamo.put(item(("ready", items.ALONE), o={"S": stamp(self._clock())}))


class _RowChanged(Exception):
    """Report that a row has changed which only the ledger had read."""
