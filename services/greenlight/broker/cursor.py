"""The position of one Trigger: the number up to which its events are settled, and the state of each later delivery."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from greenlight.broker.log.retry_table import Retry


class DeliveryState(enum.Enum):
    """The state of the delivery of one event to one Trigger. A settled delivery has none: it is forgotten.

        offered, or read from the log
              │
              ▼        a thread takes it       the attempt ended        written
           QUEUED ─────────────▶ IN_FLIGHT ──────────────▶ RECORDING ──────────▶ settled
                                     ▲                         │ written: to be retried, or
                                     │ a thread takes it       │ a dead letter for the sink
                                     │                         ▼
                                    DUE ◀────────────────── RETRYING
                                          its time has come

    A delivery with a row in broker_attempts does not hold the cursor back: RETRYING, DUE, and IN_FLIGHT if it was retried, or
    if it has lasted so long that it was given a row. The values are what operators see.
    """

    QUEUED = "queued"
    IN_FLIGHT = "on its way"
    RECORDING = "being recorded"
    RETRYING = "tried again"
    DUE = "due"


class LogState(enum.Enum):
    """The way in which new events reach a Trigger.

              too many are queued: they are left in the log
    TAILING ─────────────────────────────────────────────────▶ BEHIND ◀────┐
       ▲                                      a thread takes   │           │ a page was read,
       │                                      the next part    ▼           │ or could not be
       └──────────────────────────────────────────────────── READING ──────┘
              the page reaches the end of the log
    """

    TAILING = "events are offered as they are committed"
    BEHIND = "the log must be read"
    READING = "a thread reads it"


@dataclass(slots=True)
class LogEnd:
    """The end of the log. Written by the thread that commits alone, in the order of the commits; read by all, without a lock.

    `offered` is never ahead of `announced`.
    """

    announced: int  # the newest event that is being offered to the Triggers
    offered: int  # the newest event that has been offered to all of them


@dataclass(frozen=True, slots=True)
class LogRange:
    """A part of the log that must be read: numbers over `after`, up to `end`."""

    after: int
    end: int


class Cursor:
    """The state of every delivery of one Trigger that is not settled, and so its cursor. Has no lock: its WorkQueue has one."""

    def __init__(self, end: LogEnd, position: int, retries: Sequence[Retry]) -> None:
        """Start as an earlier run ended: settled up to `position`, apart from `retries`."""
        self._end = end
        self._position = position  # the log was read up to here; while TAILING, that far or farther
        self.log_state = LogState.TAILING if position >= end.announced else LogState.BEHIND
        self._states = dict.fromkeys((retry.seq for retry in retries), DeliveryState.RETRYING)
        self._rows = {retry.seq: retry for retry in retries}
        self._earlier = frozenset(self._rows)  # rows of an earlier run: the log will show these events again
        self._order: deque[int] = deque()  # events that came in this run, oldest first, with some that are settled
        self._saved = position
        self._obsolete: list[int] = []  # settled, but their rows are still there

    # Where events come from.

    def expects(self, seq: int) -> bool:
        """Return whether an event that is offered is to be queued; otherwise reading the log finds it, or has found it."""
        return self.log_state is LogState.TAILING and seq > self._position

    def fall_behind(self, seq: int) -> None:
        """Leave the offered event `seq` and those after it to reading the log."""
        self.log_state = LogState.BEHIND
        self._position = seq - 1

    def begin_reading(self) -> LogRange:
        """Return the part of the log that is not known."""
        self.log_state = LogState.READING
        return LogRange(self._position, self._end.announced)

    def end_reading(self, until: int) -> None:
        """Note that the log was read up to `until`.

        An event that is being offered right now may have passed by; then the Trigger stays behind, and reads it too.
        """
        self._position = until
        self.log_state = LogState.TAILING if until >= self._end.announced else LogState.BEHIND

    def cancel_reading(self) -> None:
        """Note that the log could not be read."""
        self.log_state = LogState.BEHIND

    def is_retry_of_earlier_run(self, seq: int) -> bool:
        """Return whether an event that was found in the log was retried by an earlier run: it is known, or settled since."""
        return seq in self._earlier

    # Steps of a delivery.

    def queued(self, seq: int) -> None:
        """Add a delivery."""
        self._states[seq] = DeliveryState.QUEUED
        self._order.append(seq)

    def taken(self, seq: int) -> None:
        """Note that a thread begins an attempt."""
        self._states[seq] = DeliveryState.IN_FLIGHT

    def attempted(self, seq: int) -> None:
        """Note that the attempt has an outcome."""
        self._states[seq] = DeliveryState.RECORDING

    def has_row(self, retry: Retry) -> None:
        """Note that the row of a delivery was written. It may be settled meanwhile, or farther than the row."""
        state = self._states.get(retry.seq)
        if state is None:
            self._obsolete.append(retry.seq)
            return
        known = self._rows.get(retry.seq)
        if known is None or retry.supersedes(known):
            self._rows[retry.seq] = retry
        if state in (DeliveryState.QUEUED, DeliveryState.RECORDING):
            self._states[retry.seq] = DeliveryState.RETRYING

    def due(self, seq: int) -> bool:
        """Note that the time of a further attempt has come. Returns whether there is one to make."""
        if self._states.get(seq) not in (DeliveryState.RETRYING, DeliveryState.RECORDING):
            return False
        self._states[seq] = DeliveryState.DUE
        return True

    def settle(self, seq: int, *, row_deleted: bool) -> None:
        """End a delivery. `row_deleted`: its row is deleted, if it had one."""
        if self._rows.pop(seq, None) is not None and not row_deleted:
            self._obsolete.append(seq)
        self._states.pop(seq, None)

    # Questions.

    def value(self, without: int | None = None) -> int:
        """Return the number up to which each event is settled or has a row; with `without`, as if that one were settled."""
        while self._order and not self._holds(self._order[0]):
            self._order.popleft()
        oldest = next((seq for seq in self._order if seq != without and self._holds(seq)), None)
        return self.known_up_to() if oldest is None else oldest - 1

    def known_up_to(self) -> int:
        """Return the number up to which events were queued, or were not wanted."""
        return self._end.offered if self.log_state is LogState.TAILING else self._position

    def without_row(self) -> list[int]:
        """Return the events that are not settled and have no row, in order."""
        return sorted(seq for seq in self._states if seq not in self._rows)

    def overtaken(self, flights: Iterable[int], window: int) -> list[int]:
        """Return those of `flights` that hold the cursor back by more than `window`."""
        known = self.known_up_to()
        return [seq for seq in flights if known - seq > window and self._holds(seq)]

    def row(self, seq: int) -> Retry | None:
        """Return the row of a delivery, as it was written last."""
        return self._rows.get(seq)

    def state(self, seq: int) -> DeliveryState | None:
        """Return the state of a delivery; None: settled, never wanted, or `unread`."""
        return self._states.get(seq)

    def unread(self, seq: int) -> bool:
        """Return whether the Trigger has not come to this event yet."""
        return self.log_state is not LogState.TAILING and seq > self._position

    @property
    def rows(self) -> int:
        """Return how many deliveries have a row."""
        return len(self._rows)

    @property
    def unsettled(self) -> int:
        """Return how many deliveries are not settled."""
        return len(self._states)

    @property
    def lag(self) -> int:
        """Return how many events are not settled; those that the Trigger has not come to yet count in full."""
        unread = 0 if self.log_state is LogState.TAILING else self._end.announced - self._position
        return unread + len(self._states)

    # Saving.

    def take_unsaved(self) -> tuple[int, list[int]] | None:
        """Return the cursor and the obsolete rows, if they are to be written; they count as written then."""
        value = self.value()
        if value == self._saved and not self._obsolete:
            return None
        obsolete, self._obsolete = self._obsolete, []
        self._saved = value
        return value, obsolete

    def not_saved(self, obsolete: Sequence[int]) -> None:
        """Note that what `take_unsaved` returned could not be written."""
        self._obsolete += obsolete
        self._saved = -1

    def _holds(self, seq: int) -> bool:
        """Return whether this event holds the cursor back."""
        return seq in self._states and seq not in self._rows
