"""Brokers and Triggers change while events flow: nothing is lost, nothing is repeated."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from greenlight.broker.broker import Broker
from greenlight.broker.log import cursor_table
from greenlight.broker.manifests import load_texts
from greenlight.lib.errors import ConfigurationError, Unavailable
from support.broker import BROKER, PATIENCE, Recorder, event, running, trigger


def _change(broker: Broker, *triggers: str) -> set[str]:
    manifests = load_texts({"t.yaml": "---\n".join([BROKER, *triggers])})
    return broker.change(manifests.brokers, manifests.triggers)


def _until(condition: object) -> None:
    assert callable(condition)
    waited = threading.Event()
    for _ in range(int(PATIENCE * 100)):
        if condition():
            return
        waited.wait(0.01)
    raise AssertionError("the condition did not hold in time")


def test_a_trigger_that_appears_gets_events_from_then_on(tmp_path: Path) -> None:
    """None from before, and none is missed at the seam while events pour in."""
    old, new = Recorder(), Recorder()
    services = {"old": old, "new": new}
    first, second = trigger("first", "old"), trigger("second", "new")
    with running(tmp_path, first, services=services) as broker:
        broker.publish(event("before"))
        stop = threading.Event()
        sent: list[str] = []

        def pour() -> None:
            while not stop.is_set():
                sent.append(f"{len(sent)}")
                broker.publish(event(sent[-1]))

        producer = threading.Thread(target=pour)
        producer.start()
        assert _change(broker, first, second) == set()
        known = len(sent)
        new.wait(100)
        stop.set()
        producer.join()
        assert broker.idle(PATIENCE)
    got = new.ids()
    assert "before" not in got
    assert len(got) == len(set(got))
    assert set(sent[known + 1 :]) <= set(got)
    assert sorted(got, key=int) == [str(n) for n in range(int(min(got, key=int)), len(sent))], "a gap at the seam"
    assert old.ids().count("before") == 1
    assert set(old.ids()) == {"before", *sent}


def test_a_change_of_filter_and_subscriber_holds_from_the_next_event_on(tmp_path: Path) -> None:
    """What was settled stays settled; what waits goes to the new subscriber."""
    one, two = Recorder(), Recorder()
    with running(tmp_path, trigger("t", "one"), services={"one": one, "two": two}) as broker:
        broker.publish(event("1"))
        assert broker.idle(PATIENCE)
        _change(broker, trigger("t", "two", spec="filters: [{exact: {type: other}}]"))
        broker.publish(event("2"))
        broker.publish(event("3", type="other"))
        assert broker.idle(PATIENCE)
    assert one.ids() == ["1"]
    assert two.ids() == ["3"]


def test_what_is_pending_for_a_removed_trigger_becomes_dead_letters(tmp_path: Path) -> None:
    """Tried, queued and not yet looked at; what was delivered or was on its way is not among them."""
    gate = threading.Event()

    def answer(n: int, request: object) -> tuple[int, dict[str, str], bytes]:
        if n == 0:
            return 202, {}, b""
        gate.wait(PATIENCE)
        return (202 if n == 1 else 503), {}, b""

    slow = Recorder(answer)
    spec = "delivery: {retry: 3, backoffPolicy: exponential, backoffDelay: PT1H}"
    kept, gone = trigger("kept", "s"), trigger("gone", "slow", spec=spec, annotations="{greenlight/concurrency: '1'}")
    with running(tmp_path, kept, gone, services={"s": Recorder(), "slow": slow}) as broker:
        broker.publish(event("delivered"))
        slow.wait(1)
        for number in range(600):  # more than wait in memory: the rest is not looked at yet
            broker.publish(event(str(number)))
        slow.wait(2)
        assert _change(broker, kept) == set()
        broker.publish(event("after"))
        assert _change(broker, kept, gone) == {"test/gone"}, "it waits while a delivery is on its way"
        gate.set()
        _until(lambda: len(broker.dead_letters(limit=1000)) == 599)
        dead = [dead_letter.stored.event.id for dead_letter in broker.dead_letters(limit=1000)]
        assert sorted(dead, key=int) == [str(n) for n in range(1, 600)]
        assert all("removed" in dead_letter.why for dead_letter in broker.dead_letters())
        _until(lambda: _change(broker, kept, gone) == set())
        broker.publish(event("again"))
        slow.wait(3)
        assert slow.ids() == ["delivered", "0", "again"]
        dead_letter = broker.dead_letters()[0]
        broker.operations.replay(dead_letter.id)
        assert slow.wait(4)[3].headers["ce-id"] == dead_letter.stored.event.id


def test_a_trigger_whose_manifest_is_gone_at_the_next_start_is_removed_then(tmp_path: Path) -> None:
    """Its spec is remembered: only what it wanted becomes dead letters."""
    spec = "filters: [{exact: {type: test.wanted}}]"
    with running(tmp_path, trigger("gone", "s", spec=spec), services={"s": Recorder()}) as broker:
        broker.drain(PATIENCE)  # takes events, delivers none
        broker.publish(event("1", type="test.wanted"))
        broker.publish(event("2", type="test.other"))
    with running(tmp_path, trigger("kept", "s"), services={"s": Recorder()}) as broker:
        _until(lambda: [dead_letter.stored.event.id for dead_letter in broker.dead_letters()] == ["1"])
        _until(lambda: [it["trigger"] for it in broker.operations.triggers()] == ["test/kept"])


def test_what_cannot_be_changed_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    """A Trigger's Broker, as with Knative; a subscriber that is not there."""
    recorder = Recorder()
    with running(tmp_path, trigger("t", "s"), services={"s": recorder}) as broker:
        other = BROKER.replace("name: default", "name: other")
        manifests = load_texts(
            {"t.yaml": "---\n".join([BROKER, other, trigger("t", "s").replace("broker: default", "broker: other")])}
        )
        with pytest.raises(ConfigurationError, match=r"t\.yaml:\d+: spec\.broker of Trigger test/t was default"):
            broker.change(manifests.brokers, manifests.triggers)
        with pytest.raises(ConfigurationError, match="there is no service nobody"):
            _change(broker, trigger("t", "nobody"))
        broker.publish(event("1"))
        assert recorder.wait(1)


def test_a_trigger_whose_removal_cannot_be_written_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its manifest may be back before the store is."""
    recorder = Recorder()
    one, two = trigger("one", "s"), trigger("two", "s")
    with running(tmp_path, one, two, services={"s": recorder}) as broker:

        def full(tx: object, trigger: str) -> None:
            raise Unavailable("no space is left")

        with monkeypatch.context() as patch:
            patch.setattr(cursor_table, "mark_removed", full)
            with pytest.raises(Unavailable):
                _change(broker, one)
        assert _change(broker, one, two) == set()
        broker.publish(event("1"))
        assert broker.idle(PATIENCE)
    assert recorder.ids() == ["1", "1"]
