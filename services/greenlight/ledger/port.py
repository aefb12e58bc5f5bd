"""The ledger's port. Every adapter passes the tests in tests/contract/ledger.

A handler reads rows, computes, and writes one Transaction. A row in it is stored only if its stored version is still the one
that was read; otherwise nothing of the transaction happens and Conflict is raised: read again, decide again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from greenlight.events import Event
from greenlight.ledger.arrivals import ArrivalRows
from greenlight.ledger.spans import Spans
from greenlight.lib.errors import Unavailable
from greenlight.model.policy import PoliciesInForce
from greenlight.model.rows import DecisionRow, Deployment, Due, Entry, Fact, NewEntry, Push, Record, Target, Title
from greenlight.model.web_sessions import WebSession


class Conflict(Exception):
    """Report that another writer changed a row that this transaction builds on. Nothing was written; read again."""


class Unreadable(Unavailable):
    """Report that a row cannot be read, so that nothing that depends on it may be done. The message names it.

    Trying again helps once a person has repaired it. Lists leave such rows out, but for `pushes`: what a push hides could
    be an author, or a newer commit.
    """


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row that cannot be read."""

    table: str
    key: str
    why: str
    since: datetime  # when this process met it first


@dataclass(frozen=True, slots=True)
class Transaction:
    """Writes that are made together, or not at all. Stored rows get version + 1."""

    facts: Sequence[Fact] = ()  # accepted with it, as `accept` does; Conflict if one is there already
    records: Sequence[Record] = ()
    targets: Sequence[Target] = ()
    deployments: Sequence[Deployment] = ()
    decisions: Sequence[DecisionRow] = ()
    pushes: Sequence[Push] = ()  # by fact id; a repetition changes nothing
    recorded: Sequence[str] = ()  # facts (ids) that are in their record now; Conflict if one was already
    in_force: Sequence[PoliciesInForce] = ()
    unchanged: Sequence[
        Record | Target | Deployment | PoliciesInForce
    ] = ()  # rows read that must still have their version
    entries: Sequence[NewEntry] = ()  # an id that the stream already holds is not appended again
    emit: Sequence[Event] = ()  # published after the commit; if a crash comes first, by the sweeper, or when it is due
    due: Sequence[Due] = ()  # set, replacing what the key had
    postponed: Sequence[Due] = ()  # due later, where the key still has that event
    done: Sequence[tuple[str, str]] = ()  # (key, event id): no longer due; another event under that key stays


@dataclass(frozen=True, slots=True)
class Page:
    """Some records, newest first, and the cursor of the next page."""

    records: Sequence[Record]
    next: str | None


@dataclass(frozen=True, slots=True)
class Reading:
    """Rows that a handler will need, read in one request instead of one request each. A hint: any may be missing."""

    facts: Sequence[str] = ()  # ids
    records: Sequence[tuple[str, str]] = ()  # repo, sha
    targets: Sequence[tuple[str, str]] = ()  # application, environment
    decisions: Sequence[tuple[str, str, str, str]] = ()  # application, environment, repo, sha
    deployments: Sequence[str] = ()  # ids
    in_force: Sequence[str] = ()  # repositories
    streams: Sequence[str] = ()  # whose ends it will add to
    due: Sequence[str] = ()  # keys that it will be done with


class Reads(Protocol):
    """The reads of a handler. The methods that give one row, or pushes, may raise Unreadable; all may raise Unavailable."""

    def fact(self, id: str) -> Fact | None: ...

    def record(self, repo: str, sha: str) -> Record | None: ...

    def pushes(
        self,
        repo: str,
        *,
        since: datetime | None = None,
        of: Callable[[str], bool] | None = None,
        limit: int | None = 1000,
    ) -> Sequence[Push]:
        """Return the newest `limit` pushes of a repository; None: all.

        They have pushed_at >= since, and go to refs for which `of` holds (None: to any). By (pushed_at,
        arrived), oldest first.
        """
        ...

    def target(self, application: str, environment: str) -> Target | None: ...

    def decision(self, application: str, environment: str, repo: str, sha: str) -> DecisionRow | None: ...

    def decisions(
        self,
        application: str,
        environment: str,
        states: Sequence[str],
        *,
        since: tuple[datetime, datetime] | None = None,
        limit: int = 200,
    ) -> Sequence[DecisionRow]:
        """Return a target's decisions in one of `states`, newest push first, whose push is `placed` then or later."""
        ...

    def deployment(self, id: str) -> Deployment | None: ...

    def journal(self, stream: str, *, after: int = 0, limit: int = 1000) -> Sequence[Entry]:
        """Return the entries of a stream with seq > after, in order; `whole_stream` returns all there are."""
        ...

    def policies_in_force(self, repo: str) -> PoliciesInForce | None: ...

    def policy(self, digest: str) -> str | None: ...


