"""What one ping does about a backlog, and about what an earlier version stored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from greenlight.events import Event, ids, types
from greenlight.events.recorded import commit_recorded, look_again
from greenlight.ledger.port import Transaction
from greenlight.ledger.sqlite.ledger import SCHEMA, SqliteLedger
from greenlight.lib.clock import SystemClock
from greenlight.model import keys
from greenlight.model.policy import Pipeline
from greenlight.model.rows import Due, Fact
from greenlight.reconciler.app import BATCH, on_ping
from greenlight.reconciler.domain import in_turn
from greenlight.service.deps import Deps
from greenlight.store.store import Store
from support.flow import REPO, Shop, sha_of


def test_one_repositorys_backlog_does_not_keep_anothers_event_waiting() -> None:
    """Keys take turns, each in its order."""
    now = datetime.now(UTC)
    due = [
        Due(f"{repo}/{n}", now, look_again(repo, sha_of(str(n)), f"{repo}/{n}", now))
        for repo, count in (("a/a", 5), ("b/b", 2), ("c/c", 1))
        for n in range(count)
    ]
    assert [item.key for item in in_turn(due)] == [
        *("a/a/0", "b/b/0", "c/c/0", "a/a/1", "b/b/1", "a/a/2", "a/a/3", "a/a/4")
    ]


def test_bodies_that_cannot_be_dropped_keep_nothing_else_from_being_done(tmp_path: Path) -> None:
    """A ping says that a dependency is down, and has emitted what was due."""
    shop, now = Shop(tmp_path), datetime.now(UTC)
    ledger = shop.greenlight.ledger
    (tmp_path / "data" / "bodies").rename(tmp_path / "elsewhere")
    reconciler = shop.greenlight.services["reconciler"]
    due = Due("tests/1", now - timedelta(minutes=1), look_again(REPO, sha_of("1"), "tests/1", now))
    ledger.transact(Transaction(due=[due]))
    answers = []
    for id in ("1", "2"):
        answers.append(reconciler.handle(Event.of(types.PING, id=id, source="/tests", time=now, data={})).status)
    assert ledger.due(datetime.now(UTC)) == []
    assert answers == [202, 503]
    shop.stop()


def test_a_ping_takes_on_more_than_one_batch_of_what_is_due(tmp_path: Path) -> None:
    """After a broker that was killed with much in memory, a cluster's one ping a minute is not the limit."""
    shop, now = Shop(tmp_path), datetime.now(UTC)
    ledger = shop.greenlight.ledger
    due = [
        Due(
            f"tests/{number}", now - timedelta(minutes=1), look_again(REPO, sha_of(str(number)), f"tests/{number}", now)
        )
        for number in range(2 * BATCH + 1)
    ]
    ledger.transact(Transaction(due=due))
    ping = Event.of(types.PING, id="1", source="/tests", time=now, data={})
    with shop.without_chain():
        assert shop.greenlight.services["reconciler"].handle(ping).status == 202
    assert ledger.due(datetime.now(UTC)) == []
    assert len(ledger.due(datetime.now(UTC) + timedelta(hours=1), limit=1000)) == len(due)
    shop.stop()


class Published:
    """What the Broker got."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def publish(self, events: Sequence[Event]) -> None:
        self.events += events

    def settle(self, events: Sequence[Event]) -> Event | None:
        raise NotImplementedError


def stored_before(folder: Path, word: str) -> Fact:
    """The fact of a push, as it was stored when the events of facts had no attribute of their own."""
    shop = Shop(folder)
    with shop.without_chain():
        fact = shop.greenlight.ledger.fact(shop.push(word))
    shop.stop()
    assert fact is not None
    kept = {name: value for name, value in fact.event.extensions.items() if name != "fact"}
    assert kept.keys() == {"repo", "commit", "branch", "partitionkey", "traceparent"}
    return replace(fact, event=replace(fact.event, extensions=kept))


def test_a_fact_that_an_earlier_version_accepted_is_recorded(tmp_path: Path) -> None:
    """Its event, in the log and due, lacks the attribute that the recorder's Trigger selects, until it is emitted again."""
    (tmp_path / "before").mkdir()
    fact = stored_before(tmp_path / "before", "one")
    shop = Shop(tmp_path)
    due = Due(keys.fact_due(fact.id), datetime.now(UTC) - timedelta(minutes=1), fact.event)
    assert shop.greenlight.ledger.accept(fact, None, due)
    shop.start()
    shop.watch.until(lambda event: event.type == types.COMMIT_RECORDED and event.json()["fact"] == fact.id)
    shop.settle()
    came = [event.extensions.get("fact") for event in shop.watch.events if event.id == fact.id]
    assert came == [None, "true"]
    assert shop.commit("one")["refs"] == ["refs/heads/main"]
    shop.stop()


