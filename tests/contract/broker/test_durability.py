"""What is acknowledged is delivered: through restarts, kill -9, a store that fails, and a log that is pruned."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from greenlight.broker import cursor_writer, log, retention, runtime
from greenlight.broker.broker import Broker
from greenlight.broker.limits import BrokerLimits
from greenlight.broker.log import event_table
from greenlight.broker.manifests import load_texts
from greenlight.lib.errors import Unavailable
from greenlight.store import Store
from support.broker import BROKER, FAST, PATIENCE, Recorder, Request, Response, event, reply, running, trigger


def test_what_was_not_delivered_is_delivered_by_the_next_start_and_nothing_else(tmp_path: Path) -> None:
    """After an orderly end no delivery is repeated; retries go on where they were."""
    first = Recorder(lambda n, request: (503 if request.headers["ce-id"] == "later" else 202, {}, b""))
    slow = "delivery: {retry: 10, backoffPolicy: exponential, backoffDelay: PT0.1S}"
    with running(tmp_path, trigger("one", "s", spec=slow), services={"s": first}) as broker:
        broker.publish(event("later"))
        for number in range(10):
            broker.publish(event(str(number)))
        first.wait_until(lambda requests: len({request.headers["ce-id"] for request in requests}) == 11)
        assert broker.drain(PATIENCE)
        broker.publish(event("draining"))
    second = Recorder()
    with running(tmp_path, trigger("one", "s", spec=slow), services={"s": second}) as broker:
        assert broker.idle(PATIENCE)
        assert broker.dead_letters() == []
    assert sorted(second.ids()) == ["draining", "later"]
    third = Recorder()
    with running(tmp_path, trigger("one", "s", spec=slow), services={"s": third}) as broker:
        assert broker.idle(PATIENCE)
    assert third.ids() == []


def test_tries_are_counted_across_restarts(tmp_path: Path) -> None:
    """A crash does not give a poisonous event its retries anew."""
    recorder = Recorder(lambda n, request: (503, {}, b""))
    spec = "delivery: {retry: 2, backoffPolicy: exponential, backoffDelay: PT0.05S}"
    triggers = [trigger("one", "s", spec=spec)]
    for life in range(3):
        with running(tmp_path, *triggers, services={"s": recorder}) as broker:
            if life == 0:
                broker.publish(event())
            recorder.wait(life + 1)
    with running(tmp_path, *triggers, services={"s": recorder}) as broker:
        assert broker.idle(PATIENCE)
        (dead_letter,) = broker.dead_letters()
    assert (dead_letter.attempts, len(recorder.requests)) == (3, 3)


def test_a_new_trigger_gets_what_comes_from_then_on(tmp_path: Path) -> None:
    """And not the history."""
    with running(tmp_path, trigger("old", "s"), services={"s": Recorder()}) as broker:
        broker.publish(event("before"))
        assert broker.idle(PATIENCE)
    new = Recorder()
    triggers = (trigger("old", "s"), trigger("new", "new"))
    with running(tmp_path, *triggers, services={"s": Recorder(), "new": new}) as broker:
        broker.publish(event("after"))
        assert broker.idle(PATIENCE)
    assert new.ids() == ["after"]


def test_an_event_is_on_its_way_only_if_its_transaction_is_durable(tmp_path: Path) -> None:
    """`appending` joins the caller's transaction: both happen, or neither."""
    recorder = Recorder()
    with running(tmp_path, trigger("one", "s"), services={"s": recorder}) as broker:

        def failing(tx: object) -> None:
            broker.appending(event("never"))(tx)  # type: ignore[arg-type]
            raise KeyError("the ledger refused")

        with pytest.raises(KeyError):
            broker._store.write(failing)
        broker._store.write(lambda tx: [broker.appending(event(id))(tx) for id in ("a", "b")])
        assert broker.idle(PATIENCE)
    assert sorted(recorder.ids()) == ["a", "b"]


def test_a_store_that_fails_for_a_while_loses_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies, dead letters and retries are written once it can be written again; the subscriber is not asked anew."""
    monkeypatch.setattr(runtime, "STORE_RETRY", 0.02)
    answers = {"reply": reply("r", "reply"), "dead": (422, {}, b""), "again": (503, {}, b"")}
    full, refused = threading.Event(), threading.Semaphore(0)

    def answer(n: int, request: Request) -> Response:
        full.set()
        return answers.get(request.headers["ce-id"], (202, {}, b"")) if n < 3 else (202, {}, b"")

    recorder = Recorder(answer)
    with running(tmp_path, trigger("one", "s", spec=FAST), services={"s": recorder}) as broker:
        submit = broker._store.submit

        def refusing(change: object) -> object:
            if not full.is_set():
                return submit(change)  # type: ignore[arg-type]
            refused.release()

            def fail(tx: object) -> None:
                raise Unavailable("no space is left")

            return submit(fail)  # type: ignore[arg-type]

        monkeypatch.setattr(broker._store, "submit", refusing)
        broker._store.write(lambda tx: [broker.appending(event(id))(tx) for id in answers])
        for _ in range(12):
            assert refused.acquire(timeout=PATIENCE)
        monkeypatch.setattr(broker._store, "submit", submit)
        assert broker.idle(PATIENCE)
        assert [dead_letter.stored.event.id for dead_letter in broker.dead_letters()] == ["dead"]
    assert sorted(recorder.ids()) == ["again", "again", "dead", "r", "reply"]


def test_settled_events_that_are_old_are_dropped_and_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In chunks; an event that is still tried stays, however old."""
    monkeypatch.setattr(retention, "EVERY", 0.01)
    monkeypatch.setattr(event_table, "CHUNK", 7)
    recorder = Recorder(lambda n, request: (503 if request.headers["ce-id"] == "30" else 202, {}, b""))
    spec = "delivery: {retry: 3, backoffPolicy: exponential, backoffDelay: PT1H}"
    limits = BrokerLimits(keep_events=0.0, keep_dead_letters=0.0)
    with running(tmp_path, trigger("one", "s", spec=spec), services={"s": recorder}, limits=limits) as broker:
        for number in range(100):
            broker.publish(event(str(number)))

        def left() -> list[str]:
            with broker._store.read() as connection:
                rows = connection.execute("SELECT attributes ->> 'id' FROM broker_events").fetchall()
            return [id for (id,) in rows]

        deadline = time.monotonic() + PATIENCE
        while left() != ["30"] and time.monotonic() < deadline:
            broker._engine.progressed()
            time.sleep(0.01)
        assert left() == ["30"]