class Ledger(Reads, Protocol):
    """Facts, records, targets, decisions, deployments, journals, outbox, what is due, policies and bodies.

    Every method may raise Unavailable; those that give one row, or pushes, Unreadable.
    """

    @property
    def spans(self) -> Spans:
        """Return what is kept of traces."""
        ...

    @property
    def arrivals(self) -> ArrivalRows:
        """Return what is kept of the webhooks that were answered."""
        ...

    def session(self, reading: Reading) -> AbstractContextManager[None]:
        """Keep, in this thread until the context ends, what was read, so that it is read again only after a Conflict.

        For one handler of one event: it reads as if it had come a moment earlier, and whatever it writes is conditional.
        Which rows a list has is always read.
        """
        ...

    def accept(self, fact: Fact, body: bytes | None, due: Due) -> bool:
        """Store a fact with its titles, its provider's body and when its event is due again, in one transaction.

        False, and nothing is written, if a fact with that id is already there.
        """
        ...

    def titles(self, repo: str, shas: Collection[str]) -> Mapping[str, Title]:
        """Return the titles and authors of commits, by sha.

        A commit is left out where no fact has them, or they were erased.
        """
        ...

    def changes(self) -> int | None:
        """Return a number that is another one after each change of anything in the store.

        None: several processes write, and only reading would show it.
        """
        ...

    def erase_titles(self, identities: Collection[str]) -> int:
        """Erase the titles and names of the commits whose author has one of these identities; return how many.

        Facts stay.
        """
        ...

    def claim(self, sender: str, message: str, digest: str) -> str:
        """Return the digest under which `sender` first used the message id `message`.

        It is `digest` itself if this is the first use.
        """
        ...

    def find(self, repo: str, prefix: str) -> Sequence[str]:
        """Return the shas of that repository that begin with `prefix`.

        They are two at most, which is enough to find the prefix ambiguous.
        """
        ...

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
        """Return records by `updated`, newest first. `decision` needs no application: any target's counts.

        ValueError: bad cursor.
        """
        ...

    def targets(self) -> Sequence[Target]: ...

    def deployments(
        self, application: str, environment: str, *, limit: int = 20, before: Deployment | None = None
    ) -> Sequence[Deployment]:
        """Return the deployments of a target, newest first; `before`: only those that began before this one."""
        ...

    def transact(self, transaction: Transaction) -> None:
        """Write it all, or raise Conflict and write nothing. Durable when it returns."""
        ...

    def newest_entries(self, stream: str, *, limit: int) -> Sequence[Entry]:
        """Return the last `limit` entries of a stream, in order."""
        ...

    def entries(self, repo: str, sha: str, *, limit: int | None = None) -> Sequence[Entry]:
        """Return the newest `limit` entries about a commit in any stream, by time.

        The streams are its own and its targets'. Without a limit, return all.
        """
        ...

    def outbox(self, *, older_than: datetime, limit: int = 100) -> Sequence[Event]:
        """Return events that were emitted before `older_than` and are not known to be published.

        Those that were due when they were emitted are left out: they come again when they are due.
        """
        ...

    def published(self, ids: Sequence[str]) -> None: ...

    def due(self, before: datetime, *, limit: int = 100) -> Sequence[Due]:
        """Return what is due at or before `before`, earliest first."""
        ...

    def next_due(self) -> datetime | None: ...

    def all_policies_in_force(self) -> Sequence[PoliciesInForce]: ...

    def keep_policy(self, digest: str, text: str) -> None: ...

    def body(self, digest: str) -> bytes | None: ...

    def forget_bodies(self, before: datetime) -> int:
        """Drop providers' bodies stored before `before`; return how many."""
        ...

    def begin_web_session(self, session: WebSession, now: datetime) -> None:
        """Store a new session. Those that ended before `now` may be removed with it."""
        ...

    def web_session(self, digest: str) -> WebSession | None:
        """Return the session as the last write left it; None where there is none. The caller compares `until`."""
        ...

    def see_web_session(self, digest: str, seen: datetime, until: datetime) -> None:
        """Write down that the session was used, and its new end. One that has been ended stays ended."""
        ...

    def end_web_session(self, digest: str) -> None:
        """Remove the session, for every process. Nothing happens if there is none."""
        ...

    def unreadable(self) -> Sequence[SetAside]:
        """Return the rows that this process could not read, at most 1 000; a repaired one is not among them."""
        ...

    def ready(self) -> None:
        """Raise Unavailable if the ledger cannot be written now."""
        ...


ENTRIES = 1000
"""Entries of a stream that `whole_stream` reads at once."""


def whole_stream(ledger: Ledger, stream: str) -> Iterator[Entry]:
    """Yield every entry of a stream, in order, however many there are."""
    after = 0
    while True:
        entries = ledger.journal(stream, after=after, limit=ENTRIES)
        yield from entries
        if len(entries) < ENTRIES:
            return
        after = entries[-1].seq
