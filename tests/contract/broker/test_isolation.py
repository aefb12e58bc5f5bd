"""A third-party Trigger gets every event, and its slowness, failures and replies change nothing for the others."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from greenlight.broker import retry_schedule, work_queue
from greenlight.broker.limits import BrokerLimits
from support.broker import PATIENCE, Recorder, Request, event, http_server, reply, running, trigger

RETRIES = "delivery: {retry: 100, backoffPolicy: exponential, backoffDelay: PT0.05S, timeout: PT10S}"


@pytest.mark.parametrize("fault", ["hanging", "failing", "garbage", "dead"])
def test_a_third_party_subscriber_changes_nothing_for_the_others(tmp_path: Path, fault: str) -> None:
    """300 events pass it, more than it has workers and room in memory for, while it settles none."""
    release = threading.Event()
    answers = {
        "hanging": lambda n, request: (release.wait(PATIENCE), (202, {}, b""))[1],
        "failing": lambda n, request: (503, {}, b"not today"),
        "garbage": lambda n, request: (200, {"ce-specversion": "1.0", "ce-id": ""}, b"\xff\x00 garbage"),
        "dead": lambda n, request: (202, {}, b""),
    }
    good = Recorder()
    with http_server(Recorder(answers[fault])) as url:
        address = "http://127.0.0.1:1" if fault == "dead" else url
        triggers = (trigger("other", address, spec=RETRIES), trigger("good", "good"))
        with running(tmp_path, *triggers, services={"good": good}) as broker:
            for number in range(300):
                broker.publish(event(str(number)))
                good.wait(number + 1)
            assert broker.lag() == {"test/other": 300, "test/good": 0}
            release.set()
    assert good.ids() == [str(number) for number in range(300)]


def test_a_retried_event_delays_no_other_of_its_trigger(tmp_path: Path) -> None:
    """A8: events of one Trigger are delivered side by side, also with a single worker."""
    recorder = Recorder(lambda n, request: (503 if request.headers["ce-id"] == "bad" else 202, {}, b""))
    spec = "delivery: {retry: 3, backoffPolicy: exponential, backoffDelay: PT1H}"
    one = '{greenlight/concurrency: "1"}'
    with running(tmp_path, trigger("one", "s", spec=spec, annotations=one), services={"s": recorder}) as broker:
        broker.publish(event("bad"))
        for number in range(5):
            broker.publish(event(str(number)))
        assert [request.headers["ce-id"] for request in recorder.wait(6)] == ["bad", "0", "1", "2", "3", "4"]


def test_concurrency_is_bounded_and_used(tmp_path: Path) -> None:
    """No more than the Trigger's limit at once, and all of it when there is enough to do."""
    gate = threading.Barrier(3, timeout=PATIENCE)
    now, most, lock = 0, 0, threading.Lock()

    def answer(n: int, request: object) -> tuple[int, dict[str, str], bytes]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        gate.wait()
        with lock:
            now -= 1
        return 202, {}, b""

    three = '{greenlight/concurrency: "3"}'
    services = {"s": Recorder(answer)}
    with running(tmp_path, trigger("one", "s", annotations=three), services=services) as broker:
        for number in range(12):
            broker.publish(event(str(number)))
        assert broker.idle(PATIENCE)
    assert most == 3


def test_a_trigger_that_fell_behind_reads_the_log_and_misses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that did not fit into memory come from the log, once each, while new ones keep coming."""
    release = threading.Event()
    slow = Recorder(lambda n, request: (release.wait(PATIENCE), (202, {}, b""))[1])
    spec = "filters: [{prefix: {type: wanted}}]"
    monkeypatch.setattr(work_queue, "AHEAD", 200)
    total = 3 * 256
    with running(tmp_path, trigger("slow", "slow", spec=spec), services={"slow": slow}) as broker:
        for number in range(total):
            broker.publish(event(str(number), type="wanted.a" if number % 2 else "other"))
        release.set()
        for number in range(total, total + 200):
            broker.publish(event(str(number), type="wanted.b"))
        assert broker.idle(PATIENCE)
    expected = [str(number) for number in range(total + 200) if number >= total or number % 2]
    assert sorted(slow.ids(), key=int) == expected


def test_with_too_many_retries_new_events_wait_and_then_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Congestion control: what is tried again is bounded, so memory is, and it goes on when the subscriber recovers."""
    monkeypatch.setattr(work_queue, "MAX_RETRIES", 4)
    broken = threading.Event()
    broken.set()
    recorder = Recorder(lambda n, request: (503 if broken.is_set() else 202, {}, b""))
    spec = "delivery: {retry: 500, backoffPolicy: exponential, backoffDelay: PT0.01S}"
    with running(
        tmp_path, trigger("one", "s", spec=spec, annotations='{greenlight/concurrency: "2"}'), services={"s": recorder}
    ) as broker:
        for number in range(30):
            broker.publish(event(str(number)))
        recorder.wait(15)
        assert len(set(recorder.ids())) <= 6
        broken.clear()
        assert broker.idle(PATIENCE)
    assert set(recorder.ids()) == {str(number) for number in range(30)}