def test_the_log_keeps_its_newest_bytes_and_what_is_not_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention by size: young events go too, oldest first; one that is still tried stays."""
    monkeypatch.setattr(retention, "EVERY", 0.01)
    recorder = Recorder(lambda n, request: (503 if request.headers["ce-id"] == "3" else 202, {}, b""))
    spec = "delivery: {retry: 3, backoffPolicy: exponential, backoffDelay: PT1H}"
    with running(
        tmp_path, trigger("one", "s", spec=spec), services={"s": recorder}, limits=BrokerLimits(keep_bytes=20_000)
    ) as broker:
        for number in range(100):
            broker.publish(replace(event(str(number)), data=b"x" * 1000, datacontenttype="text/plain"))
        assert broker.operations.sizes()["log"] > 100_000
        ids: list[str] = []
        deadline = time.monotonic() + PATIENCE
        while not 0 < len(ids) < 20 and time.monotonic() < deadline:  # each event has more than 1000 bytes
            broker._engine.progressed()
            time.sleep(0.01)
            with broker._store.read() as connection:
                ids = [id for (id,) in connection.execute("SELECT attributes ->> 'id' FROM broker_events ORDER BY seq")]
        assert ids[0] == "3"
        assert ids[1:] == [str(number) for number in range(100 - len(ids[1:]), 100)]
        assert 10 < len(ids) < 20


def test_a_start_does_not_read_the_log(tmp_path: Path) -> None:
    """200 000 settled events and 50 000 to deliver: ready for less than reading them once; and all are caught up."""
    with running(tmp_path, trigger("one", "s"), services={"s": Recorder()}) as broker:
        broker.publish(event())
        assert broker.idle(PATIENCE)
    store = Store(tmp_path / "broker.db", [log.SCHEMA], synchronous="NORMAL")
    copy = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "INSERT INTO broker_events (broker, attributes, data, ttl, at, upto) "
        "SELECT broker, attributes, data, ttl, at, i * upto FROM broker_events, n WHERE seq = 1"
    )
    store.write(lambda tx: tx.execute(copy, (250_000,)))
    store.write(lambda tx: tx.execute("UPDATE broker_cursors SET seq = 200001"))
    store.close()
    manifests = load_texts({"t.yaml": BROKER + "---" + trigger("one", "s", spec="filters: [{exact: {type: other}}]")})
    store = Store(tmp_path / "broker.db", [log.SCHEMA], synchronous="NORMAL")
    with store.read() as connection:
        began = time.thread_time()
        assert len(connection.execute("SELECT attributes, data FROM broker_events").fetchall()) > 250_000
        reading = time.thread_time() - began
    began = time.thread_time()
    broker = Broker(store, manifests.brokers, manifests.triggers, services={"s": Recorder()})
    broker.start()
    starting = time.thread_time() - began
    assert broker.idle(PATIENCE)
    broker.stop()
    store.close()
    assert starting < reading / 2, f"{starting:.3f} s, reading the log once {reading:.3f} s"


def test_an_idle_broker_burns_no_cpu(tmp_path: Path) -> None:
    """Nothing polls: its threads do not wake while nothing happens."""
    others = {*os.listdir("/proc/self/task")}
    with running(tmp_path, trigger("one", "s"), services={"s": Recorder()}) as broker:
        for number in range(50):
            broker.publish(event(str(number)))
        assert broker.idle(PATIENCE)
        time.sleep(3 * cursor_writer.DELAY)
        threads = {*os.listdir("/proc/self/task")} - others
        before = _wakes(threads)
        time.sleep(0.5)
        assert threads
        assert _wakes(threads) - before <= 5  # a last write of cursors that was late; polling would wake at every turn


def _wakes(threads: Iterable[str]) -> int:
    """How often these threads of this process have gone to sleep so far, together."""
    status = [Path(f"/proc/self/task/{thread}/status").read_text() for thread in threads]
    return sum(int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for text in status)
