"""Facts as they are accepted, with the titles of their commits; and the message ids that senders have used."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta

from greenlight.events.ids import derive
from greenlight.ledger.dynamodb import items as items
from greenlight.ledger.dynamodb.client import MOST_ITEMS, Cancelled, Key
from greenlight.ledger.dynamodb.items import GROUPED, ORDERED, item, joined
from greenlight.ledger.dynamodb.outbox_and_due import OutboxAndDue
from greenlight.ledger.dynamodb.provider_bodies import ProviderBodies
from greenlight.ledger.dynamodb.reader import Reader, key_of
from greenlight.ledger.dynamodb.writes import ABSENT, Write, set_due
from greenlight.model.rows import Due, Fact, Title

CLAIMED = timedelta(days=30)
"""How long a message id is remembered: its signature is not accepted for longer than minutes."""


class Facts:
    """Accept and read facts for one ledger."""

    def __init__(
        self, reader: Reader, bodies: ProviderBodies, hints: OutboxAndDue, clock: Callable[[], datetime]
    ) -> None:
        self._reader, self._dynamo, self._rows = reader, reader.dynamo, reader.rows
        self._bodies, self._hints, self._clock = bodies, hints, clock

    def accept(self, fact: Fact, body: bytes | None, due: Due) -> bool:
        """Write the fact with all that belongs to it, in one transaction; False if it is there already."""
        now, key = self._clock(), items.fact_key(fact.id)
        stored = item(key, r={"BOOL": fact.recorded}, **self._rows.pack(fact, now))
        planned = [Write("Put", {"Item": stored, "ConditionExpression": ABSENT})]
        if body is not None:
            planned.append(Write("Put", {"Item": self._bodies.kept(body, now)}))
        planned.append(set_due(due, self._rows, now)[1])
        titles = [
            items.title(fact.repo, title, self._rows, now)
            for title in {title.sha: title for title in fact.titles}.values()
        ]
        room = MOST_ITEMS - len(planned)
        planned += [Write("Put", {"Item": title}) for title in titles[:room]]
        operations = [(write.kind, write.operation) for write in planned]
        try:
            self._dynamo.transact(operations)
        except Cancelled:
            self._reader.forget()
            return False
        self._reader.written(operations)
        self._hints.emitted([fact.event], [due])
        for title in titles[room:]:  # of a push of so many commits
            self._dynamo.put(title)
        return True

    def fact(self, id: str) -> Fact | None:
        """Return the fact, or None."""
        found = self._reader.get(items.fact_key(id))
        if found is None:
            return None
        return self._reader.read("facts", found, lambda: self._rows.unpack(Fact, found, recorded=found["r"]["BOOL"]))

    def claim(self, sender: str, message: str, digest: str) -> str:
        """Return the digest under which the sender first used the message id."""
        # Hashed, because a message id may be longer than a key, and is its sender's to choose.
        key: Key = joined("claim", derive("claim", sender, message)), items.ALONE
        expires = str(int((self._clock() + CLAIMED).timestamp()))
        there = self._dynamo.put_first(item(key, digest={"S": digest}, expires={"N": expires}))
        return digest if there is None else str(there["digest"]["S"])

    def titles(self, repo: str, shas: Collection[str]) -> Mapping[str, Title]:
        """Return titles and authors of commits, by sha."""
        there = self._reader.get_all([items.title_key(repo, sha) for sha in sorted(set(shas))])
        return {title.sha: title for title in self._reader.those(Title, there.values())}

    def erase_titles(self, identities: Collection[str]) -> int:
        """Erase the titles of the commits of an author with one of these identities; return how many."""
        keys: set[Key] = set()
        for author in (joined("author", identity) for identity in identities):
            by_login = self._dynamo.query("q = :q", {"q": author}, index=ORDERED)
            by_address = self._dynamo.query("g = :g", {"g": author}, index=GROUPED)
            keys |= {key_of(one) for one in (*by_login, *by_address)}
        if keys:
            self._dynamo.delete(sorted(keys))
        return len(keys)
