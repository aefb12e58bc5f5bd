"""The work queue of one Trigger, in the orders of steps that threads take only now and then."""

from __future__ import annotations

import pytest

from greenlight.broker import fair_queue, work_queue
from greenlight.broker.cursor import LogEnd, LogRange
from greenlight.broker.fair_queue import Job
from greenlight.broker.log.retry_table import Retry
from greenlight.broker.log.stored_event import StoredEvent
from greenlight.broker.work_queue import WorkQueue
from greenlight.events import Event

STORED = StoredEvent(Event("1", "/s", "t", data=b"x"))


def queue(end: LogEnd, *, cursor: int = 0, retries: tuple[Retry, ...] = (), workers: int = 8) -> WorkQueue:
    made = WorkQueue(end, cursor, retries, workers, lambda: None)
    made.resume()
    return made


def taken(queue: WorkQueue) -> list[int]:
    """The numbers of all jobs that there are now."""
    found = []
    while isinstance(job := queue.take(), Job):
        found.append(job.seq)
    return found


def test_an_event_that_was_read_while_it_was_being_offered_is_delivered_once() -> None:
    """Announced, found in the log by a reader, and only then offered."""
    end = LogEnd(announced=4, offered=4)
    one = queue(end, cursor=3)
    end.announced = 5
    assert one.take() == LogRange(3, 5)
    one.add_read([(4, STORED), (5, STORED)], 5)
    one.offer(5, STORED)
    end.offered = 5
    one.offer(6, STORED)
    assert taken(one) == [4, 5, 6]


def test_an_event_that_passed_by_while_the_log_was_read_is_not_lost() -> None:
    """Committed after the reader looked, offered before the reader has caught up."""
    end = LogEnd(announced=4, offered=4)
    one = queue(end, cursor=3)
    part = one.take()
    end.announced = 5
    one.offer(5, STORED)
    end.offered = 5
    assert part == LogRange(3, 4)
    one.add_read([(4, STORED)], 4)
    assert one.cursor() == 3
    assert one.take() == LogRange(4, 5)
    job = one.take()
    assert isinstance(job, Job)
    one.attempted(job)
    one.settle(4)
    assert one.cursor() == 4


def test_what_is_being_offered_is_not_yet_behind_the_cursor() -> None:
    """The cursor of a Trigger without work is the last event that everybody was offered."""
    end = LogEnd(announced=5, offered=4)
    one = queue(end, cursor=5)
    assert one.cursor() == 4


def test_the_cursor_stands_before_the_oldest_unsettled_delivery_and_passes_those_with_a_row() -> None:
    """Out of order completion moves nothing; a row of its own frees the cursor."""
    end = LogEnd(0, 0)
    one = queue(end)
    for seq in (1, 2, 3):
        end.announced = seq
        one.offer(seq, STORED)
        end.offered = seq
    assert taken(one) == [1, 2, 3]
    one.settle(2)
    assert (one.cursor(), one.cursor(without=1)) == (0, 2)
    one.has_row([Retry(1, None, 1, 0.0)])
    assert one.cursor() == 2
    one.settle(3)
    assert one.cursor() == 3
    assert not one.settled()
    one.settle(1)
    assert one.take_unsaved() == (3, [1])


def test_a_row_that_is_written_late_is_deleted_and_an_older_one_does_not_count_back() -> None:
    """The row of a delivery that lasts long may be written after it ended, or after it failed."""
    end = LogEnd(announced=0, offered=0)
    one = queue(end)
    for seq in (1, 2):
        end.announced = seq
        one.offer(seq, STORED)
        end.offered = seq
    first, second = one.take(), one.take()
    assert isinstance(first, Job)
    assert isinstance(second, Job)
    one.attempted(first)
    one.settle(1)
    one.has_row([Retry(1, None, 0, 0.0)])
    one.attempted(second)
    one.has_row([Retry(2, None, 3, 0.0)])
    one.has_row([Retry(2, None, 2, 0.0)])
    one.due(2)
    job = one.take()
    assert isinstance(job, Job)
    assert job.tries == 3
    assert one.take_unsaved() == (2, [1])


def test_tries_left_by_an_earlier_run_are_not_fresh_when_the_log_shows_them() -> None:
    """Not even when they were settled before the log was read up to them: their row may be about to go."""
    end = LogEnd(announced=5, offered=5)
    one = queue(end, cursor=2, retries=(Retry(4, None, 2, 0.0),))
    one.settle(4)
    assert isinstance(one.take(), LogRange)
    one.add_read([(3, STORED), (4, STORED), (5, STORED)], 5)
    assert taken(one) == [3, 5]


