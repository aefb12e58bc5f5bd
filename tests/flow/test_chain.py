"""What follows from a fact in one transaction is what the Broker's deliveries would have made of it, event by event."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from greenlight.broker.event_history import event_history
from greenlight.broker.log import event_table, history
from greenlight.events import types
from support.flow import REPO, Shop, sha_of


def shipped(folder: Path, *, chain: bool) -> tuple[Shop, list[tuple[str, str]]]:
    """Ship a commit to staging; the events in the log: type and id."""
    folder.mkdir()
    shop = Shop(folder).start()
    with nullcontext() if chain else shop.without_chain():
        shop.push("one")
        shop.settle()
        shop.build("one")
        shop.watch.end("staging", sha_of("one"))
        shop.settle()
    with shop.greenlight.store.read() as connection:
        rows = connection.execute("SELECT attributes ->> 'type', attributes ->> 'id' FROM broker_events ORDER BY seq")
        return shop, rows.fetchall()


def test_the_log_has_the_same_events_in_the_same_order(tmp_path: Path) -> None:
    """With the same ids; and the journals have the same entries."""
    with_chain, events = shipped(tmp_path / "with", chain=True)
    without, expected = shipped(tmp_path / "without", chain=False)
    assert events == expected
    for stream in (f"commit/{REPO}/{sha_of('one')}", "target/shop/staging"):
        found, wanted = (
            [(it.type, it.id) for it in it.greenlight.ledger.journal(stream)] for it in (with_chain, without)
        )
        assert found == wanted
    with_chain.stop()
    without.stop()


def test_every_other_trigger_gets_each_event_once(tmp_path: Path) -> None:
    """And the history of an event says of each Trigger that it has been delivered."""
    shop, events = shipped(tmp_path / "shop", chain=True)
    assert sorted((event.type, event.id) for event in shop.watch.events) == sorted(events)
    fact = next(id for type, id in events if type == "com.github.push")
    broker = shop.greenlight.broker
    with shop.greenlight.store.read() as connection:
        (received,) = history.by_id(connection, fact, 5)
        shown = event_history(connection, received, broker._engine.table.by_key)
    states = {it["trigger"].partition("/")[2]: it["state"] for it in shown["triggers"]}
    assert (states["facts-to-recorder"], states["watch"]) == ("delivered", "delivered")
    shop.stop()


def test_what_was_handled_is_not_delivered_from_the_log_either(tmp_path: Path) -> None:
    """A Trigger that has not come as far as the event, as after a crash before its cursor was written, passes it by."""
    shop, _ = shipped(tmp_path / "shop", chain=True)
    with shop.greenlight.store.read() as connection:
        for trigger, wanted in (("facts-to-recorder", 0), ("watch", 2), ("promotion-ready-to-deployer", 1)):
            found, _ = event_table.page(connection, "greenlight/default", f"greenlight/{trigger}", 0, 1000)
            kinds = {"facts-to-recorder": "com.", "watch": "com.", "promotion-ready-to-deployer": types.PROMOTION_READY}
            assert len([it for it in found if it.stored.event.type.startswith(kinds[trigger])]) == wanted
    shop.stop()


@pytest.mark.parametrize("handler", ["recorder", "promoter"])
def test_where_a_handler_fails_the_broker_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handler: str
) -> None:
    """The webhook is accepted all the same, and the commit ships once the handler works."""
    shop = Shop(tmp_path).start()
    failures = []

    def fails(event: object) -> None:
        if len(failures) < 3:
            failures.append(event)
            raise OSError("the handler is broken")

    service = shop.greenlight.services[handler]
    find = service.paths["/"]

    def found(event):  # type: ignore[no-untyped-def]
        handle = find(event)
        if handle is None:
            return None

        def failing(event, deps):  # type: ignore[no-untyped-def]
            fails(event)
            return handle(event, deps)

        return failing

    monkeypatch.setattr(service, "paths", {**service.paths, "/": found})
    shop.push("one")
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    shop.settle()
    assert len(failures) == 3
    ends = [event for event in shop.watch.events if event.type == types.DEPLOYMENT_SUCCEEDED]
    assert len(ends) == 1
    shop.stop()