def test_events_that_an_earlier_version_left_behind_go_out_as_a_facts_are_now(tmp_path: Path) -> None:
    """From the outbox and from what is due, a fact's and no other, also if the fact's own row cannot be read."""
    now = datetime.now(UTC)
    facts = []
    for word in ("one", "two"):
        (tmp_path / word).mkdir()
        facts.append(stored_before(tmp_path / word, word))
    other = look_again(REPO, sha_of("one"), "tests/1", now)
    store, published = Store(tmp_path / "store", [SCHEMA]), Published()
    ledger = SqliteLedger(store, tmp_path / "bodies", clock=lambda: now - timedelta(minutes=1))
    for fact in facts:
        ledger.accept(fact, None, Due(keys.fact_due(fact.id), now, fact.event))
    ledger.transact(Transaction(emit=[*(fact.event for fact in facts), other]))  # with nothing due: into the outbox
    ledger.transact(Transaction(due=[Due("tests/1", now, other)]))
    store.write(lambda tx: tx.execute("UPDATE facts SET json = '{' WHERE id = ?", (facts[1].id,)))
    on_ping(Event("ping", "/tests", types.PING), Deps(SystemClock(), ledger, lambda: Pipeline({}), published))
    said = [(event.id, event.extensions.get("fact")) for event in published.events]
    want = [*((fact.id, "true") for fact in facts), (other.id, None)]
    assert sorted(said, key=str) == sorted([*want, *want], key=str)  # once from the outbox, and once because it is due
    later = ledger.due(now + timedelta(hours=1))
    assert sorted(((due.event.id, due.event.extensions.get("fact")) for due in later), key=str) == sorted(want, key=str)
    store.close()


def test_what_is_due_for_one_event_is_not_ended_by_another_that_has_its_id(tmp_path: Path) -> None:
    """Whoever reaches the Broker can post one with the id of the real event, and name what is due in it."""
    shop, now = Shop(tmp_path).start(), datetime.now(UTC)
    try:
        shop.push("1")
        shop.settle()
        key, late = keys.deployment_due("p"), now + timedelta(hours=9)
        real = Event.of(types.PROMOTION_READY, id="real", source="/tests", time=now, data={})
        again = look_again(REPO, sha_of("1"), keys.withdrawal_due("p"), late)
        ledger = shop.greenlight.ledger
        ledger.transact(Transaction(due=[Due(key, late, real), Due(keys.withdrawal_due("p"), late, again)]))
        about = {"repo": REPO, "sha": sha_of("1"), "due": key, "deployment": "p", "application": "shop"}
        for service, type in (
            ("promoter", types.COMMIT_RECORDED),
            ("promoter", types.DEPLOYMENT_SUCCEEDED),
            ("feedback", types.FEEDBACK_DUE),
        ):
            forged = Event.of(type, id="real", source="/tests", time=now, data=about)
            assert shop.greenlight.services[service].handle(forged).status == 202, type
        assert [it.key for it in ledger.due(late) if it.at == late] == [key, keys.withdrawal_due("p")]
        shop.greenlight.services["promoter"].handle(again)
        assert [it.key for it in ledger.due(late) if it.at == late] == [key], "its own event ends it"
    finally:
        shop.stop()


def test_an_event_with_the_id_of_another_ends_what_is_due_only_with_the_same_data(tmp_path: Path) -> None:
    """One that names another target or commit, or leaves out the fact, would leave undone what the real one is for."""
    shop, now = Shop(tmp_path).start(), datetime.now(UTC)
    try:
        shop.push("1")
        shop.settle()
        ledger, late, sha = shop.greenlight.ledger, now + timedelta(hours=9), sha_of("1")
        promotion, withdrawn = ids.promotion("shop", "staging", sha, 7), keys.withdrawal_due("p")
        about = {"repo": REPO, "sha": sha, "promotion": promotion, "n": 7, "environment": "staging"}
        ready = Event.of(
            types.PROMOTION_READY, id="ready", source="/tests", time=now, data={**about, "application": "shop"}
        )
        again = look_again(REPO, sha, withdrawn, late, target=("shop", "staging"))
        recorded = commit_recorded(REPO, sha, "a-fact", late)
        real = {keys.deployment_due(promotion): ready, withdrawn: again, keys.record_due(REPO, sha): recorded}
        ledger.transact(Transaction(due=[Due(key, late, event) for key, event in real.items()]))
        promoter, deployer = shop.greenlight.services["promoter"], shop.greenlight.services["deployer"]
        for event, change in (
            (ready, {"environment": "production"}),
            (ready, {"application": "other"}),
            (ready, {"n": "7"}),
            (again, {"environment": "production"}),
            (again, {"environment": None, "application": None}),
            (again, {"sha": sha_of("2")}),
            (recorded, {"fact": None}),
            (recorded, {"fact": None, "due": keys.record_due(REPO, sha)}),
        ):
            data = {name: value for name, value in {**event.json(), **change}.items() if value is not None}
            forged = replace(event, data=json.dumps(data).encode())
            service = deployer if event is ready else promoter
            assert service.handle(forged).status == 202, (event.type, change)
            assert {it.key for it in ledger.due(late) if it.at == late} == set(real), (event.type, change)
        for event in real.values():
            (deployer if event is ready else promoter).handle(event)
        assert [it.key for it in ledger.due(late) if it.at == late] == []
    finally:
        shop.stop()