def test_memory_is_bounded_by_count_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what does not fit, the number is kept; of what is too much even for that, nothing: it is left to the log, in order."""
    monkeypatch.setattr(fair_queue, "READY_BYTES", 1000)
    monkeypatch.setattr(work_queue, "AHEAD", 3)
    end = LogEnd(0, 0)
    one = queue(end)
    big = StoredEvent(Event("1", "/s", "t", data=b"x" * 600))
    for seq in range(1, 6):
        end.announced = seq
        one.offer(seq, big)
        end.offered = seq
    assert one.counts()["lag"] == 5
    jobs = [one.take()]
    assert one.take() == LogRange(3, 5)
    jobs += [one.take() for _ in range(2)]
    assert jobs == [Job(1, stored=big, key=""), Job(2, stored=big, key=""), Job(3, key="")]
    assert one.take() is None
    one.add_read([(4, big), (5, big)], 5)
    assert taken(one) == [4, 5]


def of(key: str) -> StoredEvent:
    """An event of a partition key."""
    return StoredEvent(Event("1", "/s", "t", data=b"x", extensions={"partitionkey": key}))


def test_keys_take_turns_and_each_keeps_its_order() -> None:
    """One event of another key goes before all but one of those that wait; a key that comes back joins at the end."""
    end = LogEnd(0, 0)
    one = queue(end)
    for seq, key in enumerate("aaaaabbac", 1):
        end.announced = seq
        one.offer(seq, of(key))
        end.offered = seq
    assert taken(one) == [1, 6, 9, 2, 7, 3, 4, 5, 8]


def test_a_key_that_comes_late_does_not_wait_for_what_was_read_from_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Trigger that is behind looks at the log as far as it may before it delivers."""
    end = LogEnd(announced=600, offered=600)
    one = queue(end, cursor=0)
    assert one.take() == LogRange(0, 600)
    one.add_read([(seq, of("a")) for seq in range(1, 257)], 256)
    assert one.take() == LogRange(256, 600)
    job = one.take()
    assert isinstance(job, Job)
    assert job.seq == 1
    one.add_read([(seq, of("a" if seq < 600 else "b")) for seq in range(257, 601)], 600)
    assert taken(one)[:3] == [2, 600, 3]


def test_of_one_key_as_many_are_in_flight_as_its_trigger_allows() -> None:
    """The next one follows when one has ended; other keys do not wait for that."""
    end = LogEnd(0, 0)
    one = WorkQueue(end, 0, (), 8, lambda: None, per_key=1)
    one.resume()
    for seq, key in enumerate("aaab", 1):
        end.announced = seq
        one.offer(seq, of(key))
        end.offered = seq
    first, other = one.take(), one.take()
    assert isinstance(first, Job)
    assert isinstance(other, Job)
    assert (first.seq, other.seq, one.take()) == (1, 4, None)
    one.attempted(first)
    assert taken(one) == [2]
    one.limit(8, per_key=2)
    assert taken(one) == [3]


def test_the_cursor_stands_before_the_oldest_event_whatever_turn_others_had() -> None:
    """A crash repeats what was delivered out of order, and loses nothing."""
    end = LogEnd(0, 0)
    one = queue(end)
    for seq, key in enumerate("aab", 1):
        end.announced = seq
        one.offer(seq, of(key))
        end.offered = seq
    first, other = one.take(), one.take()
    assert isinstance(first, Job)
    assert isinstance(other, Job)
    assert (first.seq, other.seq) == (1, 3)
    for job in (other, first):
        assert one.cursor(without=job.seq) == (1 if job is first else 0)
        one.attempted(job)
        one.settle(job.seq)
        one.end_busy()
    assert one.cursor() == 1
    assert taken(one) == [2]
    one.settle(2)
    assert one.cursor() == 3


def test_an_event_that_could_not_be_read_for_its_attempt_is_attempted_again() -> None:
    """It has no row: nothing failed but the store, and its turn is over."""
    end = LogEnd(0, 0)
    one = queue(end)
    end.announced = 1
    one.offer(1, STORED)
    end.offered = 1
    job = one.take()
    assert isinstance(job, Job)
    one.attempted(job)
    one.end_busy()
    assert (one.take(), one.cursor(), one.counts()["lag"]) == (None, 0, 1)
    one.due(1)
    assert one.take() == Job(1)


def test_threads_are_started_without_the_lock_and_no_more_than_there_may_be() -> None:
    """Starting one may use the queue at once; one that could not be started is counted as ended."""
    end, started = LogEnd(0, 0), []
    one = WorkQueue(end, 0, (), 2, lambda: started.append(one.counts()["lag"]))
    one.resume()
    for seq in (1, 2, 3):
        end.announced = seq
        one.offer(seq, STORED)
        end.offered = seq
    assert started == [1, 2]
    one.thread_ended()
    one.wake()
    assert started == [1, 2, 3]
