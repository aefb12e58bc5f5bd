"""Changes over a ledger that are not stored yet, with the reads of the port that see them."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol, TypeVar

from greenlight.ledger.changes import AcceptedFact, Changes, Key, Row, by_time, key_of, versioned
from greenlight.ledger.journal import ZEROS, next_entry
from greenlight.ledger.port import Conflict, Reading, Reads, Transaction, Unreadable
from greenlight.lib.errors import Unavailable
from greenlight.model.policy import PoliciesInForce
from greenlight.model.rows import DecisionRow, Deployment, Due, Entry, Fact, Push, Record, Target

R = TypeVar("R", Record, Target, DecisionRow, Deployment, PoliciesInForce)

DecisionsSince = tuple[datetime, datetime]


class Readable(Reads, Protocol):
    """The reads that an overlay is laid on: those of a ledger, or of another overlay."""

    def at_hand(self, key: Key) -> Row | None:
        """Return a row if it costs nothing to know it as it is now."""
        ...


class GivenUp(Unavailable):
    """Report that a handler cannot go on in a chain, though nothing is wrong: outside of it, it can."""


class NotOverlaid(GivenUp):
    """Report a read that cannot be answered before the changes are stored."""


class Overlay:
    """A ledger with `changes` that only its own reader sees. For one thread."""

    def __init__(self, underneath: Readable) -> None:
        self._underneath = underneath
        self.changes = Changes()
        self._pushes: dict[tuple[str, datetime | None, int | None], Sequence[Push]] = {}  # as they were given last

    def session(self, reading: Reading) -> AbstractContextManager[None]:
        """Keep nothing: every row that was read is at hand."""
        return nullcontext()

    # Writing.

    def accept(self, fact: Fact, body: tuple[str, bytes | None] | None, due: Due) -> bool:
        """Add a fact; False if it is there already, be it readable or not."""
        with suppress(Unreadable):
            if self.fact(fact.id) is None:
                self.changes.accept(fact, body, due)
                return True
        return False

    def transact(self, transaction: Transaction) -> None:
        """Add a transaction, or raise Conflict and add nothing. A row that is not at hand is checked when it is stored."""
        for row in (*transaction.unchanged, *versioned(transaction)):
            known = self.at_hand(key_of(row))
            if known is not None and known.version != row.version:
                raise Conflict(f"{' '.join(map(str, key_of(row)[1:]))} is no longer at version {row.version}")
        for fact in transaction.facts:
            if self.fact(fact.id) is not None:
                raise Conflict(f"fact {fact.id} is there already")
        for id in transaction.recorded:
            accepted = self.fact(id)
            if accepted is None or accepted.recorded:
                raise Conflict(f"fact {id} is in its record already, or is not there")
        self.changes.add(transaction)
        if transaction.pushes:
            self._pushes.clear()

    def is_empty(self) -> bool:
        """Return whether there is nothing to store."""
        return self.changes == Changes()

    def absorb(self, later: Overlay) -> None:
        """Take the changes of an overlay that lies on this one."""
        self.changes.absorb(later.changes)
        if later.changes.pushes:
            self._pushes.clear()

    # Rows.

    def at_hand(self, key: Key) -> Row | None:
        row = self.changes.rows.get(key)
        return self._underneath.at_hand(key) if row is None else row

    def fact(self, id: str) -> Fact | None:
        known: AcceptedFact | None = self.changes.facts.get(id)
        if known is not None:
            return known.fact
        found = self._underneath.fact(id)
        return replace(found, recorded=True) if found is not None and id in self.changes.recorded else found

    def record(self, repo: str, sha: str) -> Record | None:
        return self._mine(Record, repo, sha) or self._underneath.record(repo, sha)

    def target(self, application: str, environment: str) -> Target | None:
        return self._mine(Target, application, environment) or self._underneath.target(application, environment)

    def deployment(self, id: str) -> Deployment | None:
        return self._mine(Deployment, id) or self._underneath.deployment(id)

    def decision(self, application: str, environment: str, repo: str, sha: str) -> DecisionRow | None:
        mine = self._mine(DecisionRow, application, environment, repo, sha)
        return mine or self._underneath.decision(application, environment, repo, sha)

    def policies_in_force(self, repo: str) -> PoliciesInForce | None:
        return self._mine(PoliciesInForce, repo) or self._underneath.policies_in_force(repo)

    def policy(self, digest: str) -> str | None:
        return self._underneath.policy(digest)

    # Lists.

    def decisions(
        self,
        application: str,
        environment: str,
        states: Sequence[str],
        *,
        since: DecisionsSince | None = None,
        limit: int = 200,
    ) -> Sequence[DecisionRow]:
        mine = {
            key: row
            for key, row in self.changes.rows.items()
            if isinstance(row, DecisionRow) and key[1:3] == (application, environment)
        }
        found = self._underneath.decisions(application, environment, states, since=since, limit=limit + len(mine))
        if not mine:
            return found
        changed = [
            row
            for row in mine.values()
            if row.decision in states and (since is None or (row.push is not None and row.push.placed >= since))
        ]
        merged = sorted([*changed, *(row for row in found if key_of(row) not in mine)], key=_by_push, reverse=True)
        return merged[:limit]

    def pushes(
        self,
        repo: str,
        *,
        since: datetime | None = None,
        of: Callable[[str], bool] | None = None,
        limit: int | None = 1000,
    ) -> Sequence[Push]:
        mine = [
            push for push in self.changes.pushes if push.repo == repo and (since is None or push.pushed_at >= since)
        ]
        if not mine:
            return self._underneath.pushes(repo, since=since, of=of, limit=limit)
        key = (repo, since, limit)
        if of is not None or key not in self._pushes:
            found = list(self._underneath.pushes(repo, since=since, of=of, limit=limit))
            there = {push.fact for push in found}
            for push in mine:
                if push.fact not in there and (of is None or of(push.ref)):
                    there.add(push.fact)
                    insort(found, push, key=by_time)
            found = found if limit is None else found[max(0, len(found) - limit) :]
            if of is not None:
                return found
            self._pushes[key] = found
        return self._pushes[key]

    def journal(self, stream: str, *, after: int = 0, limit: int = 1000) -> Sequence[Entry]:
        mine = [entry for entry in self.changes.entries if entry.stream == stream]
        if not mine:
            return self._underneath.journal(stream, after=after, limit=limit)
        found = [*self._underneath.journal(stream, limit=limit)]
        if after or len(found) == limit or any(len(entry.hash) != len(ZEROS) for entry in found[-1:]):
            raise NotOverlaid(f"the newest entries of {stream} are not stored yet")
        for entry in mine:
            if all(entry.id != other.id for other in found):
                found.append(next_entry(entry, found[-1] if found else None))
        return found[:limit]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise NotOverlaid(f"{name} cannot be read before what was written is stored")

    def _mine(self, kind: type[R], *key: str) -> R | None:
        row = self.changes.rows.get((kind, *key))
        return row if isinstance(row, kind) else None


def _by_push(row: DecisionRow) -> tuple[Any, ...]:
    """Return the place of a decision in lists: by the place of its push, those without one last; then by commit."""
    placed = (row.push.placed,) if row.push is not None else ()
    return placed, row.repo, row.sha
