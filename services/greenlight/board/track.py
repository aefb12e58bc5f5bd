"""The way of a commit through its environments as a line of lamps: a small one for each gate, then the environment. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from greenlight.board.stops import Stop

GATE, ROOM, SPACE = 10, 18, 26
"""Units between two gates, from the last gate to its environment's lamp, and from a lamp to the next gate."""

LEAST = 62
"""Units between the lamps of two environments, so that their names stand beside each other."""

EDGE = 22
MOST = 8
"""Gates that are drawn; the rest is on the page of the commit."""


@dataclass(frozen=True, slots=True)
class Dot:
    """A gate's lamp."""

    x: int
    state: str


@dataclass(frozen=True, slots=True)
class Lamp:
    """An environment's lamp."""

    x: int
    name: str
    state: str
    word: str


@dataclass(frozen=True, slots=True)
class Track:
    """The whole line; `spoken` is what a screen reader says."""

    width: int
    dots: Sequence[Dot]
    lamps: Sequence[Lamp]
    spoken: str


def track(stops: Sequence[Stop]) -> Track:
    """Return the line of a commit."""
    dots: list[Dot] = []
    lamps: list[Lamp] = []
    x = 0
    for stop in stops:
        states = [gate.state for gate in stop.decision.gates.values()][:MOST]
        begin = x + (SPACE if lamps else EDGE)
        at = begin + GATE * (len(states) - 1) + ROOM if states else begin
        at = max(at, x + LEAST) if lamps else max(at, EDGE)
        first = at - ROOM - GATE * (len(states) - 1)
        dots += [Dot(first + GATE * number, state) for number, state in enumerate(states)]
        lamps.append(Lamp(at, stop.environment, stop.state, stop.word))
        x = at
    return Track(x + 40, dots, lamps, _spoken(stops))


def _spoken(stops: Sequence[Stop]) -> str:
    parts = []
    for stop in stops:
        gates = ", ".join(f"{name} {gate.state}" for name, gate in stop.decision.gates.items())
        parts.append(f"{stop.environment}: {stop.word}" + (f" ({gates})" if gates else ""))
    return "; ".join(parts)
