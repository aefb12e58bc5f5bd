"""The slow, level-triggered path: what is due and lacks a result is emitted again, with the same event id."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from greenlight.events import Event, rfc3339, types
from greenlight.events.build import as_fact, is_fact
from greenlight.events.schemas import dataschema
from greenlight.ledger.names import fell_silent
from greenlight.ledger.port import Ledger, Transaction, Unreadable
from greenlight.model.rows import DUE_AFTER, Due
from greenlight.reconciler.domain import in_turn, updated
from greenlight.service.deps import Deps
from greenlight.service.handling import EventService, Handler
from greenlight.service.pushes import silent_since
from greenlight.telemetry import metrics
from greenlight.telemetry.tracing import PRODUCER

SWEEP_AFTER = timedelta(seconds=5)
"""An outbox row older than this was left behind by a crash or an outage."""

BODIES_KEPT = timedelta(days=30)
"""How long a provider's raw body is kept as evidence."""

BATCH = 100
"""How much is emitted again in one transaction."""

LOOK = 1000
"""How much of what is due is looked at together, so that one repository's backlog does not keep another's waiting."""

BUDGET = 5.0
"""Seconds after which a ping begins no further batch: less than its Trigger waits. The rest is the next ping's, so that a
backlog does not become a storm."""


def on_ping(event: Event, deps: Deps) -> Sequence[Event]:
    """Publish what the outbox still holds, then emit again what is due; an edit of the policy is noticed here at the latest."""
    pipeline = deps.pipeline()
    until = deps.clock.monotonic() + BUDGET
    left = deps.ledger.outbox(older_than=deps.clock.now() - SWEEP_AFTER, limit=BATCH)
    if left:
        deps.publisher.publish([as_fact(event) if _is_of_a_fact(event, deps.ledger) else event for event in left])
    due = in_turn(deps.ledger.due(deps.clock.now(), limit=LOOK))
    idle = not due
    while due:
        _emit_again(due[:BATCH], deps)
        if deps.clock.monotonic() >= until:
            break
        due = due[BATCH:] or in_turn(deps.ledger.due(deps.clock.now(), limit=LOOK))
    for repo in sorted({policy.repo for policy in pipeline.applications.values()}):
        _report_silence(repo, deps)
    if idle:  # last, so that bodies which cannot be dropped keep nothing else from being done
        deps.ledger.forget_bodies(deps.clock.now() - BODIES_KEPT)
    return []


def _report_silence(repo: str, deps: Deps) -> None:
    """Log once that a repository has sent nothing for long: its webhook may be gone."""
    now = deps.clock.now()
    since = silent_since(deps.ledger, repo, now)
    metrics.SILENT.labels(repo).set(0 if since is None else 1)
    if since is not None and fell_silent(deps.ledger, repo, since, now):
        deps.log.getChild("reconciler").error(
            "%s has sent no push since %s, more than twice its longest pause: look at its webhook in GitHub's settings, "
            "which list the recent deliveries",
            repo,
            rfc3339(since),
        )


def _emit_again(due: Sequence[Due], deps: Deps) -> None:
    """Emit what is due again, and have it due later."""
    now = deps.clock.now()
    due = [updated(item) for item in due]
    events = [item.event for item in due]
    deps.ledger.transact(Transaction(emit=events, postponed=[_postponed(item, now) for item in due]))
    for again in events:
        metrics.REEMITTED.labels(again.type).inc()
    deps.publisher.publish(events)
    for again in events:
        with deps.tracer.scope("reconciler", "emit again", PRODUCER) as scope:
            scope.event(again, None)


def _is_of_a_fact(event: Event, ledger: Ledger) -> bool:
    """Return whether an event is a fact's, also one stored by a version without the attribute for facts."""
    try:
        return is_fact(event) or ledger.fact(event.id) is not None
    except Unreadable:  # so there is one
        return True


def on_dead_letter(event: Event, deps: Deps) -> Sequence[Event]:
    """Log and count an event that a Broker could not deliver.

    The next ping sends again what the ledger still waits for.
    """
    about, kind = event.extensions, _kind(event)
    deps.log.getChild("reconciler").error(
        "dead letter: %s %.80r was not accepted by %.200r, code %.10r; sent again if the ledger waits for its result",
        kind,
        event.id,
        about.get("knativeerrordest", "an unknown subscriber"),
        about.get("knativeerrorcode", "none"),
    )
    code = str(about.get("knativeerrorcode", ""))
    metrics.DEAD_LETTERS.labels(kind, code if re.fullmatch(r"[1-5]\d\d", code) else "none").inc()
    return []


def _kind(event: Event) -> str:
    """Return the label of an event's type in metrics: the type of a third party's event may be any text."""
    if is_fact(event):
        return "fact"
    return event.type if event.type == types.PING or dataschema(event.type) else "other"


def _postponed(item: Due, now: datetime) -> Due:
    """Return an entry that is due once more, later each time: what cannot be finished must not fill the Broker."""
    pause = min(DUE_AFTER * 2 ** min(item.attempts, 5), timedelta(minutes=15))
    return replace(item, at=now + pause, attempts=item.attempts + 1)


DEAD_LETTERS = "/dead-letters"

HANDLERS: Mapping[str, Handler[Deps]] = {types.PING: on_ping}


def create_service(deps: Deps) -> EventService[Deps]:
    """Return the reconciler as a service; at /dead-letters it is the dead-letter sink of every Trigger."""
    return EventService("reconciler", HANDLERS, deps, {DEAD_LETTERS: lambda event: on_dead_letter})
