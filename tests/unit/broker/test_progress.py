"""The books of one Trigger, in the orders of events that threads produce only now and then."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from greenlight.broker import progress, turns
from greenlight.broker.log import Attempt, Entry
from greenlight.broker.progress import Gap, Progress
from greenlight.broker.turns import Job
from greenlight.events import Event


@dataclass
class Feed:
    """The end of the log."""

    announced: int = 0
    head: int = 0


ENTRY = Entry(Event("1", "/s", "t", data=b"x"))


def books(feed: Feed, *, cursor: int = 0, tried: tuple[Attempt, ...] = (), workers: int = 8) -> Progress:
    made = Progress(feed, cursor, tried, workers, lambda: None)
    made.resume()
    return made


def taken(books: Progress) -> list[int]:
    """The numbers of all jobs that there are now."""
    found = []
    while isinstance(job := books.take(), Job):
        found.append(job.seq)
    return found


def test_an_event_that_was_read_while_it_was_being_offered_is_delivered_once() -> None:
    """Announced, found in the log by a reader, and only then offered."""
    feed = Feed(announced=4, head=4)
    one = books(feed, cursor=3)
    feed.announced = 5
    assert one.take() == Gap(3, 5)
    one.fill([(4, ENTRY), (5, ENTRY)], 5)
    one.offer(5, ENTRY)
    feed.head = 5
    one.offer(6, ENTRY)
    assert taken(one) == [4, 5, 6]


def test_an_event_that_passed_by_while_the_log_was_read_is_not_lost() -> None:
    """Committed after the reader looked, offered before the reader has caught up."""
    feed = Feed(announced=4, head=4)
    one = books(feed, cursor=3)
    gap = one.take()
    feed.announced = 5
    one.offer(5, ENTRY)
    feed.head = 5
    assert gap == Gap(3, 4)
    one.fill([(4, ENTRY)], 4)
    assert one.cursor() == 3
    assert one.take() == Gap(4, 5)
    job = one.take()
    assert isinstance(job, Job)
    one.land(job)
    one.settle(4)
    assert one.cursor() == 4


def test_what_is_being_offered_is_not_yet_behind_the_cursor() -> None:
    """The cursor of a Trigger without work is the last event that everybody was offered."""
    feed = Feed(announced=5, head=4)
    one = books(feed, cursor=5)
    assert one.cursor() == 4


def test_the_cursor_stands_before_the_oldest_open_delivery_and_goes_over_tracked_ones() -> None:
    """Out of order completion moves nothing; a row of its own frees the cursor."""
    feed = Feed()
    one = books(feed)
    for seq in (1, 2, 3):
        feed.announced = seq
        one.offer(seq, ENTRY)
        feed.head = seq
    assert taken(one) == [1, 2, 3]
    one.settle(2)
    assert (one.cursor(), one.cursor(without=1)) == (0, 2)
    one.tracked(Attempt(1, None, 1, 0.0))
    assert one.cursor() == 2
    one.settle(3)
    assert one.cursor() == 3
    assert not one.settled()
    one.settle(1)
    assert one.unsaved() == (3, [1])


def test_a_row_that_comes_late_is_dropped_and_an_older_one_does_not_count_back() -> None:
    """A straggler's row may be written after its delivery ended, or after it failed."""
    feed = Feed(announced=0, head=0)
    one = books(feed)
    for seq in (1, 2):
        feed.announced = seq
        one.offer(seq, ENTRY)
        feed.head = seq
    taken(one)
    one.settle(1)
    one.tracked(Attempt(1, None, 0, 0.0))
    one.tracked(Attempt(2, None, 3, 0.0))
    one.tracked(Attempt(2, None, 2, 0.0))
    one.due(2)
    job = one.take()
    assert isinstance(job, Job)
    assert job.tries == 3
    assert one.unsaved() == (2, [1])


