"""A person's freeze of a target: unlike a pause, it ends by itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class TargetFreeze:
    """A time, given by a person, in which nothing goes out by itself to a target."""

    id: str  # of the event that says so
    person: str
    reason: str
    begins: datetime
    until: datetime
    at: datetime  # when the person asked for it
    excepted: tuple[str, ...] = ()  # groups whose people's requests are served all the same

    def begun(self, now: datetime) -> bool:
        """Return whether it has begun.

        Who reads a freeze does so after it was asked for, whatever their clock says.
        """
        return self.begins <= max(now, self.at)

    def ends(self, now: datetime) -> datetime | None:
        """Return when it ends, if it holds now; None: it does not."""
        return self.until if self.begun(now) and now < self.until else None
