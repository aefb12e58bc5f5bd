"""A lock for each key."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from greenlight.lib.keyedlock import KeyedLock
from support.helm import eventually
from support.timing import PATIENCE


class Holder:
    """A thread that asks for the lock of a key, and once it has it, keeps it until it is let go."""

    def __init__(self, lock: KeyedLock, key: str, seen: Callable[[], object] = lambda: None) -> None:
        self.has, self._go = threading.Event(), threading.Event()
        self._lock, self._key, self._seen = lock, key, seen
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._lock.holding(self._key):
            self._seen()
            self.has.set()
            self._go.wait(PATIENCE)

    def end(self) -> None:
        """Let it go, and wait until it is gone."""
        self._go.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@contextmanager
def holding(lock: KeyedLock, key: str) -> Iterator[Holder]:
    """One that has the lock."""
    holder = Holder(lock, key)
    try:
        assert holder.has.wait(PATIENCE)
        yield holder
    finally:
        holder.end()


def test_a_key_is_held_by_one_at_a_time_in_the_order_in_which_they_came() -> None:
    lock, order = KeyedLock(PATIENCE, alone=PATIENCE), list[int]()
    with holding(lock, "a"):
        others = []
        for n in range(5):
            others.append(Holder(lock, "a", lambda n=n: order.append(n)))  # type: ignore[misc]
            eventually(lambda n=n: lock.waiting("a") == 1 + n)  # type: ignore[misc]
        assert order == []
    for n, other in enumerate(others):
        assert other.has.wait(PATIENCE)
        assert order == list(range(n + 1)), "the next begins when this one has ended"
        other.end()
    assert not lock._queues, "a key that nobody holds takes no memory"


def test_different_keys_and_no_key_do_not_wait_for_each_other() -> None:
    lock = KeyedLock(PATIENCE, alone=PATIENCE)
    with holding(lock, "a"), holding(lock, "b"), holding(lock, ""), holding(lock, ""):
        assert set(lock._queues) == {"a", "b"}


def test_who_fails_lets_go() -> None:
    lock = KeyedLock(PATIENCE, alone=PATIENCE)
    try:
        with lock.holding("a"):
            raise ValueError("no")
    except ValueError:
        pass
    with holding(lock, "a"):
        pass


def test_who_holds_it_for_too_long_goes_on_beside_the_others() -> None:
    """The next waits once, and those after it for each other alone; what the slow one does at its end changes nothing."""
    lock = KeyedLock(patience=0.05, alone=PATIENCE)
    with holding(lock, "a") as slow, holding(lock, "a") as next_one:
        lock.patience = PATIENCE
        third = Holder(lock, "a")
        eventually(lambda: lock.waiting("a") == 1)
        slow.end()
        assert lock.waiting("a") == 1
        assert not third.has.is_set(), "it waits for the one that has it now"
        next_one.end()
        assert third.has.wait(PATIENCE)
        third.end()
    assert not lock._queues


def test_while_no_other_key_is_asked_for_those_of_one_do_not_wait_for_each_other() -> None:
    """Once there is another one, they do again: for all that are at work by then."""
    lock = KeyedLock(PATIENCE, alone=0)
    with holding(lock, "a"), holding(lock, "a"), holding(lock, "b"):
        lock.alone = PATIENCE
        third = Holder(lock, "a")
        eventually(lambda: lock.waiting("a") == 1)
    assert third.has.wait(PATIENCE)
    third.end()
    assert not lock._queues
