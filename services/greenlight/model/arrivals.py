"""The row of what one process keeps of the webhooks that it has answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Arrival:
    """A webhook that was answered."""

    at: datetime
    sender: str  # the file of its secrets, or the route's label where the signature was wrong
    verdict: str  # accepted, ignored, refused, unauthenticated, malformed, ...
    status: int
    why: str = ""  # why it was ignored or refused
    repo: str | None = None
    sha: str | None = None

    @property
    def signed(self) -> bool:
        """Return whether its sender is known."""
        return self.verdict in ("accepted", "ignored")


@dataclass(frozen=True, slots=True)
class ProcessArrivals:
    """The webhooks that one process has answered: the last ones, the last one of each sender, and how many there were."""

    process: str  # another one after each start
    since: datetime  # its start
    at: datetime  # when this was written down
    counts: Mapping[str, int]  # by verdict, since its start
    arrivals: tuple[Arrival, ...]