def test_tries_left_by_an_earlier_run_are_not_fresh_when_the_log_shows_them() -> None:
    """Not even when they were settled before the log was read up to them: their row may be about to go."""
    feed = Feed(announced=5, head=5)
    one = books(feed, cursor=2, tried=(Attempt(4, None, 2, 0.0),))
    one.settle(4)
    assert isinstance(one.take(), Gap)
    one.fill([(3, ENTRY), (4, ENTRY), (5, ENTRY)], 5)
    assert taken(one) == [3, 5]


def test_memory_is_bounded_by_count_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what does not fit, the number is kept; of what is too much even for that, nothing: it is left to the log, in order."""
    monkeypatch.setattr(turns, "READY_BYTES", 1000)
    monkeypatch.setattr(progress, "AHEAD", 3)
    feed = Feed()
    one = books(feed)
    big = Entry(Event("1", "/s", "t", data=b"x" * 600))
    for seq in range(1, 6):
        feed.announced = seq
        one.offer(seq, big)
        feed.head = seq
    assert one.lag() == 5
    jobs = [one.take()]
    assert one.take() == Gap(3, 5)
    jobs += [one.take() for _ in range(2)]
    assert jobs == [Job(1, entry=big, key=""), Job(2, entry=big, key=""), Job(3, key="")]
    assert one.take() is None
    one.fill([(4, big), (5, big)], 5)
    assert taken(one) == [4, 5]


def of(key: str) -> Entry:
    """An event of a partition key."""
    return Entry(Event("1", "/s", "t", data=b"x", extensions={"partitionkey": key}))


def test_keys_take_turns_and_each_keeps_its_order() -> None:
    """One event of another key goes before all but one of those that wait; a key that comes back joins at the end."""
    feed = Feed()
    one = books(feed)
    for seq, key in enumerate("aaaaabbac", 1):
        feed.announced = seq
        one.offer(seq, of(key))
        feed.head = seq
    assert taken(one) == [1, 6, 9, 2, 7, 3, 4, 5, 8]


def test_a_key_that_comes_late_does_not_wait_for_what_was_read_from_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Trigger that is behind looks at the log as far as it may before it delivers."""
    feed = Feed(announced=600, head=600)
    one = books(feed, cursor=0)
    assert one.take() == Gap(0, 600)
    one.fill([(seq, of("a")) for seq in range(1, 257)], 256)
    assert one.take() == Gap(256, 600)
    job = one.take()
    assert isinstance(job, Job)
    assert job.seq == 1
    one.fill([(seq, of("a" if seq < 600 else "b")) for seq in range(257, 601)], 600)
    assert taken(one)[:3] == [2, 600, 3]


def test_of_one_key_as_many_are_on_their_way_as_its_trigger_allows() -> None:
    """The next one follows when one has landed; other keys do not wait for that."""
    feed = Feed()
    one = Progress(feed, 0, (), 8, lambda: None, of_one=1)
    one.resume()
    for seq, key in enumerate("aaab", 1):
        feed.announced = seq
        one.offer(seq, of(key))
        feed.head = seq
    first, other = one.take(), one.take()
    assert isinstance(first, Job)
    assert isinstance(other, Job)
    assert (first.seq, other.seq, one.take()) == (1, 4, None)
    one.land(first)
    assert taken(one) == [2]
    one.limit(8, of_one=2)
    assert taken(one) == [3]


def test_the_cursor_stands_before_the_oldest_event_whatever_turn_others_had() -> None:
    """A crash repeats what was delivered out of order, and loses nothing."""
    feed = Feed()
    one = books(feed)
    for seq, key in enumerate("aab", 1):
        feed.announced = seq
        one.offer(seq, of(key))
        feed.head = seq
    first, other = one.take(), one.take()
    assert isinstance(first, Job)
    assert isinstance(other, Job)
    assert (first.seq, other.seq) == (1, 3)
    for job in (other, first):
        assert one.cursor(without=job.seq) == (1 if job is first else 0)
        one.land(job)
        one.settle(job.seq)
        one.rest()
    assert one.cursor() == 1
    assert taken(one) == [2]
    one.settle(2)
    assert one.cursor() == 3
