"""What the log cannot read back is set aside, named and counted; everything else is delivered, and nothing is lost."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from greenlight.broker.operations import anonymous
from greenlight.lib.errors import Rejected
from support.broker import PATIENCE, Recorder, event, running, trigger

SPOILED = [
    ("attributes", '{"garbage": 0}'),
    ("attributes", "{}"),
    ("attributes", '{"id": "b", "source": 5, "type": "t"}'),
    ("attributes", '{"id": "b", "source": "s", "type": "t", "extensions": 7}'),
    ("attributes", '{"id": "b", "sour'),
    ("attributes", "null"),
    ("attributes", "[]"),
    ("attributes", ""),
    ("attributes", b"\xff\xfe\x00"),
    ("data", "text, and no bytes"),
    ("headers", "[1]"),
    ("headers", "{"),
]


def _execute(folder: Path, sql: str, *values: object) -> None:
    with sqlite3.connect(folder / "broker.db") as connection:
        connection.execute(sql, values)
    connection.close()


def _left_undelivered(folder: Path, *triggers: str) -> None:
    """Events a, b and c in the log that no Trigger was brought yet."""
    with running(folder, *triggers, services={"s": Recorder(), "t": Recorder()}) as broker:
        assert broker.drain(PATIENCE)
        for id in ("a", "b", "c"):
            broker.publish(event(id))


@pytest.mark.parametrize(("column", "value"), SPOILED, ids=lambda it: repr(it)[:30])
def test_an_event_that_cannot_be_read_is_a_dead_letter_and_the_others_are_delivered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, column: str, value: str | bytes
) -> None:
    """Of each Trigger that it may be for; it is named, counted, and kept as it was: once mended it is replayed."""
    triggers = [trigger("one", "s"), trigger("two", "t")]
    _left_undelivered(tmp_path, *triggers)
    with sqlite3.connect(tmp_path / "broker.db") as connection:
        (good,) = connection.execute(f"SELECT {column} FROM broker_events WHERE attributes LIKE '%\"b\"%'").fetchone()
    connection.close()
    _execute(tmp_path, f"UPDATE broker_events SET {column} = CAST(? AS TEXT) WHERE attributes LIKE '%\"b\"%'", value)
    one, two = Recorder(), Recorder()
    with running(tmp_path, *triggers, services={"s": one, "t": two}) as broker, caplog.at_level(logging.WARNING):
        assert broker.idle(PATIENCE)
        assert (sorted(one.ids()), sorted(two.ids())) == (["a", "c"], ["a", "c"])
        found = broker.operations.dead_letters()
        assert sorted(it["trigger"] for it in found) == ["test/one", "test/two"]
        assert all(it["event"]["type"] == "unreadable" and it["unreadable"] for it in found)
        registry = CollectorRegistry()
        registry.register(broker.metrics.collector(broker.operations))
        assert registry.get_sample_value("greenlight_broker_unreadable_total", {"trigger": "test/one"}) == 1
        id = found[0]["id"]
        assert broker.operations.dead_letter(id)["event"]["type"] == "unreadable"
        with pytest.raises(Rejected, match="cannot be read"):
            broker.operations.replay(id)
        assert broker.operations.replay_where({}) == 0
        assert broker.operations.replay_where({"type": "test.happened"}) == 0
        assert len(broker.operations.dead_letters()) == 2
    assert "cannot be read" in caplog.text
    _execute(tmp_path, f"UPDATE broker_dead_letters SET {column} = ?", good)
    three, four = Recorder(), Recorder()
    with running(tmp_path, *triggers, services={"s": three, "t": four}) as broker:
        assert broker.operations.replay_where({}) == 2
        assert broker.idle(PATIENCE)
        assert (three.ids(), four.ids()) == (["b"], ["b"])


def test_what_cannot_be_read_can_be_discarded(tmp_path: Path) -> None:
    """Its dead letter is closed like any other."""
    _left_undelivered(tmp_path, trigger("one", "s"))
    _execute(tmp_path, "UPDATE broker_events SET attributes = '{'")
    with running(tmp_path, trigger("one", "s"), services={"s": Recorder()}) as broker:
        assert broker.idle(PATIENCE)
        assert broker.operations.discard_where({}, "mended otherwise", anonymous) == 3
        assert broker.operations.dead_letters() == []


def test_a_try_that_was_left_and_cannot_be_read_is_a_dead_letter(tmp_path: Path) -> None:
    """Its row says that it is tried again; the event is gone bad meanwhile."""
    spec = "delivery: {retry: 3, backoffPolicy: exponential, backoffDelay: PT1S}"
    busy = Recorder(lambda n, request: (503, {}, b""))
    with running(tmp_path, trigger("one", "s", spec=spec), services={"s": busy}) as broker:
        broker.publish(event("a"))
        busy.wait(1)
    _execute(tmp_path, "UPDATE broker_events SET attributes = '{'")
    with running(tmp_path, trigger("one", "s", spec=spec), services={"s": Recorder()}) as broker:
        assert broker.idle(PATIENCE)
        (dead_letter,) = broker.operations.dead_letters()
        assert dead_letter["event"]["type"] == "unreadable"


@pytest.mark.parametrize("value", ['{"garbage', "[]", "null", b"\xff"])
def test_a_cursor_whose_trigger_cannot_be_read_does_not_keep_the_broker_from_starting(
    tmp_path: Path, value: str | bytes
) -> None:
    """Of a Trigger that is there the manifest says what it wants; for one that was removed everything is pending."""
    triggers = [trigger("one", "s"), trigger("two", "t")]
    _left_undelivered(tmp_path, *triggers)
    _execute(tmp_path, "UPDATE broker_cursors SET spec = CAST(? AS TEXT)", value)
    one = Recorder()
    with running(tmp_path, triggers[0], services={"s": one}) as broker:
        assert broker.idle(PATIENCE)
        one.wait(3)
        assert sorted(one.ids()) == ["a", "b", "c"]
        assert [it["trigger"] for it in broker.operations.triggers()][:1] == ["test/one"]


@pytest.mark.parametrize("column", ["seq", "since", "broker_events.upto", "broker_events.at", "broker_events.ttl"])
def test_a_number_that_is_none_keeps_the_broker_from_nothing(tmp_path: Path, column: str) -> None:
    """What was not delivered is; what was may come once more."""
    table, _, name = column.rpartition(".")
    triggers = [trigger("one", "s")]
    _left_undelivered(tmp_path, *triggers)
    _execute(tmp_path, f"UPDATE {table or 'broker_cursors'} SET {name} = 'none'")
    one = Recorder()
    with running(tmp_path, *triggers, services={"s": one}) as broker:
        broker.publish(event("d"))
        assert broker.idle(PATIENCE)
        assert "d" in one.ids()
        if name != "ttl":
            assert set(one.ids()) == {"a", "b", "c", "d"}
        assert broker.operations.sizes()["log"] > 0
        assert broker.operations.triggers()[0]["lag"] == 0
    again = Recorder()
    with running(tmp_path, *triggers, services={"s": again}) as broker:
        assert broker.idle(PATIENCE)
    assert again.ids() == []