@pytest.mark.parametrize("stalled", [False, True])
def test_retries_that_fall_due_together_are_paced(tmp_path: Path, stalled: bool) -> None:
    """A dead subscriber's, however many, or they took the time of all others. A timer that stood still does not catch up."""
    count, stands = 30, retry_schedule.PACE * 30
    first: set[str] = set()
    retries: list[float] = []

    def answer(n: int, request: Request) -> tuple[int, dict[str, str], bytes]:
        if request.headers["ce-id"] not in first:
            first.add(request.headers["ce-id"])
            return 503, {}, b""
        retries.append(time.monotonic())
        if stalled and len(retries) == 5:  # the others have fallen due by now
            broker._engine.runtime.timer.after(0, lambda: time.sleep(stands))
        return 202, {}, b""

    recorder = Recorder(answer)
    spec = "delivery: {retry: 1, backoffPolicy: exponential, backoffDelay: PT0.2S}"
    with running(tmp_path, trigger("one", "s", spec=spec), services={"s": recorder}) as broker:
        for number in range(count):
            broker.publish(event(str(number)))
        assert broker.idle(PATIENCE)
    assert len(retries) == count
    took = max(retries) - min(retries)
    assert took >= retry_schedule.PACE * (count - 1) * 0.8 + (stands if stalled else 0)


def test_a_delivery_that_does_not_end_does_not_hold_the_cursor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets a row of its own, so that a crash repeats it and not the thousands that came after it."""
    monkeypatch.setattr(work_queue, "WINDOW", 20)
    release = threading.Event()

    def answer(n: int, request: object) -> tuple[int, dict[str, str], bytes]:
        if n == 0:
            release.wait(PATIENCE)
        return 202, {}, b""

    first = Recorder(answer)
    with running(tmp_path, trigger("one", "s"), services={"s": first}) as broker:
        for number in range(200):
            broker.publish(event(str(number)))
        first.wait(200)
        deadline = time.monotonic() + PATIENCE
        while broker._engine.backlog.floor() < 150 and time.monotonic() < deadline:
            broker.publish(event("more"))
        assert broker._engine.backlog.floor() >= 150
        assert not broker.drain(0.05)
        broker.stop()
        broker._store.close()
        second = Recorder()
        with running(tmp_path, trigger("one", "s"), services={"s": second}) as again:
            assert again.idle(PATIENCE)
        release.set()
    assert "0" in second.ids()
    assert len(second.ids()) < 60


def test_third_party_replies_reach_every_trigger_and_change_no_other_delivery(tmp_path: Path) -> None:
    """Its events are events like any other."""
    other = Recorder(lambda n, request: reply(f"{request.headers['ce-id']}-r", "other.replied"))
    good = Recorder()
    triggers = (
        trigger("other", "other", spec="filters: [{not: {exact: {type: other.replied}}}]"),
        trigger("good", "good"),
    )
    with running(tmp_path, *triggers, services={"other": other, "good": good}) as broker:
        for number in range(20):
            broker.publish(event(str(number)))
        assert broker.idle(PATIENCE)
    assert sorted(good.ids()) == sorted([f"{n}" for n in range(20)] + [f"{n}-r" for n in range(20)])


def test_a_dead_trigger_does_not_stop_producers_before_the_bound(tmp_path: Path) -> None:
    """Only the bound on undelivered events does."""
    release = threading.Event()
    stuck = Recorder(lambda n, request: (release.wait(PATIENCE), (202, {}, b""))[1])
    with running(
        tmp_path, trigger("one", "s"), services={"s": stuck}, limits=BrokerLimits(backlog_events=50)
    ) as broker:
        for number in range(50):
            broker.publish(event(str(number)))
        release.set()
        assert broker.idle(PATIENCE)
