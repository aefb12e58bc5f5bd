"""The recorder's handler: folds a fact into the record of its commit, and emits commit.recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from greenlight.events import Event, rfc3339, types
from greenlight.events.recorded import commit_recorded, look_again
from greenlight.ledger.port import Transaction
from greenlight.model import keys
from greenlight.model.rows import DUE_AFTER, Due, Fact, NewEntry, Record
from greenlight.recorder import domain, reviews
from greenlight.service.deps import Deps
from greenlight.service.handling import EventService, Handler
from greenlight.service.retry import until_settled
from greenlight.telemetry.tracing import step


def on_fact(event: Event, deps: Deps) -> Sequence[Event]:
    """Fold the fact that the ledger holds under this event's id; an event without one comes from a third party."""

    def attempt() -> Sequence[Event]:
        fact = deps.ledger.fact(event.id)
        if fact is None:
            return []
        recorded = commit_recorded(fact.repo, fact.sha, fact.id, fact.accepted)
        if fact.recorded:
            return [recorded]
        with step("create message"):
            folded = _folded(fact, recorded, deps)
        deps.ledger.transact(folded)
        return folded.emit

    return until_settled(attempt)


def _folded(fact: Fact, recorded: Event, deps: Deps) -> Transaction:
    known = deps.ledger.record(fact.repo, fact.sha)
    own = domain.fold(known, fact)
    record, others = reviews.shared(fact, own, deps.pipeline().of(fact.repo), deps.ledger)
    soon = deps.clock.now() + DUE_AFTER
    again = {other.sha: look_again(other.repo, other.sha, _key(other), fact.accepted) for other in others}
    return Transaction(
        records=[*([record] if known or domain.is_of_a_commit(fact) else []), *others],
        pushes=[fact.push] if fact.push else [],
        recorded=[fact.id],
        entries=[_entry(fact)],
        emit=[recorded, *again.values()],
        due=[Due(_key(record), soon, recorded), *(Due(_key(other), soon, again[other.sha]) for other in others)],
        done=[(keys.fact_due(fact.id), fact.event.id)],
    )


def _key(record: Record) -> str:
    """Return the key under which a record that has changed is due to be decided."""
    return keys.record_due(record.repo, record.sha)


def _entry(fact: Fact) -> NewEntry:
    """Return the fact as the journal keeps it: people by id only, the provider's body by its digest."""
    payload: dict[str, Any] = {
        "repo": fact.repo,
        "sha": fact.sha,
        "source": fact.event.source,
        "refs": list(fact.refs),
        "signal": fact.signal,
        "outcome": fact.outcome,
        "at": rfc3339(fact.at),
        "evidence": fact.evidence,
        "artifacts": dict(fact.artifacts),
        "details": {key: value for key, value in fact.details.items() if key != "identities"},
        "body": fact.body,
    }
    return NewEntry(
        stream=keys.commit_stream(fact.repo, fact.sha),
        type=fact.type,
        at=fact.accepted,
        id=fact.id,
        payload={key: value for key, value in payload.items() if value not in (None, [], {})},
        repo=fact.repo,
        sha=fact.sha,
    )


HANDLERS: Mapping[str, Handler[Deps]] = {types.FACT: on_fact}


def create_service(deps: Deps) -> EventService[Deps]:
    """Return the recorder as a service."""
    return EventService("recorder", HANDLERS, deps)
