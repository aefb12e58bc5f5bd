"""The thread pool and the timer of a broker: when a task runs, and when a thread ends."""

from __future__ import annotations

import threading

import pytest

from greenlight.broker import threads
from greenlight.broker.threads import ThreadPool, Timer, Waiters
from support.timing import PATIENCE


def run_together(pool: ThreadPool, count: int) -> list[threading.Thread]:
    """Run so many tasks at once; return their threads."""
    together, found = threading.Barrier(count + 1, timeout=PATIENCE), []

    def task() -> None:
        found.append(threading.current_thread())
        together.wait()

    for _ in range(count):
        pool.run(task)
    together.wait()
    return found


def wait_idle(pool: ThreadPool, count: int) -> None:
    """Wait until so many threads have nothing to do."""
    waited = threading.Event()
    for _ in range(int(PATIENCE * 100)):
        if pool._idle == count:
            return
        waited.wait(0.01)
    raise AssertionError(f"{pool._idle} threads are idle")


def test_each_task_runs_at_once_and_an_idle_thread_takes_the_next() -> None:
    """As many threads as there were tasks at a time."""
    pool = ThreadPool()
    first = run_together(pool, 5)
    wait_idle(pool, 5)
    second = run_together(pool, 5)
    assert set(first) == set(second)
    assert len(set(first)) == 5
    assert all(thread.daemon for thread in first), "a delivery that hangs must not hold up the end of the process"
    pool.stop()
    for thread in first:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_threads_that_are_idle_for_long_end_but_for_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next event finds one at once."""
    monkeypatch.setattr(threads, "IDLE", 0.05)
    monkeypatch.setattr(threads, "KEEP", 2)
    pool = ThreadPool()
    first = run_together(pool, 6)
    wait_idle(pool, 2)
    second = run_together(pool, 2)
    assert set(second) < set(first)
    pool.stop()
    for thread in first:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_task_that_fails_ends_no_thread_and_a_stopped_pool_runs_none(caplog: pytest.LogCaptureFixture) -> None:
    """The error is in the log."""
    pool, ran = ThreadPool(), threading.Event()
    (thread,) = run_together(pool, 1)
    wait_idle(pool, 1)
    pool.run(lambda: [][0])
    wait_idle(pool, 1)
    assert "a delivery thread met an internal error" in caplog.text
    assert run_together(pool, 1) == [thread]
    wait_idle(pool, 1)
    pool.stop()
    pool.run(ran.set)
    thread.join(PATIENCE)
    assert not ran.is_set()


def test_calls_are_made_in_the_order_of_their_times() -> None:
    """One that is due earlier wakes the timer's thread."""
    timer, made, done = Timer(), list[str](), threading.Event()
    timer.after(3600, lambda: made.append("never"))
    timer.after(0.1, done.set)
    timer.after(0.05, lambda: made.append("second"))
    timer.after(0, lambda: made.append("first"))
    assert done.wait(PATIENCE)
    assert made == ["first", "second"]
    timer.stop()
    timer.after(0, lambda: made.append("stopped"))
    assert made == ["first", "second"]


def test_a_waiter_sees_what_was_notified_before_it_looked_and_gives_up_in_time() -> None:
    """The condition holds at once, later, or never."""
    waiters, holds = Waiters(), threading.Event()
    assert not waiters.wait(holds.is_set, 0.01)
    entered = threading.Event()

    def until() -> bool:
        entered.set()
        return holds.is_set()

    def change() -> None:
        entered.wait(PATIENCE)
        holds.set()
        waiters.notify()

    other = threading.Thread(target=change)
    other.start()
    assert waiters.wait(until, PATIENCE)
    assert waiters.wait(holds.is_set, 0)
    other.join(PATIENCE)
